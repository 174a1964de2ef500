"""Verdicts of one probe on the test flows of one fold: for single flows and groups, calibrated where possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.bench.flows.figures import FlowPredictions
from ethogram.config import ProbeSettings
from ethogram.identify.calibrate import softmax
from ethogram.identify.probe import FrozenProbe
from ethogram.identify.probe_devices import DeviceVerdicts, Groups, groups_of
from ethogram.pipeline.probe_rows import aggregations

__all__ = ["FLOWS", "FlowItems", "verdicts"]

FLOWS = "flows"
"""Key of the verdicts on single flows."""


@dataclass(frozen=True)
class FlowItems:
    """N flows of one side of a fold, corpus by corpus.

    Parameters
    ----------
    z
        Embeddings [N, D].
    label, unit, device_day
        [N] label, unit and device-day of each flow.
    start_us
        [N] time of the first packet.
    """

    z: NDArray[np.float32]
    label: NDArray[np.str_]
    unit: pl.Series
    device_day: NDArray[np.str_]
    start_us: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> FlowItems:
        """The flows of some rows."""
        return FlowItems(self.z[rows], self.label[rows], self.unit.gather(pl.Series(rows)), self.device_day[rows],
                     self.start_us[rows])  # fmt: skip


def verdicts(
    probe: FrozenProbe, test: FlowItems, truth: NDArray[np.int64], late: FlowItems | None, late_code: NDArray[np.int64],
    labels: NDArray[np.str_], place: NDArray[np.int64], settings: ProbeSettings, *, grouped: bool,
) -> dict[str, FlowPredictions]:  # fmt: skip
    """Verdicts on test flows, and on groups of each unit's flows.

    Parameters
    ----------
    probe
        The fitted probe.
    test, truth
        N test flows, and their labels by the code of the task; -1: not enrolled.
    late, late_code
        Held-out training flows for calibration and their labels by the code of the probe; None: no calibration.
    labels, place
        Labels of the probe, and their codes in the task.
    settings
        How flows are grouped.
    grouped
        Whether to judge groups too.
    """
    log_probability = probe.predict_log_proba(test.z, labels.size)
    _, cluster = np.unique(test.device_day, return_inverse=True)
    ways: list[tuple[str, int, int]] = [(FLOWS, 1, 0)]
    if grouped:
        ways += [("hour" if seconds == 3600 else name, flows, seconds)
                 for name, flows, seconds in aggregations(settings) if flows != 1]  # fmt: skip
    found: dict[str, FlowPredictions] = {}
    for name, flows, seconds in ways:
        groups = _groups(test, truth, flows, seconds)
        if not len(groups):
            continue
        judge = DeviceVerdicts(settings.quantile)
        scores = judge.decision_function(log_probability, groups)
        best = scores.argmax(1)
        probability = softmax(scores).max(1)
        unknown = None
        if late is not None and probe.held_out is not None:
            own = _groups(late, late_code, flows, seconds)
            if len(own):
                judge.fit(probe.held_out, late_code, own, labels.tolist())
                _, predictions, probability = judge.verdicts(scores)
                unknown = predictions < 0
        found[name] = FlowPredictions(truth[groups.first], place[best], cluster[groups.first], probability, unknown)
    return found


def _groups(items: FlowItems, truth: NDArray[np.int64], flows: int, seconds: int) -> Groups:
    if flows == 1:
        each = np.arange(len(items.start_us))
        return Groups(each, each)
    return groups_of(items.unit, items.start_us, flows, seconds, truth)
