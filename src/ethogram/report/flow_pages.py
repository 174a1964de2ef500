"""Pages of flow tasks: one per task with its plots, and an overview."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ethogram.report import plots_tasks
from ethogram.report.cost import cost_lines
from ethogram.report.flow_overview import overview
from ethogram.report.flow_rows import EXPERIMENTS, FlowRow, flow_rows
from ethogram.report.flow_tables import (
    budget_table,
    cost_table,
    more_tables,
    network_table,
    quality_table,
    types_table,
    write_csv,
)
from ethogram.report.leaks import leak_lines
from ethogram.report.page_writer import WritePages, one_by_one
from ethogram.report.tables import picture_lines

__all__ = ["FlowSections", "Plots", "write_flow_report"]

Plot = Callable[[Path, Sequence[FlowRow]], Path | None]

Plots = Mapping[str, tuple[Plot, str]]
"""Plots of a page: suffix of the file name to the function that draws it and its caption."""

PLOTS: Plots = {
    "budgets": (
        plots_tasks.budget_plot,
        "Macro-F1 by number of labelled flows per type, up to that of the most frequent type; the default is first.",
    ),
    "confusion": (
        plots_tasks.confusion_plot,
        "Verdicts by true type, for the default and for the best method if that is another. Each row is one true type"
        " and adds up to 1.",
    ),
    "reliability": (
        plots_tasks.reliability_plot,
        "Accuracy of verdicts by their confidence; on the diagonal, confidence equals accuracy. A larger mark stands"
        " for more verdicts.",
    ),
    "coverage": (
        plots_tasks.coverage_plot,
        "Macro-F1 (over the types that still occur) and accuracy of the most confident verdicts.",
    ),
}


@dataclass(frozen=True)
class FlowSections:
    """Sections that a study adds to the pages of flow tasks: functions of a module, so that they can be pickled.

    Parameters
    ----------
    first
        Takes the rows by task and the folder; gives the first lines of the overview, and the plots it wrote.
    last
        Takes the rows by task; gives lines to put after the overview's plots.
    plots_above_table
        By experiment: plots that task pages show above the main table, instead of the usual ones below it.
    """

    first: Callable[[Mapping[str, Sequence[FlowRow]], Path], tuple[list[str], list[Path]]] | None = None
    last: Callable[[Mapping[str, Sequence[FlowRow]]], list[str]] | None = None
    plots_above_table: Mapping[str, Plots] = field(default_factory=dict)


def write_flow_report(
    rows: Sequence[Mapping[str, object]], folder: Path, write: WritePages = one_by_one,
    sections: FlowSections | None = None,
) -> list[Path]:  # fmt: skip
    """Write a page, a CSV file and plots for each flow task, and an overview.

    Parameters
    ----------
    rows
        Comparable rows; those of other tasks are ignored.
    folder
        Folder of the pages.
    write
        Function that writes the pages, in parallel or not.
    sections
        Sections of a study.

    Returns
    -------
    list of Path
        Files written; empty without rows of flow tasks.

    Raises
    ------
    InputError
        When a row is not of the form of :mod:`ethogram.report.flow_rows`.
    """
    sections = sections or FlowSections()
    by_task = flow_rows(rows)
    if not by_task:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    absent = [row for row in rows if "absent" in row]
    written: list[Path] = []
    calls = [
        (name, task_rows, [row for row in absent if row["task"] == name], folder,
         sections.plots_above_table.get(task_rows[0].experiment)) for name, task_rows in by_task.items()
    ]  # fmt: skip
    for paths in write(_task, calls):
        written += paths
    first, plots = ([], []) if sections.first is None else sections.first(by_task, folder)
    last = [] if sections.last is None else sections.last(by_task)
    return [*written, *overview(by_task, folder, cost_lines([dict(row) for row in rows]), first, last), *plots]


def _task(
    name: str, rows: Sequence[FlowRow], absent: Sequence[Mapping[str, object]], folder: Path, above: Plots | None
) -> list[Path]:
    first = rows[0]
    drawn = [plots_tasks.quality_plot(folder / f"{name}.png", rows)]
    pictures: dict[str, list[str]] = {}
    for stem, (plot, says) in (above or PLOTS).items():
        path = plot(folder / f"{name}-{stem}.png", rows)
        if path is not None:
            drawn.append(path)
            pictures[stem] = picture_lines(path.name, says)
    lines = [
        f"# {first.title}",
        "",
        f"Experiment: {first.experiment}, {EXPERIMENTS[first.experiment]}; level: {first.level or 'not given'}."
        " Made from result rows by `ethogram bench report`; do not edit.",
        "",
        "```",
        f"ethogram bench {name} --corpus FOLDER -o rows.jsonl",
        "ethogram bench report rows.jsonl -o docs/results",
        "```",
        "",
        f"![macro-F1 of every method]({name}.png)",
        "",
        *(line for stem in above or () for line in pictures.get(stem, [])),
        quality_table(rows),
        "",
        "Best first. In brackets: 95 % bootstrap interval by device-day. By seed: minimum and maximum. Above",
        "chance: above the macro-F1 that the same verdicts would get if they knew nothing of the truth.",
        *_marks(rows),
        "",
        *_details(rows, pictures),
    ]
    lines += [f"Not applicable: `{row['method']}` ({row['absent']}).\n" for row in absent]
    lines += _provenance(rows)
    page = folder / f"{name}.md"
    page.write_text("\n".join(lines).rstrip() + "\n")
    return [page, write_csv(folder / f"{name}.csv", rows), *drawn]


def _details(rows: Sequence[FlowRow], pictures: Mapping[str, list[str]]) -> list[str]:
    """Sections below the main table of a task."""
    lines = []
    for head, table in more_tables(rows).items():
        # Of the many rows of the grid the CSV has all.
        if rows[0].experiment != "grid" or head.startswith("Shift"):
            lines += _section(head, table, [])
    cost = cost_table(rows)
    if cost:
        lines += ["## Cost", "", cost, "", "Times are of making the row: training and embedding are in it where no row",
                  "before had made them. flows/s: embedding alone, on one core.", ""]  # fmt: skip
    lines += leak_lines(rows)
    lines += _section("By the network that tests, macro-F1", network_table(rows), [])
    lines += _section("Label budgets", budget_table(rows), pictures.get("budgets", []))
    lines += _section("By type", types_table(rows), pictures.get("confusion", []))
    return lines + _section("Confidence", "", [p for s in ("reliability", "coverage") for p in pictures.get(s, [])])


def _section(head: str, table: str, pictures: list[str]) -> list[str]:
    if not table and not pictures:
        return []
    return [f"## {head}", "", *([table, ""] if table else []), *pictures]


def _marks(rows: Sequence[FlowRow]) -> list[str]:
    lines = []
    if any(row.stale for row in rows):
        lines.append("\n† made by earlier code than the newest line: run the command again.")
    if any(row.random_weights for row in rows):
        lines.append("\n° random weights: what its architecture and input give, not what it learnt.")
    return lines


def _provenance(rows: Sequence[FlowRow]) -> list[str]:
    commits = sorted({f"`{row.commit or 'none'}`" for row in rows})
    what = "items" if rows[0].experiment == "both" else "flows"
    return [
        f"{rows[0].n} test {what} of {rows[0].labels} types, {rows[0].n_enrol} labelled {what} to learn from. Commit"
        f" {', '.join(commits)}, data `{rows[0].data_digest}`, split `{rows[0].split[:90]}`; {rows[0].machine}."
    ]
