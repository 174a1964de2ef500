"""Any Zeek log as frames of text: tab-separated with its own header, JSON lines, or CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import polars as pl

from ethogram.errors import InputError
from ethogram.io.open_text import TextInput, first_line
from ethogram.io.table import RecordSource
from ethogram.io.table_csv import delimited, distinct, split_header
from ethogram.io.table_json import objects

__all__ = ["log_frames"]


def log_frames(text: TextInput, source: RecordSource) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    """Give a log's rows with their line numbers, every column as text; unset fields are null."""
    start = first_line(text.head())
    if start.startswith(b"{"):
        yield from _json_frames(text, source)
    elif start.startswith(b"#"):
        yield from _tab_frames(text, source)
    else:
        yield from _csv_frames(text, source)


def _json_frames(text: TextInput, source: RecordSource) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    def plain(value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        return ",".join(map(str, value)) if isinstance(value, list) else orjson.dumps(value).decode()

    for batch in text.batches():
        lines, records = objects(batch, source, lambda _: None)
        if records:
            names = list(dict.fromkeys(name for record in records for name in record))
            columns = {n: pl.Series([plain(r.get(n)) for r in records], dtype=pl.String) for n in names}
            yield pl.DataFrame(columns), lines


def _csv_frames(text: TextInput, source: RecordSource) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    header: list[str] | None = None
    for batch in text.batches():
        numbers, lines = batch.filled()
        if header is None and lines:
            header = split_header(lines.pop(0))
            numbers.pop(0)
        if header is not None and lines:
            yield delimited(lines, numbers, header, source, unset=("", "-"))


def _tab_frames(text: TextInput, source: RecordSource) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    """Rotated logs are often joined into one file: a new header may come at any line."""
    separator, unset, empty = "\t", "-", "(empty)"
    header: list[str] | None = None
    for batch in text.batches():
        numbers, lines = batch.filled()
        begin = 0
        for i in [*(i for i, line in enumerate(lines) if line.startswith(b"#")), len(lines)]:
            if i > begin:
                if header is None:
                    raise InputError("a row before the #fields line", file=text.name, line=numbers[begin])
                yield delimited(
                    lines[begin:i], numbers[begin:i], header, source, separator, (unset, empty), quoted=False
                )
            begin = i + 1
            if i == len(lines):
                break
            line = lines[i].decode("utf-8", "replace").rstrip("\r")
            if line.startswith("#separator"):
                escaped = line.removeprefix("#separator").strip()
                separator = chr(int(escaped[2:], 16)) if _is_escape(escaped) else escaped or "\t"
            elif line.startswith("#fields"):
                header = distinct(line.split(separator)[1:])
            elif line.startswith("#unset_field"):
                unset = line.split(separator)[-1]
            elif line.startswith("#empty_field"):
                empty = line.split(separator)[-1]


def _is_escape(text: str) -> bool:
    return len(text) == 4 and text.startswith("\\x") and all(c in "0123456789abcdefABCDEF" for c in text[2:])
