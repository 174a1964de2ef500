"""Labelled flows: the tables of one corpus, its labels in a separate table, and their cache on disk."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import polars as pl

from ethogram.corpora.card import Card
from ethogram.errors import InputError
from ethogram.schema import COUNTS, FLOW, TIME, Accounting, Column, Table

__all__ = ["LABELS", "CachedCorpus", "CorpusFlowTable"]

_COUNTERS = ("ignored", "dropped", "corrected")

LABELS = Table(
    "labels",
    "What each device instance is, and when: beside the flows, never on them.",
    (
        Column("device", pl.String(), "", "device instance, as in the flows"),
        Column("from", TIME, "", "first flow begins"),
        Column("to", TIME, "", "last flow ends"),
        Column("id", pl.String(), "", "the device's name on the card"),
        Column("unit", pl.String(), "", "the unit: the same MAC is the same unit in every corpus"),
        Column("model", pl.String(), "", "make and model; twin units share it"),
        Column("vendor", pl.String(), "", "maker"),
        Column("family", pl.String(), "", "vendor/type"),
        Column("type", pl.String(), "", "fine type"),
        Column("coarse", pl.String(), "", "coarse type"),
        Column("network", pl.String(), "", "network it stood in"),
        Column("run", pl.String(), "", "run; '' where a device has only one"),
        Column("corpus", pl.String(), "", "card"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class CorpusFlowTable:
    """Flows of one corpus (or counts, where a source has only those), its labels, and the accounting of reading."""

    card: Card
    flows: pl.DataFrame
    counts: pl.DataFrame
    labels: pl.DataFrame
    digest: str
    accounting: dict[str, Accounting] = field(default_factory=dict)


@dataclass(frozen=True)
class CachedCorpus:
    """Cache of loaded tables on disk; a file that cannot be read is treated as missing.

    Parameters
    ----------
    folder
        Folder of the cache.
    card
        Card of the corpus.
    state
        Digest of the card, its files and the code that reads them.
    digest
        Digest of the state and the settings.
    """

    folder: Path
    card: Card
    state: str
    digest: str

    @property
    def lock(self) -> Path:
        """Path to lock while the tables are made."""
        return self.folder / f".{self.card.name}-{self.digest}"

    def _path(self, part: str) -> Path:
        return self.folder / f"{self.card.name}-{self.state}-{self.digest}.{part}"

    def read(self) -> CorpusFlowTable | None:
        """The cached tables, or None."""
        try:
            tables = [pl.read_parquet(self._path(f"{part}.parquet")) for part in ("flows", "counts", "labels")]
            stages = orjson.loads(self._path("accounting.json").read_bytes())
            conformed = [FLOW.conform(tables[0]), COUNTS.conform(tables[1]), LABELS.conform(tables[2])]
        except (OSError, pl.exceptions.PolarsError, InputError, orjson.JSONDecodeError):
            return None
        accounting = {
            name: Accounting(**{**of, **{k: Counter(of[k]) for k in _COUNTERS}}) for name, of in stages.items()
        }
        return CorpusFlowTable(self.card, conformed[0], conformed[1], conformed[2], self.digest, accounting)

    def write(self, loaded: CorpusFlowTable) -> None:
        """Write the tables, and delete those of other files or earlier code."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob(f"{self.card.name}-*"):
            if not old.name.startswith(f"{self.card.name}-{self.state}-"):
                old.unlink(missing_ok=True)
        stages = {
            name: {"unit": of.unit, "read": of.read, "used": of.used, **{k: dict(getattr(of, k)) for k in _COUNTERS}}
            for name, of in loaded.accounting.items()
        }
        for part, frame in (("flows", loaded.flows), ("counts", loaded.counts), ("labels", loaded.labels)):
            beside = self._path(f"{part}.{os.getpid()}.part")
            frame.write_parquet(beside)
            beside.replace(self._path(f"{part}.parquet"))
        self._path("accounting.json").write_bytes(orjson.dumps(stages))
