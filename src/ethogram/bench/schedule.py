"""Units of work for parallel runs: which methods stay together, what two units share, and estimated times."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from ethogram.bench.counts.task import CountMethod, CountTask
from ethogram.bench.flows.task import FlowMethod, FlowTask, flow_methods
from ethogram.bench.fused.task import FusedMethod, FusedTask
from ethogram.bench.groups.task import GroupMethod
from ethogram.bench.row import Row
from ethogram.corpora.card import Card
from ethogram.corpora.load import COUNTING

__all__ = ["WorkUnit", "estimate_s", "needs_of", "next_unit", "work_units"]

LEAST_S = 40.0
"""Shorter units of one task are merged, since each worker reads the items of a task again."""
SHARE = 12
"""A unit is at most 1/SHARE of a worker's part of the run, so that workers finish at about the same time."""


@dataclass(frozen=True)
class WorkUnit:
    """Some methods of one task.

    Parameters
    ----------
    task
        Index of the task.
    methods
        Indices of the methods, in order.
    needs
        Data that is made once and then cached: loaded corpora, encoders.
    seconds
        Estimated duration.
    """

    task: int
    methods: tuple[int, ...]
    needs: frozenset[str]
    seconds: float


def work_units(
    tasks: Sequence[Any], methods: Sequence[Any], asked: Sequence[Sequence[int]], cards: Mapping[str, Card],
    rows: Mapping[str, Row], jobs: int,
) -> list[WorkUnit]:  # fmt: skip
    """Divide a run into units. Methods that share an encoder stay together unless the unit becomes too long.

    Parameters
    ----------
    tasks, methods
        Tasks and methods of the run.
    asked
        Indices of the methods that each task runs.
    cards
        Known corpora.
    rows
        Earlier rows, by any key; their wall times are the estimates.
    jobs
        Number of workers.
    """
    times = _took(rows)
    parts: list[WorkUnit] = []
    for i, indices in enumerate(asked):
        each = [WorkUnit(i, (j,), needs_of(tasks[i], methods[j], cards), _seconds(tasks[i], methods[j], times))
                for j in indices]  # fmt: skip
        by_needs: dict[frozenset[str], list[WorkUnit]] = {}
        for single in each:
            by_needs.setdefault(single.needs, []).append(single)
        parts += [unit for same in by_needs.values() for unit in same]
    most = max(LEAST_S, sum(unit.seconds for unit in parts) / (SHARE * jobs))
    cut: list[WorkUnit] = []
    for unit in parts:
        last = cut[-1] if cut else None
        if last is not None and last.task == unit.task and last.seconds + unit.seconds <= most:
            cut[-1] = WorkUnit(unit.task, (*last.methods, *unit.methods), last.needs | unit.needs,
                           last.seconds + unit.seconds)  # fmt: skip
        else:
            cut.append(unit)
    return cut


def estimate_s(
    tasks: Sequence[Any], methods: Sequence[Any], asked: Sequence[Sequence[int]], rows: Mapping[str, Row]
) -> float:
    """Estimated duration of a run; parameters as for :func:`units`."""
    times = _took(rows)
    return sum(_seconds(task, methods[j], times) for task, indices in zip(tasks, asked, strict=True) for j in indices)


def next_unit(left: Sequence[WorkUnit], busy: Sequence[WorkUnit], there: frozenset[str], last: int | None) -> WorkUnit:
    """The unit that a free worker takes next.

    Units that do not wait for data another worker is making come first. Among these the order is: the worker's
    current task, tasks that no worker is on, and the task with the most work left.

    Parameters
    ----------
    left
        Units left; not empty.
    busy
        Units that other workers are on.
    there
        Needs that are already cached.
    last
        Current task of the worker.
    """
    making = {need for unit in busy for need in unit.needs} - there
    at_work = {unit.task for unit in busy}
    remaining: dict[int, float] = {}
    for unit in left:
        remaining[unit.task] = remaining.get(unit.task, 0.0) + unit.seconds

    def rank(unit: WorkUnit) -> tuple[object, ...]:
        waits = bool(unit.needs & making)
        return waits, unit.task != last, unit.task in at_work, -remaining[unit.task], unit.task, -unit.seconds

    return min(left, key=rank)


def _took(rows: Mapping[str, Row]) -> dict[tuple[str, str], float]:
    return {(row["task"], row["method"]): float(row.get("wall_s", 0.0)) for row in rows.values()}


def _seconds(task: Any, method: Any, times: Mapping[tuple[str, str], float]) -> float:
    return max(times.get((task.name, method.name)) or _guess(task, method), 0.01)


def needs_of(task: Any, method: Any, cards: Mapping[str, Card]) -> frozenset[str]:
    """Cached data that a task and method use: loaded tables and flows, encoders or their embeddings."""
    if isinstance(task, CountTask):
        return frozenset(_table(name, task, cards) for name in task.corpora)
    if isinstance(task, FlowTask):
        needs = {f"flows {name} {task.packets}" for name in task.corpora}
        if isinstance(method, FlowMethod) and (encoder := _encoder(method)):
            for learnt in _learnt(task) if method.learns else task.corpora:
                needs.add(f"{encoder} {learnt}")
        return frozenset(needs)
    if isinstance(task, FusedTask):
        needs = {_table(name, task, cards) for name in task.corpora} | {f"flows {n} False" for n in task.captures}
        if isinstance(method, FusedMethod) and method.encoder:
            flow = _flow_methods().get(method.encoder)
            if flow is not None and flow.learns:
                needs |= {f"{_encoder(flow)} {sorted(set(task.captures) - {name})}" for name in task.captures}
        return frozenset(needs)
    needs = {_table(task.corpus, task, cards)}
    return frozenset(needs | ({f"flows {task.corpus} False"} if task.captures else set()))


def _table(name: str, task: Any, cards: Mapping[str, Card]) -> str:
    counting = name in cards and cards[name].kind in COUNTING
    return f"table {name} {task.counts.digest if counting else ''}"


def _learnt(task: FlowTask) -> list[list[str]]:
    """Corpora that the encoder of each fold learns from."""
    if not task.each:
        return [sorted({*task.encoder, *(task.test if task.protocol == "P4" else ())})]
    if task.protocol == "P4":
        return [sorted(task.each)]
    return [sorted(set(task.each) - {name}) for name in task.each]


def _encoder(method: FlowMethod) -> str:
    """Digest of the settings of an encoder; '' when the encoder is not cached."""
    if method.encoder_kind.weights == "none":
        return ""
    identity = [method.encoder and method.encoder.digest, method.adapter]
    learns = [method.training.digest, method.steps, method.pretraining] if method.learns else []
    return hashlib.sha256(orjson.dumps([*identity, *learns])).hexdigest()[:12]


@cache
def _flow_methods() -> dict[str, FlowMethod]:
    return flow_methods()


def _guess(task: Any, method: Any) -> float:
    """Estimated seconds of a method that was never measured."""
    if isinstance(method, CountMethod):
        seconds = (2.5 if task.kind == "open" else 0.5) * (4.0 if method.needs_statistics else 1.0)
        return seconds * math.sqrt(len(task.corpora))
    if isinstance(method, FlowMethod):
        turns: int = len(task.each) or 1
        learns = {"fields": 8.0, "ae": 3.0, "vae": 3.0}.get(method.encoder.kind, 1.0) if method.encoder else 15.0
        return turns * method.seeds * (learns + 0.5 * method.budgets)
    if isinstance(method, FusedMethod):
        return 5.0 + (4.0 * method.seeds * len(task.captures) if method.encoder else 0.0)
    return 20.0 if isinstance(method, GroupMethod) and method.encoder else 2.0
