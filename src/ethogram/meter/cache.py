"""Compiled flow cache of the biflow meter: records of live flows, and a tag index over them.

The key of a flow is the unordered pair of its endpoints, so both directions share one record. All loops are bounded by
the number of packets, records or index entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram._hashing import finalize64, insert, next_entry, place_of, remove, start_of
from ethogram._numba import Compiler

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
        ("reason", np.uint8),  # 0 while the place is free, LIVING, or flowEndReason
    ],
    align=True,
)
"""A flow; times in ns."""

IDLE, ACTIVE, FORCED, LACK = 1, 2, 4, 5  # flowEndReason
LIVING = 255
DONE, OUTPUT_FULL, GROW = 0, 1, 2
"""Why :func:`feed` returned."""

LIVE, PLACES, FREE, CLOCK, SINCE, SWEEP, SWEEP_NOW, SWEEP_REASON, EVICTED, BACK = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
STATE = 10
"""Indexes into the state: live flows; places used so far; free places on the stack; time of the next sweep; packets
since the last one; place where an interrupted sweep resumes (-1: none), its time and reason; evicted flows; flows ended
because the clock went back."""

SAMPLE = 4096

COMPILER = Compiler.of(__file__, "../_hashing")
compiled, inner = COMPILER.compiled, COMPILER.inner


@inner
def hash_pair(seed: Any, a_high: Any, a_low: Any, a_port: Any, b_high: Any, b_low: Any, b_port: Any, rest: Any) -> Any:
    """32-bit hash of a flow, equal for both directions, that a sender cannot predict."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    a = finalize64(a_low + (np.uint64(a_port) << np.uint64(40)) + finalize64(a_high ^ seed))
    b = finalize64(b_low + (np.uint64(b_port) << np.uint64(40)) + finalize64(b_high ^ seed))
    return np.uint32(finalize64((a + b) ^ (np.uint64(rest) * golden) ^ seed) >> np.uint64(32))


@compiled
def reindex(flows: Any, used: int, index: Any) -> None:
    """Fill an empty index with all live flows."""
    for place in range(used):
        if flows[place].reason == LIVING:
            insert(index, flows[place].hash, place)


@inner
def give_out(flows: Any, place: int, reason: int, output: Any, given: int) -> int:
    """Copy an ended flow to the output; returns the next row of the output."""
    output[given] = flows[place]
    output[given].reason = reason
    return given + 1


@inner
def sweep(flows: Any, index: Any, free: Any, state: Any, idle_ns: int, output: Any, given: int) -> tuple[int, bool]:
    """Emit every flow that has timed out; stop when the output is full.

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
    """Estimate, from a sample, the time since which an eighth of the flows have been silent."""
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
    """Reset a record for a new flow whose first packet is ``row``; ``reverse`` if the responder sent it."""
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
    flow.vlan = packets.vlan[row]
    flow.source_mac = packets.destination_mac[row] if reverse else packets.source_mac[row]
    flow.destination_mac = packets.source_mac[row] if reverse else packets.destination_mac[row]


@inner
def set_key(flow: Any, packets: Any, row: int, tag: Any) -> None:
    """Set the key of a flow, with the sender of a packet as its source."""
    flow.version = packets.version[row]
    flow.protocol = packets.protocol[row]
    flow.source_high = packets.source_high[row]
    flow.source_low = packets.source_low[row]
    flow.destination_high = packets.destination_high[row]
    flow.destination_low = packets.destination_low[row]
    flow.source_port = packets.source_port[row]
    flow.destination_port = packets.destination_port[row]
    flow.hash = tag


@inner
def direction(flow: Any, packets: Any, row: int, vlan_key: bool) -> int:
    """1 if the source of this flow sent the packet, -1 if its destination did, 0 if it belongs to another flow."""
    if flow.protocol != packets.protocol[row] or flow.version != packets.version[row]:
        return 0
    if vlan_key and flow.vlan != packets.vlan[row]:
        return 0
    source_high, source_low = packets.source_high[row], packets.source_low[row]
    destination_high, destination_low = packets.destination_high[row], packets.destination_low[row]
    source_port, destination_port = packets.source_port[row], packets.destination_port[row]
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
    """Place and direction of the flow that a packet belongs to; direction 0 for none."""
    at = next_entry(index, tag, start_of(index, tag))
    while at >= 0:
        place = place_of(index[at])
        way = direction(flows[place], packets, row, vlan_key)
        if way != 0:
            return place, way
        at = next_entry(index, tag, at + 1)
    return -1, 0


@inner
def count_packet(flow: Any, way: int, time: int, packets: Any, row: int) -> None:
    """Add one packet to a flow, in its direction."""
    flow.start = min(flow.start, time)
    flow.end = max(flow.end, time)
    flags = packets.tcp_flags[row]
    if way > 0:
        if flow.packets == 0:
            flow.initial = flags
        flow.packets += np.uint64(1)
        flow.octets += np.uint64(packets.octets[row])
        flow.union |= flags
        if flow.source_mac == 0:
            flow.source_mac = packets.source_mac[row]
    else:
        if flow.reverse_packets == 0:
            flow.reverse_initial = flags
        flow.reverse_packets += np.uint64(1)
        flow.reverse_octets += np.uint64(packets.octets[row])
        flow.reverse_union |= flags
        if flow.destination_mac == 0:
            flow.destination_mac = packets.source_mac[row]


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
    """Meter packets from row ``first`` on, until all are done, the output is full or the cache must grow.

    Parameters
    ----------
    packets
        :class:`~ethogram.meter.columns.BiflowPackets`.
    flows, index, free, state
        The cache, changed in place.
    output
        Filled with records of ended flows, from row 0.

    Returns
    -------
    row, given, why
        First packet not metered, rows of output written, and ``DONE``, ``OUTPUT_FULL`` or ``GROW``.
    """
    given = 0
    for row in range(first, packets.time.shape[0]):
        time = packets.time[row]
        # A leap back by two idle timeouts means another capture. A sweep starts only after enough packets, so that its
        # cost per packet is bounded.
        due = time >= state[CLOCK] or time < state[CLOCK] - 2 * idle_ns
        if due and state[SWEEP] < 0 and state[SINCE] * 64 >= state[PLACES]:
            state[CLOCK] = time + idle_ns // 4
            state[SINCE] = 0
            state[SWEEP], state[SWEEP_NOW], state[SWEEP_REASON] = 0, time, IDLE
        if state[SWEEP] >= 0:
            given, finished = sweep(flows, index, free, state, idle_ns, output, given)
            if not finished:
                return row, given, OUTPUT_FULL
        rest = np.uint64(packets.protocol[row]) | (np.uint64(packets.version[row]) << np.uint64(8))
        if vlan_key:
            rest |= np.uint64(packets.vlan[row]) << np.uint64(16)
        tag = hash_pair(
            seed, packets.source_high[row], packets.source_low[row], packets.source_port[row],
            packets.destination_high[row], packets.destination_low[row], packets.destination_port[row], rest,
        )  # fmt: skip
        place, way = find(flows, index, tag, packets, row, vlan_key)
        if way != 0:
            flow = flows[place]
            # Reordering shifts packets by less. If the clock was set back by more, the flow ends at the jump.
            back = flow.end - time > idle_ns
            idle, active = time - flow.end > idle_ns or back, time - flow.start > active_ns
            if idle or active:
                if given == output.shape[0]:
                    return row, given, OUTPUT_FULL
                given = give_out(flows, place, IDLE if idle else ACTIVE, output, given)
                state[BACK] += back
                if idle:  # a new flow, whose source is the sender of this packet
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
    return packets.time.shape[0], given, DONE
