"""Flows to fingerprints, fingerprints to files, and both to the windows that identification reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import orjson
import polars as pl

from ethogram._files import atomic_write
from ethogram.config import CountSettings, ExporterSettings, FlowSettings, KeySettings, RepresentationSettings
from ethogram.errors import InputError
from ethogram.fingerprint.count import FLOW_COLUMNS, interval
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.gather import CodedFlows, Gathering
from ethogram.fingerprint.key import learn_ports, with_service
from ethogram.fingerprint.represent import represent
from ethogram.io.parquet import PARQUET_MAGIC, kind_of
from ethogram.pipeline.flows import load_flows, read_flows
from ethogram.pipeline.unused_options import given_options, refuse_unused
from ethogram.schema import (
    FINGERPRINT,
    FINGERPRINT_FORMAT,
    ITEM,
    ITEM_COUNTS,
    Accounting,
    ServiceMatrix,
    Windows,
)

__all__ = [
    "FingerprintRun",
    "Source",
    "count_flows",
    "fingerprint",
    "read_fingerprints",
    "service_matrix",
    "windows_from_counts",
    "windows_from_fingerprints",
    "write_fingerprints",
]

Source = pl.LazyFrame | pl.DataFrame | str | Path | Sequence[str | Path]
"""A flow table, or inputs of any kind."""

OUTSIDE = "outside the time asked for"
_THREADS = 2  # slices read at once: one alone keeps one core busy
_SLICE = 1 << 20  # flows decoded at once: the engine left alone reads ahead without bound


@dataclass(frozen=True)
class FingerprintRun:
    """Fingerprints, and what became of every flow.

    Attributes
    ----------
    table
        Form :data:`ethogram.schema.FINGERPRINT`, sorted by device and start.
    accounting
        Of the flows.
    unchanged
        Windows that ``mode="change"`` found like the last exported one.
    errors
        One line for each input that ended early.
    """

    table: pl.DataFrame
    settings: ExporterSettings
    counting: CountSettings
    accounting: Accounting
    unchanged: int = 0
    errors: list[str] = field(default_factory=list)


def fingerprint(
    source: Source, settings: ExporterSettings | None = None, counting: CountSettings | None = None, *,
    begin: datetime | None = None, end: datetime | None = None, devices: Path | None = None,
    flow_settings: FlowSettings | None = None, export_open: bool = True, learn_days: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> FingerprintRun:  # fmt: skip
    """Run the fingerprint exporter over flows.

    Parameters
    ----------
    source
        A flow table, or files of any kind that :func:`ethogram.pipeline.flows.read_flows` opens.
    settings, counting
        Of the exporter, and of counting.
    begin, end
        Only flows that begin in this span, *end* excluded.
    devices, flow_settings
        Device file and flow settings, for inputs that are not yet a flow table.
    export_open
        Whether windows still open at the end leave as ``open``.
    learn_days
        Above 0, ports are learnt from this input first (see :func:`ethogram.fingerprint.key.learn_ports`) and go into
        the settings; for the enrolment period, not for what is to be identified.
    on_progress
        Called with the number of records of each batch read.

    Returns
    -------
    run
        The table and the accounting.
    """
    chosen, counting = settings or ExporterSettings(), counting or CountSettings()
    errors: list[str] = []
    gathered, outside = _tally(source, counting, begin, end, devices, flow_settings, errors, on_progress)
    blocks: Iterable[pl.DataFrame] = gathered.blocks()
    if learn_days:
        blocks = [gathered.counts()]
        ports = learn_ports(blocks[0], learn_days, chosen.key.dynamic_from)
        chosen = chosen.model_copy(update={"key": chosen.key.model_copy(update={"ports": ports})})
    exporter = FingerprintExporter(chosen, counting, max_devices=None)
    table = exporter.whole(blocks, gathered.last() or 0, export_open=export_open)
    accounting = _accounted(gathered, outside)
    return FingerprintRun(table, chosen, counting, accounting, exporter.unchanged, errors)


def count_flows(
    source: Source, counting: CountSettings | None = None, *, begin: datetime | None = None,
    end: datetime | None = None, devices: Path | None = None, flow_settings: FlowSettings | None = None,
    errors: list[str] | None = None, on_progress: Callable[[int], None] | None = None,
) -> tuple[pl.DataFrame, Accounting]:  # fmt: skip
    """Count flows without exporting; parameters as for :func:`fingerprint`.

    Returns
    -------
    counts
        Form :data:`ethogram.schema.COUNTS`, sorted by its key.
    accounting
        Every flow used, or ignored or dropped for a reason.
    """
    problems: list[str] = [] if errors is None else errors
    gathered, outside = _tally(
        source, counting or CountSettings(), begin, end, devices, flow_settings, problems, on_progress
    )
    counts = gathered.counts()
    return counts, _accounted(gathered, outside)


def _accounted(gathered: Gathering, outside: int) -> Accounting:
    """Accounting of all flows, those outside the time asked for among them."""
    accounting = Accounting("flows")
    accounting.merge(gathered.accounting)
    accounting.read += outside
    accounting.ignore(OUTSIDE, outside)
    accounting.check()
    return accounting


def _tally(
    source: Source, counting: CountSettings, begin: datetime | None, end: datetime | None, devices: Path | None,
    flow_settings: FlowSettings | None, errors: list[str], on_progress: Callable[[int], None] | None,
) -> tuple[Gathering, int]:  # fmt: skip
    """Tally a source; beside it the flows outside the time asked for."""
    if isinstance(source, pl.DataFrame | pl.LazyFrame):
        return _tally_lazy(source.lazy(), counting, begin, end)
    paths = [Path(source)] if isinstance(source, str | Path) else [Path(each) for each in source]
    if all(_is_flow_table(path) for path in paths):
        refuse_unused(
            given_options(devices, flow_settings), "a flow table", paths[0], "the 'ethogram flows' that makes it"
        )
        tables = [load_flows(path) for path in paths]
        try:
            return _tally_lazy(pl.concat(tables) if len(tables) > 1 else tables[0], counting, begin, end)
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"cannot be read: {str(error).splitlines()[0]}", file=paths[0] if len(paths) == 1 else None
            ) from None
    run = read_flows(
        paths, devices=devices, settings=flow_settings, time_from=begin, time_to=end, on_progress=on_progress
    )
    gathering = Gathering(counting)
    for batch in run.batches():
        gathering.add(batch)
    errors += run.errors
    return gathering, sum(stage.ignored[OUTSIDE] for stage in run.stages.values())


def _tally_lazy(
    flows: pl.LazyFrame, counting: CountSettings, begin: datetime | None, end: datetime | None
) -> tuple[Gathering, int]:
    """Tally a lazy flow table by the streaming engine, a slice at a time."""
    rows = int(flows.select(pl.len()).collect().item())
    gathering = Gathering(counting)

    def read(start: int) -> CodedFlows:
        lean = flows.slice(start, _SLICE).select(FLOW_COLUMNS)
        if begin is not None:
            lean = lean.filter(pl.col("start") >= begin)
        if end is not None:
            lean = lean.filter(pl.col("start") < end)
        return gathering.read(lean)

    pool = ThreadPoolExecutor(_THREADS)
    reading: deque[Future[CodedFlows]] = deque()
    try:
        for start in range(0, max(rows, 1), _SLICE):
            reading.append(pool.submit(read, start))
            if len(reading) > _THREADS:
                gathering.fold(reading.popleft().result())  # in order: what a bound does must not depend on threads
        for slice_read in reading:
            gathering.fold(slice_read.result())
    finally:
        pool.shutdown(cancel_futures=True)
    return gathering, rows - gathering.accounting.read


def _is_flow_table(path: Path) -> bool:
    """Whether this is one Parquet file that holds a flow table; anything else goes through the readers."""
    try:
        with path.open("rb") as file:
            return file.read(4) == PARQUET_MAGIC and kind_of(path) == "flow"
    except OSError:
        return False


def write_fingerprints(run: FingerprintRun, path: str | Path) -> None:
    """Write fingerprints to Parquet, with their format and settings; the file appears only when it is whole."""
    target = Path(path)
    settings = orjson.dumps(
        {"exporter": run.settings.model_dump(mode="json"), "counts": run.counting.model_dump(mode="json")},
        option=orjson.OPT_SORT_KEYS,
    )
    try:
        with atomic_write(target) as part:
            run.table.rechunk().write_parquet(
                part, metadata={"ethogram.format": FINGERPRINT_FORMAT, "ethogram.settings": settings.decode()}
            )
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None


def read_fingerprints(path: str | Path) -> FingerprintRun:
    """Read what :func:`write_fingerprints` wrote.

    Raises
    ------
    InputError
        When the file is missing, no fingerprint file, or of another version.
    """
    source = Path(path)
    if not source.is_file():
        raise InputError("no such file", file=source)
    try:
        metadata = pl.read_parquet_metadata(source)
        form = metadata.get("ethogram.format")
        if form is None:
            raise InputError("no fingerprint file: 'ethogram fingerprint' makes one", file=source)
        if form != FINGERPRINT_FORMAT:
            raise InputError(f"fingerprints of another version ({form}, not {FINGERPRINT_FORMAT})", file=source)
        table = FINGERPRINT.conform(pl.read_parquet(source), file=str(source))
        settings = orjson.loads(metadata["ethogram.settings"])
    except (pl.exceptions.PolarsError, OSError, KeyError, orjson.JSONDecodeError) as error:
        raise InputError(f"no readable fingerprint file: {str(error).splitlines()[0]}", file=source) from None
    accounting = Accounting("flows")
    accounting.read = accounting.used = int(table["flows"].sum())
    return FingerprintRun(
        table, ExporterSettings.of(**settings["exporter"]), CountSettings.of(**settings["counts"]), accounting
    )


def windows_from_counts(counts: pl.DataFrame, window_s: int, devices: Sequence[str] | None = None) -> Windows:
    """Cut counts into windows of equal length: one item per device and window in which it was active.

    Parameters
    ----------
    counts
        Form :data:`ethogram.schema.COUNTS`.
    window_s
        Length in seconds, a multiple of the counts' sub-epoch; 86,400 gives device-days. Windows begin at whole
        multiples since 1970-01-01 UTC.
    devices
        Only these; without it all.

    Returns
    -------
    windows
        Items sorted by device and start.
    """
    chosen = counts if devices is None else counts.filter(pl.col("device").is_in(list(devices)))
    cut = chosen.with_columns(start=pl.col("time").dt.truncate(interval(window_s)))
    items = (
        cut.select("device", "start").unique().sort("device", "start").with_row_index("item")
        .with_columns(end=pl.col("start") + pl.duration(seconds=window_s))
    )  # fmt: skip
    rows = cut.join(items, on=["device", "start"], how="inner").sort("item", *_SORTED)
    return Windows(ITEM.conform(items), ITEM_COUNTS.conform(rows))


def windows_from_fingerprints(fingerprints: pl.DataFrame) -> Windows:
    """Give each exported fingerprint as one item, in the order of the table, with the counts it carries."""
    items = fingerprints.drop("counts").with_row_index("item")
    rows = (
        fingerprints.select("counts").with_row_index("item").explode("counts").drop_nulls("counts").unnest("counts")
    )  # fmt: skip
    return Windows(ITEM.conform(items), ITEM_COUNTS.conform(rows))


def service_matrix(
    windows: Windows, key: KeySettings | None = None, representation: RepresentationSettings | None = None,
) -> ServiceMatrix:  # fmt: skip
    """Represent every window: one row per item, one column per service that some item has.

    Parameters
    ----------
    windows
        What to represent. A log volume is brought to a day by each item's own length.
    key, representation
        What a service is, and how it is weighed.

    Returns
    -------
    matrix
        Row ``i`` is item ``i``; services are sorted by name.
    """
    lengths = windows.items.select(
        "item", ((pl.col("end") - pl.col("start")).dt.total_microseconds() / 1e6).alias("window_s")
    )
    rows = with_service(windows.counts, key).join(lengths, on="item", how="left")
    long = represent(rows, ["item"], representation)
    services = long["service"].unique().sort().to_list()
    columns = long["service"].replace_strict(services, np.arange(len(services)), return_dtype=pl.Int64).to_numpy()
    return ServiceMatrix.from_coordinates(
        long["item"].to_numpy().astype(np.int64), columns, long["weight"].to_numpy(), services, len(windows)
    )


_SORTED = ["time", "protocol", "port", "role", "scope", "answered", "name"]
