"""A sender that counts, for tests of the collector: each record carries its number, so that it can be found again."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from ethogram.io.wire.build import MessageBuilder, data, template_set
from ethogram.io.wire.template import Field, Template

TEMPLATE_ID = 300
FIELDS = (
    Field(0, 8, 4), Field(0, 12, 4), Field(0, 7, 2), Field(0, 11, 2), Field(0, 4, 1),
    Field(0, 1, 8), Field(0, 2, 8), Field(0, 1, 8, reverse=True), Field(0, 2, 8, reverse=True),
    Field(0, 152, 8), Field(0, 153, 8),
)  # fmt: skip
DEVICES = 8


class CountingSender:
    """IPFIX biflows, each with its own number as octets; messages are numbered and may be withheld.

    Parameters
    ----------
    version
        9 or 10.
    per_message
        Records of a message.
    """

    def __init__(self, version: int = 10, per_message: int = 20, domain: int = 1) -> None:
        fields = FIELDS if version == 10 else tuple(f for f in FIELDS if not f.reverse)
        self.template = Template(version, domain, TEMPLATE_ID, fields)
        self.build = MessageBuilder(version, domain=domain)
        self.per_message = per_message
        self.records = 0  # numbered so far
        self.start_ms = int(time.time() * 1000)

    def announce(self) -> bytes:
        """A message of the template alone."""
        return self.build.message([template_set(self.template)], self.now_ms())

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def message(self, time_ms: int | None = None) -> bytes:
        """The next message."""
        numbers = np.arange(self.records, self.records + self.per_message)
        self.records += self.per_message
        rows = len(numbers)
        begin = np.full(rows, self.start_ms) + numbers
        by_id = {
            8: 0x0A000001 + numbers % DEVICES, 12: 0xCB007101 + numbers % 50, 7: 40_000 + numbers % 20_000,
            11: np.where(numbers % 3 == 0, 443, 8883), 4: np.full(rows, 6), 152: begin, 153: begin + 10,
        }  # fmt: skip
        columns = []
        for field in self.template.fields:
            if field.id in (1, 2):
                columns.append(numbers + 1 if not field.reverse and field.id == 1 else np.full(rows, 1))
            else:
                columns.append(by_id[field.id])
        [message] = self.build.messages(
            [data(self.template, columns)], self.now_ms() if time_ms is None else time_ms
        )  # fmt: skip
        return message


def needs_ipv6() -> None:
    """Skip where this machine has no IPv6 to itself."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
            opened.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error.strerror}")


@cache
def exporter_socket() -> socket.socket:
    """The socket of one exporter, which keeps its port."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def send_all(messages: Sequence[bytes], port: int, *, pause_every: int = 50) -> None:
    """Send over UDP from one port, not faster than any socket's buffer takes."""
    for at, message in enumerate(messages):
        exporter_socket().sendto(message, ("127.0.0.1", port))
        if at % pause_every == pause_every - 1:
            time.sleep(0.002)
