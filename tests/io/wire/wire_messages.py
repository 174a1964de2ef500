"""Messages written octet by octet, so that they can be arbitrarily wrong."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.records import Records
from ethogram.schema import DatagramBatch, Exporter

ONE = Exporter("192.0.2.1", 4739)
TWO = Exporter("192.0.2.2", 4739)
S = 1_000_000_000


def set_of(number: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">HH", number, 4 + len(body) if length is None else length) + body


def template(number: int, fields: Sequence[tuple[int, int]], version: int = 10) -> bytes:
    body = struct.pack(">HH", number, len(fields)) + b"".join(struct.pack(">HH", *field) for field in fields)
    return set_of(2 if version == 10 else 0, body)


def data(number: int, *values: int, octets: int = 4, padding: int = 0) -> bytes:
    return set_of(number, b"".join(value.to_bytes(octets) for value in values) + bytes(padding))


def ipfix(*sets: bytes, domain: int = 1, sequence: int = 0, length: int | None = None, version: int = 10) -> bytes:
    body = b"".join(sets)
    return struct.pack(">HHIII", version, 16 + len(body) if length is None else length, 1000, sequence, domain) + body


def v9(*sets: bytes, domain: int = 1, count: int = 1, sequence: int = 0) -> bytes:
    return struct.pack(">HHIIII", 9, count, 5000, 1000, sequence, domain) + b"".join(sets)


def v5(records: Sequence[bytes], count: int | None = None) -> bytes:
    head = struct.pack(">HHIIIIBBH", 5, len(records) if count is None else count, 5000, 1000, 7, 42, 1, 2, 0x4064)
    return head + b"".join(records)


def v5_record(octets: int) -> bytes:
    return struct.pack(
        ">IIIHHIIIIHHBBBBHHBBH", 0xC0000201, 0xC6336401, 0, 1, 2, 3, octets, 4, 5, 53, 40000, 0, 0x1B, 17, 0, 1, 2,
        24, 25, 0,
    )  # fmt: skip


def several(messages: Sequence[tuple[Exporter, bytes]], arrival_s: Sequence[int] | int = 0) -> DatagramBatch:
    """A batch of messages of several exporters."""
    exporters = list(dict.fromkeys(one for one, _ in messages))
    arrival = [arrival_s] * len(messages) if isinstance(arrival_s, int) else arrival_s
    plain = batch([message for _, message in messages], arrival_ns=[each * S for each in arrival])
    numbers = [exporters.index(one) for one, _ in messages]
    return DatagramBatch(plain.data, plain.offset, plain.octets, plain.arrival_ns,
                         np.array(numbers, np.int32), exporters)  # fmt: skip


def decode(decoder: Decoder, *messages: bytes, exporter: Exporter = ONE, at_s: int = 0) -> list[Records]:
    result = decoder.decode(batch(messages, exporter, at_s * S))
    for accounting in (decoder.accounting, decoder.sets, decoder.records):
        accounting.check()
    return result


def columns(result: Sequence[Records]) -> list[tuple[int, list[list[int]]]]:
    """Template id and all fields as numbers, for each Records."""
    return [
        (part.template.id, [part.unsigned(i).tolist() for i in range(len(part.template.fields))]) for part in result
    ]
