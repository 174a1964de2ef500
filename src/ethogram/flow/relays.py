"""MACs that stand for several hosts: routers, repeaters and proxies are told by addresses in use at the same time.

A host has one address after the other (DHCP), and addresses of several kinds at once (IPv4, link-local and temporary
IPv6). Several addresses of one kind at once are those of hosts behind it. IPv6 addresses that are not link-local say
nothing: a host has many of them at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram.flow.compiled import compiled

__all__ = ["ONE_AT_A_TIME", "WINDOW_US", "last_use", "relays"]

WINDOW_US = 15 * 60 * 1_000_000
"""Addresses used within this time are in use at the same time: shorter than any usual lease."""

_SELF_ASSIGNED = "169.254."
ONE_AT_A_TIME = (
    pl.when(pl.col("address").str.contains(".", literal=True))
    .then(pl.when(~pl.col("address").str.starts_with(_SELF_ASSIGNED)).then(pl.lit(4, dtype=pl.UInt8)))
    .when(pl.col("address").str.contains("^fe[89ab]"))
    .then(pl.lit(6, dtype=pl.UInt8))
)
"""Kind of an address of which a host uses one at a time: routable IPv4, link-local IPv6; null for others."""


def relays(uses: pl.DataFrame, most: int) -> pl.Series:
    """The MACs that have used more than ``most`` addresses of one kind at the same time.

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
    found = np.zeros(uses.height, np.bool_)
    at_once(group, number, since, until, most, WINDOW_US, found)
    return uses["mac"].filter(pl.Series(found)).unique(maintain_order=True)


@compiled
def at_once(group: Any, address: Any, since: Any, until: Any, most: int, window: int, found: NDArray[np.bool_]) -> None:
    """Mark the uses, in order of group and start, at whose start more than ``most`` addresses of the group are in use.

    Only the addresses used last are looked at: one more than ``most``.
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
        found[i] = count > most


@compiled
def last_use(which: Any, since: Any, until: Any, window: int, first: Any, last: Any) -> None:
    """Fill in the last stretch of uses of each of several things, in which none is further apart than the window.

    Parameters
    ----------
    which, since, until
        Of N uses, nearly in order of time.
    first, last
        Begin and end of the stretch of each thing; ``last`` below ``first`` for none.
    """
    for i in range(len(first)):
        first[i], last[i] = 1, 0
    for i in range(len(which)):
        thing = which[i]
        if last[thing] < first[thing] or since[i] > last[thing] + window:
            first[thing], last[thing] = since[i], max(since[i], until[i])
        elif until[i] >= first[thing] - window:
            first[thing], last[thing] = min(first[thing], since[i]), max(last[thing], until[i])
