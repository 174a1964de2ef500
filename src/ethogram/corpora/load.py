"""Load the labelled flows of a card: its files go through the same pipeline as any other input.

Loaded tables are cached as Parquet under a digest of the card, the files and the code that read them. They are derived
data and may be deleted at any time.
"""

from __future__ import annotations

import csv
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

import ethogram._parents
import ethogram.corpora.counters
import ethogram.corpora.labelled
import ethogram.corpora.profiles
import ethogram.corpora.records
import ethogram.flow
import ethogram.io
import ethogram.meter
import ethogram.pipeline.capture
import ethogram.pipeline.flows
import ethogram.schema
from ethogram._code_digest import CodePart, code_digest
from ethogram._files import file_lock
from ethogram.config import CountSettings, FlowSettings, MeterSettings
from ethogram.corpora import records
from ethogram.corpora.card import Card, CardDevice
from ethogram.corpora.counters import flow_features, rule_counters
from ethogram.corpora.file_digest import content_digests
from ethogram.corpora.labelled import LABELS, CachedCorpus, CorpusFlowTable
from ethogram.corpora.profiles import mud_profiles
from ethogram.corpora.user_flows import folder_services
from ethogram.errors import InputError
from ethogram.flow.devices_file import DeviceFile
from ethogram.identify.library import NOMINAL
from ethogram.io.open import Input
from ethogram.pipeline.device_names import DeviceNames
from ethogram.pipeline.flows import FlowRun, collect, read_flows
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.unused_options import same_for_all
from ethogram.schema import COUNTS, FLOW, Accounting, FlowSource

__all__ = ["CACHE", "COUNTING", "DIGESTS", "corpus_digest", "device_file", "file_states", "files_of", "load", "runs_of"]

CACHE = Path("~/.cache/ethogram")
DIGESTS = "digests.json"
"""File of the cache folder with the digests of the corpora's files."""

COUNTING = ("rule_counters", "mud")
"""Kinds of sources that have counts only; settings of counts change what is loaded from them."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


CODE_DEPENDENCIES: tuple[CodePart, ...] = (
    __name__, ethogram.schema, ethogram.io, ethogram.meter, ethogram.flow, ethogram.pipeline.capture,
    ethogram.pipeline.flows, ethogram.corpora.counters, ethogram.corpora.records,
    ethogram.corpora.labelled, ethogram.corpora.profiles, ethogram._parents,
    "ethogram/data/knowledge/parents.tsv",
)  # fmt: skip
"""Code that decides what :func:`load` gives; part of the digest that names a cached corpus."""


def files_of(card: Card, device: CardDevice, root: Path) -> list[Path]:
    """The files of one device, sorted.

    Raises
    ------
    InputError
        When none of its patterns matches a file.
    """
    folder = root / card.name
    matched = {file for pattern in device.files for file in folder.glob(pattern)}
    files = [file for file in matched if not any(word in str(file.relative_to(folder)) for word in card.exclude)]
    if not files:
        raise InputError(f"no file of device {device.id} (card {card.name})", file=folder)
    return sorted(files)


def file_states(card: Card, root: Path, memory: Path | None = None) -> list[str]:
    """Name and digest of the content of each file of a corpus, device by device.

    Parameters
    ----------
    card
        Card of the corpus.
    root
        Folder of the corpora.
    memory
        File with cached digests; see :func:`ethogram.corpora.file_digest.content_digests`.
    """
    files = [file for device in card.used_devices for file in files_of(card, device, root)]
    return [f"{file.name} {digest}" for file, digest in zip(files, content_digests(files, memory), strict=True)]


def corpus_digest(card: Card, root: Path, cache_folder: Path | None, *parts: str) -> str:
    """Twelve hexadecimal digits of a card, of other digests, and of the files of the corpus."""
    memory = None if cache_folder is None else cache_folder.expanduser() / DIGESTS
    text = hashlib.sha256(" ".join([card.digest, *parts]).encode())
    for state in file_states(card, root, memory):
        text.update(f"{state};".encode())
    return text.hexdigest()[:12]


def load(
    card: Card, root: Path, *, flows: FlowSettings | None = None, meter: MeterSettings | None = None,
    counts: CountSettings | None = None, cache_folder: Path | None = CACHE,
    on_progress: Callable[[int], None] | None = None,
) -> CorpusFlowTable:  # fmt: skip
    """Load one corpus.

    Parameters
    ----------
    card
        What to read.
    root
        Folder of the corpora; it holds the card's folder.
    flows, meter
        Settings of the pipeline.
    counts
        For sources that have counts only: what is left out.
    cache_folder
        Cache of loaded tables; None: no cache.
    on_progress
        Called with 1 after each device.

    Raises
    ------
    InputError
        When a file is missing or cannot be used.
    """
    if not (root / card.name).is_dir():
        raise InputError("no such corpus folder", file=root / card.name)
    counted = (counts or CountSettings()) if card.kind in COUNTING else CountSettings()
    settings = (flows or FlowSettings(), meter or MeterSettings(), counted)
    state = corpus_digest(card, root, cache_folder, code_digest(*CODE_DEPENDENCIES))
    digest = hashlib.sha256(" ".join([state, *(part.digest for part in settings)]).encode()).hexdigest()[:12]
    if cache_folder is None:
        return _load(card, root, settings, digest, on_progress)
    held = CachedCorpus(cache_folder.expanduser() / "corpus", card, state, digest)
    # Two runs that need the same corpus read it once: the second one finds the cached tables.
    with file_lock(held.lock):
        corpus = held.read()
        if corpus is None:
            corpus = _load(card, root, settings, digest, on_progress)
            held.write(corpus)
    return corpus


def _load(
    card: Card, root: Path, settings: Settings3, digest: str, on_progress: Callable[[int], None] | None
) -> CorpusFlowTable:
    tables, counted, labels = [FLOW.empty()], [COUNTS.empty()], []
    accounting: dict[str, Accounting] = {}
    whole = folder_services(card, files_of(card, card.used_devices[0], root), *settings[:2], accounting) if (
        card.kind == "folder") else None  # fmt: skip
    for device in card.used_devices:
        for instance, run, files in runs_of(card, device, files_of(card, device, root)):
            if whole is not None:
                flow_rows, count_rows = whole.filter(pl.col("device") == device.id), COUNTS.empty()
            else:
                flow_rows, count_rows, stages = _read(card, device, instance, files, settings)
                _add(accounting, stages)
            if not flow_rows.height and not count_rows.height:
                continue
            tables.append(flow_rows)
            counted.append(count_rows)
            labels.append(_label(card, device, instance, run, flow_rows))
        if on_progress is not None:
            on_progress(1)
    known = LABELS.conform(pl.DataFrame(labels, schema=LABELS.schema))
    return CorpusFlowTable(card, pl.concat(tables), pl.concat(counted), known, digest, accounting)


def runs_of(card: Card, device: CardDevice, files: list[Path]) -> Iterator[tuple[str, str, list[Path]]]:
    if card.runs != "file":
        yield device.id, "", files
        return
    for file in files:
        run = file.name.split(".", 1)[0]
        yield f"{device.id}#{run}", run, [file]


def _label(card: Card, device: CardDevice, instance: str, run: str, flows: pl.DataFrame) -> dict[str, object]:
    # Counters without times count as one nominal day.
    first, last = NOMINAL, NOMINAL.replace(day=2)
    if flows.height:
        begin, end = flows["start"].dt.epoch("us").min(), flows["end"].dt.epoch("us").max()
        assert isinstance(begin, int) and isinstance(end, int)
        first, last = (EPOCH + timedelta(microseconds=us) for us in (begin, end))
    return {
        "device": instance, "from": first, "to": last, "id": device.id, "unit": card.unit_of(device),
        "model": device.model, "vendor": device.vendor, "family": device.family, "type": device.type,
        "coarse": device.coarse, "network": card.network_of(device), "run": run, "corpus": card.name,
    }  # fmt: skip


class _Biflows(FlowSource):
    """Biflows in memory, as a source of the pipeline."""

    def __init__(self, name: str, biflows: pl.DataFrame, accounting: Accounting) -> None:
        self.name = name
        self.accounting = accounting
        self._biflows = biflows

    def batches(self) -> Iterator[pl.DataFrame]:
        yield self._biflows


Settings3 = tuple[FlowSettings, MeterSettings, CountSettings]


def _read(
    card: Card, device: CardDevice, instance: str, files: list[Path], settings: Settings3
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Accounting]]:
    """Flows, counts and accountings of one instance."""
    if card.kind == "rule_counters":
        rows, accounting = rule_counters(device, files, instance, settings[2])
        return FLOW.empty(), rows, {"read": accounting}
    if card.kind == "mud":
        rows, accounting = mud_profiles(files, instance, settings[2])
        return FLOW.empty(), rows, {"read": accounting}
    if card.kind == "flow_features":
        rows, accounting = flow_features(files, instance)
        return rows, COUNTS.empty(), {"read": accounting}
    if card.kind == "flow_table":
        with same_for_all():
            run = read_flows(files, ReadOptions(flow=settings[0], meter=settings[1]))
        table = collect(run).filter(pl.col("device") == device.id).with_columns(device=pl.lit(instance))
        return table, COUNTS.empty(), _stages(run)
    addresses = list(device.addresses)
    if card.kind in ("app_flows", "packet_csv"):
        biflows, accounting, recorded = _biflows(card, device, files)
        if not biflows.height:  # a few files hold no usable packet; they are counted
            return FLOW.empty(), COUNTS.empty(), {"read": accounting}
        source = _Biflows(instance, biflows, accounting)
        opened = Input(instance, files[0], card.kind, lambda: source)
        namer = _named(instance, device.mac, [*addresses, *recorded])
        options = ReadOptions(flow=settings[0], meter=settings[1], strict=True)
        run = FlowRun([opened], DeviceNames(namer, only=True), options)
        return collect(run), COUNTS.empty(), _stages(run)
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "devices.csv"
        device_file(named, instance, device.mac, addresses)
        with same_for_all():
            options = ReadOptions(named, settings[0], devices_only=True, meter=settings[1], strict=True)
            run = read_flows(files, options)
        table = collect(run)
    if card.kind == "joy":
        table = table.with_columns(_with_headers("out"), _with_headers("in"))
    return table, COUNTS.empty(), _stages(run)


def _biflows(card: Card, device: CardDevice, files: list[Path]) -> tuple[pl.DataFrame, Accounting, list[str]]:
    """Biflows of a corpus-specific format, and addresses found to be the device's."""
    if card.kind == "app_flows":
        biflows, accounting = records.app_flows(device, files)
        return biflows, accounting, []
    # In runs without the device's usual address, another unit or lease was captured.
    usual = records.usual_address(tuple(files[0].parent.glob("*.csv*")))
    address = records.run_address(files, usual)
    biflows, accounting = records.packet_csv(files, address)
    return biflows, accounting, [address] if address else []


def _with_headers(way: str) -> pl.Expr:
    """Convert payload octets to IP octets by adding the shortest possible headers."""
    header = pl.col("protocol").cast(pl.UInt64).replace_strict({6: 40, 17: 28}, default=20, return_dtype=pl.UInt64)
    return pl.col(f"octets_{way}") + header * pl.col(f"packets_{way}")


def _named(instance: str, mac: str | None, addresses: list[str]) -> DeviceFile:
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "devices.csv"
        device_file(named, instance, mac, addresses)
        return DeviceFile.load(named)


def device_file(path: Path, instance: str, mac: str | None, addresses: list[str]) -> None:
    rows = [(instance, mac or "", address) for address in addresses] or [(instance, mac or "", "")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("device", "mac", "ip"))
        writer.writerows(rows)


def _stages(run: FlowRun) -> dict[str, Accounting]:
    read: dict[str, Accounting] = {}
    for report in run.reports:
        _add(read, {"read": report.accounting})
    return read | run.stages


def _add(into: dict[str, Accounting], stages: dict[str, Accounting]) -> None:
    for name, accounting in stages.items():
        if name not in into:
            into[name] = Accounting(accounting.unit)
        into[name].merge(accounting)
