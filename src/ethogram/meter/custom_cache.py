"""Compiled cache of the custom meter: a queue of live records, a tag index over it, and blocks of payload.

All records last equally long, so the head of the queue is the next to end, and no sweep is needed. When a new record
of the same key opens, the old one stays in the queue, closed, until it is due. The effect of a packet depends only on
the packets before it, not on batch borders or hashes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram._hashing import entry_of, insert, next_entry, place_of, remove, start_of
from ethogram.meter.cache import hash_pair
from ethogram.meter.compiled import compiled, inner
from ethogram.meter.fragments import fragment_of, fragment_place, fragment_tag, remember

__all__ = [
    "BLOCK", "CLOCK", "COUNTERS", "DONE", "EVICTED", "FREE", "GIVEN_OCTETS", "GIVEN_PACKETS", "GIVEN_ROWS",
    "GROW", "HEAD", "IPV6", "LOST_FRAGMENT", "MADE_BLOCKS", "METERED", "NOBODY", "NO_PAYLOAD",
    "OTHER_PROTOCOL", "OUTPUT_FULL", "OUTSIDE", "READ", "RECORD", "STATE", "SYMBOLS", "TAIL", "UNPORTED", "drain",
    "enter_all", "feed", "is_among", "keep_octets",
]  # fmt: skip

RECORD = np.dtype(
    [
        ("start", np.int64),  # ns
        ("octets", np.uint64),
        ("packets", np.uint64),
        ("source_mac", np.uint64),
        ("destination_mac", np.uint64),
        ("source", np.uint32),
        ("destination", np.uint32),
        ("hash", np.uint32),
        ("first_block", np.int32),
        ("last_block", np.int32),
        ("fill", np.int32),  # octets in the last block
        ("symbols", np.int32),
        ("source_port", np.uint16),
        ("destination_port", np.uint16),
        ("protocol", np.uint8),
        ("kept", np.uint8),  # packets described one by one
        ("closed", np.uint8),  # a newer record has its key
        ("evicted", np.uint8),
    ],
    align=True,
)
"""A live record; its source is the sender of its first packet."""

SYMBOLS = 3000
BLOCK = 128  # octets
SPARE_BLOCKS = 1000 // BLOCK + 2  # blocks that one packet may need

OFFSET, SIZE, WAY, PAYLOAD, PACKET_COLUMNS = 0, 1, 2, 3, 4
"""Columns of a described packet: microseconds since the record's start, IP octets, 1 if the source sent it, and octets
of payload kept."""

MAX_DESCRIBED = 10
"""Packets described of a record at most."""

SENT_IN, ANSWERS, OLDEST, ROLE_COLUMNS = 0, 1, 2, 3
"""Columns of a packet's roles: numbers of the record it was sent in, of the record it answers, and of the oldest live
record; instead of the first two :data:`NOBODY`, :data:`UNMETERED` or :data:`UNPORTED`."""

NETWORK, MASK = 0, 1
"""Columns of networks."""

DONE, OUTPUT_FULL, GROW = 0, 1, 2
"""Why :func:`feed` returned."""

NOBODY, UNMETERED, UNPORTED = -1, -2, -3
"""Instead of the number of a record: there is none; packets of this kind are not metered; the packet is a fragment
whose first fragment is unknown."""

HEAD, TAIL, CLOCK, FREE, MADE_BLOCKS, GIVEN_ROWS, GIVEN_PACKETS, GIVEN_OCTETS = 0, 1, 2, 3, 4, 5, 6, 7
READ, METERED, IPV6, OTHER_PROTOCOL, LOST_FRAGMENT, NO_PAYLOAD, EVICTED, FRAGMENTS, LEAPS, OUTSIDE = range(9, 19)
COUNTERS = {
    IPV6: "ipv6",
    OTHER_PROTOCOL: "other protocol",
    OUTSIDE: "sent from outside",
    LOST_FRAGMENT: "fragment without its first",
}
"""Why packets are not metered."""
STATE = 19
"""Indexes into the state: numbers of the queue's first record and of the next one to open; newest time; free blocks on
the stack; blocks used so far; rows, packets and octets of the output; first fragments remembered so far (index 8); then
counters."""


@compiled
def enter_all(ring: Any, index: Any, state: Any) -> None:
    """Fill an empty index with all open records."""
    mask = ring.shape[0] - 1
    for number in range(state[HEAD], state[TAIL]):
        if ring[number & mask].closed == 0:
            insert(index, ring[number & mask].hash, number & mask)


@inner
def same_key(record: Any, source: Any, destination: Any, source_port: int, destination_port: int) -> int:
    """1 if the record's source sent the packet, -1 if its destination did, 0 if it belongs to another record."""
    if (
        record.source == source
        and record.destination == destination
        and record.source_port == source_port
        and record.destination_port == destination_port
    ):
        return 1
    if (
        record.source == destination
        and record.destination == source
        and record.source_port == destination_port
        and record.destination_port == source_port
    ):
        return -1
    return 0


@inner
def find(
    ring: Any, index: Any, tag: Any, source: Any, destination: Any, source_port: int, destination_port: int,
    protocol: int, both: bool,
) -> tuple[Any, Any, int]:  # fmt: skip
    """Position in the index, place and direction of the open record of a packet; direction 0 for none."""
    at = next_entry(index, tag, start_of(index, tag))
    while at >= 0:
        place = place_of(index[at])
        if ring[place].protocol == protocol:
            way = same_key(ring[place], source, destination, source_port, destination_port)
            if way > 0 or (way < 0 and both):
                return at, place, way
        at = next_entry(index, tag, at + 1)
    return np.int64(-1), np.int64(-1), 0


@inner
def has_room(state: Any, output: Any) -> Any:
    """Whether the output has room for the largest record."""
    return state[GIVEN_ROWS] < output.records.shape[0] and state[GIVEN_OCTETS] + SYMBOLS <= output.payload.shape[0]


@inner
def give_out(state: Any, ring: Any, described: Any, blocks: Any, index: Any, output: Any) -> None:
    """Move the head of the queue to the output, and free its blocks."""
    place = state[HEAD] & np.int64(ring.shape[0] - 1)
    record = ring[place]
    output.records[state[GIVEN_ROWS]] = record
    at = state[GIVEN_PACKETS]
    for k in range(record.kept):
        for column in range(PACKET_COLUMNS):
            output.packets[column, at + k] = described[place, column, k]
    state[GIVEN_PACKETS] = at + record.kept
    block = record.first_block
    at = state[GIVEN_OCTETS]
    while block >= 0:
        count = record.fill if block == record.last_block else BLOCK
        for i in range(count):
            output.payload[at + i] = blocks.octets[block, i]
        at += count
        blocks.free[state[FREE]] = block
        state[FREE] += 1
        block = blocks.following[block]
    state[GIVEN_OCTETS] = at
    if record.closed == 0:
        remove(index, record.hash, place)
    state[GIVEN_ROWS] += 1
    state[HEAD] += 1


@compiled
def drain(state: Any, ring: Any, described: Any, blocks: Any, index: Any, output: Any) -> bool:
    """Emit records while the output has room; returns whether all were emitted."""
    while state[HEAD] < state[TAIL]:
        if not has_room(state, output):
            return False
        give_out(state, ring, described, blocks, index, output)
    return True


@inner
def keep_octets(state: Any, record: Any, blocks: Any, data: Any, at: int, count: int) -> None:
    """Append captured octets to a record's blocks; the caller ensures that there are enough free ones."""
    while count > 0:
        if record.first_block < 0 or record.fill == BLOCK:
            if state[FREE] > 0:
                state[FREE] -= 1
                block = blocks.free[state[FREE]]
            else:
                block = np.int32(state[MADE_BLOCKS])
                state[MADE_BLOCKS] += 1
            blocks.following[block] = -1
            if record.first_block < 0:
                record.first_block = block
            else:
                blocks.following[record.last_block] = block
            record.last_block = block
            record.fill = 0
        part = min(count, BLOCK - record.fill)
        last, fill = record.last_block, record.fill
        for i in range(part):
            blocks.octets[last, fill + i] = data[at + i]
        record.fill += part
        at += part
        count -= part


@inner
def open_record(state: Any, ring: Any, index: Any, at: Any, tag: Any, packets: Any, row: int, ports: Any) -> Any:
    """Open a record at the queue's tail, with its index entry at ``at`` or, if negative, the next empty one."""
    place = state[TAIL] & np.int64(ring.shape[0] - 1)
    state[TAIL] += 1
    if at >= 0:
        index[at] = entry_of(tag, place)
    else:
        insert(index, tag, place)
    record = ring[place]
    record.start = packets.time[row]
    record.octets = 0
    record.packets = 0
    record.source = packets.source[row]
    record.destination = packets.destination[row]
    record.source_port, record.destination_port = ports
    record.protocol = packets.protocol[row]
    record.source_mac = packets.source_mac[row]
    record.destination_mac = packets.destination_mac[row]
    record.hash = tag
    record.first_block = -1
    record.last_block = -1
    record.fill = 0
    record.symbols = 0
    record.kept = 0
    record.closed = 0
    record.evicted = 0
    return place


@inner
def count_packet(
    state: Any, ring: Any, place: Any, described: Any, blocks: Any, packets: Any, row: int, way: int, at: Any,
    captured: Any, keep: Any, data: Any,
) -> None:  # fmt: skip
    """Add a packet to a record; ``captured`` octets of its payload begin at ``at``."""
    record = ring[place]
    record.packets += np.uint64(1)
    record.octets += np.uint64(packets.ip_octets[row])
    if way > 0 and record.source_mac == 0:
        record.source_mac = packets.source_mac[row]
    if way < 0 and record.destination_mac == 0:
        record.destination_mac = packets.source_mac[row]
    k = record.kept
    if k >= keep.packets:
        return
    octets = 0
    if record.symbols < SYMBOLS:  # there is room for its start symbol
        octets = min(captured, keep.octets, SYMBOLS - 1 - record.symbols)
        record.symbols = min(record.symbols + octets + 2, SYMBOLS)
    described[place, OFFSET, k] = max(packets.time[row] - record.start, 0) // 1000
    described[place, SIZE, k] = packets.ip_octets[row]
    described[place, WAY, k] = 1 if way > 0 else 0
    described[place, PAYLOAD, k] = octets
    record.kept = k + 1
    if octets > 0:
        keep_octets(state, record, blocks, data, at, octets)


@inner
def make_room(
    state: Any, ring: Any, described: Any, blocks: Any, index: Any, output: Any, time: int, rules: Any
) -> int:
    """Advance the clock to a packet's time, end the records that are due, and make room for one more.

    Returns
    -------
    ``DONE``, or what the caller must do before it calls again for the same packet; nothing is done twice.
    """
    if time < state[CLOCK] - rules.leap:
        if not drain(state, ring, described, blocks, index, output):
            return OUTPUT_FULL
        state[LEAPS] += 1
        state[CLOCK] = time
    state[CLOCK] = max(state[CLOCK], time)
    mask = np.int64(ring.shape[0] - 1)
    while state[HEAD] < state[TAIL]:
        live = state[TAIL] - state[HEAD]
        spare = state[FREE] + blocks.octets.shape[0] - state[MADE_BLOCKS]
        record = ring[state[HEAD] & mask]
        if record.start + rules.interval + rules.lateness > state[CLOCK]:
            if live < rules.max_flows and spare >= SPARE_BLOCKS:
                break
            if not has_room(state, output):
                return OUTPUT_FULL
            record.evicted = 1
            state[EVICTED] += 1
        elif not has_room(state, output):
            return OUTPUT_FULL
        give_out(state, ring, described, blocks, index, output)
    return GROW if state[TAIL] - state[HEAD] == ring.shape[0] else DONE


@inner
def is_among(networks: Any, address: Any) -> bool:
    """Whether one of the networks contains an address."""
    for i in range(networks.shape[0]):  # noqa: SIM110 (compiled)
        if address & networks[i, MASK] == networks[i, NETWORK]:
            return True
    return False


@inner
def reverse_number(state: Any, ring: Any, index: Any, tag: Any, packets: Any, row: int, ports: Any, rules: Any) -> Any:
    """Number of the open record that a packet answers within the record's interval; -1 for none."""
    source_port, destination_port = ports
    at = next_entry(index, tag, start_of(index, tag))
    while at >= 0:
        record = ring[place_of(index[at])]
        if record.protocol == packets.protocol[row] and (
            same_key(record, packets.destination[row], packets.source[row], destination_port, source_port) > 0
        ):
            if is_over(state, record.start, packets.time[row], rules):
                return np.int64(-1)
            return number_of(state, ring, place_of(index[at]))
        at = next_entry(index, tag, at + 1)
    return np.int64(-1)


@inner
def is_over(state: Any, start: Any, time: Any, rules: Any) -> Any:
    """Whether a packet is too late, or too early, for an open record."""
    age = time - start
    return age >= rules.interval or age < -rules.lateness or start + rules.interval + rules.lateness <= state[CLOCK]


@inner
def number_of(state: Any, ring: Any, place: Any) -> Any:
    """Number of a live record, from its place."""
    return state[HEAD] + ((place - state[HEAD]) & np.int64(ring.shape[0] - 1))


@inner
def answered(
    state: Any, ring: Any, index: Any, packets: Any, row: int, data: Any, seed: Any, rules: Any, fragment_ns: int,
    others: Any,
) -> Any:  # fmt: skip
    """Number of the record that a packet from outside answers, :data:`NOBODY` or :data:`UNPORTED`.

    First fragments from outside are remembered in a table of their own, so that they cannot displace those of devices.
    """
    other_state, fragments, fragment_index = others
    time, protocol = packets.time[row], packets.protocol[row]
    source, destination = packets.source[row], packets.destination[row]
    source_port, destination_port = packets.source_port[row], packets.destination_port[row]
    offset, more, identification, _ = fragment_of(packets, row, data)
    if offset > 0 or more:
        key = (source, destination, protocol, identification)
        tag = fragment_tag(seed, key)
        if offset == 0 and fragment_ns > 0:
            remember(other_state, fragments, fragment_index, tag, key, time, source_port, destination_port)
        elif offset > 0:
            place = fragment_place(fragments, fragment_index, tag, key) if fragment_ns > 0 else np.int64(-1)
            if place < 0 or abs(time - fragments[place].time) > fragment_ns:
                return UNPORTED
            source_port, destination_port = fragments[place].source_port, fragments[place].destination_port
    zero = np.uint64(0)
    tag = hash_pair(
        seed, zero, np.uint64(source), source_port, zero, np.uint64(destination), destination_port, np.uint64(protocol)
    )
    ports = (source_port, destination_port)
    return reverse_number(state, ring, index, tag, packets, row, ports, rules)


@compiled
def feed(
    packets: Any,
    data: Any,
    first: int,
    allowed: Any,
    senders: Any,
    both: bool,
    rules: Any,
    keep: Any,
    state: Any,
    ring: Any,
    described: Any,
    blocks: Any,
    index: Any,
    fragments: Any,
    fragment_index: Any,
    seed: Any,
    output: Any,
    roles: Any,
    others: Any,
) -> tuple[int, int]:
    """Meter packets from row ``first`` on, until all are done, the output is full or the cache must grow.

    Parameters
    ----------
    packets
        :class:`~ethogram.meter.columns.Ipv4Packets`.
    data
        Octets of the batch.
    first
        Row to start with.
    allowed
        Whether each protocol number is metered.
    senders
        Networks and masks of the senders to meter, uint32 [K, 2]; all senders when empty.
    both
        Whether both directions share a record.
    rules, keep
        :class:`~ethogram.meter.columns.CustomRules` and :class:`~ethogram.meter.columns.KeepRules`.
    state, ring, described, blocks, index, fragments, fragment_index
        The cache, changed in place.
    output
        :class:`~ethogram.meter.columns.CustomOutput`, appended to.
    roles
        Filled in for each packet, int64 [P, 3]; [0, 3] when not wanted. See :data:`SENT_IN`.
    others
        State, table and index of first fragments from outside; used with roles only.

    Returns
    -------
    row, why
        First packet not metered, and ``DONE``, ``OUTPUT_FULL`` or ``GROW``.
    """
    interval, lateness, leap, fragment_ns = rules.interval, rules.lateness, rules.leap, keep.fragment_ns
    mask, most, places = ring.shape[0] - 1, min(ring.shape[0], rules.max_flows), blocks.octets.shape[0]
    has_roles = roles.shape[0] > 0
    for row in range(first, packets.time.shape[0]):
        time = packets.time[row]
        head, live = ring[state[HEAD] & mask], state[TAIL] - state[HEAD]
        spare = state[FREE] + places - state[MADE_BLOCKS]
        if (
            time < state[CLOCK] - leap
            or (live > 0 and head.start + interval + lateness <= max(state[CLOCK], time))
            or live >= most
            or spare < SPARE_BLOCKS
        ):
            why = make_room(state, ring, described, blocks, index, output, time, rules)
            if why != DONE:
                return row, why
        state[CLOCK] = max(state[CLOCK], time)
        state[READ] += 1
        protocol = packets.protocol[row]
        if has_roles:
            roles[row, SENT_IN], roles[row, ANSWERS], roles[row, OLDEST] = UNMETERED, UNMETERED, state[HEAD]
        if packets.version[row] != 4:
            state[IPV6] += 1
            continue
        if not allowed[protocol]:
            state[OTHER_PROTOCOL] += 1
            continue
        source, destination = packets.source[row], packets.destination[row]
        source_port, destination_port = packets.source_port[row], packets.destination_port[row]
        if senders.shape[0] > 0 and not is_among(senders, source):
            state[OUTSIDE] += 1
            if has_roles:
                roles[row, ANSWERS] = answered(state, ring, index, packets, row, data, seed, rules, fragment_ns, others)
            continue
        at, captured = packets.payload_offset[row], np.int64(packets.payload_octets[row])
        offset, more, identification, header = fragment_of(packets, row, data)
        if (offset > 0 or more) and fragment_ns > 0:
            key = (source, destination, protocol, identification)
            tag = fragment_tag(seed, key)
            if offset == 0:
                remember(state, fragments, fragment_index, tag, key, time, source_port, destination_port)
        if offset > 0:
            place = fragment_place(fragments, fragment_index, tag, key) if fragment_ns > 0 else np.int64(-1)
            if place < 0 or abs(time - fragments[place].time) > fragment_ns:
                state[LOST_FRAGMENT] += 1
                continue
            state[FRAGMENTS] += 1
            source_port, destination_port = fragments[place].source_port, fragments[place].destination_port
            # The reader sets no payload for later fragments: they continue the payload right after the IP header.
            end = at + captured
            at = min(packets.internet_offset[row] + header, end)
            captured = end - at
        state[METERED] += 1
        if packets.internet_offset[row] + np.int64(packets.ip_octets[row]) > at + captured:
            state[NO_PAYLOAD] += 1
        rest = np.uint64(protocol)
        zero = np.uint64(0)
        tag = hash_pair(
            seed, zero, np.uint64(source), source_port, zero, np.uint64(destination), destination_port, rest
        )
        slot, place, way = find(ring, index, tag, source, destination, source_port, destination_port, protocol, both)
        if way != 0 and is_over(state, ring[place].start, time, rules):
            ring[place].closed = 1
            way = 0
        if way == 0:
            ports = (source_port, destination_port)
            place = open_record(state, ring, index, slot, tag, packets, row, ports)
            way = 1
        if has_roles:
            roles[row, SENT_IN] = number_of(state, ring, place)
            ports = (source_port, destination_port)
            if source != destination or source_port != destination_port:  # or else it would answer itself
                roles[row, ANSWERS] = reverse_number(state, ring, index, tag, packets, row, ports, rules)
        count_packet(state, ring, place, described, blocks, packets, row, way, at, captured, keep, data)
    return packets.time.shape[0], DONE
