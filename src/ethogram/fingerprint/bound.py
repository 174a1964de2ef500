"""Bounds on the keys of counts, of one device and of all, before an epoch closes.

A key beyond the bound is coarsened, and no flow is lost: first its name becomes null, then its port the dynamic port.
Of each device and sub-epoch the first ``most`` keys in a fixed order are kept. A key that was once beyond the bound
stays beyond it, and a kept key never was, so the result does not depend on order of arrival or batch size.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.fingerprint.count import merge_counts
from ethogram.schema import DYNAMIC_FROM, Accounting

__all__ = ["DEVICES", "bound_keys", "drop_devices", "level", "sizes_of"]

DEVICES = "devices over the bound"
"""Reason: the flow's device was dropped because it had the fewest flows."""

_NAMES, _SERVICES = "names over the bound on arrival", "services over the bound on arrival"
_NAMED = pl.col("name").is_not_null()
_PORT = pl.col("name").is_null() & (pl.col("port") != DYNAMIC_FROM)
_TIE = ["protocol", "role", "scope", "answered"]


def bound_keys(counts: pl.DataFrame, accounting: Accounting, most: int) -> pl.DataFrame:
    """Keep ``most`` keys with a name, and as many without, of each device and sub-epoch; coarsen the others.

    The shortest names are kept, because domains of real services are short and generated ones long; and the lowest
    ports, because system ports are the most informative.

    Parameters
    ----------
    counts
        Form :data:`ethogram.schema.COUNTS`, each key once; further columns must be functions of the key.
    accounting
        Counts the flows that lose their name or port, as corrected.
    most
        Keys of one device and sub-epoch.

    Returns
    -------
    counts
        The same frame if no bound is exceeded.
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
    unchanged = rows.filter(~pl.col("over")).select(counts.columns)
    bounded: pl.DataFrame = pl.concat([small, unchanged, merged.select(counts.columns)])
    return bounded.rechunk()


def sizes_of(counts: pl.DataFrame) -> pl.DataFrame:
    """Number of keys of each device and sub-epoch: ``named`` ones, and ``all`` that could be coarsened."""
    return counts.group_by("device", "time").agg(named=_NAMED.sum(), all=(_NAMED | _PORT).sum())


def level(sizes: pl.DataFrame, total: int, most: int) -> int:
    """Largest number of keys per device and sub-epoch for which all devices together keep at most ``total``.

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
    """Devices with the fewest flows, to be dropped so that the others have at most ``total`` counts.

    Forged addresses have few flows.

    Parameters
    ----------
    sizes
        Columns ``device``, ``flows`` and ``counts``; each device once.
    """
    ordered = sizes.sort(["flows", "device"], descending=[True, False])
    return ordered.filter(pl.col("counts").cum_sum() > total)["device"]

