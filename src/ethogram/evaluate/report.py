"""Rows to tables and plots. Nothing is computed here that is not in a row."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

__all__ = ["task_table", "write_report"]

Row = dict[str, object]
GROUPS = ("plain", "option", "default", "baseline")
SHOWN = {
    "closed": ("macro_f1", "accuracy", "accuracy_lenient", "macro_f1_merged", "calibration_error"),
    "open": ("auroc", "fpr95", "auroc_apart", "fpr95_apart", "oscr", "accepted_known", "rejected_unknown", "macro_f1"),
    "similarity": ("within", "between", "separable", "services"),
}
HEADS = {
    "macro_f1": "macro-F1", "accuracy": "accuracy", "accuracy_lenient": "accuracy, ties lenient",
    "macro_f1_merged": "macro-F1, twins as one", "calibration_error": "calibration error", "auroc": "AUROC",
    "fpr95": "FPR at 95 % TPR", "auroc_apart": "AUROC, twins apart", "fpr95_apart": "FPR, twins apart", "oscr": "OSCR",
    "accepted_known": "knowns accepted", "rejected_unknown": "unknowns rejected", "within": "within a label",
    "between": "between labels", "separable": "pairs told apart (AUROC)", "services": "services",
}  # fmt: skip


def write_report(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write one page, one CSV and one plot for each task, and an index; the last row of a pair wins.

    Returns
    -------
    list of Path
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    latest = {(str(row["task"]), str(row["method"])): row for row in rows}
    by_task: dict[str, list[Row]] = {}
    for row in latest.values():
        by_task.setdefault(str(row["task"]), []).append(row)
    written = []
    for name, part in sorted(by_task.items()):
        done = sorted((row for row in part if "absent" not in row), key=_order)
        if not done:
            continue
        page = folder / f"{name}.md"
        page.write_text(_page(name, done, [row for row in part if "absent" in row]))
        written += [page, _write_csv(folder / f"{name}.csv", done), _plot(folder / f"{name}.png", done)]
    index = folder / "README.md"
    index.write_text(_index(by_task))
    return [*written, index]


def _order(row: Row) -> tuple[int, str]:
    return GROUPS.index(str(row["group"])), str(row["method"])


def _values(row: Row) -> dict[str, float]:
    found = row["values"]
    return {k: float("nan") if v is None else float(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _interval(row: Row, name: str) -> tuple[float, float] | None:
    found = row["intervals"]
    pair = found.get(name) if isinstance(found, dict) else None
    return (float(pair[0]), float(pair[1])) if pair and None not in pair else None


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}" if value == int(value) and value > 1 else f"{value:.3f}"


def _cell(row: Row, name: str) -> str:
    value = _values(row).get(name, float("nan"))
    pair = _interval(row, name)
    return _number(value) + (f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair and not math.isnan(value) else "")


def task_table(rows: Sequence[Row]) -> str:
    """The Markdown table of one task: a line for each method, with intervals where a row has them."""
    columns = list(SHOWN.get(str(rows[0]["kind"]), ())) or list(_values(rows[0]))
    columns = [name for name in columns if any(name in _values(row) for row in rows)]
    if str(rows[0]["kind"]) in ("early", "robust"):
        columns = [name for name in columns if not name.startswith(("n@", "accuracy@"))]
    if str(rows[0]["kind"]) in ("convergence", "recurrence"):
        return _transposed(rows, columns)
    lines = ["| method | " + " | ".join(HEADS.get(name, name) for name in columns) + " | n | s |"]
    lines.append("|---|" + "---|" * (len(columns) + 2))
    for row in rows:
        cells = " | ".join(_cell(row, name) for name in columns)
        lines.append(f"| {row['method_title']} (`{row['method']}`) | {cells} | {row['n']} | {row['wall_s']} |")
    return "\n".join(lines)


def _transposed(rows: Sequence[Row], columns: Sequence[str]) -> str:
    lines = ["| | " + " | ".join(f"`{row['method']}`" for row in rows) + " |", "|---|" + "---|" * len(rows)]
    lines += [f"| {name} | " + " | ".join(_cell(row, name) for row in rows) + " |" for name in columns]
    return "\n".join(lines)


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
    lines += _notes(rows)
    if str(first["experiment"]) == "across networks" and any(row["method"] == "random-forest" for row in rows):
        lines.append("\nSources that only count have no flow statistics: there the forest sees zeros.")
    lines += [f"\nNot applicable: `{row['method']}` ({row['absent']})." for row in absent]
    return "\n".join(lines) + "\n"


def _notes(rows: Sequence[Row]) -> list[str]:
    """What the best row still confuses, and how it does in each network."""
    best = max(rows, key=lambda row: _values(row).get("macro_f1", float("-inf")))
    details = best["details"]
    if not isinstance(details, dict) or "confusions" not in details:
        return []
    lines = []
    left = _values(best).get("left_out", 0.0)
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


def _write_csv(path: Path, rows: Sequence[Row]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in _values(row)))
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        plain = ["task", "method", "group", "n", "n_enrol", "labels", "seed", "commit", "task_digest", "method_digest",
                 "data_digest", "split", "wall_s"]  # fmt: skip
        bounds = [f"{name}_{side}" for name in names for side in ("low", "high")]
        writer.writerow([*plain, *names, *bounds])
        for row in rows:
            values = _values(row)
            pairs = [_interval(row, name) for name in names]
            writer.writerow([
                *(row[name] for name in plain), *(values.get(name, "") for name in names),
                *(bound for pair in pairs for bound in (pair or ("", ""))),
            ])  # fmt: skip
    return path


def _plot(path: Path, rows: Sequence[Row]) -> Path:
    kind = str(rows[0]["kind"])
    figure, axes = plt.subplots(
        figsize=(7.5, 0.34 * len(rows) + 1.4 if kind in ("closed", "open", "similarity") else 4.2)
    )
    if kind in ("early", "robust", "convergence", "recurrence"):
        _curves(axes, rows, kind)
    else:
        main = {"closed": "macro_f1", "open": "auroc", "similarity": "separable"}[kind]
        names = [str(row["method"]) for row in rows]
        values = [_values(row).get(main, float("nan")) for row in rows]
        pairs = [_interval(row, main) or (value, value) for row, value in zip(rows, values, strict=True)]
        errors = [[v - low for v, (low, _) in zip(values, pairs, strict=True)],
                  [high - v for v, (_, high) in zip(values, pairs, strict=True)]]  # fmt: skip
        colours = ["#9aa5b1", "#4c78a8", "#2b8a3e", "#c98b3a"]
        axes.barh(names, values, xerr=[[max(e, 0) for e in side] for side in errors], height=0.7,
                  color=[colours[GROUPS.index(str(row["group"]))] for row in rows], error_kw={"lw": 0.8})  # fmt: skip
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        axes.set_xlabel(HEADS[main])
    axes.grid(axis="x" if kind in ("closed", "open", "similarity") else "both", lw=0.3)
    axes.set_title(str(rows[0]["title"]), fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path


def _curves(axes: Any, rows: Sequence[Row], kind: str) -> None:
    stem = {"early": "macro_f1", "robust": "macro_f1", "convergence": "epochs_median", "recurrence": "identical"}[kind]
    for row in rows:
        for suffix in ("",) if kind in ("early", "robust") else (" previous", " halves"):
            points = [
                (float(name.split("@")[1].split(" ")[0].rstrip("s")), value)
                for name, value in _values(row).items()
                if name.startswith(f"{stem}@") and name.endswith(suffix or name[-1])
            ]
            axes.plot(*zip(*sorted(points), strict=True), marker="o", ms=3, lw=1, label=f"{row['method']}{suffix}")
    axes.set_ylabel({"epochs_median": "days to convergence (median)", "identical": "share identical to an earlier one"}
                    .get(stem, HEADS.get(stem, stem)))  # fmt: skip
    axes.set_xlabel({"early": "seconds observed", "robust": "loss, or stray services per hour"}.get(kind, "threshold"))
    if kind == "early":
        axes.set_xscale("log")
    axes.legend(fontsize=6, ncol=2)


def _index(by_task: dict[str, list[Row]]) -> str:
    lines = [
        "# Results",
        "",
        "Figures on real traffic, each page with the command that makes it. Below is the best line of each group. It",
        "is chosen on the test items: a group of many methods looks better than any one of them chosen beforehand.",
        "",
        "| task | plain | option | default | baseline |",
        "|---|---|---|---|---|",
    ]
    for name, rows in sorted(by_task.items()):
        done = [row for row in rows if "absent" not in row]
        if not done:
            continue
        main = {"closed": "macro_f1", "open": "auroc", "similarity": "separable"}.get(str(done[0]["kind"]))
        cells = []
        for group in GROUPS:
            inside = [row for row in done if row["group"] == group]
            if not inside or main is None:
                cells.append("")
                continue
            best = max(inside, key=lambda row: _values(row).get(main, -1.0))
            cells.append(f"{_number(_values(best)[main])} (`{best['method']}`)")
        lines.append(f"| [{name}]({name}.md) | " + " | ".join(cells) + " |")
    lines += ["", "Closed sets: macro-F1. Open sets: AUROC. Likeness: pairs told apart. Others: see the page.", ""]
    return "\n".join(lines)
