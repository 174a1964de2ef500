"""Scores of the items of a fold by one method: an identifier on counts, or a flow classifier on embedded flows.

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
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fused_verdict import EnrolledScores, cross_val_flows
from ethogram.identify.identifier import Identifier
from ethogram.identify.leave_group_out import grouped_cross_val

__all__ = ["CountScores", "FlowScores", "Scorer"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CountScores:
    """Scores by a method on counts.

    Parameters
    ----------
    identifier
        The method, fitted on all enrolled items.
    enrolled
        Scores of the enrolled items.
    asked
        (n, L) scores of the items of :attr:`FusedFold.asked`.
    """

    identifier: Identifier
    enrolled: EnrolledScores
    asked: Floats


@dataclass(frozen=True)
class FlowScores:
    """Scores by a flow classifier; parameters as for :class:`CountScores`."""

    enrolled: EnrolledScores
    asked: Floats


class Scorer:
    """Computes the scores of methods, and caches them while tasks use the same items.

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
        self._counts: dict[tuple[str, ...], CountScores] = {}
        self._flows: dict[tuple[str, ...], FlowScores] = {}
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

    def _fused_items(self, task: FusedTask) -> FusedItems:
        both = self.data.items(task)
        if both is not self._items:
            self._items = both
            self._counts.clear()
            self._flows.clear()
            self._embedded.clear()
        return both

    def fingerprints(self, task: FusedTask, fold: FusedFold, name: str) -> CountScores:
        """Scores of a method on counts of services."""
        items = self._fused_items(task).items
        key = (task.digest, fold.network, name)
        if key not in self._counts:
            method = self.of_counts(name)
            if method.needs_statistics:
                raise UsageError(f"{name} reads flow statistics, which sources that only count do not have")
            learn = items.take(fold.enrol).windows
            _, held = grouped_cross_val(build(method), learn, fold.names, fold.groups, fold.units)
            fitted = build(method).fit(learn, fold.names)
            asked = [fitted.decision_function(items.take(rows).windows) for rows in fold.asked_parts]
            enrolled = EnrolledScores(held, fitted.decision_function(learn))
            self._counts[key] = CountScores(fitted, enrolled, np.concatenate(asked))
        return self._counts[key]

    def flows(self, task: FusedTask, fold: FusedFold, method: FlowMethod, classifier: str, seed: int) -> FlowScores:
        """Scores of one flow classifier on embedded flows."""
        self._fused_items(task)
        key = (task.digest, fold.network, method.digest, classifier, str(seed))
        if key not in self._flows:
            windows, _ = self.embedded(task, fold, method, seed)
            learn, asked = windows.take(fold.enrol), [windows.take(rows) for rows in fold.asked_parts]
            self.data.tell(f"{fold.network}: {classifier}")
            labels = len(fold.labels)
            if len(learn.z):
                fitted, held = cross_val_flows(classifier, learn, fold.codes, labels, fold.groups, fold.units)
                enrolled = EnrolledScores(held, fitted.decision_function(learn))
                scores = [fitted.decision_function(part) if len(part.z) else _unknown(part, labels) for part in asked]
            else:
                enrolled = EnrolledScores(_unknown(learn, labels), _unknown(learn, labels))
                scores = [_unknown(part, labels) for part in asked]
            self._flows[key] = FlowScores(enrolled, np.concatenate(scores))
        return self._flows[key]

    def embedded(
        self, task: FusedTask, fold: FusedFold, method: FlowMethod, seed: int
    ) -> tuple[FlowWindows, ReadyEncoder]:
        """The flows of all items, embedded by an encoder that was not trained on the test network."""
        both, corpora = self._fused_items(task), self.data.corpora(task)
        encoder = self.encoders.get(method, self.data.unlabelled(task, fold), corpora, seed)
        key = (task.digest, encoder.digest)
        if key not in self._embedded:
            parts, owners = [], []
            for name, loaded in corpora.items():
                self.data.tell(f"{method.name}: embedding {len(both.rows[name]):,} flows of {name}")
                parts.append(encoder.embed(loaded, both.rows[name]))
                owners.append(both.owner[name])
            z = np.concatenate(parts).astype(np.float32)
            self._embedded[key] = FlowWindows(z, np.concatenate(owners), len(both)), encoder
        return self._embedded[key]


def _unknown(windows: FlowWindows, labels: int) -> Floats:
    """Scores (n, L) where nothing is known: NaN."""
    return np.full((len(windows), labels), np.nan)
