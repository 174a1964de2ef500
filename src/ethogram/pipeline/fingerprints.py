"""Flows to fingerprints, fingerprints to files, and both to the windows that identification reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ethogram.config import KeySettings, RepresentationSettings
from ethogram.fingerprint.count import interval
from ethogram.fingerprint.key import with_service
from ethogram.fingerprint.represent import represent
from ethogram.schema import ITEM, ITEM_COUNTS, ServiceMatrix, Windows

__all__ = ["service_matrix", "windows_from_counts", "windows_from_fingerprints"]


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
