"""Fragments of IPv4 packets, compiled: later ones find the ports of their first by the identification.

A table of bounded length in the order of arrival, and an index over it: which fragment is forgotten depends on the
packets alone. Reference: RFC 791 section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.meter.cache import EMPTY, insert, mix, remove
from ethogram.meter.compiled import inner

__all__ = ["FRAGMENT", "REMEMBERED", "fragment_of", "fragment_place", "fragment_tag", "remember"]

FRAGMENT = np.dtype(
    [
        ("time", np.int64),
        ("source", np.uint32),
        ("destination", np.uint32),
        ("hash", np.uint32),
        ("identification", np.uint16),
        ("source_port", np.uint16),
        ("destination_port", np.uint16),
        ("protocol", np.uint8),
    ],
    align=True,
)
"""The first fragment of a packet: what its later ones lack."""

REMEMBERED = 8
"""Place of the meter's state: first fragments ever remembered."""


@inner
def fragment_tag(seed: Any, key: Any) -> Any:
    """32 bits of (source, destination, protocol, identification) that a sender cannot foresee."""
    source, destination, protocol, identification = key
    both_ends = (np.uint64(source) << np.uint64(32)) | np.uint64(destination)
    return np.uint32(mix(mix(both_ends ^ seed) ^ np.uint64(identification << 8 | protocol)) >> np.uint64(32))


@inner
def fragment_place(fragments: Any, index: Any, tag: Any, wanted: Any) -> Any:
    """Place of the first fragment that is remembered under (source, destination, protocol, identification); or -1."""
    mask = np.int64(index.shape[0] - 1)
    at = np.int64(tag) & mask
    entry = index[at]
    while entry != EMPTY:
        if entry >> np.uint64(32) == np.uint64(tag):
            place = np.int64(entry & np.uint64(0xFFFFFFFF)) - 1
            known = fragments[place]
            if (
                known.source == wanted[0]
                and known.destination == wanted[1]
                and known.protocol == wanted[2]
                and known.identification == wanted[3]
            ):
                return place
        at = (at + 1) & mask
        entry = index[at]
    return np.int64(-1)


@inner
def remember(
    state: Any, fragments: Any, index: Any, tag: Any, key: Any, time: int, source_port: int, destination_port: int
) -> None:
    """Keep the ports of a first fragment; the one remembered for longest leaves."""
    place = fragment_place(fragments, index, tag, key)
    if place < 0:
        place = state[REMEMBERED] % fragments.shape[0]
        if state[REMEMBERED] >= fragments.shape[0]:
            remove(index, fragments[place].hash, place)
        state[REMEMBERED] += 1
        insert(index, tag, place)
    known = fragments[place]
    known.source, known.destination, known.protocol, known.identification = key
    known.hash = tag
    known.time = time
    known.source_port = source_port
    known.destination_port = destination_port


@inner
def fragment_of(packets: Any, row: int, data: Any) -> tuple[Any, bool, Any, Any]:
    """Whether an IPv4 packet is a fragment: offset in units of 8 octets, more to come, identification, header."""
    at = packets[10][row]
    if at < 0 or at + 8 > data.shape[0]:
        return 0, False, 0, 0
    flags = (np.int64(data[at + 6]) << 8) | np.int64(data[at + 7])
    identification = (np.int64(data[at + 4]) << 8) | np.int64(data[at + 5])
    return flags & 0x1FFF, (flags & 0x2000) != 0, identification, (np.int64(data[at]) & 15) * 4
