"""Find all messages and sets of a batch in one compiled pass.

No stated length is trusted before it is compared with the received octets. Each loop advances by at least four octets
or ends. Reference: RFC 7011 sections 3.1 and 3.3, RFC 3954 section 5, and Cisco's description of NetFlow v5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.io.wire.compiled import compiled, inner, u8, u16, u32

__all__ = [
    "COUNTERS", "FOUND_VERSION", "HEADER", "IPFIX", "MESSAGES_CORRECTED", "MESSAGES_DROPPED", "MESSAGES_READ",
    "MESSAGES_USED", "SET", "SETS_DROPPED", "SETS_IGNORED", "SETS_READ", "V5", "V5_RECORD", "V9", "walk",
]  # fmt: skip

V5, V9, IPFIX = 5, 9, 10
V5_HEADER, V5_RECORD, V9_HEADER, IPFIX_HEADER, SET_HEADER = 24, 48, 20, 16, 4
FIRST_DATA_SET = 256
V5_MOST = 30  # maximum records of a v5 message

HEADER = np.dtype(
    [
        ("version", np.uint16),
        ("domain", np.uint32),  # v5: engine type and engine number
        ("sequence", np.uint32),
        ("export_time_s", np.int64),
        ("residual_ns", np.int64),  # v5: of the export time
        ("uptime_ms", np.uint32),  # 0 in IPFIX
        ("arrival_ns", np.int64),
        ("exporter", np.int32),  # index into the exporters of the batch
        ("sampling", np.uint16),  # v5: two bits of mode, fourteen of interval
        ("count", np.int32),  # as stated by the header, unverified; -1 in IPFIX
        ("octets", np.int32),
        ("unread", np.int32),  # octets at the end in sets of invalid length
        ("datagram", np.int32),  # row of the batch
    ],
    align=True,
)
"""One message."""

SET = np.dtype([("message", np.int32), ("id", np.int32), ("offset", np.int64), ("octets", np.int32)], align=True)
"""One set without its header; the records of a v5 message form a set with number 0."""

# Indices of the counters.
MESSAGES_READ, MESSAGES_USED, REFUSED, TOO_SHORT, VERSION, BAD_LENGTH, BEYOND = 0, 1, 2, 3, 4, 5, 6
COUNT_LIES, TRAILING = 7, 8
SETS_READ, SET_LENGTH, SET_BEYOND, ZERO_TAIL, RESERVED = 9, 10, 11, 12, 13
FOUND_VERSION = 14  # not a counter: one more than the last unknown version
COUNTERS = 15

MESSAGES_DROPPED = {
    REFUSED: "too many exporters",
    TOO_SHORT: "shorter than its header",
    VERSION: "unknown version",
    BAD_LENGTH: "bad length",
    BEYOND: "longer than what arrived",
}
MESSAGES_CORRECTED = {
    COUNT_LIES: "wrong record count",
    TRAILING: "octets after the message",
    ZERO_TAIL: "zeros after the last set",
}
SETS_DROPPED = {SET_LENGTH: "bad length", SET_BEYOND: "longer than its message"}
SETS_IGNORED = {RESERVED: "reserved set number"}


@compiled
def walk(
    data: Any, offset: Any, octets: Any, arrival_ns: Any, exporter: Any, slots: Any, first: Any,
    headers: Any, sets: Any, counters: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Find messages and sets in datagrams from row ``first`` on, while the tables have room for another datagram.

    Parameters
    ----------
    data, offset, octets, arrival_ns, exporter
        Of :class:`~ethogram.schema.DatagramBatch`.
    slots
        Slot of each exporter in the template store, -1 if it is refused.
    first
        Row of the first datagram.
    headers, sets
        Output tables of :data:`HEADER` and :data:`SET`.
    counters
        Incremented.

    Returns
    -------
    next_row, messages, sets
        The first unread datagram, and the rows filled.
    """
    messages, count = 0, 0
    for row in range(first, offset.shape[0]):
        size = np.int64(octets[row])
        at = np.int64(offset[row])
        if messages + size // IPFIX_HEADER + 1 > headers.shape[0] or count + size // SET_HEADER + 1 > sets.shape[0]:
            return row, messages, count
        end = at + size
        counters[MESSAGES_READ] += 1
        if slots[exporter[row]] < 0:
            counters[REFUSED] += 1
            continue
        if size < 2 or at < 0 or end > data.shape[0]:
            counters[TOO_SHORT] += 1
            continue
        version = u16(data, at)
        if version == IPFIX:
            again = True
            while again:
                again = False
                if end - at < IPFIX_HEADER:
                    counters[TOO_SHORT] += 1
                    break
                length = u16(data, at + 2)
                if length < IPFIX_HEADER:
                    counters[BAD_LENGTH] += 1
                    break
                if at + length > end:
                    counters[BEYOND] += 1
                    break
                fill(headers, messages, row, IPFIX, u32(data, at + 12), u32(data, at + 8), u32(data, at + 4), length)
                headers[messages]["arrival_ns"] = arrival_ns[row]
                headers[messages]["exporter"] = exporter[row]
                count, left = walk_sets(data, at + IPFIX_HEADER, at + length, 2, messages, sets, count, counters)
                headers[messages]["unread"] = left
                messages += 1
                counters[MESSAGES_USED] += 1
                at += length
                # A datagram can contain several messages; trailing octets that are not a message are not read.
                if end - at >= IPFIX_HEADER and u16(data, at) == IPFIX:
                    counters[MESSAGES_READ] += 1
                    again = True
                elif at < end:
                    counters[TRAILING] += 1
        elif version in (V5, V9):
            least = V5_HEADER if version == V5 else V9_HEADER
            if size < least:
                counters[TOO_SHORT] += 1
                continue
            header = headers[messages]
            if version == V5:
                # A message of thousands of records would not fit in a datagram: this is not NetFlow.
                if u16(data, at + 2) > max(V5_MOST, (size - V5_HEADER) // V5_RECORD):
                    counters[BAD_LENGTH] += 1
                    continue
                domain = u16(data, at + 20)
                fill(headers, messages, row, V5, domain, u32(data, at + 16), u32(data, at + 8), size)
                header["residual_ns"] = u32(data, at + 12)
                header["sampling"] = u16(data, at + 22)
                count = v5_records(data, at, size, messages, sets, count, counters)
            else:
                fill(headers, messages, row, V9, u32(data, at + 16), u32(data, at + 12), u32(data, at + 8), size)
                count, header["unread"] = walk_sets(data, at + V9_HEADER, end, 0, messages, sets, count, counters)
            header["count"] = u16(data, at + 2)
            header["uptime_ms"] = u32(data, at + 4)
            header["arrival_ns"] = arrival_ns[row]
            header["exporter"] = exporter[row]
            messages += 1
            counters[MESSAGES_USED] += 1
        else:
            counters[VERSION] += 1
            counters[FOUND_VERSION] = version + 1
    return offset.shape[0], messages, count


@inner
def fill(
    headers: Any, row: Any, datagram: Any, version: Any, domain: Any, sequence: Any, time_s: Any, octets: Any
) -> None:
    """Write the fields common to all versions."""
    header = headers[row]
    header["version"] = version
    header["domain"] = domain
    header["sequence"] = sequence
    header["export_time_s"] = time_s
    header["residual_ns"] = 0
    header["uptime_ms"] = 0
    header["sampling"] = 0
    header["count"] = -1
    header["octets"] = octets
    header["unread"] = 0
    header["datagram"] = datagram


@inner
def v5_records(data: Any, at: Any, size: Any, message: Any, sets: Any, count: Any, counters: Any) -> Any:
    """The records of a v5 message as one set: those stated by the header that arrived completely."""
    stated = u16(data, at + 2)
    there = (size - V5_HEADER) // V5_RECORD
    if stated != there:
        counters[COUNT_LIES] += 1
        there = min(stated, there)
    counters[SETS_READ] += 1
    add(sets, count, message, 0, at + V5_HEADER, there * V5_RECORD)
    return count + 1


@inner
def walk_sets(
    data: Any, at: Any, end: Any, template_id: Any, message: Any, sets: Any, count: Any, counters: Any
) -> tuple[Any, Any]:
    """Write the sets between ``at`` and ``end``; the first invalid length ends the message.

    Returns
    -------
    count, left
        Rows of ``sets`` filled, and unread octets of the message.
    """
    while end - at >= SET_HEADER:
        number = u16(data, at)
        length = u16(data, at + 2)
        if length == 0 and number == 0 and all_zero(data, at, end):
            counters[ZERO_TAIL] += 1
            break
        counters[SETS_READ] += 1
        if length < SET_HEADER:
            counters[SET_LENGTH] += 1
            return count, end - at
        if length > end - at:
            counters[SET_BEYOND] += 1
            return count, end - at
        if number >= FIRST_DATA_SET or number == template_id or number == template_id + 1:
            add(sets, count, message, number, at + SET_HEADER, length - SET_HEADER)
            count += 1
        else:
            counters[RESERVED] += 1
        at += length
    return count, 0


@inner
def add(sets: Any, row: Any, message: Any, number: Any, offset: Any, octets: Any) -> None:
    """Write one set."""
    entry = sets[row]
    entry["message"] = message
    entry["id"] = number
    entry["offset"] = offset
    entry["octets"] = octets


@inner
def all_zero(data: Any, at: Any, end: Any) -> bool:
    """Whether the rest consists of zeros."""
    for place in range(at, end):  # noqa: SIM110 (compiled: a loop is what it becomes)
        if u8(data, place) != 0:
            return False
    return True
