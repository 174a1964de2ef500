"""The cache of live custom flows, compiled: a queue in order of opening, an index over it, and blocks of payload.

Every record lasts equally long, so the queue's head is the next to leave and nothing is ever swept. A record whose
key began anew stays in the queue, closed, until its turn comes. What a packet does depends on the packets before it
alone, never on how they were cut into batches, nor on hashes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.meter.cache import EMPTY, hash_pair, insert, remove
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
        ("closed", np.uint8),  # its key began anew
        ("evicted", np.uint8),
    ],
    align=True,
)
"""A live record; the source is whoever sent its first packet."""

SYMBOLS = 3000
BLOCK = 128  # octets
SPARE_BLOCKS = 1000 // BLOCK + 2  # what one packet may need

DONE, OUTPUT_FULL, GROW = 0, 1, 2
"""Why :func:`feed` returned."""

NOBODY, UNMETERED, UNPORTED = -1, -2, -3
"""Instead of a record's number: there is none; packets of this kind have none; it is a fragment without its first."""

HEAD, TAIL, CLOCK, FREE, MADE_BLOCKS, GIVEN_ROWS, GIVEN_PACKETS, GIVEN_OCTETS = 0, 1, 2, 3, 4, 5, 6, 7
READ, METERED, IPV6, OTHER_PROTOCOL, LOST_FRAGMENT, NO_PAYLOAD, EVICTED, FRAGMENTS, LEAPS, OUTSIDE = range(9, 19)
COUNTERS = {
    IPV6: "ipv6",
    OTHER_PROTOCOL: "other protocol",
    OUTSIDE: "sent from outside",
    LOST_FRAGMENT: "fragment without its first",
}
"""Why a packet is not metered."""
STATE = 19
"""Places of the state: numbers of the queue's first record and of the next; newest time seen; free blocks on the
stack; blocks ever used; rows, packets and octets of the output; first fragments ever remembered; counters."""


@compiled
def enter_all(ring: Any, index: Any, state: Any) -> None:
    """Fill an empty index with all records that are open."""
    mask = ring.shape[0] - 1
    for number in range(state[HEAD], state[TAIL]):
        if ring[number & mask].closed == 0:
            insert(index, ring[number & mask].hash, number & mask)


@inner
def same_key(record: Any, source: Any, destination: Any, source_port: int, destination_port: int) -> int:
    """1 when a packet goes from the record's source, -1 when the other way, 0 when it is of another flow."""
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
    """Index place, ring place and direction of the open record of a packet; direction 0 when there is none."""
    mask = np.int64(index.shape[0] - 1)
    at = np.int64(tag) & mask
    entry = index[at]
    while entry != EMPTY:
        if entry >> np.uint64(32) == np.uint64(tag):
            place = np.int64(entry & np.uint64(0xFFFFFFFF)) - 1
            if ring[place].protocol == protocol:
                way = same_key(ring[place], source, destination, source_port, destination_port)
                if way > 0 or (way < 0 and both):
                    return at, place, way
        at = (at + 1) & mask
        entry = index[at]
    return np.int64(-1), np.int64(-1), 0


@inner
def has_room(state: Any, output: Any) -> Any:
    """Whether the largest record fits into the output."""
    return state[GIVEN_ROWS] < output[0].shape[0] and state[GIVEN_OCTETS] + SYMBOLS <= output[2].shape[0]


@inner
def give_out(state: Any, ring: Any, described: Any, blocks: Any, index: Any, output: Any) -> None:
    """Move the head of the queue to the output; its blocks become free."""
    place = state[HEAD] & np.int64(ring.shape[0] - 1)
    record = ring[place]
    output[0][state[GIVEN_ROWS]] = record
    at = state[GIVEN_PACKETS]
    for k in range(record.kept):
        for column in range(4):
            output[1][column, at + k] = described[place, column, k]
    state[GIVEN_PACKETS] = at + record.kept
    arena, chain, free = blocks
    block = record.first_block
    out = output[2]
    at = state[GIVEN_OCTETS]
    while block >= 0:
        count = record.fill if block == record.last_block else BLOCK
        for i in range(count):
            out[at + i] = arena[block, i]
        at += count
        free[state[FREE]] = block
        state[FREE] += 1
        block = chain[block]
    state[GIVEN_OCTETS] = at
    if record.closed == 0:
        remove(index, record.hash, place)
    state[GIVEN_ROWS] += 1
    state[HEAD] += 1


@compiled
def drain(state: Any, ring: Any, described: Any, blocks: Any, index: Any, output: Any) -> bool:
    """Give out what the output has room for; whether that was all."""
    while state[HEAD] < state[TAIL]:
        if not has_room(state, output):
            return False
        give_out(state, ring, described, blocks, index, output)
    return True


@inner
def keep_octets(state: Any, record: Any, blocks: Any, data: Any, at: int, count: int) -> None:
    """Append captured octets to a record's blocks; there are enough free ones."""
    arena, chain, free = blocks
    while count > 0:
        if record.first_block < 0 or record.fill == BLOCK:
            if state[FREE] > 0:
                state[FREE] -= 1
                block = free[state[FREE]]
            else:
                block = np.int32(state[MADE_BLOCKS])
                state[MADE_BLOCKS] += 1
            chain[block] = -1
            if record.first_block < 0:
                record.first_block = block
            else:
                chain[record.last_block] = block
            record.last_block = block
            record.fill = 0
        part = min(count, BLOCK - record.fill)
        last, fill = record.last_block, record.fill
        for i in range(part):
            arena[last, fill + i] = data[at + i]
        record.fill += part
        at += part
        count -= part


@inner
def open_record(state: Any, ring: Any, index: Any, at: Any, tag: Any, packets: Any, row: int, ports: Any) -> Any:
    """A new record at the queue's tail, in the index at ``at`` or, when that is negative, wherever there is room."""
    place = state[TAIL] & np.int64(ring.shape[0] - 1)
    state[TAIL] += 1
    if at >= 0:
        index[at] = (np.uint64(tag) << np.uint64(32)) | np.uint64(place + 1)
    else:
        insert(index, tag, place)
    record = ring[place]
    record.start = packets[0][row]
    record.octets = 0
    record.packets = 0
    record.source = packets[3][row]
    record.destination = packets[4][row]
    record.source_port, record.destination_port = ports
    record.protocol = packets[2][row]
    record.source_mac = packets[8][row]
    record.destination_mac = packets[9][row]
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
    there: Any, most_packets: int, most_octets: int, data: Any,
) -> None:  # fmt: skip
    """Add a packet to a record; its payload was captured from ``at`` on, ``there`` octets of it."""
    record = ring[place]
    record.packets += np.uint64(1)
    record.octets += np.uint64(packets[7][row])
    if way > 0 and record.source_mac == 0:
        record.source_mac = packets[8][row]
    if way < 0 and record.destination_mac == 0:
        record.destination_mac = packets[8][row]
    k = record.kept
    if k >= most_packets:
        return
    octets = 0
    if record.symbols < SYMBOLS:  # its start symbol has room
        octets = min(there, most_octets, SYMBOLS - 1 - record.symbols)
        record.symbols = min(record.symbols + octets + 2, SYMBOLS)
    described[place, 0, k] = max(packets[0][row] - record.start, 0) // 1000
    described[place, 1, k] = packets[7][row]
    described[place, 2, k] = 1 if way > 0 else 0
    described[place, 3, k] = octets
    record.kept = k + 1
    if octets > 0:
        keep_octets(state, record, blocks, data, at, octets)


@inner
def make_room(
    state: Any, ring: Any, described: Any, blocks: Any, index: Any, output: Any, time: int, rules: Any
) -> int:
    """Move the clock to a packet's time and end what is due; then see that one more record and payload have room.

    Returns
    -------
    ``DONE``, or what is to be done before the packet can be metered; nothing is done twice when it is asked again.
    """
    interval, lateness, leap, max_flows = rules
    if time < state[CLOCK] - leap:
        if not drain(state, ring, described, blocks, index, output):
            return OUTPUT_FULL
        state[LEAPS] += 1
        state[CLOCK] = time
    state[CLOCK] = max(state[CLOCK], time)
    mask = np.int64(ring.shape[0] - 1)
    while state[HEAD] < state[TAIL]:
        live = state[TAIL] - state[HEAD]
        spare = state[FREE] + blocks[0].shape[0] - state[MADE_BLOCKS]
        record = ring[state[HEAD] & mask]
        if record.start + interval + lateness > state[CLOCK]:
            if live < max_flows and spare >= SPARE_BLOCKS:
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
    """Whether an address lies in one of some networks."""
    for i in range(networks.shape[0]):  # noqa: SIM110 (compiled)
        if address & networks[i, 1] == networks[i, 0]:
            return True
    return False


@inner
def reverse_number(state: Any, ring: Any, index: Any, tag: Any, packets: Any, row: int, ports: Any, rules: Any) -> Any:
    """Number of the open record that a packet answers, when it comes within the record's minute; or -1."""
    mask = np.int64(index.shape[0] - 1)
    at = np.int64(tag) & mask
    while index[at] != EMPTY:
        entry = index[at]
        at = (at + 1) & mask
        place = np.int64(entry & np.uint64(0xFFFFFFFF)) - 1
        if entry >> np.uint64(32) != np.uint64(tag) or ring[place].protocol != packets[2][row]:
            continue
        if same_key(ring[place], packets[4][row], packets[3][row], ports[1], ports[0]) > 0:
            start = ring[place].start
            age = packets[0][row] - start
            if age >= rules[0] or age < -rules[1] or start + rules[0] + rules[1] <= state[CLOCK]:
                return np.int64(-1)
            return number_of(state, ring, place)
    return np.int64(-1)


@inner
def number_of(state: Any, ring: Any, place: Any) -> Any:
    """The number of a live record by its place."""
    return state[HEAD] + ((place - state[HEAD]) & np.int64(ring.shape[0] - 1))


@inner
def answered(
    state: Any, ring: Any, index: Any, packets: Any, row: int, data: Any, seed: Any, rules: Any, fragment_ns: int,
    others: Any,
) -> Any:  # fmt: skip
    """Number of the record that a packet from outside answers; ``NOBODY``, or ``UNPORTED`` for a lost fragment.

    First fragments from outside are remembered apart, so that they crowd out none of a device's.
    """
    other_state, fragments, fragment_index = others
    time, source, destination, protocol = packets[0][row], packets[3][row], packets[4][row], packets[2][row]
    source_port, destination_port = packets[5][row], packets[6][row]
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
    """Meter packets from row ``first`` on, until they are done, the output is full or the cache must grow.

    Parameters
    ----------
    packets
        Columns: time, version, protocol, low halves of source and destination, ports, IP octets, MACs, and places of
        IP header and payload, captured octets of payload.
    allowed
        By protocol number, whether it is metered.
    senders
        Networks and masks that a packet must come from, uint32 [K, 2]; from anywhere when there are none.
    both
        Whether both directions are one record.
    rules, keep
        Interval, lateness and leap in ns, most live records; packets and octets kept, and how long a first
        fragment is remembered, in ns.
    state, ring, described, blocks, index, fragments, fragment_index
        The cache; changed in place.
    output
        Records and their packets and payload, appended.
    roles
        Where to say which records a packet is part of, int64 [P, 3]: number of the one it was sent in, number of the
        one it answers, and number of the oldest record then; see ``NOBODY``. [0, 3] when they are not asked for.
    others
        State, table and index of the first fragments from outside; used when roles are asked for.

    Returns
    -------
    row, why
        The first packet not metered, and ``DONE``, ``OUTPUT_FULL`` or ``GROW``.
    """
    interval, lateness, leap, max_flows = rules
    mask, most, places = ring.shape[0] - 1, min(ring.shape[0], max_flows), blocks[0].shape[0]
    most_packets, most_octets, fragment_ns = keep
    has_roles = roles.shape[0] > 0
    for row in range(first, packets[0].shape[0]):
        time = packets[0][row]
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
        protocol = packets[2][row]
        if has_roles:
            roles[row, 0], roles[row, 1], roles[row, 2] = UNMETERED, UNMETERED, state[HEAD]
        if packets[1][row] != 4:
            state[IPV6] += 1
            continue
        if not allowed[protocol]:
            state[OTHER_PROTOCOL] += 1
            continue
        source, destination = packets[3][row], packets[4][row]
        source_port, destination_port = packets[5][row], packets[6][row]
        if senders.shape[0] > 0 and not is_among(senders, source):
            state[OUTSIDE] += 1
            if has_roles:
                roles[row, 1] = answered(state, ring, index, packets, row, data, seed, rules, fragment_ns, others)
            continue
        at, there = packets[11][row], np.int64(packets[12][row])
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
            # The reader gives no payload of it; what follows the IP header is the transport's payload going on.
            end = at + there
            at = min(packets[10][row] + header, end)
            there = end - at
        state[METERED] += 1
        if packets[10][row] + np.int64(packets[7][row]) > at + there:
            state[NO_PAYLOAD] += 1
        rest = np.uint64(protocol)
        zero = np.uint64(0)
        tag = hash_pair(
            seed, zero, np.uint64(source), source_port, zero, np.uint64(destination), destination_port, rest
        )
        slot, place, way = find(ring, index, tag, source, destination, source_port, destination_port, protocol, both)
        if way != 0:
            age = time - ring[place].start
            if age >= interval or age < -lateness or ring[place].start + interval + lateness <= state[CLOCK]:
                ring[place].closed = 1
                way = 0
        if way == 0:
            ports = (source_port, destination_port)
            place = open_record(state, ring, index, slot, tag, packets, row, ports)
            way = 1
        if has_roles:
            roles[row, 0] = number_of(state, ring, place)
            ports = (source_port, destination_port)
            if source != destination or source_port != destination_port:  # else it would answer itself
                roles[row, 1] = reverse_number(state, ring, index, tag, packets, row, ports, rules)
        count_packet(
            state, ring, place, described, blocks, packets, row, way, at, there, most_packets, most_octets, data
        )
    return packets[0].shape[0], DONE
