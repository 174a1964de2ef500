"""The flow cache, compiled: an open-addressing index over records of live flows.

A flow is found by the hash of its unordered pair of endpoints, so both directions meet in one record.
The index holds 32 bits of each hash beside the record's number; most misses are told without touching a record.
All loops are bounded by the number of packets, of records or of index places.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.schema.compiled import Compiler

__all__ = [
    "BACK", "CLOCK", "DONE", "EVICTED", "FLOW_RECORD", "FORCED", "GROW", "LIVE", "LIVING", "OUTPUT_FULL", "PLACES",
    "STATE", "SWEEP", "feed", "reindex",
]  # fmt: skip

FLOW_RECORD = np.dtype(
    [
        ("source_high", np.uint64),
        ("source_low", np.uint64),
        ("destination_high", np.uint64),
        ("destination_low", np.uint64),
        ("source_port", np.uint16),
        ("destination_port", np.uint16),
        ("vlan", np.uint16),
        ("version", np.uint8),
        ("protocol", np.uint8),
        ("hash", np.uint32),
        ("initial", np.uint8),
        ("reverse_initial", np.uint8),
        ("union", np.uint8),
        ("reverse_union", np.uint8),
        ("start", np.int64),
        ("end", np.int64),
        ("octets", np.uint64),
        ("packets", np.uint64),
        ("reverse_octets", np.uint64),
        ("reverse_packets", np.uint64),
        ("source_mac", np.uint64),
        ("destination_mac", np.uint64),
        ("reason", np.uint8),  # 0 while the place is free, LIVING, or why the flow ended
    ],
    align=True,
)
"""A flow, source first; times in ns."""

IDLE, ACTIVE, FORCED, LACK = 1, 2, 4, 5  # flowEndReason
LIVING = 255
DONE, OUTPUT_FULL, GROW = 0, 1, 2
"""Why :func:`feed` returned."""

LIVE, PLACES, FREE, CLOCK, SINCE, SWEEP, SWEEP_NOW, SWEEP_REASON, EVICTED, BACK = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
STATE = 10
"""Places of the state: live flows; places ever used; free places on the stack; time of the next sweep; packets
since the last; where a sweep that ran out of output goes on (-1: none), its time and reason; evicted flows; flows ended
because the clock went back."""

EMPTY = np.uint64(0)
SAMPLE = 4096

COMPILER = Compiler.of(__file__)
compiled, inner = COMPILER.compiled, COMPILER.inner


@inner
def mix(value: Any) -> Any:
    """Finaliser of splitmix64: every bit of the input reaches every bit of the output."""
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@inner
def hash_pair(seed: Any, a_high: Any, a_low: Any, a_port: Any, b_high: Any, b_low: Any, b_port: Any, rest: Any) -> Any:
    """32 bits that are the same for both directions of a flow and that a sender cannot foresee."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    a = mix(a_low + (np.uint64(a_port) << np.uint64(40)) + mix(a_high ^ seed))
    b = mix(b_low + (np.uint64(b_port) << np.uint64(40)) + mix(b_high ^ seed))
    return np.uint32(mix((a + b) ^ (np.uint64(rest) * golden) ^ seed) >> np.uint64(32))


@inner
def insert(index: Any, tag: Any, place: int) -> None:
    """Enter a record's number under its hash; the index is never more than half full."""
    mask = np.int64(index.shape[0] - 1)
    at = np.int64(tag) & mask
    while index[at] != EMPTY:
        at = (at + 1) & mask
    index[at] = (np.uint64(tag) << np.uint64(32)) | np.uint64(place + 1)


@inner
def remove(index: Any, tag: Any, place: int) -> None:
    """Take a record's number out, moving later ones of the same run back so that none is lost."""
    mask = np.int64(index.shape[0] - 1)
    wanted = (np.uint64(tag) << np.uint64(32)) | np.uint64(place + 1)
    hole = np.int64(tag) & mask
    while index[hole] != wanted:
        hole = (hole + 1) & mask
    at = hole
    while True:
        at = (at + 1) & mask
        entry = index[at]
        if entry == EMPTY:
            break
        home = np.int64(entry >> np.uint64(32)) & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            index[hole] = entry
            hole = at
    index[hole] = EMPTY


@compiled
def reindex(flows: Any, used: int, index: Any) -> None:
    """Fill an empty index with all live flows."""
    for place in range(used):
        if flows[place].reason == LIVING:
            insert(index, flows[place].hash, place)


@inner
def give_out(flows: Any, place: int, reason: int, output: Any, given: int) -> int:
    """Copy an ended flow to the output; give the next row of the output."""
    output[given] = flows[place]
    output[given].reason = reason
    return given + 1


@inner
def sweep(flows: Any, index: Any, free: Any, state: Any, idle_ns: int, output: Any, given: int) -> tuple[int, bool]:
    """Give out every flow whose time has come; stop when the output is full.

    Returns
    -------
    given, finished
    """
    place, now, reason = state[SWEEP], state[SWEEP_NOW], state[SWEEP_REASON]
    while place < state[PLACES]:
        flow = flows[place]
        if flow.reason == LIVING and (now - flow.end > idle_ns if reason == IDLE else flow.end <= now):
            if given == output.shape[0]:
                state[SWEEP] = place
                return given, False
            given = give_out(flows, place, reason, output, given)
            remove(index, flow.hash, place)
            flow.reason = 0
            free[state[FREE]] = place
            state[FREE] += 1
            state[LIVE] -= 1
            if reason == LACK:
                state[EVICTED] += 1
        place += 1
    state[SWEEP] = -1
    if state[LIVE] == 0:
        state[PLACES] = 0
        state[FREE] = 0
    return given, True


@inner
def oldest(flows: Any, places: int) -> Any:
    """The time that about an eighth of the flows have been silent since, from an even sample of them."""
    step = max(places // SAMPLE, 1)
    times = np.empty(places // step + 1, np.int64)
    count = 0
    for place in range(0, places, step):
        if flows[place].reason == LIVING:
            times[count] = flows[place].end
            count += 1
    ordered = np.sort(times[:count])
    return np.int64(ordered[(count - 1) // 8])


@inner
def clear(flow: Any, time: int, reverse: bool, packets: Any, row: int) -> None:
    """Make a record that of a new flow whose first packet is ``row``; ``reverse`` when the responder sent it."""
    flow.reason = LIVING
    flow.start = time
    flow.end = time
    flow.packets = 0
    flow.octets = 0
    flow.reverse_packets = 0
    flow.reverse_octets = 0
    flow.initial = 0
    flow.reverse_initial = 0
    flow.union = 0
    flow.reverse_union = 0
    flow.vlan = packets[11][row]
    flow.source_mac = packets[13][row] if reverse else packets[12][row]
    flow.destination_mac = packets[12][row] if reverse else packets[13][row]


@inner
def set_key(flow: Any, packets: Any, row: int, tag: Any) -> None:
    """Make a packet's sender the source of a flow."""
    flow.version = packets[1][row]
    flow.protocol = packets[2][row]
    flow.source_high = packets[3][row]
    flow.source_low = packets[4][row]
    flow.destination_high = packets[5][row]
    flow.destination_low = packets[6][row]
    flow.source_port = packets[7][row]
    flow.destination_port = packets[8][row]
    flow.hash = tag


@inner
def direction(flow: Any, packets: Any, row: int, vlan_key: bool) -> int:
    """1 when a packet is of this flow and from its source, -1 when from its destination, 0 when of another flow."""
    if flow.protocol != packets[2][row] or flow.version != packets[1][row]:
        return 0
    if vlan_key and flow.vlan != packets[11][row]:
        return 0
    source_high, source_low, source_port = packets[3][row], packets[4][row], packets[7][row]
    destination_high, destination_low, destination_port = packets[5][row], packets[6][row], packets[8][row]
    if (
        flow.source_low == source_low
        and flow.destination_low == destination_low
        and flow.source_port == source_port
        and flow.destination_port == destination_port
        and flow.source_high == source_high
        and flow.destination_high == destination_high
    ):
        return 1
    if (
        flow.source_low == destination_low
        and flow.destination_low == source_low
        and flow.source_port == destination_port
        and flow.destination_port == source_port
        and flow.source_high == destination_high
        and flow.destination_high == source_high
    ):
        return -1
    return 0


@inner
def find(flows: Any, index: Any, tag: Any, packets: Any, row: int, vlan_key: bool) -> tuple[Any, int]:
    """Place and direction of the flow that a packet belongs to; direction 0 when there is none."""
    mask = np.int64(index.shape[0] - 1)
    at = np.int64(tag) & mask
    entry = index[at]
    while entry != EMPTY:
        if entry >> np.uint64(32) == np.uint64(tag):
            place = np.int64(entry & np.uint64(0xFFFFFFFF)) - 1
            way = direction(flows[place], packets, row, vlan_key)
            if way != 0:
                return place, way
        at = (at + 1) & mask
        entry = index[at]
    return -1, 0


@inner
def count_packet(flow: Any, way: int, time: int, packets: Any, row: int) -> None:
    """Add one packet to a flow, in its direction."""
    flow.start = min(flow.start, time)
    flow.end = max(flow.end, time)
    flags = packets[9][row]
    if way > 0:
        if flow.packets == 0:
            flow.initial = flags
        flow.packets += np.uint64(1)
        flow.octets += np.uint64(packets[10][row])
        flow.union |= flags
        if flow.source_mac == 0:
            flow.source_mac = packets[12][row]
    else:
        if flow.reverse_packets == 0:
            flow.reverse_initial = flags
        flow.reverse_packets += np.uint64(1)
        flow.reverse_octets += np.uint64(packets[10][row])
        flow.reverse_union |= flags
        if flow.destination_mac == 0:
            flow.destination_mac = packets[12][row]


@compiled
def feed(
    packets: Any,
    first: int,
    flows: Any,
    index: Any,
    free: Any,
    state: Any,
    seed: Any,
    idle_ns: int,
    active_ns: int,
    max_flows: int,
    vlan_key: bool,
    output: Any,
) -> tuple[int, int, int]:
    """Meter packets from row ``first`` on, until they are done, the output is full or the cache must grow.

    Parameters
    ----------
    packets
        Columns: time, version, protocol, addresses in halves, ports, flags, octets, vlan, MACs.
    flows, index, free, state
        The cache; changed in place.
    output
        Records of ended flows are written here from row 0 on.

    Returns
    -------
    row, given, why
        The first packet not metered, the rows of output written, and ``DONE``, ``OUTPUT_FULL`` or ``GROW``.
    """
    given = 0
    for row in range(first, packets[0].shape[0]):
        time = packets[0][row]
        # Time that leaps back by two idle timeouts is another capture's. A sweep waits until enough packets have
        # passed to pay for it, so its cost per packet is bounded.
        due = time >= state[CLOCK] or time < state[CLOCK] - 2 * idle_ns
        if due and state[SWEEP] < 0 and state[SINCE] * 64 >= state[PLACES]:
            state[CLOCK] = time + idle_ns // 4
            state[SINCE] = 0
            state[SWEEP], state[SWEEP_NOW], state[SWEEP_REASON] = 0, time, IDLE
        if state[SWEEP] >= 0:
            given, finished = sweep(flows, index, free, state, idle_ns, output, given)
            if not finished:
                return row, given, OUTPUT_FULL
        rest = np.uint64(packets[2][row]) | (np.uint64(packets[1][row]) << np.uint64(8))
        if vlan_key:
            rest |= np.uint64(packets[11][row]) << np.uint64(16)
        tag = hash_pair(
            seed, packets[3][row], packets[4][row], packets[7][row],
            packets[5][row], packets[6][row], packets[8][row], rest,
        )  # fmt: skip
        place, way = find(flows, index, tag, packets, row, vlan_key)
        if way != 0:
            flow = flows[place]
            # Packets that are reordered differ by less; a clock that was set back by more gives no flow over the jump.
            back = flow.end - time > idle_ns
            idle, active = time - flow.end > idle_ns or back, time - flow.start > active_ns
            if idle or active:
                if given == output.shape[0]:
                    return row, given, OUTPUT_FULL
                given = give_out(flows, place, IDLE if idle else ACTIVE, output, given)
                state[BACK] += back
                if idle:  # a new flow: whoever speaks first starts it
                    set_key(flow, packets, row, tag)
                    way = 1
                clear(flow, time, way < 0, packets, row)
        else:
            if state[LIVE] == max_flows:
                state[SWEEP], state[SWEEP_NOW], state[SWEEP_REASON] = 0, oldest(flows, state[PLACES]), LACK
                given, finished = sweep(flows, index, free, state, idle_ns, output, given)
                if not finished:
                    return row, given, OUTPUT_FULL
            if state[FREE] > 0:
                state[FREE] -= 1
                place = free[state[FREE]]
            elif state[PLACES] < flows.shape[0]:
                place = state[PLACES]
                state[PLACES] += 1
            else:
                return row, given, GROW
            state[LIVE] += 1
            way = 1
            set_key(flows[place], packets, row, tag)
            clear(flows[place], time, False, packets, row)
            insert(index, tag, place)
        count_packet(flows[place], way, time, packets, row)
        state[SINCE] += 1
    return packets[0].shape[0], given, DONE
