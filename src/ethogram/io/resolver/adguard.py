"""Query log of AdGuard Home (``querylog.json``): JSON lines with client, question, and answer as a message."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
import orjson
import polars as pl

from ethogram._address_text import AddressText
from ethogram.io.dns import parse_messages
from ethogram.io.open_text import TextInput
from ethogram.io.resolver.log import ResolverLog

__all__ = ["FORMAT", "read", "sniff"]

FORMAT = "AdGuard Home query log"

_MAX_MESSAGE = 1 << 16


def sniff(head: str) -> bool:
    """Whether a text is such a log.

    >>> sniff('{"T":"2024-05-01T12:00:00Z","QH":"example.com","QT":"A","IP":"192.168.1.5"}')
    True
    """
    first = head.lstrip().split("\n", 1)[0]
    return first.startswith("{") and all(f'"{key}":' in first for key in ("T", "QH", "IP"))


def read(text: TextInput, log: ResolverLog, zone: str) -> None:
    """Read all questions and answers."""
    addresses = AddressText()
    for batch in text.batches():
        rows: list[tuple[Any, ...]] = []
        lines, messages = [], []
        for number, line in zip(*batch.filled(), strict=True):
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                entry = None
            if not isinstance(entry, dict):
                log.accounting.read += 1
                log.drop("broken JSON line", 1, number)
                continue
            rows.append(tuple(_text(entry.get(key)) for key in ("T", "IP", "QH")))
            lines.append(number)
            messages.append(_message(entry.get("Answer")))
        if not rows:
            continue
        frame = pl.DataFrame(rows, schema={"time": pl.String, "client": pl.String, "name": pl.String}, orient="row")
        frame = frame.with_columns(time=log.times(frame["time"], zone))
        log.add(frame, pl.Series(lines))
        parsed = parse_messages(messages)
        row = pl.Series(parsed.row)
        log.add_answers(pl.DataFrame({
            "time": frame["time"].gather(row), "client": frame["client"].gather(row),
            "address": addresses(parsed.version, parsed.high, parsed.low), "name": parsed.name,
            "ttl_s": pl.Series(np.ascontiguousarray(parsed.ttl_s)),
        }))  # fmt: skip


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _message(value: object) -> bytes:
    if not isinstance(value, str) or len(value) > 2 * _MAX_MESSAGE:
        return b""
    try:
        return base64.b64decode(value)
    except (binascii.Error, ValueError):
        return b""
