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

__all__ = ["FLOWS", "CodedItems", "FlowItems", "verdicts"]

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


@dataclass(frozen=True)
class CodedItems:
    """N flows and the code of the label of each, [N]; -1: not enrolled."""

    items: FlowItems
    code: NDArray[np.int64]

    def groups(self, flows: int, seconds: int) -> Groups:
        """Groups of the flows of each unit; single flows where ``flows`` is 1."""
        if flows == 1:
            each = np.arange(len(self.items.start_us))
            return Groups(each, each)
        return groups_of(self.items.unit, self.items.start_us, flows, seconds, self.code)


def verdicts(
    probe: FrozenProbe, test: CodedItems, late: CodedItems | None, labels: NDArray[np.str_],
    place: NDArray[np.int64], settings: ProbeSettings, *, grouped: bool,
) -> dict[str, FlowPredictions]:  # fmt: skip
    """Verdicts on test flows, and on groups of each unit's flows.

    Parameters
    ----------
    probe
        The fitted probe.
    test
        N test flows, with codes of the task.
    late
        Held-out training flows for calibration, with codes of the probe; None: no calibration.
    labels, place
        Labels of the probe, and their codes in the task.
    settings
        How flows are grouped.
    grouped
        Whether to decide on groups, too.
    """
    log_probability = probe.predict_log_proba(test.items.z, labels.size)
    _, cluster = np.unique(test.items.device_day, return_inverse=True)
    ways: list[tuple[str, int, int]] = [(FLOWS, 1, 0)]
    if grouped:
        ways += [("hour" if seconds == 3600 else name, flows, seconds)
                 for name, flows, seconds in aggregations(settings) if flows != 1]  # fmt: skip
    by_grouping: dict[str, FlowPredictions] = {}
    for name, flows, seconds in ways:
        groups = test.groups(flows, seconds)
        if not len(groups):
            continue
        model = DeviceVerdicts(settings.quantile)
        scores = model.decision_function(log_probability, groups)
        best = scores.argmax(1)
        probability = softmax(scores).max(1)
        unknown = None
        if late is not None and probe.held_out is not None:
            late_groups = late.groups(flows, seconds)
            if len(late_groups):
                model.fit(probe.held_out, late.code, late_groups, labels.tolist())
                _, predictions, probability = model.verdicts(scores)
                unknown = predictions < 0
        first = groups.first
        by_grouping[name] = FlowPredictions(test.code[first], place[best], cluster[first], probability, unknown)
    return by_grouping
