"""One row of a result: what made it, what it came to, or why there is none. Benches say the rest; a file holds rows."""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson
from threadpoolctl import threadpool_limits

from ethogram import __version__
from ethogram.bench.code_digest import code_digest
from ethogram.errors import EthogramError, InputError, UsageError

__all__ = ["ROW_FORMAT", "Benchmark", "Method", "Row", "Task", "commit", "cut_half_line", "identity_of",
           "machine", "now", "read_rows", "rows"]  # fmt: skip

ROW_FORMAT = "ethogram.bench/1"

Row = dict[str, Any]


class Method(Protocol):
    """A method, as far as a row tells of it."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def digest(self) -> str: ...


class Task(Protocol):
    """A task, as far as a row tells of it."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def experiment(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def digest(self) -> str: ...


T = TypeVar("T", bound=Task)
M = TypeVar("M", bound=Method)
Task_contra = TypeVar("Task_contra", bound=Task, contravariant=True)
Method_contra = TypeVar("Method_contra", bound=Method, contravariant=True)


class Benchmark(Protocol[Task_contra, Method_contra]):
    """A bench: it says what it asks, what makes a row the same row, and what one method comes to on one task."""

    @property
    def threads(self) -> int:
        """Of the arithmetic; 0: one for each core."""

    @property
    def on_stage(self) -> Callable[[str], None] | None:
        """Called with what is being done."""

    def asks(self, task: Task_contra, method: Method_contra) -> bool:
        """Whether the task asks the method; reads no data."""

    def identity(self, task: Task_contra, method: Method_contra) -> dict[str, str]:
        """What :func:`identity_of` gives for them."""

    def measure(self, task: Task_contra, method: Method_contra) -> Row:
        """The parts of a row that are figures. A UsageError says that the method cannot answer."""


def rows(
    bench: Benchmark[T, M], tasks: Sequence[T], methods: Sequence[M], known: Mapping[str, Row] | None = None
) -> Iterator[tuple[Row, bool]]:
    """Give every row, and whether it was made now; those in ``known`` (by key) are given as they are.

    What goes wrong in one method must not end a run of hours: it gives a row with ``"absent"``, which says why, and
    ``"failed"`` unless the method cannot answer such a task. Failed ones are made again by the next run.
    """
    for task in tasks:
        for method in methods:
            if not bench.asks(task, method):
                continue
            if bench.on_stage is not None:
                bench.on_stage(f"{task.name}: {method.name}")
            identity = bench.identity(task, method)
            held = (known or {}).get(identity["key"])
            if held is not None and not held.get("failed"):
                yield dict(held), False
            else:
                yield _made(bench, task, method, identity), True


def _made(bench: Benchmark[T, M], task: T, method: M, identity: Mapping[str, str]) -> Row:
    head: Row = {
        **identity, "format": ROW_FORMAT, "version": __version__, "commit": commit(), "made": now(),
        "machine": machine(), "experiment": task.experiment, "kind": task.kind, "title": task.title,
        "seed": task.seed, "level": task.level, "method_title": method.title, "group": method.group,
    }  # fmt: skip
    began, cpu = time.perf_counter(), time.process_time()
    try:
        with threadpool_limits(bench.threads or None):
            found = bench.measure(task, method)
    except Exception as error:
        own = "" if isinstance(error, EthogramError) else f"{type(error).__name__}: "
        reason = f"{own}{str(error).splitlines()[0] if str(error) else ''}"
        found = {"absent": reason, "failed": not isinstance(error, UsageError)}
    return {**head, **found, "wall_s": round(time.perf_counter() - began, 3),
            "cpu_s": round(time.process_time() - cpu, 3)}  # fmt: skip


def identity_of(
    task: Task, method: Method, *, data: str, code: type, own: str = "", encoder: str = ""
) -> dict[str, str]:
    """What makes a row the same row: task, method, data and code; ``key`` is a digest of all.

    Parameters
    ----------
    task, method
        By name and digest.
    data
        Digests of all that was read, in an order that does not change.
    code
        Class that measures; its module and ``CODE_DEPENDENCIES`` decide a figure, once the data is loaded.
    own
        What decides the method's figures, where that is more than its own digest.
    encoder
        Digest of the code of its encoder, where it has one.
    """
    parts = {
        "task": task.name, "method": method.name, "task_digest": task.digest,
        "method_digest": _short(own) if own else method.digest,
        "data_digest": _short(data), "code_digest": code_digest(code),
    }  # fmt: skip
    text = orjson.dumps({**parts, "encoder_code": encoder}, option=orjson.OPT_SORT_KEYS)
    return parts | {"key": hashlib.sha256(text).hexdigest()[:16]}


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def now() -> str:
    """The time, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def commit() -> str:
    """The commit the code stood at when first asked, with ``+`` when something was changed; '' outside a checkout."""
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = [*git, "status", "--porcelain", "--", str(folder.parent)]
        dirty = subprocess.run(changed, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def machine() -> str:
    """What ran it, in a few words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def cut_half_line(path: Path) -> int:
    """Cut what an interrupted run left behind the last whole line; how many octets that was."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return 0
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        with path.open("r+b") as file:
            file.truncate(whole)
    return len(text) - whole


def read_rows(path: Path) -> list[Row]:
    """Rows of a file, one JSON object a line; compressed with gzip where its name ends in ``.gz``.

    Raises
    ------
    InputError
        When the file is missing, or a line is no row; says which.
    """
    try:
        content = path.read_bytes()
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(getattr(error, "strerror", None) or str(error), file=path) from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"no JSON: {error}", file=path, line=number) from None
        if not isinstance(row, dict) or row.get("format") != ROW_FORMAT:
            raise InputError(f"no row of {ROW_FORMAT}", file=path, line=number)
        found.append(row)
    return found
