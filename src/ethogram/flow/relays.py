"""Recognise MACs of routers, repeaters and proxies by several addresses in use at the same time.

A host has successive addresses (DHCP), and simultaneous addresses of different kinds (IPv4, link-local and temporary
IPv6). Several simultaneous addresses of one kind belong to hosts behind the MAC. IPv6 addresses that are not link-local
are not considered, because a host has many of them at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram.flow.compiled import compiled

__all__ = ["ONE_AT_A_TIME", "WINDOW_US", "last_use", "relays", "use_spans"]

WINDOW_US = 15 * 60 * 1_000_000
"""Addresses used within this time count as simultaneous; it is shorter than usual leases."""

_SELF_ASSIGNED = "169.254."
ONE_AT_A_TIME = (
    pl.when(pl.col("address").str.contains(".", literal=True))
    .then(pl.when(~pl.col("address").str.starts_with(_SELF_ASSIGNED)).then(pl.lit(4, dtype=pl.UInt8)))
    .when(pl.col("address").str.contains("^fe[89ab]"))
    .then(pl.lit(6, dtype=pl.UInt8))
)
"""Kind of an address of which a host uses one at a time (routable IPv4, link-local IPv6); null for others."""


def relays(uses: pl.DataFrame, most: int) -> pl.Series:
    """MACs that used more than ``most`` addresses of one kind at the same time.

    Parameters
    ----------
    uses
        Columns ``mac``, ``kind`` (:data:`ONE_AT_A_TIME`), ``address``, ``since``, ``until`` (microseconds), in any
        order.
    """
    uses = uses.filter(pl.col("kind").is_not_null()).with_columns(
        pl.struct("mac", "kind").rank("dense").alias("group"), pl.col("address").rank("dense").alias("number")
    )
    uses = uses.sort("group", "since", "until", "number")
    group, number, since, until = (
        column(uses[name].cast(pl.Int64)) for name in ("group", "number", "since", "until")
    )
    over = np.zeros(uses.height, np.bool_)
    at_once(group, number, since, until, most, WINDOW_US, over)
    return uses["mac"].filter(pl.Series(over)).unique(maintain_order=True)


@compiled
def at_once(group: Any, address: Any, since: Any, until: Any, most: int, window: int, over: NDArray[np.bool_]) -> None:
    """Mark the uses at whose start more than ``most`` addresses of their group are in use.

    Uses are sorted by group and start. Only the ``most + 1`` addresses used last are tracked.
    """
    addresses, last = np.empty(most + 1, np.int64), np.empty(most + 1, np.int64)
    filled = 0
    for i in range(len(group)):
        if i == 0 or group[i] != group[i - 1]:
            filled = 0
        place, oldest = -1, 0
        for j in range(filled):
            if addresses[j] == address[i]:
                place = j
            if last[j] < last[oldest]:
                oldest = j
        if place >= 0:
            last[place] = max(last[place], until[i])
        else:
            if filled <= most:
                place = filled
                filled += 1
            else:
                place = oldest
            addresses[place], last[place] = address[i], until[i]
        count = 0
        for j in range(filled):
            count += last[j] >= since[i] - window
        over[i] = count > most


@compiled
def last_use(which: Any, since: Any, until: Any, window: int, first: Any, last: Any) -> None:
    """Fill in the last period of uses of each item, within which gaps are at most ``window``.

    Parameters
    ----------
    which, since, until
        Item and times of N uses, nearly in order of time.
    first, last
        Filled in: begin and end of the period of each item; ``last`` below ``first`` for none.
    """
    for i in range(len(first)):
        first[i], last[i] = 1, 0
    for i in range(len(which)):
        item = which[i]
        if last[item] < first[item] or since[i] > last[item] + window:
            first[item], last[item] = since[i], max(since[i], until[i])
        elif until[i] >= first[item] - window:
            first[item], last[item] = min(first[item], since[i]), max(last[item], until[i])


@compiled
def use_spans(end: Any, since: Any, until: Any, first: Any, last: Any, times: Any) -> None:
    """First and last time of the uses of each end, and their number.

    Parameters
    ----------
    end
        Row of the end, for each of N uses.
    since, until
        Times of each use.
    first, last, times
        Filled in for each end; ``times`` begins with zeros.
    """
    for i in range(len(end)):
        at = end[i]
        if times[at] == 0:
            first[at], last[at] = since[i], until[i]
        times[at] += 1
        first[at] = min(first[at], since[i])
        last[at] = max(last[at], until[i])
