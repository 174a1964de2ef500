"""Result rows: one per task and method, with provenance and either figures or the reason why there are none."""

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

from ethogram._code_digest import code_digest
from ethogram._version import __version__
from ethogram.errors import EthogramError, InputError, UsageError

__all__ = ["ROW_FORMAT", "Benchmark", "Method", "Row", "Task", "commit", "cut_half_line", "identity_of",
           "machine", "now", "read_rows", "rows"]  # fmt: skip

ROW_FORMAT = "ethogram.bench/1"

DIGEST_FORM = 3
"""Version of how digests of data and code are computed.

Rows without it were made before the package was renamed; in form 2 the code counted with its folder and documentation.
"""

Row = dict[str, Any]


class Method(Protocol):
    """What a row records of a method."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def digest(self) -> str: ...


class Task(Protocol):
    """What a row records of a task."""

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
    """Interface of a benchmark: select methods, identify rows, measure."""

    @property
    def threads(self) -> int:
        """Threads for numerical libraries; 0: one per core."""

    @property
    def on_stage(self) -> Callable[[str], None] | None:
        """Called with a line on the current step."""

    def asks(self, task: Task_contra, method: Method_contra) -> bool:
        """Whether the task runs the method; reads no data."""

    def identity(self, task: Task_contra, method: Method_contra) -> dict[str, str]:
        """Names and digests of both, of the data and of the code; see :func:`identity_of`."""

    def measure(self, task: Task_contra, method: Method_contra) -> Row:
        """Figures of a row. A UsageError means that the method does not apply to the task."""


def rows(
    bench: Benchmark[T, M], tasks: Sequence[T], methods: Sequence[M], known: Mapping[str, Row] | None = None
) -> Iterator[tuple[Row, bool]]:
    """Yield every row, and whether it was measured now; rows in ``known`` (by key) are yielded unchanged.

    An error in one method does not end a run of hours: its row has ``"absent"`` with the reason, and ``"failed"``
    unless the method does not apply to such a task. The next run measures failed rows again.
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
        **identity, "format": ROW_FORMAT, "digest_form": DIGEST_FORM, "version": __version__, "commit": commit(),
        "made": now(), "machine": machine(), "experiment": task.experiment, "kind": task.kind, "title": task.title,
        "seed": task.seed, "level": task.level, "method_title": method.title, "group": method.group,
    }  # fmt: skip
    began, cpu = time.perf_counter(), time.process_time()
    try:
        with threadpool_limits(bench.threads or None):
            figures = bench.measure(task, method)
    except Exception as error:
        prefix = "" if isinstance(error, EthogramError) else f"{type(error).__name__}: "
        reason = f"{prefix}{str(error).splitlines()[0] if str(error) else ''}"
        figures = {"absent": reason, "failed": not isinstance(error, UsageError)}
    return {**head, **figures, "wall_s": round(time.perf_counter() - began, 3),
            "cpu_s": round(time.process_time() - cpu, 3)}  # fmt: skip


def identity_of(
    task: Task, method: Method, *, data: str, code: type, method_text: str = "", encoder: str = ""
) -> dict[str, str]:
    """Identify a row by its task, method, data and code; ``key`` is a digest of all four.

    Parameters
    ----------
    task, method
        Identified by name and digest.
    data
        Digests of everything that was read, in a fixed order.
    code
        Class of the benchmark; its module and its ``CODE_DEPENDENCIES`` are digested.
    method_text
        Text to digest instead of the method's own digest, where the figures depend on more.
    encoder
        Digest of the code of the method's encoder, if it has one.
    """
    parts = {
        "task": task.name, "method": method.name, "task_digest": task.digest,
        "method_digest": _short(method_text) if method_text else method.digest,
        "data_digest": _short(data), "code_digest": code_digest(code),
    }  # fmt: skip
    text = orjson.dumps({**parts, "encoder_code": encoder}, option=orjson.OPT_SORT_KEYS)
    return parts | {"key": hashlib.sha256(text).hexdigest()[:16]}


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def now() -> str:
    """The current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def commit() -> str:
    """The commit of the code, with ``+`` when files have changed since; '' outside a checkout. Read once."""
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
    """The machine in a few words."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def cut_half_line(path: Path) -> int:
    """Remove an unfinished last line of an interrupted run; return the number of octets removed."""
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
        When the file is missing, or a line is not a row; names the line.
    """
    try:
        content = path.read_bytes()
        lines = (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(getattr(error, "strerror", None) or str(error), file=path) from None
    rows_read = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"invalid JSON: {error}", file=path, line=number) from None
        if not isinstance(row, dict) or row.get("format") != ROW_FORMAT:
            raise InputError(f"not a row of {ROW_FORMAT}", file=path, line=number)
        rows_read.append(row)
    return rows_read
