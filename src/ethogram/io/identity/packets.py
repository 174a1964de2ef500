"""Identity facts of the packets of a capture: DHCP, mDNS, LLMNR, SSDP, NetBIOS names, and LLDP.

Only packets of these ports are looked at, and of them only messages that differ: devices repeat what they announce.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ethogram._address_text import MAC, AddressText
from ethogram.io.identity.dhcp import (
    DHCP_CLIENT,
    DHCP_SERVER,
    DHCPV6_CLIENT,
    read_dhcp,
    read_dhcpv6,
)
from ethogram.io.identity.digest import hash_payloads
from ethogram.io.identity.lldp import read_lldp
from ethogram.io.identity.mdns import LLMNR, MDNS, read_llmnr, read_mdns
from ethogram.io.identity.nbns import NBDGM, NBNS, read_nbns, read_netbios_datagram
from ethogram.io.identity.ssdp import SSDP, read_ssdp
from ethogram.io.identity.statement import Statement
from ethogram.schema import IDENTITY, UDP, PacketBatch

__all__ = ["IDENTITY_PORTS", "PORT_NAMES", "PacketFacts", "read_payload"]

MAX_MESSAGES = 1 << 16
"""Different messages parsed of one capture."""
_MAX_KEPT = 1 << 12
_MAX_OCTETS = 9000


class _Protocol(NamedTuple):
    """Messages of one protocol: the port that makes a packet one, on which side, and the parser."""

    source: str
    port: int
    sent_from: bool  # whether the port is the source's; else the destination's
    skip: int  # octets at the beginning that differ in every message
    read: Callable[[bytes, str | None], list[Statement]]


def _alone(read: Callable[[bytes], list[Statement]]) -> Callable[[bytes, str | None], list[Statement]]:
    return lambda message, _: read(message)


_PROTOCOLS = (
    _Protocol("DHCP", DHCP_CLIENT, True, 0, _alone(read_dhcp)),
    _Protocol("DHCP", DHCP_SERVER, True, 0, _alone(read_dhcp)),
    _Protocol("DHCPv6", DHCPV6_CLIENT, True, 4, _alone(read_dhcpv6)),
    _Protocol("mDNS", MDNS, True, 2, read_mdns),
    _Protocol("LLMNR", LLMNR, True, 2, _alone(read_llmnr)),
    _Protocol("LLMNR", LLMNR, False, 2, _alone(read_llmnr)),
    _Protocol("SSDP", SSDP, True, 0, _alone(read_ssdp)),
    _Protocol("SSDP", SSDP, False, 0, _alone(read_ssdp)),
    _Protocol("NBNS", NBNS, True, 2, _alone(read_nbns)),
    _Protocol("NBNS", NBDGM, True, 0, _alone(read_netbios_datagram)),
)
"""In order of precedence: a packet is a message of the first protocol that fits."""
_OF_SOURCE_PORT, _OF_DESTINATION_PORT = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8)
for _number, _protocol in reversed(list(enumerate(_PROTOCOLS, 1))):
    (_OF_SOURCE_PORT if _protocol.sent_from else _OF_DESTINATION_PORT)[_protocol.port] = _number
IDENTITY_PORTS = (_OF_SOURCE_PORT > 0) | (_OF_DESTINATION_PORT > 0)
"""Whether messages of each UDP port can state facts, bool[65536]."""
PORT_NAMES = {protocol.port: protocol.source for protocol in _PROTOCOLS}
"""Name of the protocol of each of these ports."""
_SKIP = np.array([0] + [protocol.skip for protocol in _PROTOCOLS], np.int64)


def read_payload(source_port: int, destination_port: int, octets: bytes, sender: str | None) -> list[Statement]:
    """Statements of one UDP payload that something else than a capture gives, whole or cut.

    Parameters
    ----------
    source_port, destination_port, sender
        Ports and source address of the packet.
    octets
        Its payload; at most the first 9,000 octets are read.

    Examples
    --------
    >>> read_payload(1900, 50000, b"NOTIFY * HTTP/1.1\r\nSERVER: Hub/1\r\n", None)[0].facts
    (('ssdp_server', 'Hub/1'),)
    """
    number = int(_OF_SOURCE_PORT[source_port]) or int(_OF_DESTINATION_PORT[destination_port])
    if not number or not octets:
        return []
    protocol = _PROTOCOLS[number - 1]
    return protocol.read(octets[:_MAX_OCTETS], sender if protocol.read is read_mdns else None)


class PacketFacts:
    """Collects the facts that the packets of a capture state.

    Parameters
    ----------
    most
        Most different messages parsed.

    Attributes
    ----------
    left_out
        Messages beyond the bound.
    """

    def __init__(self, most: int = MAX_MESSAGES) -> None:
        self._most = most
        self._parsed = 0
        self._seed = np.uint64(secrets.randbits(63))
        self._text = AddressText()
        self._frames: list[pl.DataFrame] = []
        self._parsed_by_hash: dict[tuple[int, str | None], list[Statement]] = {}
        self.left_out = 0

    def feed(self, batch: PacketBatch) -> None:
        """Take the packets of a batch."""
        kinds = _OF_SOURCE_PORT[batch.source_port]
        kinds = np.where(kinds > 0, kinds, _OF_DESTINATION_PORT[batch.destination_port])
        rows = np.flatnonzero((kinds > 0) & (batch.protocol == UDP) & (batch.payload_octets > 0))
        if not rows.size:
            return
        kind = kinds[rows]
        sizes = np.minimum(batch.payload_octets[rows], _MAX_OCTETS).astype(np.int64)
        hashes = np.empty(rows.size, np.uint64)
        hash_payloads(batch.data, batch.payload_offset[rows], sizes, np.minimum(_SKIP[kind], sizes), self._seed, hashes)
        distinct = pl.DataFrame({
            "row": rows, "kind": kind, "hash": hashes, "mac": batch.source_mac[rows],
            "high": batch.source_high[rows], "low": batch.source_low[rows], "time": batch.time_ns[rows] // 1000,
        }).group_by("kind", "hash", "mac", "high", "low", maintain_order=True).agg(
            pl.col("row").first(), first=pl.col("time").min(), last=pl.col("time").max(), times=pl.len(),
        )  # fmt: skip
        self._read(batch, distinct)

    def _read(self, batch: PacketBatch, messages: pl.DataFrame) -> None:
        """Parse different messages, and keep their facts."""
        rows = messages["row"].to_numpy()
        none = np.zeros(rows.size, np.uint64)
        macs = self._text(np.full(rows.size, MAC, np.uint8), none, batch.source_mac[rows])
        addresses = self._text(batch.version[rows], batch.source_high[rows], batch.source_low[rows])
        stated: list[tuple[Any, ...]] = []
        for row, kind, key, first, last, times, mac, address in zip(
            rows.tolist(), *(messages[name].to_list() for name in ("kind", "hash", "first", "last", "times")),
            macs.to_list(), addresses.to_list(), strict=True,
        ):  # fmt: skip
            protocol = _PROTOCOLS[kind - 1]
            sender = address if protocol.read is read_mdns else None
            for statement in self._statements(batch, row, protocol, (key, sender)):
                own_mac = statement.mac or (mac if statement.by_sender else None)
                own_address = statement.address or (address if statement.by_sender and not statement.mac else None)
                for fact, value in statement.facts:
                    stated.append((own_mac, own_address, fact, value, protocol.source, first, last, times))
        self._keep(stated)

    def _statements(
        self, batch: PacketBatch, row: int, protocol: _Protocol, key: tuple[int, str | None]
    ) -> list[Statement]:
        parsed = self._parsed_by_hash.get(key)
        if parsed is not None:
            return parsed
        if self._parsed >= self._most:
            self.left_out += 1
            return []
        self._parsed += 1
        begin = int(batch.payload_offset[row])
        end = begin + min(int(batch.payload_octets[row]), _MAX_OCTETS)
        statements = protocol.read(batch.data[begin:end].tobytes(), key[1])
        if len(self._parsed_by_hash) >= _MAX_KEPT:
            self._parsed_by_hash.clear()
        self._parsed_by_hash[key] = statements
        return statements

    def feed_frames(self, frames: Iterable[tuple[int, int, bytes]]) -> None:
        """Take LLDP frames: time in nanoseconds, source MAC as a number, and octets."""
        stated: list[tuple[Any, ...]] = []
        for time_ns, number, octets in frames:
            mac = number.to_bytes(6).hex(":") if 0 < number < 1 << 48 else None
            time = time_ns // 1000
            for statement in read_lldp(octets):
                address = statement.address
                stated += [(mac, address, fact, value, "LLDP", time, time, 1) for fact, value in statement.facts]
        self._keep(stated)

    def _keep(self, stated: list[tuple[Any, ...]]) -> None:
        """Keep facts with mac, address, fact, value, source, first, last and times."""
        if stated:
            names = ("mac", "address", "fact", "value", "source", "first", "last", "times")
            columns = dict(zip(names, map(list, zip(*stated, strict=True)), strict=True))
            self._frames.append(IDENTITY.conform(_frame(columns)))
        if len(self._frames) > 64:
            self._frames = [self.table()]

    def table(self) -> pl.DataFrame:
        """The facts so far (:data:`ethogram.schema.IDENTITY`), one row for each sender, fact, value and source."""
        if not self._frames:
            return IDENTITY.empty()
        keys = ["mac", "address", "fact", "value", "source"]
        sums = [pl.col("first").min(), pl.col("last").max(), pl.col("times").sum()]
        return IDENTITY.conform(pl.concat(self._frames).group_by(keys, maintain_order=True).agg(sums))


def _frame(columns: dict[str, list[Any]]) -> pl.DataFrame:
    types: dict[str, Any] = {"mac": pl.String, "address": pl.String, "first": pl.Int64, "last": pl.Int64}
    frame = pl.DataFrame(columns, schema_overrides=types)
    return frame.with_columns(pl.col("first", "last").cast(IDENTITY.schema["first"]))
