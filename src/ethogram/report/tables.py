"""Markdown tables of rows: one line per method, or per threshold for properties of fingerprints."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "FIGURE_TITLES",
    "GROUPS",
    "Row",
    "figure_text",
    "interval_of",
    "measured_by_task",
    "picture_lines",
    "table_lines",
    "task_table",
    "values_of",
]  # fmt: skip

Row = dict[str, object]
"""A result row, as read from a file."""

GROUPS = ("plain", "option", "default", "baseline")
SHOWN = {
    "closed": ("macro_f1", "accuracy", "accuracy_lenient", "macro_f1_merged", "calibration_error"),
    "open": ("auroc", "fpr95", "auroc_apart", "fpr95_apart", "oscr", "accepted_known", "rejected_unknown", "macro_f1"),
    "similarity": ("within", "between", "separable", "services"),
}
FIGURE_TITLES = {
    "macro_f1": "macro-F1", "accuracy": "accuracy", "accuracy_lenient": "accuracy, ties lenient",
    "macro_f1_merged": "macro-F1, twins as one", "calibration_error": "calibration error", "auroc": "AUROC",
    "fpr95": "FPR at 95 % TPR", "auroc_apart": "AUROC, twins apart", "fpr95_apart": "FPR, twins apart", "oscr": "OSCR",
    "accepted_known": "knowns accepted", "rejected_unknown": "unknowns rejected", "within": "within a label",
    "between": "between labels", "separable": "pairs told apart (AUROC)", "services": "services",
}  # fmt: skip

WITH = {"previous": "the previous epoch", "halves": "the other half of the window"}


def values_of(row: Row) -> dict[str, float]:
    """Figures of a row by name."""
    values = row["values"]
    return {k: float("nan") if v is None else float(v) for k, v in values.items()} if isinstance(values, dict) else {}


def measured_by_task(rows: Iterable[Row], wanted: Callable[[Row], bool]) -> dict[str, list[Row]]:
    """Rows with figures, by task, of those that are wanted."""
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        if wanted(row) and "absent" not in row:
            by_task.setdefault(str(row["task"]), []).append(row)
    return by_task


def interval_of(row: Row, name: str) -> tuple[float, float] | None:
    """Interval of a figure; None if the row has none."""
    intervals = row["intervals"]
    pair = intervals.get(name) if isinstance(intervals, dict) else None
    return (float(pair[0]), float(pair[1])) if pair and None not in pair else None


def method_of(row: Row) -> str:
    """Name of a method as code, with † if its row was made by earlier code."""
    return f"`{row['method']}`" + (" †" if row.get("stale") else "")


def picture_lines(name: str, caption: str) -> list[str]:
    """Markdown lines of a picture and its caption."""
    alt = re.split("[,:]", caption, maxsplit=1)[0].rstrip(".")
    return [f"![{alt}]({name})", "", f"*{caption}*", ""]


def table_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Markdown lines of a table.

    >>> table_lines(("kind", "n"), [("camera", "3")])
    ['| kind | n |', '|---|---|', '| camera | 3 |']
    """
    cells = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return [cells[0], "|---" * len(head) + "|", *cells[1:]]


def figure_text(value: float) -> str:
    """A figure with three decimals; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.0f}" if value == int(value) and value > 1 else f"{value:.3f}"


def _cell(row: Row, name: str) -> str:
    value = values_of(row).get(name, float("nan"))
    pair = interval_of(row, name)
    return figure_text(value) + (f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair and not math.isnan(value) else "")


def task_table(rows: Sequence[Row]) -> str:
    """Markdown table of one task: one line per method, with intervals if available."""
    columns = list(SHOWN.get(str(rows[0]["kind"]), ())) or list(values_of(rows[0]))
    columns = [name for name in columns if any(name in values_of(row) for row in rows)]
    kind = str(rows[0]["kind"])
    if kind in ("early", "robust", "drift"):
        columns = [name for name in columns if not name.startswith(("n@", "accuracy@"))]
    if kind == "convergence":
        return _convergence(rows, columns)
    if kind == "recurrence":
        return _transposed(rows, columns)
    lines = []
    if kind in ("early", "robust", "drift"):
        details = rows[0]["details"]
        lines += [f"Macro-F1 by {details.get('across', 'value') if isinstance(details, dict) else 'value'}.", ""]
    lines.append("| method | " + " | ".join(_head(name) for name in columns) + " | n | s |")
    lines.append("|---|" + "---|" * (len(columns) + 2))
    for row in rows:
        cells = " | ".join(_cell(row, name) for name in columns)
        lines.append(f"| {row['method_title']} ({method_of(row)}) | {cells} | {row['n']} | {row['wall_s']} |")
    return "\n".join(lines)


def _transposed(rows: Sequence[Row], columns: Sequence[str]) -> str:
    lines = ["| | " + " | ".join(method_of(row) for row in rows) + " |", "|---|" + "---|" * len(rows)]
    lines += [f"| {name} | " + " | ".join(_cell(row, name) for row in rows) + " |" for name in columns]
    return "\n".join(lines)


def _head(name: str) -> str:
    """Heading of a column; for a sweep, the value of its parameter."""
    return name.partition("@")[2] or FIGURE_TITLES.get(name, name)


def _convergence(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """One table per comparison and length of epoch."""
    places = [name.partition("@")[2].split(" ") for name in columns if name.startswith("share@")]
    lines = [
        "Each cell: share of the windows that converged (of so many); Kaplan-Meier median in epochs, windows cut off",
        "by the end of the capture or by their greatest length being censored, – where half never converge; share of",
        "the devices that converged at all. *learnt*: only ports that the first third of the days keeps using; all",
        "others are one service. A device that never converges is one window, one that does every second day is ten.",
    ]
    for compare, epoch in dict.fromkeys((place[1], place[2]) for place in places):
        lines += ["", f"**Compared with {WITH.get(compare, compare)}, epochs of {epoch.replace('h', ' hours')}**", ""]
        lines.append("| threshold | ports | " + " | ".join(method_of(row) for row in rows) + " |")
        lines.append("|---|---|" + "---|" * len(rows))
        for threshold, _, _, keys in [place for place in places if place[1:3] == [compare, epoch]]:
            at = f"@{threshold} {compare} {epoch} {keys}"
            cells = " | ".join(_stability_cell(values_of(row), at) for row in rows)
            lines.append(f"| {threshold} | {keys} | {cells} |")
    return "\n".join(lines)


def _stability_cell(values: dict[str, float], at: str) -> str:
    median = values[f"median{at}"]
    shown = "–" if math.isnan(median) else f"{median:.0f}"
    return f"{values[f'share{at}']:.2f} ({values[f'windows{at}']:.0f}); {shown}; {values[f'devices{at}']:.2f}"
