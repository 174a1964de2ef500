"""From fused scores to verdicts: the likeliest label, or unknown where the sides find it strange or nothing is likely.

Shapes: n items, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.config import IdentifySettings
from ethogram.identify.calibrate import Calibration
from ethogram.identify.fusion import Fused
from ethogram.identify.openset import Coverage, Thresholds
from ethogram.schema import UNKNOWN

__all__ = ["FusedDecision", "SideStrangeness", "decide"]

Floats = NDArray[np.float64]
STRANGEST = 20.0
NOTHING = 2.0
"""Strangeness of an item that no side sees."""


class SideStrangeness:
    """How strange one side finds an item under each label, learnt from held-out scores of what is enrolled.

    Parameters
    ----------
    settings
        Quantile, and how few are few.
    """

    def __init__(self, settings: IdentifySettings | None = None) -> None:
        self.settings = settings or IdentifySettings()

    def fit(
        self, held: Floats, names: Sequence[str], truth: Sequence[str], enrolled: Floats | None = None
    ) -> Self:  # fmt: skip
        """Learn thresholds.

        Parameters
        ----------
        held
            Held-out scores (n, L): a row of NaN where the side does not see an item, and teaches nothing.
        names, truth
            Labels of the columns, and the label of each item.
        enrolled
            Scores (n, L) of the same items when nothing is held out: used where nothing else is known.
        """
        there = np.flatnonzero(np.isfinite(held).any(axis=1))
        column = {name: j for j, name in enumerate(names)}
        mine = [truth[int(i)] for i in there]
        self.calibration_ = Calibration().fit(held[there], names, mine)
        self.coverage_ = Coverage().fit(held[there], names, mine)
        own = None
        if enrolled is not None:
            seen = np.flatnonzero(np.isfinite(enrolled).any(axis=1))
            own = self._known(enrolled[seen])[np.arange(seen.size), [column[truth[int(i)]] for i in seen]]
        self.thresholds_ = Thresholds(self.settings.quantile, self.settings.few).fit(
            self._known(held[there]), names, mine, own
        )
        return self

    def _known(self, scores: Floats) -> Floats:
        return self.coverage_.transform(scores, self.calibration_.predict_proba(scores))

    def transform(self, scores: Floats) -> Floats:
        """Under each label, (n, L): above 1 is strange; NaN where the side says nothing."""
        return np.where(np.isfinite(scores), self.thresholds_.strangeness(self._known(scores)), np.nan)


@dataclass(frozen=True)
class FusedDecision:
    """All verdicts as arrays.

    Parameters
    ----------
    labels
        (L) the columns.
    fused
        Probabilities, weights, and those of each side.
    best
        (n) column of the best label.
    strangeness
        (n) of the best label: above 1 unknown.
    side_strangeness
        Per side (n): of the fused best label; NaN where the side is not there.
    unknown
        (n).
    """

    labels: list[str]
    fused: Fused
    best: NDArray[np.int64]
    strangeness: Floats
    side_strangeness: dict[str, Floats]
    unknown: NDArray[np.bool_]

    @property
    def verdicts(self) -> list[str]:
        """The label of each item, or unknown."""
        return [UNKNOWN if u else self.labels[b] for u, b in zip(self.unknown, self.best, strict=True)]


def decide(
    fused: Fused, strange: Mapping[str, Floats], settings: IdentifySettings, nothing: Floats | None = None
) -> FusedDecision:
    """Verdicts: unknown when the sides find the best label strange on the whole, or it is not likely enough.

    Parameters
    ----------
    fused
        What came of fusing.
    strange
        Per side, strangeness under each label (n, L); NaN where it says nothing.
    settings
        How likely a label must be, and whether unknown is said at all.
    nothing
        Strangeness under each label (n, L) where no side says anything; by default all are strange.
    """
    rows = np.arange(len(fused.logs))
    best = fused.logs.argmax(axis=1) if fused.logs.size else np.zeros(len(rows), np.int64)
    own = {side: values[rows, best] for side, values in strange.items()}
    total, weight = np.zeros(len(rows)), np.zeros(len(rows))
    for side, values in own.items():
        there = np.isfinite(values)
        mine = np.where(there, fused.weights[side], 0.0)
        total += np.where(there, np.clip(values, -5.0, STRANGEST), 0.0) * mine
        weight += mine
    rest = np.full(len(rows), NOTHING) if nothing is None else nothing[rows, best]
    strangeness = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), rest)
    unsure = fused.probabilities[rows, best] < settings.least_score
    unknown = np.zeros(len(rows), bool) if settings.closed else (strangeness > 1.0) | unsure
    return FusedDecision(fused.labels, fused, best, strangeness, own, unknown)
