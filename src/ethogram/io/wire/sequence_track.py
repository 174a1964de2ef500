"""Compiled kernels of :mod:`ethogram.io.wire.sequence`: update the state of a stream message by message.

Positions are 32-bit sequence numbers extended across wraps. A stream covers the range from its first to its last
message; each part without a message is a hole: a gap, or room for records that are not counted yet.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram._hashing import mix64
from ethogram._numba import Compiler

__all__ = ["HOLE", "HOLES", "NO_OWNER", "STREAM", "find", "settle_one", "track"]

HOLES = 32  # open holes of a stream; the oldest is closed and remains a gap
NO_OWNER = -(1 << 62)  # a hole that begins without uncounted records
MAX_FORWARD = 1 << 24  # units; a larger jump is an exporter restart, not a loss
YOUNG = 32  # messages of a stream during which messages before its first can arrive
BACK = 1 << 14  # maximum units of such a message before the first
CONFIRM = 8  # consecutive repeated messages that indicate a restart
BOOT_SLACK_MS = 5_000  # the start time follows from a clock of whole seconds

STREAM = np.dtype(
    [
        ("exporter", np.int32), ("version", np.int32), ("domain", np.int64), ("used", np.int64),
        ("messages", np.int64), ("received", np.int64), ("gaps", np.int64), ("undecoded", np.int64),
        ("sent", np.int64), ("duplicates", np.int64), ("repeated", np.int64), ("reordered", np.int64),
        ("resets", np.int64), ("since", np.int64), ("first", np.int64), ("next", np.int64), ("first_time", np.int64),
        ("newest_time", np.int64), ("boot_ms", np.int64), ("tail_owner", np.int64), ("tail_bound", np.int64),
        ("again_next", np.int64), ("again_first", np.int64), ("again_units", np.int64),
        ("again_messages", np.int64), ("again_time", np.int64), ("holes", np.int64), ("announced", np.int64),
    ],
    align=True,
)  # fmt: skip
"""One stream. ``since`` counts messages since it began or restarted, ``again_`` describes a run of repeated messages,
and ``announced`` is the position of a later message without records and with a smaller number, such as the first
templates after a restart. Exporters that number such messages wrongly set it too, so it is not sufficient evidence.
"""

HOLE = np.dtype([("start", np.int64), ("end", np.int64), ("owner", np.int64), ("bound", np.int64)], align=True)
"""A range without messages; ``owner`` began it with sets that contain at most ``bound`` uncounted records."""

compiled = Compiler.of(__file__, "../../_hashing").compiled


@compiled
def find(table: Any, streams: Any, exporter: Any, version: Any, domain: Any) -> Any:
    """Slot of a stream in the hash table, or the free slot for it."""
    mixed = mix64(exporter, np.uint64(domain) ^ (np.uint64(version) << np.uint64(40)))
    mask = table.shape[0] - 1
    at = np.int64(mixed >> np.uint64(33)) & mask
    while table[at] >= 0:
        row = streams[table[at]]
        if row["exporter"] == exporter and row["version"] == version and row["domain"] == domain:
            return at
        at = (at + 1) & mask
    return at


@compiled
def weigh(row: Any, hole: Any, sign: int) -> None:
    """Add a hole to the sums, or subtract it."""
    length = hole["end"] - hole["start"]
    waiting = min(length, hole["bound"])
    row["undecoded"] += sign * waiting
    row["gaps"] += sign * (length - waiting)


@compiled
def remove(row: Any, holes: Any, at: int) -> None:
    """Forget a hole; the sums keep it."""
    for i in range(at, row["holes"] - 1):
        holes[i] = holes[i + 1]
    row["holes"] -= 1


@compiled
def insert(row: Any, holes: Any, at: int, start: int, end: int, owner: int, bound: int) -> None:
    """Insert a hole in order of position and add it to the sums; evicts the oldest if there is no room."""
    if end <= start:
        return
    if row["holes"] == HOLES:
        remove(row, holes, 0)
        at = max(at - 1, 0)
    for i in range(row["holes"], at, -1):
        holes[i] = holes[i - 1]
    hole = holes[at]
    hole["start"], hole["end"], hole["owner"], hole["bound"] = start, end, owner, bound
    row["holes"] += 1
    weigh(row, hole, 1)


@compiled
def begin(row: Any, position: int, units: int, bound: int, time_s: int, boot_ms: int) -> None:
    """Begin or restart a stream."""
    row["first"], row["next"] = position, position + units
    row["first_time"] = row["newest_time"] = time_s
    row["boot_ms"] = boot_ms
    row["tail_owner"], row["tail_bound"] = position, bound
    row["received"] += units
    row["sent"] += units
    row["since"] = 1
    row["holes"] = 0
    row["again_messages"] = 0
    row["announced"] = NO_OWNER


@compiled
def fills(row: Any, holes: Any, position: int, units: int, bound: int) -> bool:
    """Whether the message lies in a hole; if so, it is received."""
    for at in range(row["holes"] - 1, -1, -1):
        hole = holes[at]
        if hole["start"] <= position and position + units <= hole["end"]:
            start, end, owner, old = hole["start"], hole["end"], hole["owner"], hole["bound"]
            weigh(row, hole, -1)
            remove(row, holes, at)
            insert(row, holes, at, position + units, end, position if bound else NO_OWNER, bound)
            insert(row, holes, at, start, position, owner, old)
            row["received"] += units
            row["reordered"] += 1
            return True
    return False


@compiled
def before_first(row: Any, holes: Any, position: int, units: int, bound: int, time_s: int) -> bool:
    """Whether the message precedes the first message of a young stream; if so, the stream begins with it."""
    end, first = position + units, row["first"]
    if row["since"] >= YOUNG or end > first or first - position > BACK or time_s > row["first_time"]:
        return False
    insert(row, holes, 0, end, first, position if bound else NO_OWNER, bound)
    row["sent"] += first - position
    row["first"] = position
    row["received"] += units
    row["reordered"] += 1
    return True


@compiled
def again(row: Any, position: int, units: int, bound: int, time_s: int, boot_ms: int) -> None:
    """Count a repeated message; many in a row indicate a restart within one second."""
    if row["again_messages"] == 0 or position != row["again_next"]:
        row["again_messages"], row["again_units"], row["again_first"], row["again_time"] = 0, 0, position, time_s
    row["again_next"] = position + units
    row["again_units"] += units
    row["again_messages"] += 1
    row["duplicates"] += units
    row["repeated"] += 1
    if row["again_messages"] >= CONFIRM:
        row["duplicates"] -= row["again_units"]
        row["repeated"] -= row["again_messages"]
        row["resets"] += 1
        run, first = row["again_units"], row["again_first"]
        begin(row, first, run, 0, time_s, boot_ms)
        row["tail_owner"], row["tail_bound"] = position, bound


@compiled
def track_message(row: Any, holes: Any, sequence: Any, units: Any, bound: Any, time_s: Any, boot_ms: Any) -> None:
    """Process one message of a stream."""
    row["messages"] += 1
    if row["messages"] == 1:
        begin(row, sequence, units, bound, time_s, boot_ms)
        return
    # The signed difference modulo 2**32: -2**31 to 2**31 - 1.
    jump = (sequence - row["next"] + (1 << 31)) % (1 << 32) - (1 << 31)
    position = row["next"] + jump
    if jump > MAX_FORWARD:
        row["resets"] += 1
        begin(row, position, units, bound, time_s, boot_ms)
        return
    row["since"] += 1
    if jump >= 0:
        row["again_messages"] = 0
        row["announced"] = NO_OWNER
        if units or bound or jump:
            insert(row, holes, row["holes"], row["next"], position, row["tail_owner"], row["tail_bound"])
            row["tail_owner"], row["tail_bound"] = position, bound
        row["sent"] += jump + units
        row["received"] += units
        row["next"] = position + units
        row["newest_time"] = max(row["newest_time"], time_s)
        # The start time follows the latest message, because clocks are adjusted.
        row["boot_ms"] = boot_ms
        return
    if units == 0 and bound == 0:
        if time_s > row["newest_time"]:
            row["announced"] = position
        return
    # Uptime wraps after 49.7 days, and with it the derived start time.
    later = (boot_ms - row["boot_ms"] + (1 << 31)) % (1 << 32) - (1 << 31)
    restarted = row["version"] != 10 and later > BOOT_SLACK_MS
    # Exported last but with a smaller number, so it is not a reordered message.
    if restarted or time_s > row["newest_time"]:
        row["resets"] += 1
        announced = row["announced"]
        begin(row, position, units, bound, time_s, boot_ms)
        if announced <= position <= announced + BACK:
            # The new count began with the message without records: the units between were lost.
            row["first"] = announced
            row["sent"] += position - announced
            insert(row, holes, 0, announced, position, NO_OWNER, 0)
    elif fills(row, holes, position, units, bound):
        row["again_messages"] = 0
    elif not before_first(row, holes, position, units, bound, time_s):
        again(row, position, units, bound, time_s, boot_ms)


@compiled
def track(
    table: Any, streams: Any, holes: Any, count: int, clock: int, exporter: Any, headers: Any, units: Any, bound: Any,
    first: int,
) -> tuple[int, int]:  # fmt: skip
    """Process messages from row ``first`` on, until there is no room for a new stream.

    Returns
    -------
    next_row, count
        The first unprocessed message, and the number of streams.
    """
    for m in range(first, headers.shape[0]):
        header = headers[m]
        version, domain = np.int64(header["version"]), np.int64(header["domain"])
        at = find(table, streams, np.int64(exporter[m]), version, domain)
        if table[at] < 0:
            if count == streams.shape[0]:
                return m, count
            table[at] = count
            row = streams[count]
            row["exporter"], row["version"], row["domain"] = exporter[m], version, domain
            count += 1
        number = table[at]
        row = streams[number]
        row["used"] = clock
        time_s = np.int64(header["export_time_s"])
        boot_ms = time_s * 1000 - np.int64(header["uptime_ms"])
        track_message(row, holes[number], np.int64(header["sequence"]), units[m], bound[m], time_s, boot_ms)
    return headers.shape[0], count


@compiled
def settle_one(row: Any, holes: Any, sequence: int, units: int, bound: int) -> Any:
    """Add records of a message that were decoded later; returns how many had a position."""
    jump = (sequence - row["next"] + (1 << 31)) % (1 << 32) - (1 << 31)
    position = row["next"] + jump
    if row["tail_bound"] and row["tail_owner"] == position:
        row["tail_bound"] = max(row["tail_bound"] - bound, 0)
        row["next"] += units
        row["sent"] += units
        row["received"] += units
        return np.int64(units)
    for at in range(row["holes"] - 1, -1, -1):
        hole = holes[at]
        if hole["owner"] == position and hole["bound"]:
            weigh(row, hole, -1)
            placed = min(units, hole["end"] - hole["start"])
            hole["start"] += placed
            hole["bound"] = max(hole["bound"] - bound, 0)
            row["received"] += placed
            if hole["start"] < hole["end"]:
                weigh(row, hole, 1)
            else:
                remove(row, holes, at)
            return np.int64(placed)
    return 0
