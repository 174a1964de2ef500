"""Benchmark of fingerprint methods on counts of services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import orjson
import polars as pl

import ethogram.pipeline.fingerprints
import ethogram.pipeline.library
import ethogram.pipeline.statistics
import ethogram.pipeline.verdicts
import ethogram.pipeline.windows
import ethogram.schema
from ethogram._code_digest import CodePart
from ethogram.bench import splits
from ethogram.bench.counts import behaviour, build, items, perturb, score, sweeps
from ethogram.bench.counts.items import Items, TaskData, gather, item_windows
from ethogram.bench.counts.task import CountMethod, CountTask
from ethogram.bench.options import BenchmarkOptions
from ethogram.bench.row import Row, identity_of
from ethogram.config import CountSettings, FlowSettings, MeterSettings
from ethogram.corpora.labelled import CorpusFlowTable
from ethogram.corpora.load import COUNTING, load
from ethogram.errors import UsageError

__all__ = ["CountBenchmark"]


@dataclass
class CountBenchmark(BenchmarkOptions):
    """Benchmark of tasks on counts over a folder of corpora."""

    CODE_DEPENDENCIES: ClassVar[tuple[CodePart, ...]] = (
        ethogram.schema, "ethogram.fingerprint", "ethogram.identify", ethogram.pipeline.fingerprints,
        ethogram.pipeline.library, ethogram.pipeline.verdicts, ethogram.pipeline.windows,
        ethogram.pipeline.statistics, behaviour, build, items, perturb, score, splits, sweeps,
    )  # fmt: skip
    """Other code that the figures depend on once the data is loaded."""

    _loaded: dict[tuple[str, str], CorpusFlowTable] = field(default_factory=dict)
    _task_data: dict[str, TaskData] = field(default_factory=dict)
    _items: dict[tuple[str, object, bool], Items] = field(default_factory=dict)
    _remade: dict[tuple[str, str], TaskData] = field(default_factory=dict)

    def task_data(self, task: CountTask) -> TaskData:
        """The data of a task; kept while tasks use the same data."""
        key = orjson.dumps([task.corpora, task.networks, task.exclude_types, task.names, task.counts.digest]).decode()
        if key not in self._task_data:
            self._items.clear()
            self._task_data.clear()
            self._remade.clear()
            for name in task.corpora:
                if name not in self.cards:
                    raise UsageError(f"task {task.name}: no corpus card {name!r}")
            loaded = [self._corpus(name, task.counts) for name in task.corpora]
            data = gather([_only(corpus, task) for corpus in loaded], task.counts)
            self._task_data[key] = data if task.names else data.without_names()
        return self._task_data[key]

    def _corpus(self, name: str, counts: CountSettings) -> CorpusFlowTable:
        key = name, counts.digest if self.cards[name].kind in COUNTING else ""
        if key not in self._loaded:
            self.tell(f"loading {name}")
            self._loaded[key] = load(self.cards[name], self.root, counts=counts, cache_folder=self.cache_folder)
        return self._loaded[key]

    def items(self, task: CountTask, *, statistics: bool) -> Items:
        """The items of a task; kept for tasks with the same data and window."""
        data = self.task_data(task)
        key = (data.digest, f"{task.window} {task.offset_s} {task.min_hours} {task.min_flows}", statistics)
        if key not in self._items:
            items = item_windows(
                data, task.window, offset_s=task.offset_s, min_hours=task.min_hours, statistics=statistics
            )
            self._items[key] = items.with_flows(task.min_flows) if task.min_flows else items
        return self._items[key]

    def asks(self, task: CountTask, method: CountMethod) -> bool:
        """Whether the task runs the method."""
        return task.runs(method)

    def identity(self, task: CountTask, method: CountMethod) -> dict[str, str]:
        """Names and digests that identify a row; see :func:`ethogram.bench.row.identity_of`."""
        return identity_of(task, method, data=self.task_data(task).digest, code=type(self))

    def measure(self, task: CountTask, method: CountMethod) -> Row:
        """Figures of one method on one task."""
        if method.needs_statistics and not self.task_data(task).flows.height:
            raise UsageError("the source has no flows, only counts")
        figures = self._figures(task, method)
        return {
            "n": figures.n, "n_enrol": figures.n_enrol, "labels": figures.labels, "split": figures.splits,
            "values": figures.values, "intervals": figures.intervals, "details": figures.details,
        }  # fmt: skip

    def _figures(self, task: CountTask, method: CountMethod) -> score.Figures:
        if task.kind == "robust":
            return sweeps.robust(task, method, self.task_data(task), lambda text: self._remetered(task, text))
        if task.kind in ("early", "convergence", "recurrence"):
            whole: Callable[[CountTask, CountMethod, TaskData], score.Figures] = {
                "early": sweeps.early, "convergence": behaviour.convergence, "recurrence": behaviour.recurrence,
            }[task.kind]  # fmt: skip
            return whole(task, method, self.task_data(task))
        items = self.items(task, statistics=method.needs_statistics)
        by_items: Callable[[CountTask, CountMethod, Items], score.Figures] = {
            "closed": score.closed, "open": score.open_set, "similarity": behaviour.likeness, "drift": sweeps.drift,
        }[task.kind]  # fmt: skip
        return by_items(task, method, items)

    def _remetered(self, task: CountTask, text: str) -> TaskData:
        """The data of a task from captures metered under other timeouts, ``active/idle`` in seconds."""
        if (task.name, text) not in self._remade:
            times, _, apart = text.partition(" ")
            active, idle = (float(part) for part in times.split("/"))
            meter = MeterSettings(active_timeout_s=active, idle_timeout_s=idle)
            flows = FlowSettings(join_cut=not apart)
            loaded = [
                load(self.cards[name], self.root, flows=flows, meter=meter, counts=task.counts,
                     cache_folder=self.cache_folder) for name in task.corpora
            ]  # fmt: skip
            data = gather([_only(corpus, task) for corpus in loaded], task.counts)
            self._remade[task.name, text] = data if task.names else data.without_names()
        return self._remade[task.name, text]


def _only(loaded: CorpusFlowTable, task: CountTask) -> CorpusFlowTable:
    """Keep only the networks and types of the task."""
    labels = loaded.labels
    if task.networks:
        labels = labels.filter(pl.col("network").is_in(list(task.networks)))
    labels = labels.filter(~pl.col("type").is_in(list(task.exclude_types)))
    if labels.height == loaded.labels.height:
        return loaded
    keep = pl.col("device").is_in(labels["device"].implode())
    return replace(loaded, flows=loaded.flows.filter(keep), counts=loaded.counts.filter(keep), labels=labels)
