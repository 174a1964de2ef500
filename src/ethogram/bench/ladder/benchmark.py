"""Benchmark of devices that nobody enrolled: what is right, wrong and silent at each level of the ladder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import ClassVar

import polars as pl

import ethogram.bench.counts.items
import ethogram.pipeline.ladder
import ethogram.schema
from ethogram._code_digest import CodePart
from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.ladder import fit, items, measure
from ethogram.bench.ladder.items import CONDITIONS, ladder_items
from ethogram.bench.ladder.measure import LadderMeasurement, figures
from ethogram.bench.ladder.task import LadderMethod, LadderTask
from ethogram.bench.options import BenchmarkOptions
from ethogram.bench.row import Row, identity_of
from ethogram.errors import UsageError
from ethogram.identify import metrics
from ethogram.knowledge.tables import Knowledge

__all__ = ["LadderBenchmark"]

FIGURES = ("right", "wrong", "silent", "best", "utility", "calibration_error")
INTERVALS = ("right", "wrong")


@cache
def pack_digest() -> str:
    """Digest of the knowledge pack in the package."""
    folder = resources.files("ethogram") / "data" / "knowledge"
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir(), key=lambda path: path.name):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


@dataclass
class LadderBenchmark(BenchmarkOptions):
    """Benchmark of the first minute over a folder of corpora."""

    CODE_DEPENDENCIES: ClassVar[tuple[CodePart, ...]] = (
        ethogram.schema, "ethogram.fingerprint", "ethogram.identify", "ethogram.knowledge", ethogram.pipeline.ladder,
        ethogram.bench.counts.items, metrics, fit, items, measure,
    )  # fmt: skip
    """Other code that the figures depend on once the data is loaded."""

    _measurement: LadderMeasurement | None = None
    _predictions: dict[bool, pl.DataFrame] = field(default_factory=dict)

    @property
    def measurement(self) -> LadderMeasurement:
        """The devices of all corpora and the knowledge pack, read once."""
        if self._measurement is None:
            knowledge = Knowledge.bundled()
            bench = CountBenchmark(self.root, self.cards, self.cache_folder)
            self._measurement = LadderMeasurement(
                ladder_items(bench, self.cards, knowledge), knowledge, self.on_stage
            )
        return self._measurement

    def asks(self, task: LadderTask, method: LadderMethod) -> bool:
        """Whether the task runs the method."""
        return task.runs(method)

    def identity(self, task: LadderTask, method: LadderMethod) -> dict[str, str]:
        """Names and digests that identify a row; see :func:`ethogram.bench.row.identity_of`."""
        data = f"{self.measurement.items.digest}+{pack_digest()}"
        return identity_of(task, method, data=data, code=type(self))

    def measure(self, task: LadderTask, method: LadderMethod) -> Row:
        """Shares of devices by level, with intervals over networks."""
        if task.new_vendor not in self._predictions:
            self._predictions[task.new_vendor] = self.measurement.predictions(new_vendor=task.new_vendor)
        condition = next(c for c in CONDITIONS if (c.names, c.mac) == (method.names, method.mac))
        predictions = self._predictions[task.new_vendor].filter(
            (pl.col("condition") == condition.name) & (pl.col("without") == method.without)
        )
        if predictions.is_empty():
            raise UsageError(f"method {method.name}: no source of evidence {method.without!r}")
        table = figures(predictions)
        values = {f"{row['level']}_{name}": row[name] for row in table.iter_rows(named=True) for name in FIGURES}
        intervals = {f"{row['level']}_{name}": (row[f"{name}_low"], row[f"{name}_high"])
                     for row in table.iter_rows(named=True) for name in INTERVALS}  # fmt: skip
        sites = self.measurement.items.tested_sites
        return {
            "n": max(table["n"].to_list()), "n_enrol": len(self.measurement.items),
            "labels": predictions["model"].n_unique(), "where": "across",
            "split": {"digest": self.measurement.items.digest, "name": f"each of {len(sites)} laboratories in turn"},
            "values": values, "intervals": intervals, "details": {"sites": sites},
        }  # fmt: skip
