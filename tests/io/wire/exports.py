"""Exports with arbitrary templates for tests: columns to messages, messages to records and biflows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ethogram.config import WireSettings
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.build import MessageBuilder, Values, data, template_set
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.records import Records
from ethogram.io.wire.template import Field, Template
from ethogram.schema import DatagramBatch, Exporter

NOW_MS = 1_700_000_000_000
BOOT_MS = NOW_MS - 1_000_000  # so that the uptime at export is 1,000 s
EXPORTER = Exporter("192.0.2.1", 2055)

Column = tuple[int, int, Sequence[int] | Sequence[bytes]]
"""Element, length, values."""


def ip(text: str) -> int:
    """An IPv4 address as a number."""
    value = 0
    for part in text.split("."):
        value = value * 256 + int(part)
    return value


def ip6(value: int) -> bytes:
    """An IPv6 address with this number after 2001:db8::."""
    return bytes.fromhex("20010db8") + value.to_bytes(12)


class Export:
    """One exporter whose messages are decoded and converted to biflows."""

    def __init__(self, version: int = 10, domain: int = 1, settings: WireSettings | None = None, **more: int) -> None:
        self.version, self.domain = version, domain
        self.builder = MessageBuilder(version, domain, boot_ms=BOOT_MS, mtu=60_000, **more)
        self.decoder = Decoder()
        self.biflows = Biflows(settings)
        self.messages: list[bytes] = []

    def send(
        self, columns: Sequence[Column], *, number: int = 256, options: bool = False, reverse: Sequence[Column] = (),
        enterprise: dict[int, int] | None = None, scopes: int = 0, time_ms: int = NOW_MS,
    ) -> None:  # fmt: skip
        """Queue a message with a template and its records; ``enterprise`` sets enterprise numbers by field position."""
        fields = [
            Field((enterprise or {}).get(place, 0), element, length, options and place < max(scopes, 1), back)
            for place, (element, length, _, back) in enumerate(
                [(*item, False) for item in columns] + [(*item, True) for item in reverse]
            )
        ]
        template = Template(self.version, self.domain, number, tuple(fields), options)
        values: list[Values] = [
            item[2] if isinstance(item[2][0], bytes) else np.array(item[2], np.uint64)  # type: ignore[misc]
            for item in (*columns, *reverse)
        ]
        if self.version == 5:
            self.messages += self.builder.messages([data(template, values)], time_ms)
        else:
            self.messages += self.builder.messages([template_set(template), data(template, values)], time_ms)

    def split(self, message: bytes) -> tuple[bytes, bytes]:
        """Divide an IPFIX message of two sets into two messages."""
        head, length = message[:16], int.from_bytes(message[18:20])
        parts = (message[16 : 16 + length], message[16 + length :])
        first, second = (head[:2] + (16 + len(part)).to_bytes(2) + head[4:] + part for part in parts)
        return first, second

    def records(self) -> list[Records]:
        """Decode the queued messages as one batch."""
        lengths = np.array([len(item) for item in self.messages], np.int32)
        batch = DatagramBatch(
            np.frombuffer(b"".join(self.messages), np.uint8), np.cumsum(lengths, dtype=np.int64) - lengths, lengths,
            np.full(lengths.size, NOW_MS * 1_000_000, np.int64), np.zeros(lengths.size, np.int32), [EXPORTER],
        )  # fmt: skip
        self.messages = []
        return self.decoder.decode(batch)

    def table(self) -> pl.DataFrame:
        """Biflows of the queued messages."""
        frame = self.biflows.batch(self.records())
        self.biflows.accounting.check()
        return frame


KEY: list[Column] = [
    (8, 4, [ip("192.168.1.2"), ip("192.168.1.3")]),
    (12, 4, [ip("198.51.100.1"), ip("198.51.100.2")]),
    (7, 2, [40000, 40001]),
    (11, 2, [443, 53]),
    (4, 1, [6, 17]),
]
COUNTS: list[Column] = [(1, 4, [1000, 2000]), (2, 4, [10, 20])]
TIMES: list[Column] = [(152, 8, [NOW_MS - 5000, NOW_MS - 4000]), (153, 8, [NOW_MS - 1000, NOW_MS - 2000])]


def biflows(columns: Sequence[Column], version: int = 10, **more: object) -> pl.DataFrame:
    """Biflows of the records of one template."""
    export = Export(version)
    export.send(columns, **more)  # type: ignore[arg-type]
    return export.table()
