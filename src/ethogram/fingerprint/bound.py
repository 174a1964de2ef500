"""Bounds of counts as they arrive: how many keys of one device, and of all devices, are held before an epoch closes.

A key beyond its bound is made coarser, and no flow is lost: first its name becomes unknown, then its port becomes the
dynamic one. Which keys stay does not depend on when they came. Of one device and sub-epoch the first ``most`` in a
fixed order stay, so what was once over the bound is so for good, and what stays was never over it: the result is the
same in any order of arrival and for any size of batch.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.fingerprint.count import merge_counts
from ethogram.schema import DYNAMIC_FROM, Accounting

__all__ = ["DEVICES", "bound_keys", "drop_devices", "level", "sizes_of"]

DEVICES = "devices over the bound"
"""Reason for which flows are dropped: their device had fewest."""

_NAMES, _SERVICES = "names over the bound on arrival", "services over the bound on arrival"
_NAMED = pl.col("name").is_not_null()
_PORT = pl.col("name").is_null() & (pl.col("port") != DYNAMIC_FROM)
_TIE = ["protocol", "role", "scope", "answered"]


def bound_keys(counts: pl.DataFrame, accounting: Accounting, most: int) -> pl.DataFrame:
    """Keep ``most`` keys with a name, and as many without, of each device and sub-epoch; make the others coarser.

    Of names the shortest stay, since domains of real services are short and invented ones long; of ports the lowest,
    since system ports say most of a device and are what remains of a scan.

    Parameters
    ----------
    counts
        Form :data:`ethogram.schema.COUNTS`, each key once; further columns that its keys decide may stand beside.
    accounting
        Counts the flows that lose their name or port, as corrected.
    most
        Keys of one device and sub-epoch.

    Returns
    -------
    counts
        The same frame when no bound is reached.
    """
    counts = _coarser(counts, accounting, most, _NAMED, _NAMES)
    return _coarser(counts, accounting, most, _PORT, _SERVICES)


def _coarser(counts: pl.DataFrame, accounting: Accounting, most: int, among: pl.Expr, reason: str) -> pl.DataFrame:
    if counts.height <= most:
        return counts
    sizes = counts.lazy().filter(among).group_by("device", "time").len().filter(pl.col("len") > most).collect()
    if not sizes.height:
        return counts
    large = counts.join(sizes.select("device", "time"), on=["device", "time"], how="semi")
    rows, rest = large.filter(among), large.filter(~among)
    named = reason == _NAMES
    order = [pl.col("name").str.len_bytes(), pl.col("name")] if named else []
    change = pl.lit(None, pl.String).alias("name") if named else pl.lit(DYNAMIC_FROM, pl.UInt16).alias("port")
    ranked = rows.lazy().sort("device", "time", *order, "port", *_TIE)
    rows = ranked.with_columns(over=pl.int_range(pl.len()).over("device", "time") >= most).collect()
    over = rows.filter("over")
    accounting.correct(reason, int(over["flows"].sum()))
    merged = merge_counts(pl.concat([rest, over.with_columns(change).select(counts.columns)]))
    small = counts.join(sizes.select("device", "time"), on=["device", "time"], how="anti")
    kept = rows.filter(~pl.col("over")).select(counts.columns)
    bounded: pl.DataFrame = pl.concat([small, kept, merged.select(counts.columns)])
    return bounded.rechunk()


def sizes_of(counts: pl.DataFrame) -> pl.DataFrame:
    """Keys of each device and sub-epoch: ``named``, and ``all`` that could be made coarser."""
    return counts.group_by("device", "time").agg(named=_NAMED.sum(), all=(_NAMED | _PORT).sum())


def level(sizes: pl.DataFrame, total: int, most: int) -> int:
    """Keys that a device may keep in a sub-epoch so that all devices have at most ``total``; those with few keep all.

    >>> level(pl.DataFrame({"named": [0, 0, 100], "all": [2, 3, 100]}), 25, 8192)
    10
    """
    named, every = (np.sort(sizes[name].to_numpy().astype(np.int64)) for name in ("named", "all"))
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if _capped(named, middle) + _capped(every, middle) <= total:
            low = middle
        else:
            high = middle - 1
    return low


def _capped(ordered: NDArray[np.int64], most: int) -> int:
    """Sum of sorted numbers, each at most ``most``."""
    at = int(np.searchsorted(ordered, most))
    return int(ordered[:at].sum()) + (len(ordered) - at) * most


def drop_devices(sizes: pl.DataFrame, total: int) -> pl.Series:
    """Devices to drop so that all others have at most ``total`` counts: those with fewest flows, as forged ones have.

    Parameters
    ----------
    sizes
        Columns ``device``, ``flows`` and ``counts``; each device once.
    """
    ordered = sizes.sort(["flows", "device"], descending=[True, False])
    return ordered.filter(pl.col("counts").cum_sum() > total)["device"]

