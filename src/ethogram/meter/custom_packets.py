"""Packets beside custom flows, compiled: the headers of both directions, in blocks, in the order of the records.

Works after :func:`~ethogram.meter.custom_cache.feed` on the same rows: that says which records a packet was sent in
and answers, this keeps its octets. So custom flows are the same with and without it. What is kept depends on the
packets before alone, never on how they were cut into batches: room is counted as if blocks became free at the packet
that ended their record.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.meter.compiled import compiled, inner
from ethogram.meter.custom_cache import BLOCK, FREE, NOBODY, UNPORTED, is_among, keep_octets
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
        ("cut", np.int32),  # 1: there was no room for one; none behind it is kept
    ],
    align=True,
)
"""What is kept of a live record: a stream of entries, each a head of ``ENTRY`` octets and the packet's octets."""

ENTRY = 13

FIRST, GONE, LAST, BLOCKS = 0, 1, 2, 5
READ, KEPT, BEYOND, EARLY, LOST, NO_ROOM, BOTH = range(9, 16)
COUNTERS = {
    BEYOND: "beyond the packets kept of a flow",
    EARLY: "received before the device sent",
    LOST: "fragment without its first",
}
"""Why a packet is not kept, but for ``NO_ROOM``."""
STATE = 16
"""Places of the state: number of the first record held, of the first that has not ended, and of the next; free blocks
on the stack and blocks ever used (as in the cache); blocks of records that have not ended; place 8: first fragments
from outside; counters."""


def blocks_of_packet(payload_octets: int) -> int:
    """Blocks that one packet may need at most."""
    return (ENTRY + 120 + payload_octets) // BLOCK + 2


@inner
def put32(entry: Any, at: int, value: Any) -> None:
    """Write four octets, the lowest first."""
    for i in range(4):
        entry[at + i] = (value >> (8 * i)) & 255


@inner
def get32(stream: Any, at: int) -> Any:
    """Read four octets, the lowest first."""
    value = np.int64(0)
    for i in range(4):
        value |= np.int64(stream[at + i]) << (8 * i)
    return value


@inner
def keep_packet(
    packets: Any, data: Any, row: int, way: int, state: Any, ring: Any, number: Any, blocks: Any, entry: Any, keep: Any
) -> None:
    """Append one packet to what is kept of a record, or count why not."""
    most_packets, payload_packets, payload_most, later_most, most_blocks = keep
    record = ring[number & np.int64(ring.shape[0] - 1)]
    state[READ] += 1
    if record.kept >= most_packets:
        state[BEYOND] += 1
        return
    begin = packets[10][row]
    offset, _, _, header = fragment_of(packets, row, data)
    payload_at = packets[11][row]
    end = payload_at + np.int64(packets[12][row])  # of what was captured
    ip_octets = min(header, end - begin)
    transport_octets = np.int64(0) if offset > 0 else min(payload_at - begin - ip_octets, np.int64(60))
    most = payload_most if record.kept < payload_packets else later_most
    payload_octets = min(end - begin - ip_octets - transport_octets, most)
    octets = ip_octets + transport_octets + payload_octets
    size = record.octets + ENTRY + octets
    more = (size + BLOCK - 1) // BLOCK - record.blocks
    if record.cut > 0 or state[BLOCKS] + more > most_blocks:
        record.cut = 1
        state[NO_ROOM] += 1
        return
    put32(entry, 0, max(packets[0][row] - record.start, 0) // 1000)
    put32(entry, 4, np.int64(packets[7][row]))
    entry[8] = way
    entry[9] = ip_octets
    entry[10] = transport_octets
    entry[11] = payload_octets & 255
    entry[12] = payload_octets >> 8
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
    """Keep the packets of rows ``first`` to ``last``, excluded, whose roles are known.

    Parameters
    ----------
    packets, data, roles, senders
        As for :func:`~ethogram.meter.custom_cache.feed`.
    state, ring, blocks
        What is held; changed in place. The ring has room for every record of the rows, the blocks for
        :func:`blocks_of_packet` of each packet twice.
    entry
        Room for an entry's head.
    bounds
        Most packets of a flow, how many of them are kept with more payload, octets of payload of those and of the
        others, and blocks of live records.
    """
    mask = np.int64(ring.shape[0] - 1)
    for row in range(first, last):
        while state[GONE] < roles[row, 2]:
            state[BLOCKS] -= ring[state[GONE] & mask].blocks
            state[GONE] += 1
        sent, answers = roles[row, 0], roles[row, 1]
        if sent >= 0:
            if sent == state[LAST]:
                state[LAST] += 1
                record = ring[sent & mask]
                record.start = packets[0][row]
                record.octets, record.blocks, record.kept, record.fill, record.cut = 0, 0, 0, 0, 0
                record.first_block, record.last_block = -1, -1
            keep_packet(packets, data, row, 1, state, ring, sent, blocks, entry, bounds)
        if answers >= 0:
            keep_packet(packets, data, row, 0, state, ring, answers, blocks, entry, bounds)
            state[BOTH] += sent >= 0
        elif answers == UNPORTED:
            state[READ] += 1
            state[LOST] += 1
        elif answers == NOBODY and (senders.shape[0] == 0 or is_among(senders, packets[4][row])):
            state[READ] += 1
            state[EARLY] += 1


@compiled
def give(state: Any, ring: Any, blocks: Any, last: int, stream: Any, columns: Any, data: Any) -> None:
    """Move what is kept of the records up to number ``last``, excluded, to columns; their blocks become free.

    Parameters
    ----------
    stream
        Room for the longest stream.
    columns
        Offset, way, octets, octets of IP header, transport header and payload, one for each packet.
    data
        Octets of all packets.
    """
    offset, way, size, ip_octets, transport_octets, payload_octets = columns  # as PACKET_COLUMNS has them
    arena, chain, free = blocks
    mask = np.int64(ring.shape[0] - 1)
    packet, to = 0, 0
    for number in range(state[FIRST], last):
        record = ring[number & mask]
        block, at = record.first_block, 0
        while block >= 0:
            count = record.fill if block == record.last_block else BLOCK
            for i in range(count):
                stream[at + i] = arena[block, i]
            at += count
            free[state[FREE]] = block
            state[FREE] += 1
            block = chain[block]
        at = 0
        for _ in range(record.kept):
            offset[packet] = get32(stream, at)
            size[packet] = get32(stream, at + 4)
            way[packet] = stream[at + 8]
            ip_octets[packet] = stream[at + 9]
            transport_octets[packet] = stream[at + 10]
            payload_octets[packet] = np.int64(stream[at + 11]) | (np.int64(stream[at + 12]) << 8)
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
