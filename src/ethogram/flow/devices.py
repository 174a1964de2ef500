"""Which device an end of a flow is: from a device file, or without one, every address inside."""

from __future__ import annotations

from typing import Protocol

import polars as pl

from ethogram.flow.local import INSIDE, UNSPECIFIED
from ethogram.schema import by_unique

__all__ = ["LocalDevices", "Namer"]

_MAX_REMEMBERED = 1 << 20
_MAX_PER_MAC = 64


class Namer(Protocol):
    """Gives ends of flows their device."""

    def learn(self, ends: pl.DataFrame) -> None:
        """See a block before it is named."""
        ...

    def devices(self, ends: pl.DataFrame) -> pl.Series:
        """Device of each end, null where it is none.

        Parameters
        ----------
        ends
            Columns ``start``, ``address``, ``mac``, ``place``; length N.
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

    def __init__(self, by: str = "mac", router_addresses: int = 4) -> None:
        self._by = by
        self._limit = router_addresses
        self._pairs = pl.DataFrame(schema={"mac": pl.String, "address": pl.String})

    def learn(self, ends: pl.DataFrame) -> None:
        """Remember which addresses inside each MAC has had."""
        if self._by != "mac" or ends["mac"].null_count() == ends.height:
            return
        inside = ends.filter(pl.col("mac").is_not_null() & (pl.col("place") == INSIDE)).select("mac", "address")
        kind = pl.Categorical(pl.Categories.random())
        seen = inside.select(pl.all().cast(kind)).unique(maintain_order=True).select(pl.all().cast(pl.String))
        pairs = pl.concat([self._pairs, seen]).unique(maintain_order=True)
        # One more IPv4 address than the limit is all that need be known of a router.
        place = pl.int_range(pl.len()).over("mac", pl.col("address").str.contains(".", literal=True))
        self._pairs = pairs.filter(place <= max(self._limit, _MAX_PER_MAC)).tail(_MAX_REMEMBERED)

    def devices(self, ends: pl.DataFrame) -> pl.Series:
        """Device of each end: its MAC, else the only one its address was seen with, else its address; null outside."""
        inside = pl.col("place") == INSIDE
        if not self._pairs.height:
            own = pl.col("mac").is_not_null() & (pl.col("place") == UNSPECIFIED) & (self._by == "mac")
            return ends.select(pl.when(own).then("mac").when(inside).then("address").alias("device"))["device"]
        four = pl.col("address").str.contains(".", literal=True)
        many = self._pairs.group_by("mac").agg(four.sum().alias("four")).filter(pl.col("four") > self._limit)["mac"]
        own = pl.col("mac").is_not_null()
        if len(many):
            own = own & ~pl.col("mac").is_in(many.implode())
        ends = ends.with_columns(mac=pl.when(own).then("mac"))
        if ends.select((inside & pl.col("mac").is_null()).any()).item():
            ends = ends.with_columns(mac=pl.coalesce("mac", self._known(ends["address"], many)))
        # A host that has no address yet (DHCP) is known by its MAC alone.
        near = inside | (pl.col("place") == UNSPECIFIED)
        return ends.select(
            pl.when(near & pl.col("mac").is_not_null()).then("mac").when(inside).then("address").alias("device")
        )["device"]

    def _known(self, addresses: pl.Series, routers: pl.Series) -> pl.Series:
        """The MAC of addresses that were seen with one only: captures often hold the MAC of one direction."""
        pairs = self._pairs.filter(~pl.col("mac").is_in(routers.implode()))
        single = pairs.filter(pl.len().over("address") == 1)
        return by_unique(
            addresses, lambda texts: texts.to_frame("address").join(single, on="address", how="left",
                                                                    maintain_order="left")["mac"]
        )  # fmt: skip
