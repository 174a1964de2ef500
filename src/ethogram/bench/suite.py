"""All benchmarks together: tasks and methods of every kind, selected and measured in one way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.counts.task import CountTask
from ethogram.bench.definitions import TaskDefinition
from ethogram.bench.flows.benchmark import FlowBenchmark
from ethogram.bench.flows.task import FlowTask
from ethogram.bench.fused.benchmark import FusedBenchmark
from ethogram.bench.fused.task import FusedTask
from ethogram.bench.groups.benchmark import GroupBenchmark
from ethogram.bench.groups.task import GroupTask
from ethogram.bench.ladder.benchmark import LadderBenchmark
from ethogram.bench.ladder.task import LadderTask
from ethogram.bench.options import BenchmarkOptions
from ethogram.bench.row import Row, rows

__all__ = ["Suite", "applicable", "every_method", "every_task", "rows_of_tasks"]

TASKS: tuple[type[TaskDefinition], ...] = (CountTask, FlowTask, FusedTask, GroupTask, LadderTask)
"""Class of tasks of each kind; its ``METHOD`` is the class of methods."""


def every_task(folder: Path | None = None) -> dict[str, Any]:
    """All tasks by name: those of the package, or of a folder.

    >>> every_task()["groups-stevens"].kind
    'groups'
    """
    return {name: task for kind in TASKS for name, task in kind.read(folder).items()}


def every_method(folder: Path | None = None) -> dict[str, Any]:
    """All methods; those of kind ``both``, ``groups`` and ``ladder`` as ``kind/name``: names are not unique.

    >>> every_method()["both/raw-40"].encoder
    'raw-40'
    """
    methods: dict[str, Any] = {}
    for kind in TASKS:
        prefix = "" if kind.KIND in ("counts", "flows") else f"{kind.KIND}/"
        methods |= {f"{prefix}{name}": method for name, method in kind.METHOD.read(folder).items()}
    return methods


def applicable(task: Any, method: Any) -> bool:
    """Whether a task runs a method; False if their kinds differ."""
    return isinstance(method, task.METHOD) and bool(task.runs(method))


def rows_of_tasks(rows: Sequence[Row], tasks: Mapping[str, Any], methods: Mapping[str, Any]) -> list[Row]:
    """Rows that a report can show: of unknown tasks, and of known ones as they are defined now.

    Rows of known tasks have the titles that task and method have now, which may have been worded anew since.

    Parameters
    ----------
    rows
        Rows of any tasks.
    tasks, methods
        Known definitions. Rows of an earlier definition of a task, or of a method that it no longer runs, are left out.
    """
    titles = {
        (task.name, method.name, task.digest): {"title": task.title, "method_title": method.title}
        for task in tasks.values() for method in methods.values() if applicable(task, method)
    }  # fmt: skip
    keyed = [(row, (row["task"], row["method"], row["task_digest"])) for row in rows]
    return [{**row, **titles.get(key, {})} for row, key in keyed if key in titles or row["task"] not in tasks]


@dataclass
class Suite(BenchmarkOptions):
    """The benchmarks over a folder of corpora.

    Parameters
    ----------
    checkpoints
        Files of weights by name of the adapter.
    quick
        Run only the methods of the quick set.
    """

    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    quick: bool = False

    def __post_init__(self) -> None:
        options = {option.name: getattr(self, option.name) for option in fields(BenchmarkOptions)}
        self._benches: dict[type, Any] = {
            CountTask: CountBenchmark(**options),
            FlowTask: FlowBenchmark(**options, checkpoints=self.checkpoints, quick=self.quick),
            FusedTask: FusedBenchmark(**options),
            GroupTask: GroupBenchmark(**options, quick=self.quick),
            LadderTask: LadderBenchmark(**options),
        }

    def asks(self, task: Any, method: Any) -> bool:
        """Whether a task runs a method; reads no data."""
        return applicable(task, method) and bool(self._benches[type(task)].asks(task, method))

    def rows(
        self, tasks: Sequence[Any], methods: Sequence[Any], known: Mapping[str, Row] | None = None
    ) -> Iterator[tuple[Row, bool]]:
        """Yield every row, and whether it was measured now; see :func:`ethogram.bench.row.rows`."""
        for task in tasks:
            asked = [method for method in methods if self.asks(task, method)]
            yield from rows(self._benches[type(task)], [task], asked, known)
