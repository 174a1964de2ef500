"""All benches together: tasks and methods of any kind, and one way to ask and to measure them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ethogram.bench.corpora.card import Card
from ethogram.bench.corpora.load import CACHE
from ethogram.bench.counts.benchmark import CountBenchmark, applies
from ethogram.bench.counts.task import CountMethod, CountTask, count_methods, count_tasks
from ethogram.bench.flows.benchmark import FlowBenchmark
from ethogram.bench.flows.task import FlowMethod, FlowTask, asks, flow_methods, flow_tasks
from ethogram.bench.fused.benchmark import FusedBenchmark
from ethogram.bench.fused.task import FusedMethod, FusedTask, asks_fused, fused_methods, fused_tasks
from ethogram.bench.groups.benchmark import GroupBenchmark
from ethogram.bench.groups.task import GroupMethod, GroupTask, asks_groups, group_methods, group_tasks
from ethogram.bench.row import Row, rows

__all__ = ["Suite", "applicable", "every_method", "every_task"]

_KINDS: tuple[tuple[type, type, Callable[[Any, Any], bool]], ...] = (
    (CountTask, CountMethod, applies), (FlowTask, FlowMethod, asks), (FusedTask, FusedMethod, asks_fused),
    (GroupTask, GroupMethod, asks_groups),
)  # fmt: skip


def every_task(folder: Path | None = None) -> dict[str, Any]:
    """All tasks by name: those of the package, or those of a folder of one's own.

    >>> every_task()["groups-stevens"].kind
    'groups'
    """
    return {**count_tasks(folder), **flow_tasks(folder), **fused_tasks(folder), **group_tasks(folder)}


def every_method(folder: Path | None = None) -> dict[str, Any]:
    """All methods; those over both and of groups as ``kind/name``, since a baseline may be named as what it asks.

    >>> every_method()["both/raw-40"].encoder
    'raw-40'
    """
    found: dict[str, Any] = {**count_methods(folder), **flow_methods(folder)}
    for more in (fused_methods(folder), group_methods(folder)):
        found |= {f"{one.kind}/{one.name}": one for one in more.values()}
    return found


def applicable(task: Any, method: Any) -> bool:
    """Whether a task asks a method, whatever their kinds."""
    for of_tasks, of_methods, asked in _KINDS:
        if isinstance(task, of_tasks):
            return isinstance(method, of_methods) and asked(task, method)
    return False


@dataclass
class Suite:
    """The benches over a folder of corpora.

    Parameters
    ----------
    root
        The folder that holds the corpora.
    cards
        Known corpora by name.
    cache_folder
        For loaded corpora, encoders and embeddings; None keeps nothing.
    threads
        Of the arithmetic; 0: one for each core.
    checkpoints
        Weights that the user brings, by the name of the adapter.
    on_stage
        Called with what is being done.
    quick
        Ask the methods of the quick set alone.
    """

    root: Path
    cards: Mapping[str, Card]
    cache_folder: Path | None = CACHE
    threads: int = 0
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    on_stage: Callable[[str], None] | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        root, cards, cache, tell = self.root, dict(self.cards), self.cache_folder, self.on_stage
        self._benches: dict[type, Any] = {
            CountTask: CountBenchmark(root, cards, cache, self.threads, tell),
            FlowTask: FlowBenchmark(root, cards, cache, self.threads, self.checkpoints, tell, self.quick),
            FusedTask: FusedBenchmark(root, cards, cache, self.threads, tell),
            GroupTask: GroupBenchmark(root, cards, cache, self.threads, tell, self.quick),
        }

    def asks(self, task: Any, method: Any) -> bool:
        """Whether a task asks a method; reads no data."""
        return applicable(task, method) and bool(self._benches[type(task)].asks(task, method))

    def rows(
        self, tasks: Sequence[Any], methods: Sequence[Any], known: Mapping[str, Row] | None = None
    ) -> Iterator[tuple[Row, bool]]:
        """Give every row, and whether it was made now; as :func:`ethogram.bench.row.rows`."""
        for task in tasks:
            asked = [method for method in methods if self.asks(task, method)]
            yield from rows(self._benches[type(task)], [task], asked, known)
