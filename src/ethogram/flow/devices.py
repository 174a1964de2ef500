"""Assign devices to the ends of flows; without a device file, every address inside is a device."""

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
    """Times at which the ends of a block were in use, where each pair of address and MAC is listed only once.

    Parameters
    ----------
    end
        Row of the end, for each of N uses.
    since, until
        Microseconds since 1970.
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
    """

    by_time: bool

    @property
    def forgotten(self) -> int:
        """Addresses and routers forgotten so far, because of bounds on memory."""
        ...

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
    """Makes every address inside a device, without a device file.

    A device is named by its MAC where that is known, so that all its addresses are one device: successive DHCP leases,
    and simultaneous IPv4 and IPv6 addresses. A MAC with several addresses of one kind at the same time
    (:mod:`ethogram.flow.relays`) belongs to a router or repeater, and does not identify the device behind it.

    Parameters
    ----------
    by
        ``mac`` or ``address``.
    router_addresses
        A MAC that uses more IPv4 addresses than this at the same time belongs to a router or repeater. This is decided
        block by block from the data so far, and never revoked.
    most
        Most pairs of MAC and address remembered, with at most 64 for each MAC and IP version, and most MACs of routers
        and repeaters; the oldest are forgotten first.

    Attributes
    ----------
    forgotten
        Pairs and router MACs forgotten so far.

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
        """Remember which inside addresses each MAC used, and when."""
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
            self._replace_pairs(self._pairs.filter(~pl.col("mac").is_in(routers.implode())))
        self._remember(new)

    def _routers_among(self, ends: pl.DataFrame, uses: Uses, new: pl.DataFrame) -> pl.Series:
        """MACs that are now recognised as those of routers or repeaters; only MACs with many addresses are examined."""
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
        """Add new pairs, and update the last use of known ones."""
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
        remaining = pairs.filter(pl.int_range(pl.len()).reverse().over("family") < _MAX_PER_MAC)
        remaining = remaining.drop("family").tail(self._most)
        self.forgotten += pairs.height - remaining.height
        self._replace_pairs(remaining)

    def _replace_pairs(self, pairs: pl.DataFrame) -> None:
        self._pairs, self._single = pairs, pairs.filter(pl.len().over("address") == 1)

    def behind_routers(self, ends: pl.DataFrame) -> pl.Series:
        """Whether each end is named by its address because its MAC belongs to a router or repeater."""
        behind = pl.col("mac").is_in(self._routers.implode()).fill_null(value=False) & (pl.col("place") == INSIDE)
        return ends.select(behind.alias("behind"))["behind"]

    def devices(self, ends: pl.DataFrame) -> pl.Series:
        """Device of each end: its MAC, else the only MAC seen with its address, else its address; null if outside."""
        inside = pl.col("place") == INSIDE
        if not self._pairs.height and not len(self._routers):
            by_mac = pl.col("mac").is_not_null() & (pl.col("place") == UNSPECIFIED) & (self._by == "mac")
            return ends.select(pl.when(by_mac).then("mac").when(inside).then("address").alias("device"))["device"]
        by_mac = pl.col("mac").is_not_null()
        if len(self._routers):
            by_mac = by_mac & ~pl.col("mac").is_in(self._routers.implode())
        ends = ends.with_columns(mac=pl.when(by_mac).then("mac"))
        if ends.select((inside & pl.col("mac").is_null()).any()).item():
            ends = ends.with_columns(mac=pl.coalesce("mac", self._known(ends["address"])))
        # A host without an address yet (DHCP) is identified by its MAC alone.
        near = inside | (pl.col("place") == UNSPECIFIED)
        return ends.select(
            pl.when(near & pl.col("mac").is_not_null()).then("mac").when(inside).then("address").alias("device")
        )["device"]

    def _known(self, addresses: pl.Series) -> pl.Series:
        """MAC of addresses seen with a single MAC; captures often hold the MAC of one direction only."""
        single = self._single.filter(pl.col("address").is_in(addresses.unique().implode()))
        return addresses.to_frame("address").join(single, on="address", how="left", maintain_order="left")["mac"]


def _last_uses(ends: pl.DataFrame, uses: Uses, known: pl.Series) -> pl.DataFrame:
    """Pairs of MAC and address of the known ends, with the last period of their uses."""
    first, last = np.empty(ends.height, np.int64), np.empty(ends.height, np.int64)
    last_use(uses.end, column(uses.since), column(uses.until), WINDOW_US, first, last)
    pair = pl.struct("mac", "address").hash(1)
    return ends.select("mac", "address", pair.alias("hash"), since=first, until=last).filter(known)
