"""Flows to fingerprints, fingerprints to files, and both to the windows that identification reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson
import polars as pl

from ethogram._files import atomic_write
from ethogram.config import CountSettings, ExporterSettings, KeySettings, RepresentationSettings
from ethogram.errors import InputError
from ethogram.fingerprint.count import interval
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.key import learn_ports, with_service
from ethogram.fingerprint.represent import represent
from ethogram.pipeline.counts import FlowInputs, count_inputs
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog
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
    "fingerprint",
    "read_fingerprints",
    "service_matrix",
    "windows_from_counts",
    "windows_from_fingerprints",
    "write_fingerprints",
]

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
    log
        Accounting of every input and stage, and errors.
    """

    table: pl.DataFrame
    settings: ExporterSettings
    counting: CountSettings
    accounting: Accounting
    unchanged: int = 0
    log: RunLog = field(default_factory=RunLog)


def fingerprint(
    inputs: FlowInputs, settings: ExporterSettings | None = None, counting: CountSettings | None = None,
    options: ReadOptions | None = None, *, export_open: bool = True, learn_days: int = 0,
    on_progress: OnProgress | None = None,
) -> FingerprintRun:  # fmt: skip
    """Run the fingerprint exporter over flows.

    Parameters
    ----------
    inputs
        A flow table, or files of any kind; see :func:`ethogram.pipeline.counts.count_inputs`.
    settings, counting
        Settings of the exporter, and of counting.
    options
        How inputs become flows of devices.
    export_open
        Whether to export windows that are still open at the end, as ``open``.
    learn_days
        Above 0, learn the service ports from this input first (see :func:`ethogram.fingerprint.key.learn_ports`) and
        put them into the settings. Meant for the enrolment period, not for what is to be identified.
    on_progress
        Called with the number of records of each batch.

    Returns
    -------
    run
        The table and the accounting.
    """
    exporter_settings, counting = settings or ExporterSettings(), counting or CountSettings()
    counted = count_inputs(inputs, counting, options, on_progress=on_progress, column_facts=False)
    gathering = counted.gathering
    blocks: Iterable[pl.DataFrame] = gathering.blocks()
    if learn_days:
        blocks = [gathering.counts()]
        ports = learn_ports(blocks[0], learn_days, exporter_settings.key.dynamic_from)
        key = exporter_settings.key.model_copy(update={"ports": ports})
        exporter_settings = exporter_settings.model_copy(update={"key": key})
    exporter = FingerprintExporter(exporter_settings, counting, max_devices=None)
    table = exporter.whole(blocks, gathering.last() or 0, export_open=export_open)
    return FingerprintRun(
        table, exporter_settings, counting, counted.accounting, exporter.unchanged, counted.log
    )


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
    selected = counts if devices is None else counts.filter(pl.col("device").is_in(list(devices)))
    cut = selected.with_columns(start=pl.col("time").dt.truncate(interval(window_s)))
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
    timed = (key is not None and key.rhythm_h is not None) or (representation or _DEFAULT).weight == "presence"
    rows = with_service(windows.counts if timed else windows.totals, key).join(lengths, on="item", how="left")
    long = represent(rows, ["item"], representation)
    services = long["service"].unique().sort().to_list()
    columns = long["service"].replace_strict(services, np.arange(len(services)), return_dtype=pl.Int64).to_numpy()
    return ServiceMatrix.from_coordinates(
        long["item"].to_numpy().astype(np.int64), columns, long["weight"].to_numpy(), services, len(windows)
    )


_DEFAULT = RepresentationSettings()
_SORTED = ["time", "protocol", "port", "role", "scope", "answered", "name"]
