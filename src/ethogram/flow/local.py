"""Classify addresses: inside the network, outside, or multicast and broadcast."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import polars as pl

from ethogram._parse_address import parse_prefix
from ethogram.errors import ConfigurationError

__all__ = ["INSIDE", "MULTICAST", "OUTSIDE", "UNSPECIFIED", "LocalNetwork"]

OUTSIDE, INSIDE, MULTICAST, UNSPECIFIED = 0, 1, 2, 3
"""Places of addresses; *unspecified* is 0.0.0.0 and ::, used by hosts that have no address yet."""

_MAX_REMEMBERED = 1 << 20
_MAX_SENDERS = 1 << 16
_LARGEST_SUBNET, _LONGEST_WITH_BROADCAST = 20, 30


class LocalNetwork:
    """The prefixes of the local network.

    The last address of each IPv4 prefix is its broadcast address. Prefixes shorter than /20 contain many subnets, whose
    masks flow records do not carry, so an address in them that ends in .255 counts as broadcast until it sends
    (:meth:`learn_senders`). A prefix of /20 or longer counts as a single subnet, in which such an address is a host.

    Parameters
    ----------
    prefixes
        IPv4 and IPv6 prefixes in CIDR notation; an IPv4-mapped prefix is converted to IPv4.

    Raises
    ------
    ConfigurationError
        If one of them is not a prefix.

    Examples
    --------
    >>> home = LocalNetwork(["192.168.0.0/16", "fe80::/10"])
    >>> home.places(pl.Series(["192.168.1.5", "8.8.8.8", "224.0.0.251", "fe80::1", "192.168.1.255"])).to_list()
    [1, 0, 2, 1, 2]
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        self._four: list[tuple[int, int]] = []
        self._broadcast: list[int] = []
        self._subnets: list[tuple[int, int]] = []
        self._senders: set[str] = set()
        self._six: list[ipaddress.IPv6Network] = []
        self._known: dict[str, int] = {}
        for prefix in prefixes:
            try:
                network = parse_prefix(prefix)
            except ValueError:
                raise ConfigurationError(f"setting local: {prefix!r} is no prefix such as 192.168.0.0/16") from None
            if isinstance(network, ipaddress.IPv4Network):
                bounds = int(network.network_address), int(network.netmask)
                self._four.append(bounds)
                if network.prefixlen <= _LONGEST_WITH_BROADCAST:
                    self._broadcast.append(int(network.broadcast_address))
                if network.prefixlen >= _LARGEST_SUBNET:
                    self._subnets.append(bounds)
            else:
                self._six.append(network)

    def learn_senders(self, addresses: pl.Series) -> None:
        """Learn which addresses send, and so are not broadcast; at most 65,536 that end in .255 are remembered."""
        senders = addresses.filter(addresses.str.ends_with(".255")).unique()
        if len(senders) and len(self._senders) < _MAX_SENDERS:
            self._senders.update(senders.head(_MAX_SENDERS - len(self._senders)))

    def places(self, addresses: pl.Series) -> pl.Series:
        """Place of each address; ``addresses`` should be distinct, length A."""
        frame = pl.DataFrame({"address": addresses})
        octets = pl.col("address").str.split_exact(".", 3).struct
        frame = frame.with_columns(
            number=sum(
                (octets.field(f"field_{i}").cast(pl.Int64, strict=False) * (1 << (24 - 8 * i)) for i in range(4)),
                start=pl.lit(0, dtype=pl.Int64),
            )
        )
        number = pl.col("number")
        inside = pl.lit(False)
        for network, mask in self._four:
            inside = inside | (number.and_(pl.lit(mask, dtype=pl.Int64)) == network)
        host = pl.lit(False)
        for network, mask in self._subnets:
            host = host | (number.and_(pl.lit(mask, dtype=pl.Int64)) == network)
        if self._senders:
            host = host | pl.col("address").is_in(list(self._senders))
        guessed = inside & (number.and_(pl.lit(255, dtype=pl.Int64)) == 255) & ~host
        four = (
            pl.when((number >= 0xE0000000) & (number < 0xF0000000) | (number == 0xFFFFFFFF)).then(MULTICAST)
            .when(number == 0).then(UNSPECIFIED)
            .when(number.is_in(self._broadcast) | guessed).then(MULTICAST)
            .when(inside).then(INSIDE).otherwise(OUTSIDE)
        )  # fmt: skip
        places = frame.select(pl.when(number.is_not_null()).then(four).cast(pl.UInt8).alias("place"))["place"]
        if places.null_count():
            others = addresses.filter(places.is_null())
            places = places.scatter(places.is_null().arg_true(), [self._six_place(text) for text in others])
        return places

    def _six_place(self, text: str) -> int:
        place = self._known.get(text)
        if place is None:
            place = self._six_place_of(text)
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[text] = place
        return place

    def _six_place_of(self, text: str) -> int:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return OUTSIDE
        if address.is_multicast:
            return MULTICAST
        if address.is_unspecified:
            return UNSPECIFIED
        if isinstance(address, ipaddress.IPv6Address) and any(address in network for network in self._six):
            return INSIDE
        return OUTSIDE
