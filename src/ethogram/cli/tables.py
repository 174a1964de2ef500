"""Records and tables on standard output, in the formats that commands share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ethogram.cli.options import ReportFormat
from ethogram.cli.terminal import results, write_csv, write_frames, write_json

if TYPE_CHECKING:
    import polars as pl

__all__ = ["show_table", "write_records", "write_tables"]


def write_records(
    form: ReportFormat, document: object, lines: Iterable[object], names: Sequence[str],
    rows: Iterable[Iterable[object]],
) -> None:  # fmt: skip
    """Write records as one JSON document, as JSON lines, or as CSV; iterables that are not needed are not read."""
    if form is ReportFormat.JSON:
        write_json(document)
    elif form is ReportFormat.JSONL:
        for line in lines:
            write_json(line, indent=False)
    else:
        write_csv(names, rows)


def write_tables(form: ReportFormat, head: Mapping[str, Any], tables: dict[str, pl.DataFrame]) -> None:
    """Write tables as one JSON object, as JSON lines (a row each, with its table's name), or as CSV."""
    if form is ReportFormat.JSON:
        write_json({**head, **{name: frame.to_dicts() for name, frame in tables.items()}})
    elif form is ReportFormat.JSONL:
        for name, frame in tables.items():
            for row in frame.iter_rows(named=True):
                write_json({"table": name, **row}, indent=False)
    else:
        write_frames(tables)


def show_table(frame: pl.DataFrame, title: str, columns: Sequence[str]) -> None:
    """Print some columns of a table."""
    from rich.table import Table

    console = results()
    shown = [name for name in columns if name in frame.columns]
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in shown:
        number = frame.schema[name].is_numeric()
        table.add_column(name.replace("_", " "), justify="right" if number else "left", no_wrap=not number)
    for row in frame.select(shown).iter_rows():
        table.add_row(*map(_cell, row))
    console.print(table)
    console.print()


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if 0.0995 <= abs(value) < 1000 or value == 0 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
