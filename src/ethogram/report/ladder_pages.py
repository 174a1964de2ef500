"""Pages of tasks on devices that nobody enrolled: right, wrong and silent shares at each level."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from ethogram.report.tables import Row, interval_of, measured_by_task, method_of, values_of

__all__ = ["is_ladder_row", "write_ladder_report"]

LEVELS = {"vendor": "vendor", "kind": "kind", "kinds": "one of two kinds", "family": "vendor and kind",
          "model": "model", "stated": "stated level"}  # fmt: skip
"""Levels in the order of the columns, as they are called on pages."""


def is_ladder_row(row: Mapping[str, object]) -> bool:
    """Whether a row is of a task on devices that nobody enrolled."""
    return row.get("experiment") == "first minute"


def write_ladder_report(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write a page and a CSV file for each task; rows of other tasks are ignored.

    Returns
    -------
    list of Path
        Files written.
    """
    written = []
    for name, of_task in sorted(measured_by_task(rows, is_ladder_row).items()):
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / f"{name}.md"
        page.write_text(_page(name, of_task))
        written += [page, _write_csv(folder / f"{name}.csv", of_task)]
    return written


def _page(name: str, rows: Sequence[Row]) -> str:
    first = rows[0]
    commits = ", ".join(sorted({f"`{row.get('commit') or 'none'}`" for row in rows}))
    return "\n".join([
        f"# {first['title']}", "",
        "Made from result rows by `ethogram bench report`; do not edit.", "",
        "```", f"ethogram bench {name} --corpus FOLDER -o rows.jsonl",
        "ethogram bench report rows.jsonl -o docs/results", "```", "",
        "Shares of all devices that are right and wrong, with 95 % intervals over networks; the rest is silent. The"
        " last column is right - 2 wrong at the stated level.", "",
        *_table(rows), "",
        f"Up to {first.get('n')} devices, each laboratory left out in turn. Commit {commits}, data"
        f" `{first.get('data_digest')}`; {first.get('machine')}.", "",
    ])  # fmt: skip


def _table(rows: Sequence[Row]) -> list[str]:
    heads = [f"{name}: right | wrong" for name in LEVELS.values()]
    lines = [f"| at hand | {' | '.join(heads)} | utility |", "|---" * (2 * len(LEVELS) + 2) + "|"]
    for row in rows:
        cells = [_cell(row, f"{level}_{share}") for level in LEVELS for share in ("right", "wrong")]
        utility = f"{values_of(row)['stated_utility']:.2f}"
        lines.append(f"| {method_of(row)} {row['method_title']} | {' | '.join(cells)} | {utility} |")
    return lines


def _cell(row: Row, name: str) -> str:
    pair = interval_of(row, name)
    return f"{values_of(row)[name]:.2f}" + (f" [{pair[0]:.2f}, {pair[1]:.2f}]" if pair else "")


def _write_csv(path: Path, rows: Sequence[Row]) -> Path:
    names = list(values_of(rows[0]))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "n", *names])
        for row in rows:
            writer.writerow([row["method"], row["n"], *(f"{values_of(row)[name]:.4f}" for name in names)])
    return path
