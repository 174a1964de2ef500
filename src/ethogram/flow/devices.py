"""Which device an end of a flow is: from a device file, or without one, every address inside."""

from __future__ import annotations

from typing import Protocol

import polars as pl

from ethogram.flow.local import INSIDE, UNSPECIFIED

__all__ = ["LocalDevices", "Namer"]

_MAX_REMEMBERED = 1 << 20
_MAX_PER_MAC = 64


class Namer(Protocol):
    """Gives ends of flows their device.

    Attributes
    ----------
    by_time
        Whether the time of a flow matters; otherwise ends of the same address and MAC are shown only once a block.
    """

    by_time: bool

    def learn(self, ends: pl.DataFrame) -> None:
        """See a block before it is named."""
        ...

    def devices(self, ends: pl.DataFrame) -> pl.Series:
        """Device of each end, null where it is none.

        Parameters
        ----------
        ends
            Columns ``start``, ``address``, ``mac``, ``place``; length N. All were learnt before.
        """
        ...


class LocalDevices:
    """Without a device file every address inside is a device.

    It is named by its MAC where that is known, so that all addresses of a device are one device. A MAC that many
    IPv4 addresses share is a router's, and says nothing about the device behind it.

    Parameters
    ----------
    by
        ``mac`` or ``address``.
    router_addresses
        A MAC with more IPv4 addresses than this is a router's. It is judged on what was read so far.
    most
        Pairs of MAC and address remembered, at most 64 of one MAC; the oldest are forgotten first.

    Attributes
    ----------
    forgotten
        Pairs forgotten so far.

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

    def __init__(self, by: str = "mac", router_addresses: int = 4, most: int = _MAX_REMEMBERED) -> None:
        self._by = by
        self._limit = router_addresses
        self._most = most
        self._pairs = pl.DataFrame(schema={"mac": pl.String, "address": pl.String, "hash": pl.UInt64})
        self._routers = pl.Series("mac", dtype=pl.String)
        self._single = self._pairs
        self._full = pl.Series("family", dtype=pl.UInt64)
        self.forgotten = 0

    def learn(self, ends: pl.DataFrame) -> None:
        """Remember which addresses inside each MAC has had."""
        if self._by != "mac" or ends["mac"].null_count() == ends.height:
            return
        inside = ends.filter(pl.col("mac").is_not_null() & (pl.col("place") == INSIDE)).select("mac", "address")
        seen = inside.unique(maintain_order=True).with_columns(pl.struct("mac", "address").hash(1).alias("hash"))
        new = seen.filter(~pl.col("hash").is_in(self._pairs["hash"].implode()) & ~_family().is_in(self._full.implode()))
        if not new.height:
            return
        pairs = pl.concat([self._pairs, new])
        # One more IPv4 address than the limit is all that need be known of a router.
        most = max(self._limit, _MAX_PER_MAC) + 1
        pairs = pairs.with_columns(_family().alias("family"))
        pairs = pairs.filter(pl.int_range(pl.len()).over("family") < most)
        self._full = pairs.filter(pl.len().over("family") >= most)["family"].unique()
        self.forgotten += max(pairs.height - self._most, 0)
        self._pairs = pairs.tail(self._most).drop("family")
        four = pl.col("address").str.contains(".", literal=True)
        counts = self._pairs.group_by("mac").agg(four.sum().alias("four"))
        self._routers = counts.filter(pl.col("four") > self._limit)["mac"]
        own = self._pairs.filter(~pl.col("mac").is_in(self._routers.implode()))
        self._single = own.filter(pl.len().over("address") == 1)

    def devices(self, ends: pl.DataFrame) -> pl.Series:
        """Device of each end: its MAC, else the only one its address was seen with, else its address; null outside."""
        inside = pl.col("place") == INSIDE
        if not self._pairs.height:
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


def _family() -> pl.Expr:
    """A number for a MAC and a version of IP."""
    return pl.struct("mac", pl.col("address").str.contains(".", literal=True).alias("four")).hash(1)
