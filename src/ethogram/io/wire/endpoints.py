"""Addresses, ports and protocol of records, through dual-stack templates, tunnels and NAT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._address_text import AddressText
from ethogram.io.record_reader import PORT_PROTOCOLS
from ethogram.io.wire.plan import Plan
from ethogram.io.wire.records import Records

__all__ = ["Addresses", "Endpoints", "endpoints_of"]

Halves = NDArray[np.uint64]

MAPPED_ZERO = np.uint64(0xFFFF << 32)
PORTED = np.zeros(256, bool)
PORTED[list(PORT_PROTOCOLS)] = True


@dataclass
class Addresses:
    """One address of each of N records: its version (a single one, or uint8[N]) and its halves."""

    version: NDArray[np.uint8] | int
    high: Halves
    low: Halves

    def zero(self) -> NDArray[np.bool_]:
        """Whether each address is 0.0.0.0, ``::`` or ``::ffff:0.0.0.0``."""
        nothing: NDArray[np.bool_] = ((self.low == 0) | (self.low == MAPPED_ZERO)) & (self.high == 0)
        return nothing

    def versions(self) -> NDArray[np.uint8]:
        """IP version of each record."""
        if isinstance(self.version, int):
            return np.full(self.low.shape[0], self.version, np.uint8)
        return self.version

    def replaced(self, other: Addresses, where: NDArray[np.bool_]) -> Addresses:
        """Replace addresses where the mask is true."""
        version: NDArray[np.uint8] | int
        if isinstance(self.version, int) and self.version == other.version:
            version = self.version
        else:
            version = np.where(where, other.versions(), self.versions())
        return Addresses(version, np.where(where, other.high, self.high), np.where(where, other.low, self.low))

    def text(self, text: AddressText) -> pl.Series:
        """Format as text."""
        return text(self.versions(), self.high, self.low)

    def of(self, rows: NDArray[np.int64]) -> Addresses:
        """Select rows."""
        version = self.version if isinstance(self.version, int) else self.version[rows]
        return Addresses(version, self.high[rows], self.low[rows])


@dataclass
class Endpoints:
    """Source and destination of N records.

    ``level`` is the tunnel depth of the addresses, int64[N], or None if no template field repeats.
    """

    source: Addresses
    destination: Addresses
    protocol: NDArray[np.uint8]
    source_port: NDArray[np.uint16]
    destination_port: NDArray[np.uint16]
    level: NDArray[np.int64] | None

    def of(self, rows: NDArray[np.int64]) -> Endpoints:
        """Select rows."""
        level = None if self.level is None else self.level[rows]
        return Endpoints(
            self.source.of(rows), self.destination.of(rows), self.protocol[rows],
            self.source_port[rows], self.destination_port[rows], level,
        )  # fmt: skip


def endpoints_of(plan: Plan, records: Records) -> Endpoints:
    """Source and destination of each record.

    Parameters
    ----------
    plan
        Plan of the template, which has addresses and a protocol.
    records
        N records.
    """
    source, destination, level = _pair(plan, records)
    protocol = _by_level(plan.protocol, records, level).astype(np.uint8)
    ports = [_port(places, records, level) for places in plan.ports]
    for version, place in plan.nat:
        behind = Addresses(version, *records.address(place))
        changed = ~behind.zero()
        if changed.any():
            destination = destination.replaced(behind, changed)
    for place in plan.nat_port:
        behind_port = records.unsigned(place)
        ports[1] = np.where(behind_port > 0, behind_port.astype(np.uint16), ports[1])
    ported = PORTED[protocol]
    if not ported.all():
        ports = [np.where(ported, port, np.uint16(0)) for port in ports]
    return Endpoints(source, destination, protocol, ports[0], ports[1], level)


def _pair(plan: Plan, records: Records) -> tuple[Addresses, Addresses, NDArray[np.int64] | None]:
    """The relevant address pair: the innermost one that is not all zero."""
    first = plan.pairs[0]
    source = Addresses(first.version, *records.address(first.source))
    destination = Addresses(first.version, *records.address(first.destination))
    if len(plan.pairs) == 1:
        return source, destination, None
    nested = plan.pairs[-1].level > 0
    stated = records.unsigned(plan.ip_version[0]) if plan.ip_version and not nested else None
    level = np.zeros(len(records), np.int64) if nested else None
    for pair in plan.pairs[1:]:
        here = Addresses(pair.version, *records.address(pair.source))
        there = Addresses(pair.version, *records.address(pair.destination))
        taken = ~(here.zero() & there.zero())
        if stated is not None:
            # If both pairs are set, the IP version of the record decides.
            taken &= (stated == pair.version) | ~np.isin(stated, (4, 6)) | (source.zero() & destination.zero())
        source, destination = source.replaced(here, taken), destination.replaced(there, taken)
        if level is not None:
            level = np.where(taken, pair.level, level)
    return source, destination, level


def _by_level(places: list[int], records: Records, level: NDArray[np.int64] | None) -> Halves:
    """The value of a repeated field at each tunnel level; levels without one use the previous level."""
    values = records.unsigned(places[0])
    if level is not None:
        for depth, place in enumerate(places):
            if depth:
                values = np.where(level >= depth, records.unsigned(place), values)
    return values


def _port(places: list[list[int]], records: Records, level: NDArray[np.int64] | None) -> NDArray[np.uint16]:
    if not places:
        return np.zeros(len(records), np.uint16)
    if len(places[0]) == 1:
        return _by_level([place for place, *_ in places], records, level).astype(np.uint16)
    # One element per protocol: those of other protocols are 0.
    ports = records.unsigned(places[0][0])
    for place in places[0][1:]:
        ports = np.maximum(ports, records.unsigned(place))
    return ports.astype(np.uint16)
