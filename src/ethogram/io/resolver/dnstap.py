"""dnstap files, which BIND, Unbound, Knot and CoreDNS write: answers as messages, with client and time.

A file is a stream of frames; each data frame holds one record in the encoding of Protocol Buffers. Of the records, the
responses that a resolver gives its clients are read.

Reference: dnstap.proto and the Frame Streams format (dnstap.info); Protocol Buffers encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ethogram._address_text import AddressText
from ethogram.io.dns import parse_messages, parse_questions
from ethogram.io.resolver.log import ResolverLog

__all__ = ["FORMAT", "MAGIC", "read"]

FORMAT = "dnstap"
MAGIC = b"\0\0\0\0"
"""A stream begins with a control frame, whose length is written as 0."""

_MAX_FRAME = 1 << 20
_AT_ONCE = 1 << 14
_MESSAGE = 14  # field of Dnstap
_TYPE, _QUERY_ADDRESS, _RESPONSE_ADDRESS, _QUERY_PORT, _SECONDS, _NANOSECONDS, _RESPONSE = 1, 4, 5, 6, 12, 13, 14
_CLIENT_RESPONSE = 6
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read(path: Path, log: ResolverLog) -> None:
    """Read all responses to clients."""
    addresses = AddressText()
    records: list[tuple[Any, ...]] = []
    messages: list[bytes] = []
    for frame in _frames(path, log):
        log.accounting.read += 1
        fields = _fields(_fields(frame).get(_MESSAGE, b""))
        if fields.get(_TYPE) != _CLIENT_RESPONSE:
            log.accounting.ignore("not a response to a client")
            continue
        client, response = _address(fields.get(_QUERY_ADDRESS)), fields.get(_RESPONSE)
        seconds = fields.get(_SECONDS)
        if client is None or not isinstance(response, bytes) or not isinstance(seconds, int) or seconds >= 1 << 33:
            log.drop("no time, client or name", 1)
            continue
        fraction = fields.get(_NANOSECONDS)
        time_us = seconds * 1_000_000 + (fraction // 1000 if isinstance(fraction, int) else 0)
        port = fields.get(_QUERY_PORT)
        port = port if isinstance(port, int) and port < 1 << 16 else None
        records.append((time_us, client, port, _address(fields.get(_RESPONSE_ADDRESS))))
        messages.append(response)
        log.accounting.read -= 1  # counted again with its question
        if len(records) == _AT_ONCE:
            _add(records, messages, log, addresses)
            records, messages = [], []
    _add(records, messages, log, addresses)


def _add(records: list[tuple[Any, ...]], messages: list[bytes], log: ResolverLog, addresses: AddressText) -> None:
    """Add the questions and answers of responses."""
    schema = {"time": pl.Int64, "client": pl.String, "client_port": pl.UInt16, "server": pl.String}
    frame = pl.DataFrame(records, schema=schema, orient="row")
    frame = frame.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    asked = parse_questions(messages)
    names = pl.Series([None], dtype=pl.String).new_from_index(0, frame.height)
    log.add(frame.with_columns(name=names.scatter(pl.Series(asked.row), asked.name)))
    answers = parse_messages(messages)
    row = pl.Series(answers.row)
    log.add_answers(pl.DataFrame({
        "time": frame["time"].gather(row), "client": frame["client"].gather(row),
        "address": addresses(answers.version, answers.high, answers.low), "name": answers.name,
        "ttl_s": pl.Series(np.ascontiguousarray(answers.ttl_s)),
    }))  # fmt: skip


def _frames(path: Path, log: ResolverLog) -> Iterator[bytes]:
    """Data frames of a stream; a frame that is cut short or too long ends it."""
    with path.open("rb") as file:
        while head := file.read(4):
            size = int.from_bytes(head)
            control = size == 0
            if control:
                size = int.from_bytes(file.read(4))
            frame = file.read(size) if size <= _MAX_FRAME else b""
            if len(head) < 4 or len(frame) < size:
                log.accounting.read += 1
                log.drop("frame cut short or too long", 1)
                return
            if not control:
                yield frame


def _varint(octets: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and the offset after it; -1 if it is malformed."""
    value = 0
    for i in range(10):
        if at + i >= len(octets):
            return 0, -1
        value |= (octets[at + i] & 0x7F) << (7 * i)
        if octets[at + i] < 0x80:
            return value, at + i + 1
    return 0, -1


def _fields(octets: Any) -> dict[int, Any]:
    """Fields of a record by number, the last of each: numbers, and octets of texts and inner records."""
    fields: dict[int, Any] = {}
    at = 0
    while isinstance(octets, bytes) and at < len(octets):
        key, at = _varint(octets, at)
        if at < 0:
            break
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(octets, at)
            if at < 0:
                break
            fields[key >> 3] = value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            size, at = _varint(octets, at)
        if size is None or at < 0 or at + size > len(octets):
            break
        content = octets[at : at + size]
        fields[key >> 3] = content if kind == _BYTES else int.from_bytes(content, "little")
        at += size
    return fields


def _address(octets: Any) -> str | None:
    return str(ip_address(octets)) if isinstance(octets, bytes) and len(octets) in {4, 16} else None
