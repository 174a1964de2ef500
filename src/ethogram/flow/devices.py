"""Which device an end of a flow is: from a device file, or without one, every address inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram.flow.factorize import factorize_pairs
from ethogram.flow.local import INSIDE, UNSPECIFIED
from ethogram.flow.relays import ONE_AT_A_TIME, WINDOW_US, last_use, relays

__all__ = ["LocalDevices", "Namer", "Uses"]

_MAX_REMEMBERED = 1 << 20
_MAX_PER_MAC = 64
_PAIR = {"mac": pl.String(), "address": pl.String(), "hash": pl.UInt64(), "since": pl.Int64(), "until": pl.Int64()}


@dataclass(frozen=True)
class Uses:
    """When the ends of a block were in use, which are shown only once for each address and MAC.

    Parameters
    ----------
    end
        Row of the end, of each of N uses.
    since, until
        In microseconds.
    """

    end: NDArray[np.int32]
    since: pl.Series
    until: pl.Series


class Namer(Protocol):
    """Assigns devices to the ends of flows.

    The methods take *ends*: columns ``start``, ``address``, ``mac`` and ``place`` (:mod:`ethogram.flow.local`), length
    N.

    Attributes
    ----------
    by_time
        Whether the device depends on the time of the flow. If not, each pair of address and MAC is passed only once a
        block.
    forgotten
        Addresses and routers forgotten so far, because of bounds on memory.
    """

    by_time: bool
    forgotten: int

    def learn(self, ends: pl.DataFrame, uses: Uses | None = None) -> None:
        """Learn from a block before its ends are named; without ``uses``, each end is one use, at its start."""
        ...

    def devices(self, ends: pl.DataFrame) -> pl.Series:
        """Name of each end's device, null for none. The ends were passed to :meth:`learn` before."""
        ...

    def behind_routers(self, ends: pl.DataFrame) -> pl.Series:
        """Whether each end is named by its address because its MAC belongs to a router or repeater."""
        ...


class LocalDevices:
    """Without a device file every address inside is a device.

    It is named by its MAC where that is known, so that all addresses of a device are one device: its DHCP leases one
    after the other, its IPv4 and IPv6 addresses at once. A MAC with several addresses of one kind at the same time
    (:mod:`ethogram.flow.relays`) is that of a router or repeater, and says nothing about the device behind it.

    Parameters
    ----------
    by
        ``mac`` or ``address``.
    router_addresses
        A MAC that uses more IPv4 addresses than this at the same time is a router's or repeater's. It is judged on
        what was read so far, a block at a time, and stays one.
    most
        Pairs of MAC and address remembered, at most 64 of one MAC and version of IP; the oldest are forgotten first.
        As many MACs of routers and repeaters at most.

    Attributes
    ----------
    forgotten
        Pairs and routers forgotten so far.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> ends = pl.DataFrame({"start": [datetime(2020, 1, 1, tzinfo=UTC)] * 2, "address": ["10.0.0.2", "8.8.8.8"],
    ...                      "mac": ["aa:bb:cc:00:00:01", "aa:bb:cc:00:00:02"], "place": [1, 0]})
    >>> namer = LocalDevices()
    >>> namer.learn(ends)
    >>> namer.devices(ends).to_list()
    ['aa:bb:cc:00:00:01', None]
    """

    by_time = False

    def __init__(self, by: str = "mac", router_addresses: int = 2, most: int = _MAX_REMEMBERED) -> None:
        self._by = by
        self._limit = router_addresses
        self._most = most
        self._pairs = pl.DataFrame(schema=_PAIR)
        self._routers = pl.Series("mac", dtype=pl.String)
        self._single = self._pairs
        self.forgotten = 0

    def learn(self, ends: pl.DataFrame, uses: Uses | None = None) -> None:
        """Remember which addresses inside each MAC has, and when it had them."""
        if self._by != "mac" or ends["mac"].null_count() == ends.height:
            return
        if uses is None:
            start = ends["start"].to_physical()
            which, row = factorize_pairs(*(column(ends[name].hash(1)) for name in ("mac", "address")))
            ends, uses = ends[pl.Series(row)], Uses(which, start, start)
        known = ends.select((pl.col("mac").is_not_null() & (pl.col("place") == INSIDE)).alias("known")).to_series()
        if len(self._routers):
            known = known & ~ends["mac"].is_in(self._routers.implode())
        if not known.any():
            return
        new = _last_uses(ends, uses, known)
        routers = self._routers_among(ends, uses, new)
        if len(routers):
            self._routers = pl.concat([self._routers, routers])
            self.forgotten += max(len(self._routers) - self._most, 0)
            self._routers = self._routers.tail(self._most)
            new = new.filter(~pl.col("mac").is_in(routers.implode()))
            self._keep(self._pairs.filter(~pl.col("mac").is_in(routers.implode())))
        self._remember(new)

    def _routers_among(self, ends: pl.DataFrame, uses: Uses, new: pl.DataFrame) -> pl.Series:
        """MACs that turn out to be a router's or repeater's; only those with many addresses are looked at closely."""
        before = self._pairs.filter(pl.col("mac").is_in(new["mac"].unique().implode()))
        kinds = pl.concat([before.select("mac", "address"), new.select("mac", "address")]).unique()
        kinds = kinds.with_columns(ONE_AT_A_TIME.alias("kind")).drop_nulls("kind")
        many = kinds.group_by("mac", "kind").len().filter(pl.col("len") > self._limit)["mac"].unique()
        if not len(many):
            return self._routers.clear()
        close = ends.select(pl.col("mac").is_in(many.implode()).fill_null(value=False)).to_series()
        rows = np.flatnonzero(column(close & (ends["place"] == INSIDE))[uses.end])
        at = pl.Series(rows)
        seen = ends.select("mac", "address")[pl.Series(uses.end[rows])].with_columns(
            since=uses.since.gather(at), until=uses.until.gather(at)
        )
        before = before.filter(pl.col("mac").is_in(many.implode())).select(seen.columns)
        return relays(pl.concat([before, seen]).with_columns(ONE_AT_A_TIME.alias("kind")), self._limit)

    def _remember(self, new: pl.DataFrame) -> None:
        """Add pairs, and the last use of those that are known."""
        again = new.filter(pl.col("hash").is_in(self._pairs["hash"].implode()))
        new = new.filter(~pl.col("hash").is_in(again["hash"].implode()))
        if again.height:
            later = again.select("hash", later_since="since", later_until="until")
            known = self._pairs.join(later, on="hash", how="left", maintain_order="left")
            begins_anew = pl.col("later_since") > pl.col("until") + WINDOW_US
            self._pairs = known.with_columns(
                since=pl.when(begins_anew).then("later_since").otherwise(pl.min_horizontal("since", "later_since")),
                until=pl.max_horizontal("until", "later_until"),
            ).select(self._pairs.columns)
        if not new.height:
            return
        pairs = pl.concat([self._pairs, new])
        family = pl.struct("mac", pl.col("address").str.contains(".", literal=True).alias("four")).hash(1)
        pairs = pairs.with_columns(family.alias("family"))
        kept = pairs.filter(pl.int_range(pl.len()).reverse().over("family") < _MAX_PER_MAC)
        kept = kept.drop("family").tail(self._most)
        self.forgotten += pairs.height - kept.height
        self._keep(kept)

    def _keep(self, pairs: pl.DataFrame) -> None:
        self._pairs, self._single = pairs, pairs.filter(pl.len().over("address") == 1)

    def behind_routers(self, ends: pl.DataFrame) -> pl.Series:
        """Whether each end is named by its address because its MAC is a router's or repeater's."""
        behind = pl.col("mac").is_in(self._routers.implode()).fill_null(value=False) & (pl.col("place") == INSIDE)
        return ends.select(behind.alias("behind"))["behind"]
    def devices(self, ends: pl.DataFrame) -> pl.Series:
        """Device of each end: its MAC, else the only one its address was seen with, else its address; null outside."""
        inside = pl.col("place") == INSIDE
        if not self._pairs.height and not len(self._routers):
            own = pl.col("mac").is_not_null() & (pl.col("place") == UNSPECIFIED) & (self._by == "mac")
            return ends.select(pl.when(own).then("mac").when(inside).then("address").alias("device"))["device"]
        own = pl.col("mac").is_not_null()
        if len(self._routers):
            own = own & ~pl.col("mac").is_in(self._routers.implode())
        ends = ends.with_columns(mac=pl.when(own).then("mac"))
        if ends.select((inside & pl.col("mac").is_null()).any()).item():
            ends = ends.with_columns(mac=pl.coalesce("mac", self._known(ends["address"])))
        # A host that has no address yet (DHCP) is known by its MAC alone.
        near = inside | (pl.col("place") == UNSPECIFIED)
        return ends.select(
            pl.when(near & pl.col("mac").is_not_null()).then("mac").when(inside).then("address").alias("device")
        )["device"]

    def _known(self, addresses: pl.Series) -> pl.Series:
        """The MAC of addresses that were seen with one only: captures often hold the MAC of one direction."""
        single = self._single.filter(pl.col("address").is_in(addresses.unique().implode()))
        return addresses.to_frame("address").join(single, on="address", how="left", maintain_order="left")["mac"]


def _last_uses(ends: pl.DataFrame, uses: Uses, known: pl.Series) -> pl.DataFrame:
    """Pairs of MAC and address of the known ends, with the last stretch of their uses."""
    first, last = np.empty(ends.height, np.int64), np.empty(ends.height, np.int64)
    last_use(uses.end, column(uses.since), column(uses.until), WINDOW_US, first, last)
    pair = pl.struct("mac", "address").hash(1)
    return ends.select("mac", "address", pair.alias("hash"), since=first, until=last).filter(known)
