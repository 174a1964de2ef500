"""Compiled store of the packets of both directions beside custom flows.

It runs after :func:`~ethogram.meter.custom_cache.feed` on the same rows: ``feed`` determines which record a packet was
sent in and which one it answers, and this module keeps its octets. So custom flows are the same with and without it.
What is kept depends only on the packets before, not on batch borders: blocks count as free from the packet that ended
their record.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.meter.compiled import compiled, inner
from ethogram.meter.custom_cache import (
    ANSWERS,
    BLOCK,
    FREE,
    NOBODY,
    OLDEST,
    SENT_IN,
    UNPORTED,
    is_among,
    keep_octets,
)
from ethogram.meter.fragments import fragment_of

__all__ = [
    "BOTH", "COUNTERS", "ENTRY", "FIRST", "GONE", "KEPT", "LAST", "NO_ROOM", "READ", "RECORD", "STATE",
    "blocks_of_packet", "give", "keep",
]  # fmt: skip

RECORD = np.dtype(
    [
        ("start", np.int64),  # ns
        ("octets", np.int32),  # of its stream
        ("first_block", np.int32),
        ("last_block", np.int32),
        ("fill", np.int32),  # octets in the last block
        ("blocks", np.int32),
        ("kept", np.int32),  # packets
        ("cut", np.int32),  # 1: there was no room for a packet, so no later one is kept
    ],
    align=True,
)
"""Packets kept of a live record: a stream of entries, each of ``ENTRY`` octets of header and the octets of a packet."""

ENTRY = 13
"""Octets of an entry's header."""

AT_OFFSET, AT_SIZE, AT_WAY, AT_IP, AT_TRANSPORT, AT_PAYLOAD = 0, 4, 8, 9, 10, 11
"""Where the header holds, lowest octet first: microseconds since the record's start and IP octets (four octets each), 1
if the device sent the packet, octets kept of IP header and transport header, and of payload (two octets)."""

MAX_TRANSPORT = 60  # octets of a transport header
MAX_HEADERS = 120  # octets of both headers

FIRST, GONE, LAST, BLOCKS = 0, 1, 2, 5
READ, KEPT, BEYOND, EARLY, LOST, NO_ROOM, BOTH = range(9, 16)
COUNTERS = {
    BEYOND: "beyond the packets kept of a flow",
    EARLY: "received before the device sent",
    LOST: "fragment without its first",
}
"""Why packets are not kept, apart from ``NO_ROOM``."""
STATE = 16
"""Indexes into the state: numbers of the first record held, of the first that has not ended, and of the next; free
blocks on the stack and blocks used so far (3 and 4, as in the cache); blocks of records that have not ended; first
fragments from outside (8); then counters."""


def blocks_of_packet(payload_octets: int) -> int:
    """Most blocks that one packet may need."""
    return (ENTRY + MAX_HEADERS + payload_octets) // BLOCK + 2


@inner
def put32(entry: Any, at: int, value: Any) -> None:
    """Write four octets, little-endian."""
    for i in range(4):
        entry[at + i] = (value >> (8 * i)) & 255


@inner
def get32(stream: Any, at: int) -> Any:
    """Read four octets, little-endian."""
    value = np.int64(0)
    for i in range(4):
        value |= np.int64(stream[at + i]) << (8 * i)
    return value


@inner
def keep_packet(
    packets: Any, data: Any, row: int, way: int, state: Any, ring: Any, number: Any, blocks: Any, entry: Any,
    bounds: Any,
) -> None:  # fmt: skip
    """Append a packet to the stream of a record, or count why not."""
    record = ring[number & np.int64(ring.shape[0] - 1)]
    state[READ] += 1
    if record.kept >= bounds.packets:
        state[BEYOND] += 1
        return
    begin = packets.internet_offset[row]
    offset, _, _, header = fragment_of(packets, row, data)
    payload_at = packets.payload_offset[row]
    end = payload_at + np.int64(packets.payload_octets[row])  # of the captured octets
    ip_octets = min(header, end - begin)
    transport_octets = np.int64(0) if offset > 0 else min(payload_at - begin - ip_octets, np.int64(MAX_TRANSPORT))
    most = bounds.payload_octets if record.kept < bounds.payload_packets else bounds.later_octets
    payload_octets = min(end - begin - ip_octets - transport_octets, most)
    octets = ip_octets + transport_octets + payload_octets
    size = record.octets + ENTRY + octets
    more = (size + BLOCK - 1) // BLOCK - record.blocks
    if record.cut > 0 or state[BLOCKS] + more > bounds.blocks:
        record.cut = 1
        state[NO_ROOM] += 1
        return
    put32(entry, AT_OFFSET, max(packets.time[row] - record.start, 0) // 1000)
    put32(entry, AT_SIZE, np.int64(packets.ip_octets[row]))
    entry[AT_WAY] = way
    entry[AT_IP] = ip_octets
    entry[AT_TRANSPORT] = transport_octets
    entry[AT_PAYLOAD] = payload_octets & 255
    entry[AT_PAYLOAD + 1] = payload_octets >> 8
    keep_octets(state, record, blocks, entry, 0, ENTRY)
    keep_octets(state, record, blocks, data, begin, octets)
    record.octets = size
    record.blocks += more
    record.kept += 1
    state[BLOCKS] += more
    state[KEPT] += 1


@compiled
def keep(
    packets: Any, data: Any, first: int, last: int, roles: Any, senders: Any, state: Any, ring: Any, blocks: Any,
    entry: Any, bounds: Any,
) -> None:  # fmt: skip
    """Keep the packets of rows ``first`` to ``last``, exclusive, whose roles are known.

    Parameters
    ----------
    packets, data, roles, senders
        As for :func:`~ethogram.meter.custom_cache.feed`.
    state, ring, blocks
        The store, changed in place. The ring has room for every record of the rows, the blocks for twice
        :func:`blocks_of_packet` of each packet.
    entry
        Buffer for the header of an entry.
    bounds
        :class:`~ethogram.meter.columns.PacketBounds`.
    """
    mask = np.int64(ring.shape[0] - 1)
    for row in range(first, last):
        while state[GONE] < roles[row, OLDEST]:
            state[BLOCKS] -= ring[state[GONE] & mask].blocks
            state[GONE] += 1
        sent, answers = roles[row, SENT_IN], roles[row, ANSWERS]
        if sent >= 0:
            if sent == state[LAST]:
                state[LAST] += 1
                record = ring[sent & mask]
                record.start = packets.time[row]
                record.octets, record.blocks, record.kept, record.fill, record.cut = 0, 0, 0, 0, 0
                record.first_block, record.last_block = -1, -1
            keep_packet(packets, data, row, 1, state, ring, sent, blocks, entry, bounds)
        if answers >= 0:
            keep_packet(packets, data, row, 0, state, ring, answers, blocks, entry, bounds)
            state[BOTH] += sent >= 0
        elif answers == UNPORTED:
            state[READ] += 1
            state[LOST] += 1
        elif answers == NOBODY and (senders.shape[0] == 0 or is_among(senders, packets.destination[row])):
            state[READ] += 1
            state[EARLY] += 1


@compiled
def give(state: Any, ring: Any, blocks: Any, last: int, stream: Any, columns: Any, data: Any) -> None:
    """Move the packets of the records up to number ``last``, exclusive, to columns, and free their blocks.

    Parameters
    ----------
    stream
        Buffer for the longest stream.
    columns
        Filled in, one value for each packet, in the order of
        :data:`~ethogram.schema.packet_flows.PACKET_COLUMNS`.
    data
        Filled in: octets of all packets.
    """
    offset, way, size, ip_octets, transport_octets, payload_octets = columns
    mask = np.int64(ring.shape[0] - 1)
    packet, to = 0, 0
    for number in range(state[FIRST], last):
        record = ring[number & mask]
        block, at = record.first_block, 0
        while block >= 0:
            count = record.fill if block == record.last_block else BLOCK
            for i in range(count):
                stream[at + i] = blocks.octets[block, i]
            at += count
            blocks.free[state[FREE]] = block
            state[FREE] += 1
            block = blocks.following[block]
        at = 0
        for _ in range(record.kept):
            offset[packet] = get32(stream, at + AT_OFFSET)
            size[packet] = get32(stream, at + AT_SIZE)
            way[packet] = stream[at + AT_WAY]
            ip_octets[packet] = stream[at + AT_IP]
            transport_octets[packet] = stream[at + AT_TRANSPORT]
            payload_octets[packet] = np.int64(stream[at + AT_PAYLOAD]) | (
                np.int64(stream[at + AT_PAYLOAD + 1]) << 8
            )
            octets = np.int64(ip_octets[packet]) + transport_octets[packet] + payload_octets[packet]
            at += ENTRY
            for i in range(octets):
                data[to + i] = stream[at + i]
            at += octets
            to += octets
            packet += 1
    for number in range(max(state[GONE], state[FIRST]), last):
        state[BLOCKS] -= ring[number & mask].blocks
    state[GONE] = max(state[GONE], last)
    state[FIRST] = last
