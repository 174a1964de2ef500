"""Scores of one modality (fingerprints or embedded flows): held-out scores of enrolled items, and of test items.

When a network is held out, its units are also excluded from other networks, as when it tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethogram.bench.counts.build import build
from ethogram.bench.counts.task import CountMethod
from ethogram.bench.flows.encoders import Encoders
from ethogram.bench.flows.ready_encoder import ReadyEncoder
from ethogram.bench.flows.task import FlowMethod
from ethogram.bench.fused.folds import FusedData, FusedFold
from ethogram.bench.fused.items import FusedItems
from ethogram.bench.fused.task import FusedTask
from ethogram.errors import UsageError
from ethogram.identify.flow_classifiers import FLOW_CLASSIFIERS
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fusion import align
from ethogram.identify.leave_group_out import grouped_cross_val, leave_one_group_out

__all__ = ["Floats", "ModalityScorer", "ModalityScores"]

Floats = NDArray[np.float64]


@dataclass
class ModalityScores:
    """Scores of one modality in one fold: held out for enrolled items, of test items, and of labels not enrolled."""

    held: Floats
    test: Floats
    strangers: Floats


class ModalityScorer:
    """Computes the scores of modalities, and caches them while tasks use the same items.

    Parameters
    ----------
    data
        Items, flows and folds.
    encoders
        Encoders of the flow methods.
    of_counts, of_flows
        Methods on counts and on flows that tasks can refer to, by name.
    """

    def __init__(
        self, data: FusedData, encoders: Encoders, of_counts: Mapping[str, CountMethod],
        of_flows: Mapping[str, FlowMethod],
    ) -> None:  # fmt: skip
        self.data, self.encoders = data, encoders
        self._of_counts, self._of_flows = of_counts, of_flows
        self._items: FusedItems | None = None
        self._sides: dict[tuple[str, ...], ModalityScores] = {}
        self._embedded: dict[tuple[str, ...], tuple[FlowWindows, ReadyEncoder]] = {}

    def of_counts(self, name: str) -> CountMethod:
        """A method on counts, by name."""
        if name not in self._of_counts:
            raise UsageError(f"no method {name!r} on counts")
        return self._of_counts[name]

    def of_flows(self, name: str) -> FlowMethod:
        """A method on flows, by name."""
        if name not in self._of_flows:
            raise UsageError(f"no method {name!r} on flows")
        return self._of_flows[name]

    def _both(self, task: FusedTask) -> FusedItems:
        both = self.data.items(task)
        if both is not self._items:
            self._items = both
            self._sides.clear()
            self._embedded.clear()
        return both

    def fingerprints(self, task: FusedTask, fold: FusedFold, name: str) -> ModalityScores:
        """Scores of a method on counts of services."""
        items = self._both(task).items
        key = ("counts", task.digest, fold.network, name)
        if key not in self._sides:
            method = self.of_counts(name)
            if method.needs_statistics:
                raise UsageError(f"{name} reads flow statistics, which sources that only count do not have")
            learn, names = items.take(fold.enrol), fold.names
            columns, held = grouped_cross_val(build(method), learn.windows, names, fold.groups, fold.units)
            fitted = build(method).fit(learn.windows, names)
            # Items without counts have no evidence.
            test, strangers = (
                align(fold.labels, fitted.labels_, fitted.decision_function(items.take(rows).windows))
                if rows.size else np.zeros((0, len(fold.labels))) for rows in (fold.test, fold.strangers)
            )  # fmt: skip
            self._sides[key] = ModalityScores(align(fold.labels, columns, held), test, strangers)
        return self._sides[key]

    def flows(self, task: FusedTask, fold: FusedFold, method: FlowMethod, expert: str, seed: int) -> ModalityScores:
        """Scores of one flow classifier on embedded flows."""
        self._both(task)
        key = ("flows", task.digest, fold.network, method.digest, expert, str(seed))
        if key not in self._sides:
            windows, _ = self.embedded(task, fold, method, seed)
            learn, asked = windows.take(fold.enrol), (windows.take(fold.test), windows.take(fold.strangers))
            count = len(fold.labels)
            self.data.tell(f"{fold.network}: {expert}")
            held = np.full((len(learn), count), np.nan)
            have = np.flatnonzero(learn.flows > 0)
            for inside, outside in leave_one_group_out(fold.groups[have], [fold.units[i] for i in have]):
                if outside.size:
                    teach = have[outside]
                    fitted = FLOW_CLASSIFIERS[expert]().fit(learn.take(teach), fold.codes[teach], count)
                    held[have[inside]] = fitted.decision_function(learn.take(have[inside]))
            found = [np.full((len(ask), count), np.nan) for ask in asked]
            if have.size and any(len(ask.z) for ask in asked):
                fitted = FLOW_CLASSIFIERS[expert]().fit(learn.take(have), fold.codes[have], count)
                found = [
                    fitted.decision_function(ask) if len(ask.z) else none
                    for ask, none in zip(asked, found, strict=True)
                ]
            self._sides[key] = ModalityScores(held, *found)
        return self._sides[key]

    def embedded(
        self, task: FusedTask, fold: FusedFold, method: FlowMethod, seed: int
    ) -> tuple[FlowWindows, ReadyEncoder]:
        """The flows of all items, embedded by an encoder that was not trained on the test network."""
        both, corpora = self._both(task), self.data.corpora(task)
        made = self.encoders.get(method, self.data.unlabelled(task, fold), corpora, seed)
        key = (task.digest, made.digest)
        if key not in self._embedded:
            parts, owners = [], []
            for name, loaded in corpora.items():
                self.data.tell(f"{method.name}: embedding {len(both.rows[name]):,} flows of {name}")
                parts.append(made.embed(loaded, both.rows[name]))
                owners.append(both.owner[name])
            z = np.concatenate(parts).astype(np.float32)
            self._embedded[key] = FlowWindows(z, np.concatenate(owners), len(both)), made
        return self._embedded[key]
