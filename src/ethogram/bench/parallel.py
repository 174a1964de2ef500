"""Measure in parallel: worker processes measure, and the parent yields rows in the order they arrive."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import orjson

from ethogram.bench.row import Row
from ethogram.bench.schedule import WorkUnit, estimate_s, next_unit, work_units
from ethogram.bench.suite import Suite
from ethogram.bench.worker import WorkerSpec, environment, work
from ethogram.errors import EthogramError

__all__ = ["MAX_JOBS", "run_parallel", "worker_count"]

MAX_JOBS = 4
"""Default limit on the number of workers."""
MEMORY_GIB = 4.0
"""Free memory required per worker, for corpora, embeddings and a random-forest probe."""
WORTH_S = 60.0
"""Shorter runs use one worker: a second one would take as long to load its data."""


def worker_count(
    asked: int, suite: Suite, tasks: Sequence[Any], methods: Sequence[Any], known: Mapping[str, Row]
) -> int:
    """Number of workers; at most one per row.

    Parameters
    ----------
    asked
        Number that the user asks for; 0: one per core, at most :data:`MAX_JOBS`, each with :data:`MEMORY_GIB` of free
        memory, and a single one for short runs.
    suite, tasks, methods, known
        The run.
    """
    every = _asked(suite, tasks, methods)
    rows = max(1, sum(map(len, every)))
    if asked:
        return min(asked, rows)
    if estimate_s(tasks, methods, every, known) < WORTH_S:
        return 1
    memory = _free_gib()
    return min(rows, MAX_JOBS, os.cpu_count() or 1, MAX_JOBS if memory is None else max(1, int(memory / MEMORY_GIB)))


def _asked(suite: Suite, tasks: Sequence[Any], methods: Sequence[Any]) -> list[list[int]]:
    """Indices of the methods that each task runs."""
    return [[j for j, method in enumerate(methods) if suite.asks(task, method)] for task in tasks]


def _free_gib() -> float | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 2**20
    return None


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    unit: WorkUnit | None = None
    task: int | None = None
    at: int | None = None
    left: list[int] = field(default_factory=list)

    def give(self, unit: WorkUnit) -> None:
        self.unit, self.task, self.left, self.at = unit, unit.task, list(unit.methods), None
        # A worker that has just exited is detected when its pipe is read.
        with suppress(OSError):
            self.pipe.send_bytes(orjson.dumps([unit.task, list(unit.methods)]))


def run_parallel(
    suite: Suite, tasks: Sequence[Any], methods: Sequence[Any], known: Mapping[str, Row], jobs: int, *,
    on_trouble: Callable[[str], None] | None = None,
) -> Iterator[tuple[Row, bool]]:  # fmt: skip
    """Yield every row, and whether it was measured now, in order of arrival; see :meth:`Suite.rows`.

    An error that ends a task (a missing file, a killed worker) is reported at once; other tasks continue.

    Parameters
    ----------
    suite
        Benchmarks to run; each worker builds its own.
    tasks, methods
        Tasks and methods of the run.
    known
        Rows that exist already, by key.
    jobs
        Number of workers.
    on_trouble
        Called with a line for each task that could not be measured completely.

    Raises
    ------
    EthogramError
        At the end, when a task could not be measured completely.
    """
    with _shared(suite.cache_folder) as folder:
        given = WorkerSpec(suite.root, dict(suite.cards), folder, suite.threads, dict(suite.checkpoints), suite.quick,
                       tuple(tasks), tuple(methods),
                       frozenset(key for key, row in known.items() if not row.get("failed")))  # fmt: skip
        left = work_units(tasks, methods, _asked(suite, tasks, methods), suite.cards, known, jobs)
        run = _Run(given, left, jobs, known, suite.on_stage, on_trouble)
        try:
            yield from run.rows()
        finally:
            run.end()
        if run.troubles == 1:
            raise EthogramError(run.last)
        if run.troubles:
            raise EthogramError(f"{run.troubles} tasks were not measured completely; the last: {run.last}")


@contextmanager
def _shared(folder: Path | None) -> Iterator[Path]:
    """Folder in which workers share corpora and encoders; a temporary one when nothing is to be cached."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="ethogram-bench-") as temporary:
        yield Path(temporary)


class _Run:
    """Workers, the units of work left, and the errors so far."""

    def __init__(
        self, given: WorkerSpec, left: list[WorkUnit], jobs: int, known: Mapping[str, Row],
        on_stage: Callable[[str], None] | None, on_trouble: Callable[[str], None] | None,
    ) -> None:  # fmt: skip
        self.given, self.left, self.jobs, self.known = given, left, jobs, known
        self._stage = on_stage or (lambda _: None)
        self._trouble = on_trouble or (lambda _: None)
        self.workers: list[_Worker] = []
        self.troubles, self.last = 0, ""
        self._there: set[str] = set()

    def rows(self) -> Iterator[tuple[Row, bool]]:
        while self.left and len(self.workers) < self.jobs:
            self._start()
        while self.workers:
            for pipe in wait([worker.pipe for worker in self.workers]):
                worker = next(candidate for candidate in self.workers if candidate.pipe is pipe)
                try:
                    message = orjson.loads(worker.pipe.recv_bytes())
                except (EOFError, OSError):
                    self._ended(worker)
                    continue
                if "row" in message:
                    yield self._row(worker, message)
                elif "at" in message:
                    worker.at = message["at"]
                elif "stage" in message:
                    self._stage(message["stage"])
                else:
                    if "error" in message:
                        self._note(worker, message["error"])
                    else:
                        self._there |= worker.unit.needs if worker.unit else set()
                    worker.unit = None
                    self._next(worker)

    def _row(self, worker: _Worker, message: Mapping[str, Any]) -> tuple[Row, bool]:
        row: Row = message["row"]
        if worker.at in worker.left:
            worker.left.remove(worker.at)
        if worker.unit is not None:
            # With its first row a unit has loaded its data; its encoders are complete only when the unit is.
            self._there |= {need for need in worker.unit.needs if need.startswith(("table ", "flows "))}
        return (row, True) if message["fresh"] else (dict(self.known[str(row["key"])]), False)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there, self.given), daemon=True)
        with environment(self.given.threads, self.jobs):
            process.start()
        there.close()
        worker = _Worker(process, here)
        self.workers.append(worker)
        self._next(worker)

    def _next(self, worker: _Worker) -> None:
        busy = [other.unit for other in self.workers if other is not worker and other.unit is not None]
        if self.left:
            unit = next_unit(self.left, busy, frozenset(self._there), worker.task)
            self.left.remove(unit)
            worker.give(unit)
        else:
            self._close(worker)

    def _ended(self, worker: _Worker) -> None:
        """Report a worker that exited, and return the rest of its unit to the queue."""
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        hint = ", perhaps for lack of memory: try fewer --jobs" if code == -signal.SIGKILL else ""
        self._note(worker, f"worker {how}{hint}")
        unit, at, rest = worker.unit, worker.at, worker.left
        self._close(worker)
        if unit is not None and at is not None and (rest := [j for j in rest if j != at]):
            self.left.append(replace(unit, methods=tuple(rest)))
        if self.left:
            self._start()

    def _note(self, worker: _Worker, what: str) -> None:
        if worker.unit is None:
            return
        at = "" if worker.at is None else f", method {self.given.methods[worker.at].name}"
        self.troubles, self.last = self.troubles + 1, f"task {self.given.tasks[worker.unit.task].name}{at}: {what}"
        self._trouble(self.last)

    def _close(self, worker: _Worker) -> None:
        worker.pipe.close()
        self.workers.remove(worker)

    def end(self) -> None:
        """Stop all workers; the next run starts their units again."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(5)
            worker.process.kill()
        self.workers.clear()
