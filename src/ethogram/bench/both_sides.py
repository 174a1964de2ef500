"""Scores of one side, fingerprints or embedded flows: held-out ones of what is enrolled, those of tests and strangers.

While a network is left out its units are, too, wherever they stand: as when it tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethogram.bench.both_items import BothItems
from ethogram.bench.both_task import BothTask
from ethogram.bench.both_turns import BothData, Turn
from ethogram.bench.build import build
from ethogram.bench.flows.encoders import Encoders
from ethogram.bench.flows.made import Made
from ethogram.bench.flows.task import FlowMethod
from ethogram.bench.task import Method
from ethogram.errors import UsageError
from ethogram.identify.flow_classifiers import FLOW_CLASSIFIERS
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fusion import align
from ethogram.identify.leave_group_out import grouped_cross_val, leave_one_group_out

__all__ = ["Floats", "Side", "Sides"]

Floats = NDArray[np.float64]


@dataclass
class Side:
    """Scores of one side in one turn: held-out ones of what is enrolled, those of what tests, and of strangers."""

    held: Floats
    test: Floats
    strangers: Floats


class Sides:
    """Makes the scores of sides, and keeps them while tasks read the same items.

    Parameters
    ----------
    data
        Items, flows and turns.
    encoders
        Made and kept.
    of_counts, of_flows
        Methods that may be named, of fingerprints and of flows.
    """

    def __init__(
        self, data: BothData, encoders: Encoders, of_counts: Mapping[str, Method], of_flows: Mapping[str, FlowMethod]
    ) -> None:
        self.data, self.encoders = data, encoders
        self._of_counts, self._of_flows = of_counts, of_flows
        self._items: BothItems | None = None
        self._sides: dict[tuple[str, ...], Side] = {}
        self._embedded: dict[tuple[str, ...], tuple[FlowWindows, Made]] = {}

    def of_counts(self, name: str) -> Method:
        """A method on counts."""
        if name not in self._of_counts:
            raise UsageError(f"no method {name!r} on counts")
        return self._of_counts[name]

    def of_flows(self, name: str) -> FlowMethod:
        """A method on flows."""
        if name not in self._of_flows:
            raise UsageError(f"no method {name!r} on flows")
        return self._of_flows[name]

    def _both(self, task: BothTask) -> BothItems:
        both = self.data.items(task)
        if both is not self._items:
            self._items = both
            self._sides.clear()
            self._embedded.clear()
        return both

    def fingerprints(self, task: BothTask, turn: Turn, name: str) -> Side:
        """Scores by counts of services."""
        items = self._both(task).items
        key = ("counts", task.digest, turn.network, name)
        if key not in self._sides:
            method = self.of_counts(name)
            if method.needs_statistics:
                raise UsageError(f"{name} reads flow statistics, which sources that only count do not have")
            learn, names = items.take(turn.enrol), turn.names
            columns, held = grouped_cross_val(build(method), learn.windows, names, turn.groups, turn.units)
            fitted = build(method).fit(learn.windows, names)
            # Silent items have no evidence on either side.
            test, strangers = (
                align(turn.labels, fitted.labels_, fitted.decision_function(items.take(rows).windows))
                if rows.size else np.zeros((0, len(turn.labels))) for rows in (turn.test, turn.strangers)
            )  # fmt: skip
            self._sides[key] = Side(align(turn.labels, columns, held), test, strangers)
        return self._sides[key]

    def flows(self, task: BothTask, turn: Turn, method: FlowMethod, expert: str, seed: int) -> Side:
        """Scores by embedded flows, by one expert."""
        self._both(task)
        key = ("flows", task.digest, turn.network, method.digest, expert, str(seed))
        if key not in self._sides:
            windows, _ = self.embedded(task, turn, method, seed)
            learn, asked = windows.take(turn.enrol), (windows.take(turn.test), windows.take(turn.strangers))
            count = len(turn.labels)
            self.data.tell(f"{turn.network}: {expert}")
            held = np.full((len(learn), count), np.nan)
            have = np.flatnonzero(learn.flows > 0)
            for inside, outside in leave_one_group_out(turn.groups[have], [turn.units[i] for i in have]):
                if outside.size:
                    teach = have[outside]
                    fitted = FLOW_CLASSIFIERS[expert]().fit(learn.take(teach), turn.codes[teach], count)
                    held[have[inside]] = fitted.decision_function(learn.take(have[inside]))
            found = [np.full((len(ask), count), np.nan) for ask in asked]
            if have.size and any(len(ask.z) for ask in asked):
                fitted = FLOW_CLASSIFIERS[expert]().fit(learn.take(have), turn.codes[have], count)
                found = [
                    fitted.decision_function(ask) if len(ask.z) else none
                    for ask, none in zip(asked, found, strict=True)
                ]
            self._sides[key] = Side(held, *found)
        return self._sides[key]

    def embedded(self, task: BothTask, turn: Turn, method: FlowMethod, seed: int) -> tuple[FlowWindows, Made]:
        """The flows of all items, embedded by an encoder that never saw the network that tests."""
        both, corpora = self._both(task), self.data.corpora(task)
        made = self.encoders.get(method, self.data.unlabelled(task, turn), corpora, seed)
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
