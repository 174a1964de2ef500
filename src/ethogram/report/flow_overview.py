"""The overview of all flow tasks: their figures, strangers, leak detectors, plots over all tasks, and cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ethogram.report import plots_networks
from ethogram.report.flow_rows import RAW_METHODS, FlowRow
from ethogram.report.flow_tables import best_of, default_of, method_name
from ethogram.report.leaks import leak_overview, shuffled_of
from ethogram.report.tables import figure_text, picture_lines

__all__ = ["overview"]


def overview(
    by_task: Mapping[str, Sequence[FlowRow]], folder: Path, cost: Sequence[str], first: Sequence[str] = (),
    last: Sequence[str] = (),
) -> list[Path]:  # fmt: skip
    """Write the overview of all flow tasks, and its plots.

    Parameters
    ----------
    by_task
        Rows of flow tasks.
    folder
        Folder of the page.
    cost
        Lines on the cost of the rows.
    first, last
        Lines of further sections: before those of the tasks, and after the plots.

    Returns
    -------
    list of Path
        Files written.
    """
    pictures, written = _pictures(by_task, folder)
    lines = [
        "# Flow representations: results",
        "",
        "Made from result rows by `ethogram bench report`; do not edit."
        + (" What they mean: [reading.md](reading.md)." if (folder / "reading.md").exists() else ""),
        "",
        *first,
        *_tasks(by_task),
        *_strangers(by_task),
        *leak_overview(by_task),
        *pictures,
        *last,
        *cost,
    ]
    page = folder / "README.md"
    page.write_text("\n".join(lines).rstrip() + "\n")
    return [page, *written]


def _pictures(by_task: Mapping[str, Sequence[FlowRow]], folder: Path) -> tuple[list[str], list[Path]]:
    """Plots over all tasks, with captions."""
    lines, written = [], []
    path = plots_networks.inside_across_plot(folder / "inside-across.png", by_task)
    if path is not None:
        written.append(path)
        says = (
            "Macro-F1 inside against across: one point for each method that ran on every task of both sides. Across is"
            " the mean over the tasks that test the same flows at the same level, where there are such; else over all,"
            " and then only the order of methods can be compared, not the distance from the line."
        )
        lines += ["## Inside against across", "", *picture_lines(path.name, says)]
    for experiment in ("P2", "P3"):
        path = plots_networks.cost_plot(folder / f"cost-{experiment.lower()}.png", by_task, experiment)
        if path is not None:
            written.append(path)
            says = (
                "Macro-F1 across networks against parameters and against flows embedded in a second on one core, mean"
                f" over the tasks of {experiment}."
            )
            lines += [f"## Quality against cost, {experiment}", "", *picture_lines(path.name, says)]
    return lines, written


def _tasks(by_task: Mapping[str, Sequence[FlowRow]]) -> list[str]:
    lines = [
        "## Tasks",
        "",
        "Macro-F1. The best method is chosen on the test flows; the default was chosen before.",
        "",
        "| experiment | task | what it asks | level | default | raw 40 | best | shuffled |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in by_task.items():
        shuffled = shuffled_of(rows)
        cells = [
            _figure(default_of(rows)),
            _figure(next((row for row in rows if row.method in RAW_METHODS), None), named=False),
            _figure(best_of(rows)),
            f"{shuffled.value:.3f}, {shuffled.verdict}" if shuffled else "not run",
        ]
        head = f"| {rows[0].experiment} | [{name}]({name}.md) | {rows[0].title} | {rows[0].level} | "
        lines.append(head + " | ".join(cells) + " |")
    return [*lines, ""]


def _figure(row: FlowRow | None, *, named: bool = True) -> str:
    if row is None:
        return ""
    return figure_text(row.value()) + (f" (`{row.method}`)" if named else "")


OPEN = {
    "known_unknown": "known items called unknown", "strangers_unknown": "strangers called unknown",
    "right_of_said": "accuracy of the rest", "auroc_open": "AUROC",
}  # fmt: skip


def _strangers(by_task: Mapping[str, Sequence[FlowRow]]) -> list[str]:
    """Table of open-set figures, for fingerprints and embeddings together and each alone."""
    lines = []
    for task, rows in by_task.items():
        shown = [default_of(rows), *(row for row in rows if row.group == "alone")]
        for row in shown:
            if row is not None and not math.isnan(row.value("auroc_open")):
                cells = [figure_text(row.value(name)) for name in OPEN]
                lines.append(f"| [{task}]({task}.md) | {method_name(row)} | " + " | ".join(cells) + " |")
    if not lines:
        return []
    return [
        "## Strangers",
        "",
        "Items of the test network whose type is not enrolled: the share of them that is called unknown, the same",
        "share of known items, and how well confidence separates the two (AUROC: 1 perfectly, .5 not at all).",
        "",
        "| task | method | " + " | ".join(OPEN.values()) + " |",
        "|---|---|" + "---|" * len(OPEN),
        *lines,
        "",
    ]
