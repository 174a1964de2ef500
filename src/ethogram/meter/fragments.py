"""Compiled reassembly of ports: later fragments of an IPv4 packet get the ports of its first fragment.

First fragments are kept in a ring of fixed length in order of arrival, so that which one is forgotten depends on the
packets alone. Reference: RFC 791 section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram._hashing import finalize64, insert, next_entry, place_of, remove, start_of
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
"""First fragment of a packet, with the ports that later fragments lack."""

REMEMBERED = 8
"""Place in the meter's state: number of first fragments remembered so far."""


@inner
def fragment_tag(seed: Any, key: Any) -> Any:
    """32-bit hash of (source, destination, protocol, identification) that a sender cannot predict."""
    source, destination, protocol, identification = key
    both_ends = (np.uint64(source) << np.uint64(32)) | np.uint64(destination)
    rest = np.uint64(identification << 8 | protocol)
    return np.uint32(finalize64(finalize64(both_ends ^ seed) ^ rest) >> np.uint64(32))


@inner
def fragment_place(fragments: Any, index: Any, tag: Any, key: Any) -> Any:
    """Place of the first fragment with a key (source, destination, protocol, identification); -1 for none."""
    source, destination, protocol, identification = key
    at = next_entry(index, tag, start_of(index, tag))
    while at >= 0:
        place = place_of(index[at])
        known = fragments[place]
        if (
            known.source == source
            and known.destination == destination
            and known.protocol == protocol
            and known.identification == identification
        ):
            return place
        at = next_entry(index, tag, at + 1)
    return np.int64(-1)


@inner
def remember(
    state: Any, fragments: Any, index: Any, tag: Any, key: Any, time: int, source_port: int, destination_port: int
) -> None:
    """Remember the ports of a first fragment; the oldest one is forgotten."""
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
    """Fragment fields of an IPv4 packet: offset in units of 8 octets, more fragments, identification, header octets."""
    at = packets.internet_offset[row]
    if at < 0 or at + 8 > data.shape[0]:
        return 0, False, 0, 0
    flags = (np.int64(data[at + 6]) << 8) | np.int64(data[at + 7])
    identification = (np.int64(data[at + 4]) << 8) | np.int64(data[at + 5])
    return flags & 0x1FFF, (flags & 0x2000) != 0, identification, (np.int64(data[at]) & 15) * 4
