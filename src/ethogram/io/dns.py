"""Passive DNS: addresses in answers on UDP port 53, and the names they were queried for.

Only responses are read, and of them only the query name and A, AAAA and CNAME records: no user data beyond host
names. The query name also counts if the response is an error: a device whose cloud service has shut down still reveals
what it looks for. CNAME chains are followed; the smallest TTL of the chain counts. Answers over TCP are counted but not
read.

Reference: RFC 1035 section 4, RFC 3596.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.io.ip_packet import compiled, inner, u8, u16, u32
from ethogram.schema import TCP, UDP, PacketBatch

__all__ = ["DNS", "DnsAnswers", "DnsQuestions", "parse_messages", "parse_questions", "read_answers", "read_questions"]

DNS = 53
NAME = 255  # octets of the longest name (RFC 1035 section 2.3.4)
POINTERS = 64  # compression pointers followed in one name
MAX_ANSWERS = 512  # records read per message: a reasonable UDP answer has fewer
A, CNAME, AAAA, INTERNET = 1, 5, 28, 1

RESPONSES, ANSWERS, MALFORMED, UNRELATED, OVER_TCP = 0, 1, 2, 3, 4
REASONS = ("responses", "answers", "malformed", "unrelated record", "over tcp")


@dataclass(frozen=True)
class DnsAnswers:
    """A answers as columns. Clients and addresses are still numbers, as in a :class:`PacketBatch`.

    Attributes
    ----------
    row
        Row of the packet in the batch.
    version, high, low
        Address in the answer.
    name
        Query name in lower case, without the final dot.
    ttl_s
        TTL in seconds.
    counts
        Responses, answers, malformed responses, unrelated records, and TCP segments.
    """

    row: NDArray[np.int64]
    version: NDArray[np.uint8]
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    name: pl.Series
    ttl_s: NDArray[np.uint32]
    counts: dict[str, int]


@dataclass(frozen=True)
class DnsQuestions:
    """Q queries as columns: the row of the response in the batch, and the query name."""

    row: NDArray[np.int64]
    name: pl.Series


@inner
def read_name(data: Any, at: int, start: int, end: int, name: Any) -> tuple[int, int]:
    """Read a name, possibly compressed, of the message from ``start`` to ``end``, as lower-case text with dots.

    A pointer must point before the beginning of the current run of labels, so loops are impossible.

    Returns
    -------
    after, length
        The offset after the name at ``at``, and the length of the text in ``name``. ``after`` is -1 if the name is
        malformed or contains an octet that host names do not have.
    """
    after, length, run = -1, 0, at
    for _ in range(NAME + POINTERS):
        if at >= end:
            return -1, 0
        label = u8(data, at)
        if label == 0:
            return (at + 1 if after < 0 else after), max(length - 1, 0)
        if label >= 0xC0:
            if end - at < 2:
                return -1, 0
            if after < 0:
                after = at + 2
            target = start + (u16(data, at) & 0x3FFF)
            if target >= run:
                return -1, 0
            at = run = target
        elif label >= 0x40 or end - at < 1 + label or length + label + 1 > NAME:
            return -1, 0
        else:
            for i in range(at + 1, at + 1 + label):
                octet = u8(data, i)
                if 0x41 <= octet <= 0x5A:
                    octet += 0x20
                if octet <= 0x20 or octet >= 0x7F or octet == 0x2E:
                    return -1, 0
                name[length] = octet
                length += 1
            name[length] = 0x2E
            length += 1
            at += 1 + label
    return -1, 0


@inner
def same(a: Any, a_length: int, b: Any, b_length: int) -> bool:
    """Whether two names are equal."""
    if a_length != b_length:
        return False
    for i in range(a_length):  # noqa: SIM110 (compiled)
        if a[i] != b[i]:
            return False
    return True


@inner
def read_message(
    data: Any, start: int, end: int, question: Any, chain: Any, owner: Any, out: Any, count: int, counts: Any
) -> tuple[int, int]:
    """Parse one response.

    Parameters
    ----------
    question, chain, owner
        Buffers for one name each.
    out
        Columns version, high, low, TTL; written from ``count`` on.

    Returns
    -------
    count, length
        The next row of ``out``, and the length of the name in ``question``. ``count`` is unchanged if the message has
        no usable answer.
    """
    if end - start < 12 or data[start + 2] & 0xF8 != 0x80:  # response to a standard query
        return count, 0
    counts[RESPONSES] += 1
    if data[start + 3] & 0x0F:  # an error has no answers
        return count, 0
    if u16(data, start + 4) != 1:
        counts[MALFORMED] += 1
        return count, 0
    at, length = read_name(data, start + 12, start, end, question)
    if at < 0 or end - at < 4:
        counts[MALFORMED] += 1
        return count, 0
    at += 4
    chain[:length] = question[:length]
    chain_length, lifetime = length, 0xFFFFFFFF
    for _ in range(min(u16(data, start + 6), MAX_ANSWERS)):
        at, owner_length = read_name(data, at, start, end, owner)
        if at < 0 or end - at < 10:
            counts[MALFORMED] += 1
            break
        kind, family, ttl, size = u16(data, at), u16(data, at + 2), u32(data, at + 4), u16(data, at + 8)
        at += 10
        if end - at < size:
            counts[MALFORMED] += 1
            break
        if ttl > 0x7FFFFFFF:  # RFC 2181 section 8
            ttl = 0
        mine = family == INTERNET and same(owner, owner_length, chain, chain_length)
        if mine and kind == CNAME:
            after, chain_length = read_name(data, at, start, end, chain)
            if after < 0:
                counts[MALFORMED] += 1
                break
            lifetime = min(lifetime, ttl)
        elif mine and ((kind == A and size == 4) or (kind == AAAA and size == 16)):
            if count == out[0].shape[0]:
                break
            out[0][count] = 4 if kind == A else 6
            out[1][count], out[2][count] = np.uint64(0), np.uint64(u32(data, at))
            if kind == AAAA:
                out[1][count] = (np.uint64(u32(data, at)) << np.uint64(32)) | np.uint64(u32(data, at + 4))
                out[2][count] = (np.uint64(u32(data, at + 8)) << np.uint64(32)) | np.uint64(u32(data, at + 12))
            out[3][count] = min(lifetime, ttl)
            count += 1
            counts[ANSWERS] += 1
        else:
            counts[UNRELATED] += 1
        at += size
    return count, length


@compiled
def read_messages(
    data: Any, rows: Any, offsets: Any, sizes: Any, out: Any, names: Any, places: Any, counts: Any
) -> int:
    """Parse every response of a batch; returns the number of answers.

    Parameters
    ----------
    rows, offsets, sizes
        Packets from port 53: rows, and offsets and sizes of their payloads.
    out
        Columns version, high, low, TTL, row.
    names
        Octets of all names.
    places
        End of each answer's name in ``names``, from row 1 on.
    """
    question, chain, owner = np.empty(NAME + 1, np.uint8), np.empty(NAME + 1, np.uint8), np.empty(NAME + 1, np.uint8)
    count, place = 0, 0
    for i in range(rows.shape[0]):
        start = offsets[i]
        upto, length = read_message(
            data, start, min(start + sizes[i], data.shape[0]), question, chain, owner, out, count, counts
        )
        for row in range(count, upto):
            if names.shape[0] - place < length:
                return row
            names[place : place + length] = question[:length]
            place += length
            places[row + 1] = place
            out[4][row] = rows[i]
        count = upto
    return count


def _responses(batch: PacketBatch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Packets that may be UDP responses, and the size of their payload."""
    rows = np.flatnonzero((batch.source_port == DNS) & (batch.protocol == UDP) & (batch.payload_octets > 12))
    return rows.astype(np.int64), batch.payload_octets[rows].astype(np.int64)


def read_answers(batch: PacketBatch) -> DnsAnswers:
    """Read the DNS answers in the packets of a batch.

    Parameters
    ----------
    batch
        P packets with payload.

    Returns
    -------
    One row per address in an answer.
    """
    rows, sizes = _responses(batch)
    counts = np.zeros(len(REASONS), np.int64)
    over_tcp = (batch.source_port == DNS) & (batch.protocol == TCP) & (batch.payload_octets > 0)
    counts[OVER_TCP] = np.count_nonzero(over_tcp)
    return _answers_in(batch.data, rows, batch.payload_offset[rows], sizes, counts)


def parse_messages(messages: list[bytes]) -> DnsAnswers:
    """Read the answers in M messages that were stored as they came.

    Returns
    -------
    One row per address in an answer; ``row`` is the number of the message.
    """
    data, offsets, sizes = _joined(messages)
    return _answers_in(data, np.arange(len(messages)), offsets, sizes, np.zeros(len(REASONS), np.int64))


def _answers_in(
    data: NDArray[np.uint8], rows: NDArray[np.int64], offsets: NDArray[np.int64], sizes: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> DnsAnswers:  # fmt: skip
    """Answers in the messages at these places of ``data``."""
    room = int(sizes.sum()) // 16  # minimum size of an address record
    out: tuple[Any, ...] = tuple(np.empty(room, kind) for kind in (np.uint8, np.uint64, np.uint64, np.uint32, np.int64))
    names = np.empty(min(room * NAME, 1 << 26), np.uint8)
    places = np.zeros(room + 1, np.int64)
    count = read_messages(data, rows, offsets, sizes, out, names, places, counts) if rows.size else 0
    version, high, low, ttl_s, row = (column[:count] for column in out)
    return DnsAnswers(
        row, version, high, low, text_series(names, places[: count + 1]), ttl_s,
        dict(zip(REASONS, counts.tolist(), strict=True)),
    )  # fmt: skip


@compiled
def read_question_names(data: Any, offsets: Any, sizes: Any, names: Any, places: Any, owners: Any) -> int:
    """Read the query name of every response with one question; returns their number.

    Parameters
    ----------
    names, places
        See :func:`read_messages`.
    owners
        Index of the packet of each name.
    """
    name = np.empty(NAME + 1, np.uint8)
    count, place = 0, 0
    for i in range(offsets.shape[0]):
        start = offsets[i]
        end = min(start + sizes[i], data.shape[0])
        if end - start < 12 or data[start + 2] & 0xF8 != 0x80 or u16(data, start + 4) != 1:
            continue
        after, length = read_name(data, start + 12, start, end, name)
        if after < 0 or length == 0:
            continue
        if names.shape[0] - place < length:
            return count
        names[place : place + length] = name[:length]
        place += length
        owners[count] = i
        count += 1
        places[count] = place
    return count


def read_questions(batch: PacketBatch) -> DnsQuestions:
    """Read the query names of the DNS responses of a batch, including errors.

    Parameters
    ----------
    batch
        P packets with payload.

    Returns
    -------
    One row per response with exactly one question.
    """
    rows, sizes = _responses(batch)
    return _questions_in(batch.data, rows, batch.payload_offset[rows], sizes)


def parse_questions(messages: list[bytes]) -> DnsQuestions:
    """Read the query names of M messages that were stored as they came; ``row`` is the number of the message."""
    data, offsets, sizes = _joined(messages)
    return _questions_in(data, np.arange(len(messages)), offsets, sizes)


def _joined(messages: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Messages one after the other, with their offsets and sizes."""
    sizes = np.array([len(message) for message in messages], np.int64)
    data = np.frombuffer(b"".join(messages) or b"\0", np.uint8).copy()  # writable, as the octets of a batch
    return data, np.cumsum(sizes) - sizes, sizes


def _questions_in(
    data: NDArray[np.uint8], rows: NDArray[np.int64], offsets: NDArray[np.int64], sizes: NDArray[np.int64]
) -> DnsQuestions:
    """Query names of the messages at these places of ``data``."""
    # A name is not longer than the captured part of its message.
    names = np.empty(min(int(np.minimum(sizes, NAME).sum()), 1 << 26), np.uint8)
    places, owners = np.zeros(rows.size + 1, np.int64), np.zeros(rows.size, np.int64)
    count = read_question_names(data, offsets, sizes, names, places, owners)
    return DnsQuestions(rows[owners[:count]], text_series(names, places[: count + 1]))


def text_series(octets: NDArray[np.uint8], places: NDArray[np.int64]) -> pl.Series:
    """Consecutive ASCII texts as a column."""
    import pyarrow as pa

    buffers = [None, pa.py_buffer(places), pa.py_buffer(octets[: int(places[-1])])]
    return pl.Series(values=_Exported(pa.Array.from_buffers(pa.large_string(), len(places) - 1, buffers)))


class _Exported:
    """An array that only exports itself: for one that it knows, Polars imports pyarrow.compute, a tenth of a second."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self._array.__arrow_c_array__(requested_schema)
