"""Flow table to counts: how often a device used each service in each sub-epoch.

The functions are written as Narwhals expressions and run on every backend that Narwhals supports. For Polars,
:mod:`ethogram.fingerprint.gather` gives the same counts from compiled code.
"""

from __future__ import annotations

from math import prod
from typing import Any

import narwhals as nw
import polars as pl
from narwhals.typing import IntoFrame

from ethogram.config import CountSettings
from ethogram.schema import COUNT_KEYS, COUNT_VOLUMES, COUNTS, DYNAMIC_FROM, TCP, UDP, Accounting

__all__ = [
    "FATE",
    "FLOW_COLUMNS",
    "PROBE",
    "PROTOCOL",
    "REASONS",
    "cap_services",
    "count",
    "interval",
    "marked",
    "merge_counts",
    "sort_counts",
    "sorted_rows",
    "split",
    "split_fate",
    "summed_counts",
    "tally",
]

PROTOCOL, PROBE = "protocol", "inbound unanswered"
"""Reasons for which a flow is ignored."""

FLOW_COLUMNS = [
    "device", "start", "end", "protocol", "service_port", "role", "scope", "answered", "remote_domain", "initiator",
    "octets_out", "octets_in", "packets_out", "packets_in",
]  # fmt: skip
"""Columns of the flow table that counting reads."""

FATE = "fate"
"""Column with the fate of a flow: 0 if it is used, else 1 + its index in :data:`REASONS`."""

REASONS = (PROTOCOL, PROBE)
"""Why flows are ignored, in order of their fate."""

_MOST = (1 << 64) - 1
"""Largest sum of counts."""


def interval(seconds: int) -> str:
    """Write a duration in its largest whole unit, as backends read it.

    >>> interval(3600), interval(86400), interval(900), interval(5400)
    ('1h', '1d', '15m', '90m')
    """
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def tally(flows: IntoFrame, settings: CountSettings | None = None) -> Any:
    """Count flows in one pass, used and ignored ones; an eager frame gives an eager frame, a lazy one a lazy frame.

    Parameters
    ----------
    flows
        Form :data:`ethogram.schema.FLOW`; at least the columns of :data:`FLOW_COLUMNS`.
    settings
        Resolution, and which flows to ignore.

    Returns
    -------
    frame
        The columns of :data:`ethogram.schema.COUNTS` and :data:`FATE`. Rows may be merged like counts; :func:`split`
        separates used from ignored flows.
    """
    counting = settings or CountSettings()
    time = nw.col("start").dt.truncate(interval(counting.sub_epoch_s)).alias("time")
    keyed = marked(flows, counting).with_columns(time)
    volumes = [name for name in COUNT_VOLUMES if name != "flows"]
    sums, capped = _capped_sums(keyed, volumes)
    return (
        keyed.group_by([*COUNT_KEYS, FATE])
        .agg(nw.len().cast(nw.UInt64).alias("flows"), *sums)
        .with_columns(*capped)
        .select(*COUNTS.names, FATE)
        .to_native()
    )


def _capped_sums(frame: Any, names: list[str]) -> tuple[list[Any], list[Any]]:
    """Sums of counts for ``agg``, and expressions that cap them at 64 bits afterwards.

    Only Polars has wider integers; elsewhere the sums are those of the backend.
    """
    if not frame.implementation.is_polars():
        return [nw.col(name).cast(nw.UInt64).sum() for name in names], []
    sums = [nw.col(name).cast(nw.UInt64).cast(nw.Int128).sum() for name in names]
    return sums, [nw.col(name).clip(upper_bound=_MOST).cast(nw.UInt64) for name in names]


def marked(flows: IntoFrame, settings: CountSettings) -> Any:
    """Add :data:`FATE`, ``port``, ``name`` and ``duration_ms`` to flows; returns a Narwhals frame."""
    other = ~nw.col("protocol").is_in([TCP, UDP]) if not settings.other_protocols else nw.lit(value=False)
    # An unanswered probe from elsewhere says nothing about the device that received it.
    probe = (nw.col("initiator") == "remote") & ~nw.col("answered") if settings.drop_probes else nw.lit(value=False)
    fate = nw.when(other).then(nw.lit(1)).otherwise(nw.when(probe).then(nw.lit(2)).otherwise(nw.lit(0)))
    duration = (nw.col("end") - nw.col("start")).dt.total_milliseconds()
    frame: Any = nw.from_native(flows)
    return (
        frame.select(*FLOW_COLUMNS)
        .with_columns(
            fate.cast(nw.UInt8).alias(FATE),
            # A flow that ends before its start is an error of the meter; its duration is 0.
            nw.when(duration > 0).then(duration).otherwise(nw.lit(0)).cast(nw.UInt64).alias("duration_ms"),
        )
        .with_columns(
            # Ignored flows are only counted: they must not open a group for every probed port.
            nw.when(nw.col(FATE) == 0).then(nw.col("service_port")).otherwise(nw.lit(0)).cast(nw.UInt16).alias("port"),
            nw.when(nw.col(FATE) == 0).then(nw.col("remote_domain")).alias("name"),
        )
    )


def merge_counts(*counts: IntoFrame) -> Any:
    """Add count tables: associative and commutative; rows with the same key become one.

    Parameters
    ----------
    counts
        One or more frames of one backend, with the columns of :data:`ethogram.schema.COUNTS` (and ``fate``,
        when they come from :func:`tally`).
    """
    frames: list[Any] = [nw.from_native(frame) for frame in counts]
    names = frames[0].collect_schema().names()
    keys = [name for name in names if name not in COUNT_VOLUMES]
    joined = nw.concat(frames) if len(frames) > 1 else frames[0]
    sums, capped = _capped_sums(joined, COUNT_VOLUMES)
    return joined.group_by(keys).agg(*sums).with_columns(*capped).select(*names).to_native()


def split(tallied: pl.DataFrame, settings: CountSettings | None = None) -> tuple[pl.DataFrame, Accounting]:
    """Separate a collected tally into counts, sorted by key, and the accounting of the flows."""
    accounting = Accounting("flows")
    used = split_fate(tallied, accounting)
    counts = cap_services(used, accounting, (settings or CountSettings()).max_services)
    accounting.check()
    return sort_counts(counts), accounting


def sort_counts(counts: pl.DataFrame) -> pl.DataFrame:
    """Sort by :data:`ethogram.schema.COUNT_KEYS`."""
    return counts[sorted_rows(counts)]


def summed_counts(counts: pl.DataFrame) -> pl.DataFrame:
    """Counts sorted by key, rows with the same key added up; form :data:`ethogram.schema.COUNTS`."""
    ordered = counts.select(COUNTS.names)
    ordered = ordered[sorted_rows(ordered)]
    keys = ordered.select(COUNT_KEYS)
    same = keys.select(pl.all().eq_missing(pl.all().shift())).select(pl.all_horizontal(pl.all()))
    if same.height > 1 and same.to_series()[1:].any():
        ordered = sort_counts(pl.DataFrame(merge_counts(ordered)))
    return COUNTS.conform(ordered)


def sorted_rows(counts: pl.DataFrame) -> pl.Series:
    """Row numbers in order of :data:`ethogram.schema.COUNT_KEYS`. Keys are sorted as numbers, which is faster.
    """
    if not counts.height:
        return pl.Series(dtype=pl.get_index_type())

    def rank(name: str) -> pl.Series:
        words = pl.Enum(counts[name].cast(pl.Categorical).unique().cast(pl.String).drop_nulls().sort())
        return counts[name].cast(words).to_physical()

    seconds = counts["time"].dt.timestamp("us") // 1_000_000
    hours = bool((seconds % 3_600 == 0).all())
    service = (
        pl.col("protocol").cast(pl.Int64) * (1 << 20) + pl.col("port").cast(pl.Int64) * 16
        + pl.col("role").to_physical().cast(pl.Int64) * 8 + pl.col("scope").to_physical().cast(pl.Int64) * 2
        + pl.col("answered").cast(pl.Int64)
    )  # fmt: skip
    numbers = counts.select(
        rank("device").cast(pl.Int64),
        (seconds // 3_600 if hours else seconds).alias("time"),
        service.alias("service"),
        (rank("name").cast(pl.Int64) + 1).fill_null(0),
    )
    numbers = numbers.with_columns(pl.all() - pl.all().min())
    spans = [int(span) + 1 for span in numbers.max().row(0)]
    if prod(spans) < 1 << 63:  # the key fits into one number, nearly always
        whole = pl.lit(0, dtype=pl.Int64)
        for name, span in zip(numbers.columns, spans, strict=True):
            whole = whole * span + pl.col(name)
        return numbers.select(whole.arg_sort()).to_series()
    return numbers.select(pl.arg_sort_by(numbers.columns, maintain_order=True)).to_series()


def split_fate(tallied: pl.DataFrame, accounting: Accounting) -> pl.DataFrame:
    """Counts of the used flows of a tally; every flow of it is added to the accounting."""
    accounting.read += int(tallied["flows"].sum())
    empty = pl.any_horizontal(pl.col(name).is_null() for name in COUNT_KEYS if name != "name")
    accounting.drop("empty required column", int(tallied.filter(empty)["flows"].sum()))
    if accounting.dropped:
        tallied = tallied.filter(~empty)
    for fate, n in tallied.group_by(FATE).agg(pl.col("flows").sum()).iter_rows():
        if fate == 0:
            accounting.used += n
        else:
            accounting.ignore(REASONS[fate - 1], n)
    return tallied.filter(pl.col(FATE) == 0).drop(FATE)


def cap_services(counts: pl.DataFrame, accounting: Accounting, most: int) -> pl.DataFrame:
    """Bound the services of a device and day: those with fewest flows are merged into the dynamic port, and counted.

    Names are bounded likewise: those beyond the bound become null.
    """
    day = pl.col("time").dt.truncate("1d").alias("day")
    rows = counts.lazy().group_by("device", day).len().collect(engine="streaming")["len"].max()
    if rows is None or rows <= most:  # type: ignore[operator]
        return counts  # fewer rows than the bound cannot hold more services
    for key, reason in ((["protocol", "port"], "services over the cap"), (["name"], "names over the cap")):
        kinds = counts.group_by("device", day, *key).agg(pl.col("flows").sum()).drop_nulls(key)
        if not kinds.height or kinds.group_by("device", "day").len()["len"].max() <= most:  # type: ignore[operator]
            continue
        over = (
            kinds.sort(["device", "day", "flows", *key], descending=[False, False, True, *[False] * len(key)])
            .filter(pl.int_range(pl.len()).over("device", "day") >= most)
            .select("device", "day", *key, pl.lit(value=True).alias("over"))
        )
        marked = counts.with_columns(day).join(over, on=["device", "day", *key], how="left")
        accounting.correct(reason, int(marked.filter(pl.col("over"))["flows"].sum()))
        replaced = (
            pl.when("over").then(pl.lit(DYNAMIC_FROM, dtype=pl.UInt16)).otherwise("port").alias("port")
            if "port" in key
            else pl.when(pl.col("over").is_null()).then("name").alias("name")
        )
        counts = pl.DataFrame(merge_counts(marked.with_columns(replaced).drop("over", "day")))
    return counts


def count(flows: pl.DataFrame | pl.LazyFrame, settings: CountSettings | None = None) -> tuple[pl.DataFrame, Accounting]:
    """Count the flows of a Polars frame; a lazy frame is read by the streaming engine in bounded memory.

    Parameters
    ----------
    flows
        Form :data:`ethogram.schema.FLOW`.
    settings
        Resolution, and which flows to ignore.

    Returns
    -------
    counts
        Form :data:`ethogram.schema.COUNTS`, sorted by its key.
    accounting
        Over the unit ``flows``.
    """
    tallied = tally(flows, settings)
    collected = tallied.collect(engine="streaming") if isinstance(tallied, pl.LazyFrame) else tallied
    counts, accounting = split(collected, settings)
    return COUNTS.conform(counts), accounting
