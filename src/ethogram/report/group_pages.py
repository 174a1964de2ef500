"""Pages of tasks on groups of unknown devices: purity, and number of labels needed."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ethogram._matplotlib import Figure
from ethogram.report.plots_style import colour_of, save_figure
from ethogram.report.tables import Row, figure_text, measured_by_task, values_of

__all__ = ["is_group_row", "write_group_report"]

COLUMNS = {
    "purity": "purity", "completeness": "completeness", "groups": "groups", "left_out_labels": "labels left out",
    "items": "items", "names_groups": "names, groups", "names_random": "names, items at random",
    "macro_f1_none": "macro-F1, none named", "macro_f1_per_label": "a name for each label",
    "macro_f1_groups": "all groups named", "macro_f1_full": "all items labelled",
}  # fmt: skip
"""Values in the order of the columns."""

PANELS = {"purity": ("purity",), "completeness": ("completeness",), "names needed": ("names_groups", "names_random")}
"""Panels of the plot and their values."""

MARKS = {"names_groups": "o", "names_random": "D"}


def is_group_row(row: Mapping[str, object]) -> bool:
    """Whether a row is of a task on groups of unknown devices."""
    return row.get("experiment") == "groups"


def write_group_report(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write a page, a CSV and a plot for each task, and an overview.

    Parameters
    ----------
    rows
        Comparable rows; those of other tasks are ignored.
    folder
        Folder of the pages.

    Returns
    -------
    list of Path
        Files written.
    """
    by_task = measured_by_task(rows, is_group_row)
    if not by_task:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    index = ["# Devices that nobody enrolled, in groups", "", "Made from result rows by `ethogram bench report`; do"
             " not edit.", "", *_summary(by_task)]  # fmt: skip
    for name, task_rows in sorted(by_task.items()):
        page = folder / f"{name}.md"
        page.write_text(_page(name, task_rows))
        written += [page, _write_csv(folder / f"{name}.csv", task_rows), _plot(folder / f"{name}.png", task_rows)]
        index += [f"## [{task_rows[0]['title']}]({name}.md)", "", _table(task_rows), ""]
    overview = folder / "README.md"
    overview.write_text("\n".join(index))
    return [*written, overview]


def _summary(by_task: Mapping[str, Sequence[Row]]) -> list[str]:
    """Table of labels needed, and purity, by task and method."""
    methods = list(dict.fromkeys(str(row["method"]) for rows in by_task.values() for row in rows))
    lines = [
        "Names that have to be given for 95 % of the macro-F1 of the fully labelled, and in brackets the purity of the",
        "groups; beside them names of items that are drawn at random, one by one.",
        "",
        "| task | " + " | ".join(f"`{name}`" for name in methods) + " | items at random |",
        "|---|" + "---|" * (len(methods) + 1),
    ]
    for task, rows in sorted(by_task.items()):
        by_method = {str(row["method"]): values_of(row) for row in rows}
        cells = [_named(by_method[name]) if name in by_method else "" for name in methods]
        random = next((values["names_random"] for values in by_method.values() if "names_random" in values), math.nan)
        cells.append("" if math.isnan(random) else f"{random:.1f}")
        lines.append(f"| [{task}]({task}.md) | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _named(values: Mapping[str, float]) -> str:
    names, purity = (values.get(name, math.nan) for name in ("names_groups", "purity"))
    return ("" if math.isnan(names) else f"{names:.1f}") + ("" if math.isnan(purity) else f" ({purity:.3f})")


def _page(name: str, rows: Sequence[Row]) -> str:
    first = rows[0]
    commits = ", ".join(sorted({f"`{row.get('commit') or 'none'}`" for row in rows}))
    split = first.get("split")
    drawn = split.get("name") if isinstance(split, dict) else split
    return "\n".join([
        f"# {first['title']}",
        "",
        "Experiment: groups. Made from result rows by `ethogram bench report`; do not edit.",
        "",
        "```",
        f"ethogram bench {name} --corpus FOLDER -o rows.jsonl",
        "ethogram bench report rows.jsonl -o docs/results",
        "```",
        "",
        _table(rows),
        "",
        "Some labels are not enrolled, and their items are grouped by similarity. Purity: share of items whose label is"
        " the most frequent one of their group. Completeness: share of items in the largest group of their label. Names"
        " needed: number of groups (largest first), or of items in random order, that have to be named to reach 95 % of"
        f" the macro-F1 with all labels. Means over {drawn}, with minimum and maximum in brackets.",
        "",
        f"![purity, completeness and names needed]({name}.png)",
        "",
        "*Lines: minimum and maximum of the draws. Few names with high purity are good; if every item is a group of its"
        " own, purity is 1 and every item needs a name.*",
        "",
        f"{first.get('n')} items of labels that are not enrolled, {first.get('n_enrol')} enrolled items,"
        f" {first.get('labels')} labels. Commit {commits}, data `{first.get('data_digest')}`; {first.get('machine')}.",
        "",
    ])  # fmt: skip


def _spread(row: Row, name: str) -> tuple[float, float] | None:
    details = row.get("details")
    limits = details.get("spread", {}).get(name) if isinstance(details, dict) else None
    return (float(limits[0]), float(limits[1])) if limits and None not in limits else None


def _cell(row: Row, name: str) -> str:
    value = values_of(row).get(name, math.nan)
    if math.isnan(value):
        return ""
    pair = _spread(row, name)
    counted = name in ("groups", "left_out_labels", "items", "names_groups", "names_random")
    form = ".1f" if counted else ".3f"
    interval = f" [{pair[0]:{form}}, {pair[1]:{form}}]" if pair else ""
    return (f"{value:.1f}" if counted else figure_text(value)) + interval


def _table(rows: Sequence[Row]) -> str:
    names = [name for name in COLUMNS if any(name in values_of(row) for row in rows)]
    lines = ["| similarity by | " + " | ".join(COLUMNS[name] for name in names) + " |", "|---|" + "---|" * len(names)]
    for row in rows:
        mark = " †" if row.get("stale") else ""
        lines.append(f"| {row['method_title']} (`{row['method']}`{mark}) | "
                     + " | ".join(_cell(row, name) for name in names) + " |")  # fmt: skip
    return "\n".join(lines)


def _write_csv(path: Path, rows: Sequence[Row]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in values_of(row)))
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["task", "method", "group", "n", "n_enrol", *names, "wall_s", "commit", "data_digest"])
        for row in rows:
            plain = [row.get(name) for name in ("task", "method", "group", "n", "n_enrol")]
            last = [row.get(name) for name in ("wall_s", "commit", "data_digest")]
            writer.writerow([*plain, *(values_of(row).get(name, "") for name in names), *last])
    return path


def _plot(path: Path, rows: Sequence[Row]) -> Path:
    """One panel per figure with its range over the draws; labels needed by groups and by random items."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(PANELS), sharey=True, gridspec_kw={"width_ratios": (1, 1, 1.6)})
        for panel, (says, names) in zip(panels, PANELS.items(), strict=True):
            for i, row in enumerate(rows):
                for name in names:
                    _mark(panel, row, name, i + (0.22 if name == "names_random" else 0.0))
            panel.set_title(says)
            panel.set_xlim(0, 1.03) if says != "names needed" else panel.set_xlim(left=0)
        panels[0].set_yticks(range(len(rows)), [str(row["method"]) for row in rows])
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        dark: dict[str, Any] = {"color": "#444444", "ls": "none"}
        panels[-1].plot([], [], "o", ms=5, label="names of groups", **dark)
        panels[-1].plot([], [], "D", ms=4, mfc="white", label="of items at random", **dark)
        figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside right upper")

    return save_figure(path, (10.0, 0.42 * len(rows) + 1.0), draw)


def _mark(panel: Any, row: Row, name: str, place: float) -> None:
    colour, pair = colour_of(str(row["group"])), _spread(row, name)
    if pair:
        panel.plot(pair, (place, place), color=colour, lw=1.6, alpha=0.6)
    random = name == "names_random"
    panel.plot(values_of(row).get(name, math.nan), place, MARKS.get(name, "o"), color=colour, ms=4 if random else 5,
               mfc="white" if random else colour)  # fmt: skip
