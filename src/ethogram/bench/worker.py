"""A worker process of a parallel run: its inputs, and the messages it sends to its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import orjson

from ethogram.bench.row import Row
from ethogram.bench.suite import Suite
from ethogram.corpora.card import Card
from ethogram.errors import EthogramError

__all__ = ["WorkerSpec", "environment", "quiet", "work"]

STAGES_S = 0.25
"""Minimum time between two progress messages."""


@dataclass(frozen=True)
class WorkerSpec:
    """Everything a worker needs to build its own :class:`~ethogram.bench.suite.Suite`."""

    root: Path
    cards: dict[str, Card]
    cache_folder: Path | None
    threads: int
    checkpoints: dict[str, Path]
    quick: bool
    tasks: tuple[Any, ...]
    methods: tuple[Any, ...]
    known: frozenset[str]


def quiet() -> None:
    """Silence warnings that do not affect results."""
    # LightGBM warns about many labels with few items each, which these tasks have by design.
    warnings.filterwarnings("ignore", module="lightgbm")


@contextmanager
def environment(threads: int, jobs: int) -> Iterator[None]:
    """Set the number of threads of numerical libraries for workers; libraries read it when they are loaded."""
    cores = os.cpu_count() or 1
    share = max(1, cores // jobs)
    variables = {"POLARS_MAX_THREADS": share, "NUMBA_NUM_THREADS": share}
    if threads:
        variables |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"),
                             threads)  # fmt: skip
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update({name: str(value) for name, value in variables.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_with_parent() -> None:
    """Exit as soon as the parent process dies."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def work(pipe: Connection, given: WorkerSpec) -> None:
    """Run a worker: measure units of work until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    quiet()

    def send(**message: object) -> None:
        pipe.send_bytes(orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY))

    last_sent = 0.0

    def stage(text: str) -> None:
        nonlocal last_sent
        if time.monotonic() - last_sent >= STAGES_S:
            last_sent = time.monotonic()
            send(stage=text)

    known: dict[str, Row] = {key: {"key": key} for key in given.known}
    with suppress(EOFError, BrokenPipeError):
        suite = Suite(
            given.root, given.cards, given.cache_folder, given.threads, stage, checkpoints=given.checkpoints,
            quick=given.quick,
        )  # fmt: skip
        while True:
            i, methods = orjson.loads(pipe.recv_bytes())
            try:
                for j in methods:
                    send(at=j)
                    for row, fresh in suite.rows([given.tasks[i]], [given.methods[j]], known):
                        send(row=row, fresh=fresh)
            except BrokenPipeError:
                raise
            except EthogramError as error:
                send(error=str(error))
            except Exception as error:
                # An internal error ends this unit and not the run.
                if os.environ.get("ETHOGRAM_TRACE"):
                    raise
                send(error=f"{type(error).__name__}: {error} (ETHOGRAM_TRACE=1 shows the traceback)")
            else:
                send(done=True)
