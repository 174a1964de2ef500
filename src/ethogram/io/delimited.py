"""Split lines of delimited text into string columns; lines that do not match the header are dropped."""

from __future__ import annotations

import csv
from collections.abc import Sequence

import polars as pl

from ethogram.io.record_reader import RecordCounters

__all__ = ["delimited", "distinct", "split_header"]


def split_header(line: bytes, delimiter: str = ",") -> list[str]:
    """Column names of a header line, without a byte order mark; repeated names are numbered.

    >>> split_header(b"a,b,b")
    ['a', 'b', 'b_2']
    """
    text = line.decode("utf-8-sig", "replace").strip("\r\n")
    try:
        cells = next(csv.reader([text], delimiter=delimiter))
    except (csv.Error, StopIteration):  # not a header: no column name will match
        cells = text.split(delimiter)
    return distinct(cells)


def distinct(cells: Sequence[str]) -> list[str]:
    """Stripped column names; repeated names are numbered."""
    names: dict[str, None] = {}
    copies: dict[str, int] = {}
    for raw in cells:
        bare = name = raw.strip()
        while name in names:
            copies[bare] = copies.get(bare, 1) + 1
            name = f"{bare}_{copies[bare]}"
        names[name] = None
    return list(names)


def delimited(
    lines: list[bytes],
    numbers: Sequence[int],
    header: list[str],
    source: RecordCounters,
    delimiter: str = ",",
    unset: Sequence[str] = ("",),
    quoted: bool = True,
) -> tuple[pl.DataFrame, list[int]]:
    """Split lines into string columns.

    Parameters
    ----------
    lines
        N non-blank lines.
    numbers
        Their line numbers.
    header
        Column names. A line with another number of fields is dropped as *broken line*.
    source
        Counts the dropped lines.
    delimiter
        Field separator.
    unset
        Texts that mean *no value*.
    quoted
        Whether fields can be quoted.

    Returns
    -------
    frame, numbers
        String columns, and the line number of each row.
    """
    separator = delimiter.encode()
    wanted = len(header) - 1
    # Counting separators finds ragged lines quickly; only lines with quotes need the CSV parser.
    plain = [not (quoted and b'"' in line) for line in lines]
    fits = [(not p) or line.count(separator) == wanted for p, line in zip(plain, lines, strict=True)]
    rows: dict[int, list[str]] = {}
    if not all(plain):
        for i, line in enumerate(lines):
            if not plain[i]:
                try:
                    cells = next(csv.reader([line.decode("utf-8", "replace").rstrip("\r")], delimiter=delimiter,
                                            strict=True))  # fmt: skip
                except (csv.Error, StopIteration):
                    cells = []
                fits[i] = len(cells) == len(header)
                rows[i] = cells
    broken = [number for number, fit in zip(numbers, fits, strict=True) if not fit]
    if broken:
        source.accounting.read += len(broken)
        source.drop("broken line", broken)
    rows_used = [i for i, fit in enumerate(fits) if fit]
    columns = _columns([lines[i] for i in rows_used], [rows.get(i) for i in rows_used], header, delimiter)
    empty = pl.Series(list(unset), dtype=pl.String)
    frame = columns.with_columns(pl.when(pl.all().is_in(empty.implode())).then(None).otherwise(pl.all()).name.keep())
    return frame, [numbers[i] for i in rows_used]


def _columns(lines: list[bytes], parsed: list[list[str] | None], header: list[str], delimiter: str) -> pl.DataFrame:
    schema = dict.fromkeys(header, pl.String())
    if not lines:
        return pl.DataFrame(schema=schema)
    if any(cells is not None for cells in parsed):
        cells = [
            p if p is not None else line.decode("utf-8", "replace").rstrip("\r").split(delimiter)
            for line, p in zip(lines, parsed, strict=True)
        ]
        return pl.DataFrame(cells, schema=schema, orient="row")
    text = pl.Series("line", [line.decode("utf-8", "replace").rstrip("\r") for line in lines])
    pieces = text.str.split(delimiter).list.to_struct(fields=header).struct.unnest()
    return pieces.select(pl.col(name).cast(pl.String) for name in header)
