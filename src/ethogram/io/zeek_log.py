"""Read any Zeek log as string columns: tab-separated with its header, JSON lines, or CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson
import polars as pl

from ethogram.io.delimited import delimited, distinct, split_header
from ethogram.io.json_records import objects
from ethogram.io.open_text import TextInput, first_line
from ethogram.io.record_reader import RecordCounters
from ethogram.io.zeek_log_types import Kinds, unescaped

__all__ = ["log_frames"]


def log_frames(
    text: TextInput, source: RecordCounters, kinds: Kinds | None = None
) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    """Yield the rows of a log with their line numbers, as string columns; unset fields are null.

    Parameters
    ----------
    text, source
        The log, and the reader that counts invalid rows.
    kinds
        Selects rows of the ``conn`` log and counts the others as ignored; None to read all rows.
    """
    start = first_line(text.head())
    if start.startswith(b"{"):
        yield from _json_frames(text, source, kinds)
    elif start.startswith(b"#"):
        yield from _tab_frames(text, source, kinds)
    else:
        yield from _csv_frames(text, source, kinds)


def _json_frames(
    text: TextInput, source: RecordCounters, kinds: Kinds | None
) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    def plain(value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        return ",".join(map(str, value)) if isinstance(value, list) else orjson.dumps(value).decode()

    for batch in text.batches():
        lines, records = objects(batch, source, (lambda _: None) if kinds is None else kinds.ignores)
        if records:
            names = list(dict.fromkeys(name for record in records for name in record))
            columns = {n: pl.Series([plain(r.get(n)) for r in records], dtype=pl.String) for n in names}
            yield pl.DataFrame(columns), lines


def _csv_frames(
    text: TextInput, source: RecordCounters, kinds: Kinds | None
) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    header: list[str] | None = None
    for batch in text.batches():
        numbers, lines = batch.filled()
        if header is None and lines:
            header = split_header(lines.pop(0))
            numbers.pop(0)
        if header is None or not lines:
            continue
        frame, at = delimited(lines, numbers, header, source, unset=("", "-"))
        yield (frame, at) if kinds is None else _only_conn(frame, at, source, kinds)


def _only_conn(
    frame: pl.DataFrame, at: list[int], source: RecordCounters, kinds: Kinds
) -> tuple[pl.DataFrame, list[int]]:
    """Rows of a CSV that belong to ``conn``; a column ``_path`` can name the log of each row."""
    paths = frame["_path"] if "_path" in frame.columns else pl.Series([None], dtype=pl.String).new_from_index(
        0, frame.height)  # fmt: skip
    selected = pl.Series([False]).new_from_index(0, frame.height)
    for path in paths.unique():
        reason, rows = kinds.reason(path, frame.columns), paths.eq_missing(path)
        if reason is None:
            selected = selected | rows
        else:
            source.accounting.read += int(rows.sum())
            source.accounting.ignore(reason, int(rows.sum()))
    return frame.filter(selected), pl.Series(at, dtype=pl.Int64).filter(selected).to_list()


@dataclass(frozen=True)
class _Section:
    """Settings of the ``#`` lines read so far."""

    separator: str = "\t"
    unset: str = "-"
    empty: str = "(empty)"
    path: str | None = None
    fields: tuple[str, ...] | None = None

    def after(self, line: str) -> _Section:
        """The section after a ``#`` line; ``#separator`` begins a new log."""
        if line.startswith("#separator"):
            return _Section(unescaped(line))
        name, _, rest = line.partition(self.separator)
        if name == "#fields":
            return replace(self, fields=tuple(distinct(rest.split(self.separator))))
        if name == "#path":
            return replace(self, path=rest.strip())
        if name == "#unset_field":
            return replace(self, unset=rest)
        return replace(self, empty=rest) if name == "#empty_field" else self


def _tab_frames(
    text: TextInput, source: RecordCounters, kinds: Kinds | None
) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    """Read a tab-separated text. Logs are often concatenated: a new header, even of another log, can occur anywhere."""
    section = _Section()
    for batch in text.batches():
        numbers, lines = batch.filled()
        sections: dict[_Section, tuple[list[bytes], list[int]]] = {}
        begin = 0
        for i in [*(i for i, line in enumerate(lines) if line.startswith(b"#")), len(lines)]:
            if i > begin:
                rows, at = sections.setdefault(section, ([], []))
                rows += lines[begin:i]
                at += numbers[begin:i]
            begin = i + 1
            if i < len(lines):
                section = section.after(lines[i].decode("utf-8", "replace").rstrip("\r"))
        for part, (rows, at) in sections.items():
            reason = None if kinds is None or part.fields is None else kinds.reason(part.path, part.fields)
            if reason is None and part.fields is not None:
                yield delimited(
                    rows, at, list(part.fields), source, part.separator, (part.unset, part.empty), quoted=False
                )
                continue
            source.accounting.read += len(rows)
            if reason is None:
                source.drop("no #fields line before it", at)
            else:
                source.accounting.ignore(reason, len(rows))
