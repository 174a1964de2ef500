"""Custom flows of a corpus of captures, with the truth beside them, kept as Parquet in the cache folder.

What is kept is derived data, under a digest of the card, the files and the code that read them; it may be deleted.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

import ethogram.corpora.load
import ethogram.flow
import ethogram.io
import ethogram.meter
import ethogram.pipeline.assign_devices
import ethogram.pipeline.capture
import ethogram.pipeline.packet_files
import ethogram.pipeline.vector_files
import ethogram.pipeline.vector_stream
import ethogram.pipeline.vectors
import ethogram.schema
from ethogram._code_digest import CodePart, code_digest
from ethogram._files import file_lock
from ethogram.config import CustomFlowSettings, PacketFlowSettings
from ethogram.corpora.card import Card, CardDevice
from ethogram.corpora.load import CACHE, corpus_digest, device_file, files_of, runs_of
from ethogram.corpora.user_flows import read_folder
from ethogram.errors import InputError, UsageError
from ethogram.pipeline.packet_files import load_packets, written_beside
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.unused_options import same_for_all
from ethogram.pipeline.vector_files import load_vectors, write_custom_flows
from ethogram.pipeline.vectors import read_vectors
from ethogram.schema import Accounting, CustomFlows, PacketFlows

__all__ = ["TRUTH", "CorpusFlows", "load_flows"]

DAY_US = 86_400_000_000
CODE_DEPENDENCIES: tuple[CodePart, ...] = (
    __name__, ethogram.schema, ethogram.io, ethogram.meter, ethogram.flow, ethogram.pipeline.capture,
    ethogram.pipeline.vectors, ethogram.pipeline.vector_stream, ethogram.pipeline.assign_devices,
    ethogram.pipeline.vector_files, ethogram.pipeline.packet_files, ethogram.corpora.load,
)  # fmt: skip
"""Code that decides what :func:`load_flows` gives; part of the digest that names a cached corpus."""

TRUTH: dict[str, pl.DataType] = {
    "device": pl.String(), "id": pl.String(), "unit": pl.String(), "model": pl.String(), "vendor": pl.String(),
    "family": pl.String(), "type": pl.String(), "coarse": pl.String(), "network": pl.String(), "run": pl.String(),
    "corpus": pl.String(), "day": pl.Int32(), "device_day": pl.String(),
}  # fmt: skip
"""Columns of what is known of each flow."""

_COUNTERS = ("ignored", "dropped", "corrected")


@dataclass(frozen=True)
class CorpusFlows:
    """Flows of one corpus and, row by row beside them, what is true of them.

    Parameters
    ----------
    card
        What was read.
    flows
        N outgoing custom flows; devices are named ``corpus/instance``.
    packets
        Of the same rows the packets of both directions; None where they were not asked for.
    truth
        N rows of :data:`TRUTH`: the device and its labels, the day (since 1970-01-01 UTC), and the
        ``device_day``, which all runs of a unit share.
    digest
        Of the flows and what is true of them.
    accounting
        Over packets, by stage.
    """

    card: Card
    flows: CustomFlows
    packets: PacketFlows | None
    truth: pl.DataFrame
    digest: str
    accounting: dict[str, Accounting] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.flows)

    @cached_property
    def day(self) -> NDArray[np.int64]:
        """Day of each flow, [N]."""
        return self.truth["day"].to_numpy().astype(np.int64)

    def take(self, rows: NDArray[np.int64]) -> CorpusFlows:
        """Some of the flows, in that order."""
        packets = None if self.packets is None else self.packets.take(rows)
        truth = self.truth[pl.Series(rows)] if len(rows) else self.truth.clear()
        return CorpusFlows(self.card, self.flows.take(rows), packets, truth, self.digest, self.accounting)


def load_flows(
    card: Card, root: Path, *, packets: bool = False, cache_folder: Path | None = CACHE,
    settings: CustomFlowSettings | None = None, on_progress: Callable[[str], None] | None = None,
) -> CorpusFlows:  # fmt: skip
    """Custom flows of all devices that a card uses, in the order of the card.

    Parameters
    ----------
    card
        A corpus of captures.
    root
        The folder that holds the corpora.
    packets
        Whether the packets of each flow are wanted too.
    cache_folder
        Where loaded flows are kept; None keeps nothing.
    settings
        How packets become flows.
    on_progress
        Called with each device's name.

    Raises
    ------
    UsageError
        When the corpus holds no captures.
    InputError
        When a file is missing or cannot be used.

    Examples
    --------
    >>> from ethogram.corpora.card import card
    >>> loaded = load_flows(card("stevens_lsif_2019"), Path("corpus"))  # doctest: +SKIP
    """
    if card.kind not in ("capture", "folder"):
        raise UsageError(f"corpus {card.name}: custom flows need captures, and its files are of kind {card.kind}")
    if not (root / card.name).is_dir():
        raise InputError("no such corpus folder", file=root / card.name)
    settings = settings or CustomFlowSettings()
    digest = _digest(card, root, settings, cache_folder)
    if cache_folder is None:
        return _load(card, root, packets, settings, on_progress)
    cached = _Kept(cache_folder.expanduser() / "flows", card, digest)
    # Two runs that want one corpus read it once: the second finds what the first has kept.
    with file_lock(cached.lock):
        corpus = cached.read(packets)
        if corpus is None:
            corpus = _load(card, root, packets, settings, on_progress)
            cached.write(corpus, settings)
    return corpus


def _load(
    card: Card, root: Path, packets: bool, settings: CustomFlowSettings, on_progress: Callable[[str], None] | None
) -> CorpusFlows:  # fmt: skip
    if card.kind == "folder":
        return _folder(card, root, packets, settings)
    parts: list[CustomFlows] = []
    beside: list[PacketFlows] = []
    truth = [pl.DataFrame(schema=TRUTH)]
    accounting: dict[str, Accounting] = {}
    for device in card.used_devices:
        if on_progress is not None:
            on_progress(device.id)
        for instance, run, files in runs_of(card, device, files_of(card, device, root)):
            flows, packet_flows = _flows_of(device, f"{card.name}/{instance}", files, settings, packets, accounting)
            if len(flows):
                parts.append(flows)
                truth.append(_truth(card, device, run, flows))
                if packet_flows is not None:
                    beside.append(packet_flows)
    for each in accounting.values():
        each.check()
    whole, known = CustomFlows.concat(parts), pl.concat(truth)
    held = PacketFlows.concat(beside) if packets else None
    return CorpusFlows(card, whole, held, known, _content(whole, known), accounting)


def _folder(card: Card, root: Path, packets: bool, settings: CustomFlowSettings) -> CorpusFlows:
    """A folder of one's own: all files at once, since each may hold all devices."""
    files = files_of(card, card.used_devices[0], root)
    folder_flows = read_folder(card, files, settings=settings, packets=PacketFlowSettings() if packets else None)
    for each in folder_flows.accounting.values():
        each.check()
    truth = folder_flows.truth.select(list(TRUTH))
    digest = _content(folder_flows.flows, truth)
    return CorpusFlows(card, folder_flows.flows, folder_flows.packets, truth, digest, folder_flows.accounting)


def _flows_of(
    device: CardDevice, name: str, files: Sequence[Path], settings: CustomFlowSettings, packets: bool,
    accounting: dict[str, Accounting],
) -> tuple[CustomFlows, PacketFlows | None]:  # fmt: skip
    wanted = PacketFlowSettings() if packets else None
    flows: list[CustomFlows] = []
    beside: list[PacketFlows] = []
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "devices.csv"
        device_file(named, name, device.mac, list(device.addresses))
        with same_for_all():
            run = read_vectors(files, ReadOptions(named, devices_only=True), settings=settings, packets=wanted)
        try:
            if packets:
                for batch, packet_batch in run.pairs():
                    flows.append(batch)
                    beside.append(packet_batch)
            else:
                flows += run.batches()
        except InputError:
            # A capture in which the device says nothing over IPv4: counted, and no error of the corpus.
            if not run.stages or run.rows:
                raise
    if run.errors:
        raise InputError("; ".join(run.errors), file=files[0])
    for stage, own_count in (*(("read", report.accounting) for report in run.reports), *run.stages.items()):
        accounting.setdefault(stage, Accounting(own_count.unit)).merge(own_count)
    return CustomFlows.concat(flows), PacketFlows.concat(beside) if packets else None


def _truth(card: Card, device: CardDevice, run: str, flows: CustomFlows) -> pl.DataFrame:
    day = pl.Series("day", flows.start_us // DAY_US, dtype=pl.Int32)
    labels = {
        "id": device.id, "unit": card.unit_of(device), "model": device.model, "vendor": device.vendor,
        "family": device.family, "type": device.type, "coarse": device.coarse, "network": card.network_of(device),
        "run": run, "corpus": card.name,
    }  # fmt: skip
    frame = pl.DataFrame({"device": flows.device, "day": day}).with_columns(
        **{name: pl.lit(value) for name, value in labels.items()},
        # A unit's day, whatever its runs: set-ups of one afternoon are no independent draws.
        device_day=pl.lit(f"{card.name}/{device.id} ") + pl.col("day").cast(pl.String),
    )
    return frame.select(list(TRUTH))


def _content(flows: CustomFlows, truth: pl.DataFrame) -> str:
    """Of what was loaded: other code that loads the same gives the same."""
    text = hashlib.sha256()
    for name, value in vars(flows).items():
        if isinstance(value, np.ndarray):
            text.update(name.encode() + np.ascontiguousarray(value).tobytes())
    text.update(truth.write_csv().encode())
    return text.hexdigest()[:12]


def _digest(card: Card, root: Path, settings: CustomFlowSettings, cache_folder: Path | None) -> str:
    return corpus_digest(card, root, cache_folder, settings.digest, code_digest(*CODE_DEPENDENCIES))


@dataclass(frozen=True)
class _Kept:
    """Loaded flows on disk; what cannot be read is as good as none."""

    folder: Path
    card: Card
    digest: str

    @property
    def lock(self) -> Path:
        """What is locked while they are made."""
        return self.folder / f".{self.card.name}-{self.digest}"

    def _path(self, part: str) -> Path:
        return self.folder / f"{self.card.name}-{self.digest}.{part}"

    def read(self, packets: bool) -> CorpusFlows | None:
        try:
            flows = load_vectors([self._path("flows.parquet")])
            held = load_packets(self._path("packets.parquet"), flows) if packets else None
            truth = pl.read_parquet(self._path("truth.parquet"))
            stages = orjson.loads(self._path("accounting.json").read_bytes())
        except (OSError, pl.exceptions.PolarsError, InputError, orjson.JSONDecodeError):
            return None
        if dict(truth.schema) != TRUTH or truth.height != len(flows) or not (truth["device"] == flows.device).all():
            return None
        accounting = {
            name: Accounting(**{**of, **{k: Counter(of[k]) for k in _COUNTERS}}) for name, of in stages.items()
        }
        return CorpusFlows(self.card, flows, held, truth, _content(flows, truth), accounting)

    def write(self, loaded: CorpusFlows, settings: CustomFlowSettings) -> None:
        """Keep them, and forget older ones of this corpus."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob(f"{self.card.name}-*"):
            if self.digest not in old.name:
                old.unlink(missing_ok=True)
        stages = {
            name: {"unit": of.unit, "read": of.read, "used": of.used, **{k: dict(getattr(of, k)) for k in _COUNTERS}}
            for name, of in loaded.accounting.items()
        }
        beside = self._path(f"{os.getpid()}.part")
        if loaded.packets is not None:
            with written_beside(self._path("packets.parquet"), PacketFlowSettings()) as passing:
                deque(passing([(loaded.flows, loaded.packets)]), 0)
        write_custom_flows(self._path("flows.parquet"), [loaded.flows], settings)
        loaded.truth.write_parquet(beside)
        beside.replace(self._path("truth.parquet"))
        self._path("accounting.json").write_bytes(orjson.dumps(stages))
