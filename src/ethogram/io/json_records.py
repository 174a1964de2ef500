"""Parse JSON text with one object per line into records and columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import polars as pl

from ethogram.io.open_text import Lines
from ethogram.io.record_reader import RecordCounters

__all__ = ["cells_of", "field", "loose", "objects"]


def objects(
    batch: Lines, source: RecordCounters, ignore: Callable[[dict[str, Any]], str | None]
) -> tuple[list[int], list[dict[str, Any]]]:
    """Parse a batch of lines into records.

    Parameters
    ----------
    batch
        Lines with one object each; blank lines are skipped and not counted.
    source
        Counts broken lines as dropped and other objects as ignored.
    ignore
        Returns why an object is not a record, or None if it is one.

    Returns
    -------
    numbers, records
        Line numbers and objects of the records, both of length N.
    """
    numbers: list[int] = []
    records: list[dict[str, Any]] = []
    broken: list[int] = []
    for number, line in zip(*batch.filled(), strict=True):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            broken.append(number)
            continue
        if not isinstance(value, dict):
            broken.append(number)
            continue
        reason = ignore(value)
        if reason is None:
            numbers.append(number)
            records.append(value)
        else:
            source.accounting.read += 1
            source.accounting.ignore(reason)
    source.accounting.read += len(broken)
    source.drop("broken JSON line", broken)
    return numbers, records


def field(records: list[dict[str, Any]], *names: str) -> list[Any]:
    """A field of every record, under the first of its names that has a value; length N."""
    name, *others = names
    values = [record.get(name) for record in records]
    for other in others:
        if None in values:
            values = [
                record.get(other) if value is None else value for record, value in zip(records, values, strict=True)
            ]
    return values


def loose(values: Sequence[Any]) -> pl.Series:
    """JSON values as unparsed cells: integers or text. Other values become their JSON text, which no parser accepts."""
    try:
        return pl.Series(values, dtype=pl.String)
    except (TypeError, pl.exceptions.PolarsError):  # mixed types: convert value by value
        pass
    if all(type(value) is int or value is None for value in values):
        try:
            return pl.Series(values, dtype=pl.Int64)
        except (TypeError, OverflowError, pl.exceptions.PolarsError):  # beyond 2^63
            pass
    return pl.Series([_text(value) for value in values], dtype=pl.String)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    return orjson.dumps(value).decode()


def cells_of(records: list[dict[str, Any]], *names: str) -> pl.Series:
    """Like :func:`field`, as unparsed cells."""
    return loose(field(records, *names))
