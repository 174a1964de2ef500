"""Write a report: pages, tables and plots of result rows. All figures are taken from the rows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ethogram._matplotlib import Figure
from ethogram.report.cost import cost_lines
from ethogram.report.flow_pages import FlowSections, Plots, write_flow_report
from ethogram.report.flow_rows import FlowRow, is_flow_row
from ethogram.report.group_pages import is_group_row, write_group_report
from ethogram.report.ladder_pages import is_ladder_row, write_ladder_report
from ethogram.report.page_writer import WritePages, page_writer
from ethogram.report.plots_style import COLOURS, MARKERS, colour_of, group_handles, save_figure
from ethogram.report.tables import FIGURE_TITLES, GROUPS, Row, figure_text, interval_of, task_table, values_of

__all__ = ["REPORT_MARKS", "Sections", "current", "is_report", "write_report"]

BARS = {"closed": "macro_f1", "open": "auroc", "similarity": "separable"}
"""Kinds of task with one main figure, and that figure; all others are sweeps."""


@dataclass(frozen=True)
class Sections:
    """Sections that a study adds to a report: functions of a module, which take rows by task.

    Parameters
    ----------
    index
        Gives lines to put before the tasks of the index.
    flows_first, flows_last, plots_above_table
        As in :class:`ethogram.report.flow_pages.FlowSections`.
    """

    index: Callable[[Mapping[str, Sequence[Row]]], list[str]] | None = None
    flows_first: Callable[[Mapping[str, Sequence[FlowRow]], Path], tuple[list[str], list[Path]]] | None = None
    flows_last: Callable[[Mapping[str, Sequence[FlowRow]]], list[str]] | None = None
    plots_above_table: Mapping[str, Plots] = field(default_factory=dict)

    @property
    def flows(self) -> FlowSections:
        """The sections of the pages of flow tasks."""
        return FlowSections(self.flows_first, self.flows_last, self.plots_above_table)


def write_report(rows: Sequence[Row], folder: Path, jobs: int = 1, sections: Sections | None = None) -> list[Path]:
    """Write a page, a CSV file and a plot for each task, and an index, from the :func:`current` rows.

    Pages of flow tasks, of groups of unknown devices and of devices that nobody enrolled are laid out differently,
    and are in the folders ``flows``, ``groups`` and ``ladder``.

    Parameters
    ----------
    rows
        Rows of any tasks.
    folder
        Folder of the pages.
    jobs
        Number of processes; it does not change the pages.
    sections
        What a study adds; the report of a user's own rows has none.

    Returns
    -------
    list of Path
        Files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = current(rows)
    with page_writer(jobs, len({row["task"] for row in shown})) as write:
        return _write(shown, folder, write, sections or Sections())


def _write(shown: Sequence[Row], folder: Path, write: WritePages, sections: Sections) -> list[Path]:
    by_task: dict[str, list[Row]] = {}
    written = write_flow_report([row for row in shown if is_flow_row(row)], folder / "flows", write, sections.flows)
    written += write_group_report([row for row in shown if is_group_row(row)], folder / "groups")
    written += write_ladder_report(shown, folder / "ladder")
    fingerprints = [row for row in shown if not (is_flow_row(row) or is_group_row(row) or is_ladder_row(row))]
    if written and not fingerprints:
        return written
    for row in fingerprints:
        by_task.setdefault(str(row["task"]), []).append(row)
    for paths in write(_write_task, [(name, part, folder) for name, part in sorted(by_task.items())]):
        written += paths
    index = folder / "README.md"
    first = [] if sections.index is None else sections.index(by_task)
    index.write_text(_index(by_task, folder, cost_lines(shown), first))
    return [*written, index]


def _write_task(name: str, rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the page of a task, unless no method could be measured."""
    done = sorted((row for row in rows if "absent" not in row), key=lambda row: GROUPS.index(str(row["group"])))
    if not done:
        return []
    page = folder / f"{name}.md"
    page.write_text(_page(name, done, [row for row in rows if "absent" in row]))
    return [page, _write_csv(folder / f"{name}.csv", done), _plot(folder / f"{name}.png", done)]


def is_report(folder: Path) -> bool:
    """Whether a folder may be written over: it has no index, or one that Ethogram wrote."""
    index = folder / "README.md"
    return not index.exists() or any(mark in index.read_bytes() for mark in REPORT_MARKS)


def current(rows: Sequence[Row]) -> list[Row]:
    """The rows that can be compared: the last one of each task and method.

    The last row of a task is the reference. Rows of another definition of the task or of other data are left out. Rows
    of other code stay and are marked ``stale``. So do rows of another ``digest_form``, since their digests of data and
    code cannot be compared with those of the reference.
    """
    latest: dict[tuple[str, str], Row] = {}
    for row in rows:
        earlier = latest.get((str(row["task"]), str(row["method"])))
        # A later attempt that failed does not replace a row of the same data.
        if not (row.get("failed") and earlier and earlier.get("data_digest") == row.get("data_digest")):
            latest[str(row["task"]), str(row["method"])] = row
    newest = {str(row["task"]): row for row in rows}
    comparable = []
    for (task, _), row in latest.items():
        reference = newest[task]
        same_form = row.get("digest_form") == reference.get("digest_form")
        compared = ("task_digest", "data_digest") if same_form else ("task_digest",)
        if all(row.get(name) == reference.get(name) for name in compared):
            comparable.append({**row, "stale": row.get("code_digest") != reference.get("code_digest")})
    return comparable


def _page(name: str, rows: Sequence[Row], absent: Sequence[Row]) -> str:
    first = rows[0]
    commits = sorted({f"`{row['commit'] or 'none'}`" for row in rows})
    lines = [
        f"# {first['title']}",
        "",
        f"Experiment: {first['experiment']}. Made from result rows by `ethogram bench report`; do not edit.",
        "",
        "```",
        f"ethogram bench {name} --corpus FOLDER -o rows.jsonl",
        f"ethogram bench report rows.jsonl -o {Path('docs/results')}",
        "```",
        "",
        task_table(rows),
        "",
        f"n test items of {first['labels']} labels; {first['n_enrol']} enrolled items. In brackets: 95 % bootstrap"
        " interval by device-day (in open sets by the label left out). s: wall time.",
        "",
        f"Commit {', '.join(commits)}, data `{first['data_digest']}`, split `{str(first['split'])[:60]}`,"
        f" seed {first['seed']}; {first['machine']}.",
        "",
        f"![{first['title']}]({name}.png)",
    ]
    if any(row["stale"] for row in rows):
        lines.append("\n† made by earlier code than the newest line: run the command again.")
    lines += _notes(rows)
    if str(first["experiment"]) == "across networks" and any(row["method"] == "random-forest" for row in rows):
        lines.append("\nSources that only count have no flow statistics: there the forest sees zeros.")
    lines += [f"\nNot applicable: `{row['method']}` ({row['absent']})." for row in absent]
    return "\n".join(lines) + "\n"


def _notes(rows: Sequence[Row]) -> list[str]:
    """Most frequent errors of the best row, and its accuracy by network."""
    best = max(rows, key=lambda row: values_of(row).get("macro_f1", float("-inf")))
    details = best["details"]
    if not isinstance(details, dict) or "confusions" not in details:
        return []
    lines = []
    left = values_of(best).get("left_out", 0.0)
    if left:
        lines.append(f"\n{left:.0f} test items whose label is not enrolled were left out.")
    if details["confusions"]:
        shown = "; ".join(f"{a} as {b or 'a tie'} ({n})" for a, b, n in details["confusions"])
        lines.append(f"\nMost frequent errors of `{best['method']}`: {shown}.")
    networks = details.get("accuracy_by_network")
    if isinstance(networks, dict):
        lines += [
            f"\nAccuracy of `{best['method']}` by the network that tests:\n",
            "| network | n | accuracy |",
            "|---|---|---|",
        ]
        lines += [f"| {name} | {n} | {value:.3f} |" for name, (n, value) in networks.items()]
    return lines


REPORT_MARKS = (b"`ethogram bench report`", b"Figures on real traffic, each page with the command that makes it.")
"""One of these is in the README.md of every folder of a report."""


def _write_csv(path: Path, rows: Sequence[Row]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in values_of(row)))
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        plain = ["task", "method", "group", "n", "n_enrol", "labels", "seed", "commit", "task_digest", "method_digest",
                 "data_digest", "split", "wall_s"]  # fmt: skip
        bounds = [f"{name}_{side}" for name in names for side in ("low", "high")]
        writer.writerow([*plain, *names, *bounds])
        for row in rows:
            values = values_of(row)
            pairs = [interval_of(row, name) for name in names]
            writer.writerow([
                *(row[name] for name in plain), *(values.get(name, "") for name in names),
                *(bound for pair in pairs for bound in (pair or ("", ""))),
            ])  # fmt: skip
    return path


def _plot(path: Path, rows: Sequence[Row]) -> Path:
    kind = str(rows[0]["kind"])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if kind in BARS:
            _bars(axes, rows, BARS[kind])
            groups = dict.fromkeys(str(row["group"]) for row in rows)
            figure.legend(handles=group_handles(axes, list(groups)), loc="outside right upper")
        else:
            _curves(axes, rows, kind)
            figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        axes.set_title(str(rows[0]["title"]))

    return save_figure(path, (8.6, 0.3 * len(rows) + 1.2 if kind in BARS else 4.0), draw)


def _bars(axes: Any, rows: Sequence[Row], main: str) -> None:
    names = [str(row["method"]) for row in rows]
    values = [values_of(row).get(main, float("nan")) for row in rows]
    pairs = [interval_of(row, main) or (value, value) for row, value in zip(rows, values, strict=True)]
    errors = [[v - low for v, (low, _) in zip(values, pairs, strict=True)],
              [high - v for v, (_, high) in zip(values, pairs, strict=True)]]  # fmt: skip
    axes.barh(names, values, xerr=[[max(e, 0) for e in side] for side in errors], height=0.7,
              color=[colour_of(str(row["group"])) for row in rows], error_kw={"lw": 0.8})  # fmt: skip
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(f"{FIGURE_TITLES[main]}; thin line: 95 % interval by device-day")


CURVES = {
    "convergence": ("share", (" halves 24h all", " halves 24h learnt"), "share of windows that converge"),
    "recurrence": ("identical", (" previous", " halves"), "share identical to an earlier one"),
    "drift": ("macro_f1", (" first third", " refreshed"), "macro-F1"),
}  # fmt: skip
"""By kind of task: the figure drawn, one curve for each ending of its name, and the axis label."""


def _curves(axes: Any, rows: Sequence[Row], kind: str) -> None:
    stem, endings, says = CURVES.get(kind, ("macro_f1", ("",), "macro-F1"))
    for i, row in enumerate(rows):
        colour = COLOURS[i % len(COLOURS)]
        for ending, line in zip(endings, ("-", "--"), strict=False):
            by_step = {
                name.removeprefix(f"{stem}@").removesuffix(ending): value
                for name, value in values_of(row).items() if name.startswith(f"{stem}@") and name.endswith(ending)
            }  # fmt: skip
            try:
                places = [float(name.rstrip("s")) for name in by_step]
            except ValueError:
                places = [float(i) for i in range(len(by_step))]
                axes.set_xticks(places, list(by_step), fontsize=7)
            axes.plot(places, list(by_step.values()), line, color=colour, marker=MARKERS[i // len(COLOURS)], ms=3, lw=1,
                      label=f"{row['method']}{ending}")  # fmt: skip
    details = rows[0]["details"]
    across = details.get("across", "threshold") if isinstance(details, dict) else "threshold"
    axes.set_ylabel(says)
    axes.set_xlabel(across)
    if across in ("seconds observed", "one packet seen in"):
        axes.set_xscale("log")


MORE = {"flows": "Encoders of flows, and both methods together", "groups": "Devices that nobody enrolled, in groups"}
"""Folders with further pages, and their titles."""


def _index(by_task: dict[str, list[Row]], folder: Path, cost: Sequence[str], first: Sequence[str]) -> str:
    more = [part for part in MORE if (folder / part / "README.md").exists()]
    reading = " What they mean: [reading.md](reading.md)." if (folder / "reading.md").exists() else ""
    lines = [
        "# Results",
        "",
        f"Figures on real traffic, each page with the command that makes it.{reading}",
        "",
        *[f"{MORE[part]}: [{part}]({part}/README.md).\n" for part in more],
        *first,
        "## Tasks",
        "",
        "Below is the best line of each group. It is chosen on the test items: a group of many methods looks better",
        "than any one of them chosen beforehand.",
        "",
        "| task | plain | option | default | baseline |",
        "|---|---|---|---|---|",
    ]
    for name, rows in sorted(by_task.items()):
        done = [row for row in rows if "absent" not in row]
        if not done:
            continue
        main = BARS.get(str(done[0]["kind"]))
        cells = []
        for group in GROUPS:
            inside = [row for row in done if row["group"] == group]
            if not inside or main is None:
                cells.append("")
                continue
            best = max(inside, key=lambda row: values_of(row).get(main, -1.0))
            cells.append(f"{figure_text(values_of(best)[main])} (`{best['method']}`)")
        lines.append(f"| [{name}]({name}.md) | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Closed sets: macro-F1. Open sets: AUROC. Similarity: AUROC of pairs. Others: see the page.",
        "",
        *cost,
    ]
    return "\n".join(lines)
