"""Verdicts on devices from several flows: mean log probability, calibrated, unknown below a threshold.

Calibration and thresholds are fitted on held-out training days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.identify.calibrate import Calibration
from ethogram.identify.identifier import average
from ethogram.identify.openset import Thresholds

__all__ = ["DeviceVerdicts", "Groups", "groups_of"]

UNKNOWN_CODE = -1


@dataclass(frozen=True)
class Groups:
    """Groups of flows that share one verdict.

    Parameters
    ----------
    owner
        [N] group of each flow; -1 for flows outside complete groups.
    first
        [G] one flow of each group, which gives its device and day.
    """

    owner: NDArray[np.int64]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.first.size)


def groups_of(
    device: pl.Series, start_us: NDArray[np.int64], flows: int = 0, seconds: int = 0, truth: NDArray[np.int64] | None
    = None,
) -> Groups:  # fmt: skip
    """Group consecutive flows of each device.

    Parameters
    ----------
    device, start_us
        [N] of each flow.
    flows
        Number of consecutive flows per group within one day (UTC); incomplete groups are dropped.
    seconds
        Alternative: group all flows within aligned time slots of this length.
    truth
        [N] types; a group never spans two types (the label of a device may change within a day).

    Examples
    --------
    >>> groups_of(pl.Series(["a", "b", "a", "a"]), np.arange(4), flows=2).owner.tolist()
    [0, -1, 0, -1]
    """
    step = seconds * 1_000_000 if seconds else 86_400_000_000
    frame = pl.DataFrame({
        "device": device, "time": start_us, "part": start_us // step,
        "truth": np.zeros(len(start_us), np.int64) if truth is None else truth,
    }).with_row_index("row").sort("device", "truth", "part", "time", "row")  # fmt: skip
    key = ["device", "truth", "part"]
    if not seconds:
        place = pl.int_range(pl.len()).over(key) // flows
        frame = frame.with_columns(place=place)
        key.append("place")
    frame = frame.with_columns(size=pl.len().over(key), group=pl.struct(key).rle_id())
    if not seconds:
        frame = frame.filter(pl.col("size") == flows)
    owner = np.full(len(start_us), -1, np.int64)
    if not frame.height:
        return Groups(owner, np.zeros(0, np.int64))
    _, first, codes = np.unique(frame["group"].to_numpy(), return_index=True, return_inverse=True)
    rows = frame["row"].to_numpy().astype(np.int64)
    owner[rows] = codes
    return Groups(owner, rows[first])


class DeviceVerdicts:
    """Turns log probabilities of flows into calibrated verdicts on groups.

    Parameters
    ----------
    quantile
        Share of held-out verdicts on known types that may become unknown.
    """

    def __init__(self, quantile: float = 0.05) -> None:
        self.quantile = quantile

    def fit(
        self, log_probability: NDArray[np.float64], truth: NDArray[np.int64], groups: Groups, names: Sequence[str]
    ) -> Self:
        """Fit on log probabilities [N, T] of flows of held-out training days."""
        scores = self.decision_function(log_probability, groups)
        labels = [names[code] for code in truth[groups.first]]
        self.calibration_ = Calibration().fit(scores, names, labels)
        # Thresholds apply to the score of the most probable type, right or wrong, so they are fitted on it.
        self.thresholds_ = Thresholds(self.quantile).fit(scores, names, [names[code] for code in scores.argmax(1)])
        self.held_out_ = len(groups)
        return self

    @staticmethod
    def decision_function(log_probability: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
        """Mean log probability of each group, [G, T]."""
        inside = groups.owner >= 0
        return average(log_probability[inside], groups.owner[inside], len(groups))

    def predict_proba(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probability of each type, [G, T]."""
        return self.calibration_.predict_proba(scores)

    def verdicts(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """For each group [G]: the most probable type, that type or -1 if it is unknown, and its probability."""
        best = scores.argmax(1) if len(scores) else np.zeros(0, np.int64)
        rows = np.arange(len(scores))
        strange = self.thresholds_.strangeness(scores)[rows, best] > 1
        return best, np.where(strange, UNKNOWN_CODE, best), self.predict_proba(scores)[rows, best]
