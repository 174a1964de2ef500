"""Tasks times methods to result rows. Each row says what made it; a row that is there already is not made again."""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import polars as pl

from ethogram import __version__
from ethogram.config import FlowSettings, MeterSettings
from ethogram.errors import InputError, UsageError
from ethogram.evaluate import axis, behaviour, score
from ethogram.evaluate.corpus import Card
from ethogram.evaluate.items import Items, Material, gather, item_windows
from ethogram.evaluate.labelled import LabelledFlows
from ethogram.evaluate.load import CACHE, code_digest, load
from ethogram.evaluate.task import Method, Task

__all__ = ["ROW_FORMAT", "Bench", "applies", "commit", "cut_half_line", "machine", "now", "read_rows"]

FIGURING = ("schema", "fingerprint", "identify", "pipeline/fingerprints", "pipeline/identify", "pipeline/statistics",
            "evaluate/axis", "evaluate/behaviour", "evaluate/build", "evaluate/harm", "evaluate/items",
            "evaluate/metrics", "evaluate/score", "evaluate/splits")  # fmt: skip
"""The code that decides a figure, once the data is loaded."""

ROW_FORMAT = "ethogram.bench/1"


def applies(task: Task, method: Method) -> bool:
    """Whether a method is asked: a task may name or leave out methods, and fingerprint tasks ask fingerprints only."""
    if (task.methods and method.name not in task.methods) or method.name in task.without:
        return False
    if task.kind in ("similarity", "convergence", "recurrence"):
        return method.identify.method == "nearest" and method.group == "plain"
    return True


@dataclass
class Bench:
    """One benchmark over a folder of corpora.

    Parameters
    ----------
    root
        The folder that holds the corpora.
    cards
        Known corpora by name.
    cache_folder
        For loaded tables; None keeps nothing.
    """

    root: Path
    cards: dict[str, Card]
    cache_folder: Path | None = CACHE
    _loaded: dict[str, LabelledFlows] = field(default_factory=dict)
    _materials: dict[str, Material] = field(default_factory=dict)
    _items: dict[tuple[str, object, bool], Items] = field(default_factory=dict)
    _remade: dict[tuple[str, str], Material] = field(default_factory=dict)

    def material(self, task: Task) -> Material:
        """What a task reads; loaded once, and kept while tasks read the same."""
        key = orjson.dumps([task.corpora, task.networks, task.exclude_types, task.names, task.counts.digest]).decode()
        if key not in self._materials:
            self._items.clear()
            self._materials.clear()
            self._remade.clear()
            for name in task.corpora:
                if name not in self.cards:
                    raise UsageError(f"task {task.name}: no corpus card {name!r}")
                if name not in self._loaded:
                    self._loaded[name] = load(
                        self.cards[name], self.root, counts=task.counts, cache_folder=self.cache_folder
                    )
            material = gather([_only(self._loaded[name], task) for name in task.corpora], task.counts)
            self._materials[key] = material if task.names else material.without_names()
        return self._materials[key]

    def items(self, task: Task, *, statistics: bool) -> Items:
        """The items of a task; made once for tasks with the same material and window."""
        material = self.material(task)
        key = (material.digest, f"{task.window} {task.offset_s} {task.min_hours} {task.min_flows}", statistics)
        if key not in self._items:
            made = item_windows(
                material, task.window, offset_s=task.offset_s, min_hours=task.min_hours, statistics=statistics
            )
            self._items[key] = made.with_flows(task.min_flows) if task.min_flows else made
        return self._items[key]

    def row(self, task: Task, method: Method) -> dict[str, object]:
        """Run one method on one task."""
        began = time.perf_counter()
        figures = self._figures(task, method)
        return {
            **self.identity(task, method),
            "format": ROW_FORMAT, "version": __version__, "commit": commit(),
            "made": now(),
            "machine": machine(), "experiment": task.experiment, "kind": task.kind, "title": task.title,
            "seed": task.seed,
            "method_title": method.title, "group": method.group,
            "n": figures.n, "n_enrol": figures.n_enrol, "labels": figures.labels, "split": figures.splits,
            "values": figures.values, "intervals": figures.intervals, "details": figures.details,
            "wall_s": round(time.perf_counter() - began, 3),
        }  # fmt: skip

    def identity(self, task: Task, method: Method) -> dict[str, str]:
        """What makes a row the same row: task, method, data and code."""
        parts = {
            "task": task.name, "method": method.name, "task_digest": task.digest, "method_digest": method.digest,
            "data_digest": hashlib.sha256(self.material(task).digest.encode()).hexdigest()[:12],
            "code_digest": code_digest(*FIGURING),
        }  # fmt: skip
        return parts | {"key": hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]}

    def run(
        self, tasks: Sequence[Task], methods: Sequence[Method], *, known: dict[str, dict[str, object]] | None = None,
        on_row: Callable[[str], None] | None = None,
    ) -> Iterator[tuple[dict[str, object], bool]]:  # fmt: skip
        """Give every row, and whether it was made now; those in ``known`` (by key) are given as they are.

        A method that cannot answer a task (no flow statistics in a source that only counts) gives a row with
        ``"absent"``, which says why.
        """
        for task in tasks:
            chosen = [m for m in methods if applies(task, m)]
            for method in chosen:
                if on_row is not None:
                    on_row(f"{task.name}: {method.name}")
                identity = self.identity(task, method)
                held = (known or {}).get(identity["key"])
                if held is not None:
                    yield held, False
                    continue
                absent = {**identity, "format": ROW_FORMAT, "made": now()}
                if method.needs_statistics and not self.material(task).flows.height:
                    yield {**absent, "absent": "the source has no flows, only counts"}, True
                    continue
                try:
                    made = self.row(task, method)
                except UsageError as error:
                    # A split that leaves nothing to test: the other tasks can be asked all the same.
                    made = {**absent, "absent": str(error)}
                yield made, True

    def _figures(self, task: Task, method: Method) -> score.Figures:
        if task.kind == "robust":
            return axis.robust(task, method, self.material(task), lambda text: self._remetered(task, text))
        if task.kind in ("early", "convergence", "recurrence"):
            whole: Callable[[Task, Method, Material], score.Figures] = {
                "early": axis.early, "convergence": behaviour.convergence, "recurrence": behaviour.recurrence,
            }[task.kind]  # fmt: skip
            return whole(task, method, self.material(task))
        items = self.items(task, statistics=method.needs_statistics)
        by_items: Callable[[Task, Method, Items], score.Figures] = {
            "closed": score.closed, "open": score.open_set, "similarity": behaviour.likeness, "drift": axis.drift,
        }[task.kind]  # fmt: skip
        return by_items(task, method, items)

    def _remetered(self, task: Task, text: str) -> Material:
        """The material of a task from captures metered under other timeouts, ``active/idle`` in seconds."""
        if (task.name, text) not in self._remade:
            times, _, apart = text.partition(" ")
            active, idle = (float(part) for part in times.split("/"))
            meter = MeterSettings(active_timeout_s=active, idle_timeout_s=idle)
            flows = FlowSettings(join_cut=not apart)
            loaded = [
                load(self.cards[name], self.root, flows=flows, meter=meter, counts=task.counts,
                     cache_folder=self.cache_folder) for name in task.corpora
            ]  # fmt: skip
            material = gather([_only(one, task) for one in loaded], task.counts)
            self._remade[task.name, text] = material if task.names else material.without_names()
        return self._remade[task.name, text]


def _only(loaded: LabelledFlows, task: Task) -> LabelledFlows:
    """Only the networks and types that the task is about."""
    labels = loaded.labels
    if task.networks:
        labels = labels.filter(pl.col("network").is_in(list(task.networks)))
    labels = labels.filter(~pl.col("type").is_in(list(task.exclude_types)))
    if labels.height == loaded.labels.height:
        return loaded
    keep = pl.col("device").is_in(labels["device"].implode())
    return replace(loaded, flows=loaded.flows.filter(keep), counts=loaded.counts.filter(keep), labels=labels)


def now() -> str:
    """The time, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def commit() -> str:
    """The commit the code stands at, with ``+`` when something was changed since; '' outside a checkout."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain", "--", str(folder.parent)],
            capture_output=True,
            text=True,
            check=True,
        )
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


def read_rows(path: Path) -> list[dict[str, object]]:
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
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"no JSON: {error}", file=path, line=number) from None
        if not isinstance(row, dict) or row.get("format") != ROW_FORMAT:
            raise InputError(f"no row of {ROW_FORMAT}", file=path, line=number)
        rows.append(row)
    return rows
