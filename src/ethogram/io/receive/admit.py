"""Compiled kernels of :mod:`ethogram.io.receive.udp`: read datagrams, identify and admit their exporters.

They do not need the interpreter lock, so a receiver reads while records are decoded. The caller provides all memory;
its size is fixed, whatever is sent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ethogram._hashing import mix64
from ethogram._numba import Compiler, types

__all__ = [
    "ACCEPTED", "ADDRESS", "COUNTERS", "EXPORTER", "GROUP", "MESSAGE_HEADER", "NOT_ALLOWED", "POLL", "QUEUE",
    "RATE_LIMIT", "READ", "STATE", "TOO_MANY", "TOO_MANY_ADDRESS", "TOO_MANY_PREFIX", "TRUNCATED", "admit", "group_of",
    "place_of", "rebuild", "receive", "well_formed",
]  # fmt: skip

READ, ACCEPTED, NOT_ALLOWED, TOO_MANY, RATE_LIMIT, QUEUE, TRUNCATED = 0, 1, 2, 3, 4, 5, 6
TOO_MANY_ADDRESS, TOO_MANY_PREFIX, COUNTERS = 7, 8, 9

MESSAGE_HEADER = np.dtype(
    [
        ("name", np.uint64), ("name_octets", np.uint32), ("pad", np.uint32), ("vector", np.uint64),
        ("vectors", np.uint64), ("control", np.uint64), ("control_octets", np.uint64), ("flags", np.int32),
        ("pad2", np.uint32), ("octets", np.uint32), ("pad3", np.uint32),
    ]
)  # fmt: skip
"""``struct mmsghdr`` with 64-bit pointers."""

POLL = np.dtype([("fd", np.int32), ("events", np.int16), ("found", np.int16)])
"""``struct pollfd``."""

EXPORTER = np.dtype([("high", np.uint64), ("low", np.uint64), ("port", np.int64), ("address", np.int64),
                     ("narrow", np.int64), ("wide", np.int64), ("seen_ns", np.int64), ("index", np.int32),
                     ("sound", np.int32)], align=True)  # fmt: skip
"""An exporter: its address and port, its rows among addresses and groups, its index in batches, and whether it has sent
a well-formed message.
"""

ADDRESS = np.dtype([("high", np.uint64), ("low", np.uint64), ("port", np.int64), ("tokens", np.float64),
                    ("at_ns", np.int64)])  # fmt: skip
"""An address (without port) and its token bucket: tokens at a time."""

GROUP = np.dtype([("high", np.uint64), ("low", np.uint64), ("port", np.int64), ("count", np.int64)])
"""Exporters of the same address (``port`` is :data:`NARROW`) or prefix (:data:`WIDE`), and their number."""

NARROW, WIDE = 0, 1

STATE = np.dtype([("count", np.int64), ("next", np.int64), ("arrival_ns", np.int64), ("socket", np.int64),
                  ("exporters", np.int64), ("addresses", np.int64), ("groups", np.int64),
                  ("seed", np.uint64)])  # fmt: skip
"""Datagrams in the slots and the next one to process; number of known exporters, addresses and groups."""

POLLIN, DONT_WAIT, TRUNC, INET, INET6 = 1, 0x40, 0x20, 2, 10
NAP_MS = 1  # pause after a small batch, because reading many datagrams at once is cheaper

_recvmmsg: Any = types.ExternalFunction(
    "recvmmsg", types.int32(types.int32, types.uintp, types.uint32, types.int32, types.uintp)
)
_poll: Any = types.ExternalFunction("poll", types.int32(types.uintp, types.uint64, types.int32))
_clock: Any = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))

compiled = Compiler(Path(__file__).parent, ("admit", "framing", "../../_hashing")).compiled


@compiled
def place_of(places: Any, rows: Any, high: Any, low: Any, port: Any, seed: Any) -> Any:
    """Slot of an exporter or address (port -1) in a hash table, or the free slot for it."""
    mixed = mix64(high ^ seed, (low + seed) ^ (np.uint64(port + 1) << np.uint64(40)))
    mask = places.shape[0] - 1
    at = np.int64(mixed >> np.uint64(33)) & mask
    while places[at] >= 0:
        row = rows[places[at]]
        if row["high"] == high and row["low"] == low and (port < 0 or row["port"] == port):
            return at
        at = (at + 1) & mask
    return at


@compiled
def number(octets: Any, begin: Any, count: Any) -> Any:
    """Octets as a big-endian number."""
    value = np.uint64(0)
    for i in range(begin, begin + count):
        value = (value << np.uint64(8)) | np.uint64(octets[i])
    return value


@compiled
def allowed(prefixes: Any, high: Any, low: Any) -> Any:
    """Whether an address is in one of the prefixes; without prefixes, all are."""
    for i in range(prefixes.shape[0]):
        if high & prefixes[i, 2] == prefixes[i, 0] and low & prefixes[i, 3] == prefixes[i, 1]:
            return True
    return prefixes.shape[0] == 0


@compiled
def group_of(high: Any, low: Any, kind: Any) -> Any:
    """The group of an address, as two numbers.

    A sender can use all addresses of an IPv6 /64, and often those of a /48; these count like an IPv4 address and an
    IPv4 /24.
    """
    if high == 0 and low >> np.uint64(32) == 0xFFFF:
        return high, low if kind == NARROW else low & ~np.uint64(0xFF)
    return high if kind == NARROW else high & ~np.uint64(0xFFFF), np.uint64(0)


@compiled
def well_formed(data: Any, begin: Any, size: Any) -> Any:
    """Whether octets are an export message with content: a valid header, and records or sets that fill it.

    This is much faster than decoding, and distinguishes exporters from senders of invalid data before a template
    arrives.
    """
    if size < 16 or data[begin] != 0:
        return False
    version, stated = data[begin + 1], np.int64(number(data, begin + 2, 2))
    end = begin + size
    if version == 5:
        return stated > 0 and 24 + 48 * stated <= size
    if version == 9:
        at, template_id = begin + 20, 0
    elif version == 10:
        if stated > size:
            return False
        at, template_id, end = begin + 16, 2, begin + stated
    else:
        return False
    sets = 0
    while end - at >= 4:
        set_id, length = np.int64(number(data, at, 2)), np.int64(number(data, at + 2, 2))
        if sets and set_id == 0 and length == 0:  # padding
            return True
        if length < 4 or length > end - at or (set_id < 256 and set_id != template_id and set_id != template_id + 1):
            return False
        sets += 1
        at += length
    return sets > 0


@compiled
def group_row(state: Any, places: Any, groups: Any, high: Any, low: Any, kind: int) -> Any:
    """Row of the group of an address, created if new."""
    first, second = group_of(high, low, kind)
    at = place_of(places, groups, first, second, kind, state["seed"])
    if places[at] < 0:
        row = state["groups"]
        places[at] = row
        groups[row]["high"], groups[row]["low"], groups[row]["port"], groups[row]["count"] = first, second, kind, 0
        state["groups"] += 1
    return places[at]


@compiled
def group_count(state: Any, places: Any, groups: Any, high: Any, low: Any, kind: int) -> Any:
    """Number of exporters in the group of an address."""
    first, second = group_of(high, low, kind)
    at = place_of(places, groups, first, second, kind, state["seed"])
    return groups[places[at]]["count"] if places[at] >= 0 else 0


@compiled
def refusal(state: Any, tables: Any, bounds: Any, high: Any, low: Any, sound: bool) -> int:
    """Counter under which a new exporter is refused; -1 if there is room.

    A quarter of each limit is reserved for exporters with well-formed messages, so senders of invalid data cannot
    exclude them.
    """
    places, groups = tables[4], tables[5]
    narrow = group_count(state, places, groups, high, low, NARROW)
    if bounds[1] < bounds[0] and narrow >= bounds[1] - (0 if sound else bounds[1] // 4):
        return TOO_MANY_ADDRESS
    wide = group_count(state, places, groups, high, low, WIDE)
    if bounds[2] < bounds[0] and wide >= bounds[2] - (0 if sound else bounds[2] // 4):
        return TOO_MANY_PREFIX
    if state["exporters"] >= bounds[0] - (0 if sound else bounds[0] // 4):
        return TOO_MANY
    return -1


@compiled
def add_exporter(
    state: Any, tables: Any, high: Any, low: Any, port: Any, seen_ns: Any, index: Any, sound: Any, tokens: Any,
    at_ns: Any,
) -> Any:  # fmt: skip
    """Add an exporter and return its row; the bucket is used if its address is new too."""
    places, exporters, address_places, addresses, group_places, groups = tables
    address_at = place_of(address_places, addresses, high, low, -1, state["seed"])
    if address_places[address_at] < 0:
        address_places[address_at] = state["addresses"]
        address = addresses[state["addresses"]]
        address["high"], address["low"], address["tokens"], address["at_ns"] = high, low, tokens, at_ns
        state["addresses"] += 1
    row = state["exporters"]
    places[place_of(places, exporters, high, low, port, state["seed"])] = row
    exporter = exporters[row]
    exporter["high"], exporter["low"], exporter["port"] = high, low, port
    exporter["address"], exporter["index"] = address_places[address_at], index
    exporter["seen_ns"], exporter["sound"] = seen_ns, sound
    exporter["narrow"] = group_row(state, group_places, groups, high, low, NARROW)
    exporter["wide"] = group_row(state, group_places, groups, high, low, WIDE)
    groups[exporter["narrow"]]["count"] += 1
    groups[exporter["wide"]]["count"] += 1
    state["exporters"] += 1
    return row


@compiled
def rebuild(state: Any, tables: Any, exporters: Any, buckets: Any) -> None:
    """Rebuild the tables with these exporters only; ``buckets`` are the previous addresses."""
    places, _, address_places, _, group_places, _ = tables
    places[:], address_places[:], group_places[:] = -1, -1, -1
    state["exporters"] = state["addresses"] = state["groups"] = 0
    for i in range(exporters.shape[0]):
        exporter = exporters[i]
        bucket = buckets[exporter["address"]]
        add_exporter(
            state, tables, exporter["high"], exporter["low"], exporter["port"], exporter["seen_ns"],
            exporter["index"], exporter["sound"],
            bucket["tokens"], bucket["at_ns"],
        )  # fmt: skip


@compiled
def known(
    state: Any, name: Any, slot: Any, length: Any, cut: bool, prefixes: Any, tables: Any, bounds: Any, burst: float,
    now_ns: int, counters: Any,
) -> Any:  # fmt: skip
    """Row of the exporter of a datagram; -1 if it may not send, or there is no room for a new exporter."""
    places, exporters = tables[0], tables[1]
    family = np.int64(name[0]) | (np.int64(name[1]) << 8)
    port = np.int64(number(name, 2, 2))
    if family == INET6:
        high, low = number(name, 8, 8), number(name, 16, 8)
    else:
        high, low = np.uint64(0), (np.uint64(0xFFFF) << np.uint64(32)) | number(name, 4, 4)
    at = place_of(places, exporters, high, low, port, state["seed"])
    if places[at] >= 0:
        if exporters[places[at]]["sound"] == 0 and not cut and well_formed(slot, 0, length):
            exporters[places[at]]["sound"] = 1
        return places[at]
    if not allowed(prefixes, high, low):
        counters[NOT_ALLOWED] += 1
        return -1
    sound = not cut and well_formed(slot, 0, length)
    refused = refusal(state, tables, bounds, high, low, sound)
    if refused >= 0:
        counters[refused] += 1
        return -1
    return add_exporter(state, tables, high, low, port, now_ns, -1, 1 if sound else 0, burst, now_ns)


@compiled
def admit(
    state: Any, headers: Any, names: Any, slots: Any, prefixes: Any, tables: Any, bounds: Any, rate: float,
    burst: float, out: Any, filled: Any, room: int, counters: Any,
) -> bool:  # fmt: skip
    """Move datagrams from the slots to the batch; False if the batch is full and datagrams are left.

    Parameters
    ----------
    bounds
        Maximum exporters in total, per address, and per prefix.
    out
        Octets, and for each message its position, length, time and exporter row.
    filled
        Messages, octets with overhead, and octets of the batch so far.
    room
        Reserved octets with overhead; if they are fewer than the batch needs, datagrams beyond them are lost.
    """
    data, offset, octets, arrival, sender = out
    overhead = np.int64(64)
    exporters, addresses = tables[1], tables[3]
    now_ns = state["arrival_ns"]
    while state["next"] < state["count"]:
        slot = state["next"]
        length = np.int64(headers[slot]["octets"])
        if filled[0] == offset.shape[0] or filled[2] + length > data.shape[0]:
            return False
        state["next"] += 1
        counters[READ] += 1
        cut = headers[slot]["flags"] & TRUNC != 0
        row = known(
            state, names[slot], slots[slot], length, cut, prefixes, tables, bounds, burst, now_ns, counters
        )  # fmt: skip
        if row < 0:
            continue
        exporters[row]["seen_ns"] = now_ns
        if cut:
            counters[TRUNCATED] += 1
            continue
        if rate > 0:
            bucket = addresses[exporters[row]["address"]]
            # A clock that was set back adds no tokens.
            since = max(now_ns - bucket["at_ns"], 0)
            bucket["tokens"] = min(burst, bucket["tokens"] + since * rate * 1e-9)
            bucket["at_ns"] = now_ns
            if bucket["tokens"] < 1.0:
                counters[RATE_LIMIT] += 1
                continue
            bucket["tokens"] -= 1.0
        if filled[1] + length + overhead > room:
            counters[QUEUE] += 1
            continue
        counters[ACCEPTED] += 1
        message, begin = filled[0], filled[2]
        data[begin : begin + length] = slots[slot, :length]
        offset[message], octets[message], arrival[message], sender[message] = begin, length, now_ns, row
        filled[0] += 1
        filled[1] += length + overhead
        filled[2] += length
    return True


@compiled
def now(clock: Any) -> Any:
    """Nanoseconds since 1970."""
    _clock(0, clock.ctypes.data)
    return clock[0] * 1_000_000_000 + clock[1]


@compiled
def receive(
    polled: Any, state: Any, headers: Any, names: Any, slots: Any, prefixes: Any, tables: Any, bounds: Any,
    rate: float, burst: float, out: Any, filled: Any, room: int, counters: Any, clock: Any, wait_ms: int,
) -> None:  # fmt: skip
    """Read all sockets in turn until the batch is full or ``wait_ms`` have passed.

    Each read takes all available datagrams, up to the number of slots; they share an arrival time.
    """
    until = now(clock) + wait_ms * 1_000_000
    while admit(state, headers, names, slots, prefixes, tables, bounds, rate, burst, out, filled, room, counters):
        left_ms = (until - now(clock)) // 1_000_000
        # A clock that was set back must not delay the batch.
        if left_ms <= 0 or left_ms > wait_ms:
            return
        if _poll(polled.ctypes.data, np.uint64(polled.shape[0]), np.int32(left_ms)) <= 0:
            return
        most = 0
        for _ in range(polled.shape[0]):
            state["socket"] = (state["socket"] + 1) % polled.shape[0]
            ready = polled[state["socket"]]
            if ready["found"] == 0:
                continue
            for slot in range(headers.shape[0]):
                headers[slot]["name_octets"] = names.shape[1]
            count = _recvmmsg(ready["fd"], headers.ctypes.data, np.uint32(headers.shape[0]), np.int32(DONT_WAIT), 0)
            if count > 0:
                state["count"], state["next"], state["arrival_ns"] = count, 0, now(clock)
                most = max(most, count)
                break
        if most < headers.shape[0] // 4:
            _poll(polled.ctypes.data, np.uint64(0), np.int32(NAP_MS))
