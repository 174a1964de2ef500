"""Markdown tables and CSV files of one flow task: quality, cost, label budgets, types."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ethogram.report.flow_rows import FlowRow, chance_of
from ethogram.report.tables import figure_text

__all__ = ["best_of", "budget_table", "cost_table", "default_of", "method_name", "more_tables", "network_table",
           "quality_table", "quantity_text", "ranked", "reached", "seeds_cell", "types_table", "write_csv"]  # fmt: skip

FIGURES = {
    "": {
        "macro_f1": "macro-F1", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy",
        "calibration_error": "calibration error",
    },
    "Verdicts on several flows of a device, macro-F1": {
        "device_macro_f1@1": "1 flow", "device_macro_f1@5": "5 flows", "device_macro_f1@20": "20 flows",
        "device_macro_f1@hour": "one hour",
    },
    "At equal coverage": {
        "coverage_macro_f1": "macro-F1, mean over coverages", "coverage_accuracy": "accuracy, mean over coverages",
    },
    "What is called unknown": {
        "unknown_share": "of all", "known_unknown": "of known items", "strangers_unknown": "of strangers",
        "right_of_said": "accuracy of the rest", "auroc_open": "AUROC, strangers from known",
    },
    "Shift: error on the test network / error on the training networks": {
        "shift_ratio_overall": "overall", "shift_ratio_meta": "meta", "shift_ratio_packets": "packets",
        "shift_ratio_payload": "payload", "shift_ratio_non_padding": "without padding",
    },
}  # fmt: skip
"""Tables of a page: heading to values and their column names. Label budgets have their own table."""

DEFAULTS = ("both", "fields")
"""Methods that the product uses, for tasks without a row of the group ``default``."""

COSTS = {
    "parameters": "parameters", "embedding": "embedding", "flows_per_s": "flows/s", "memory_mib": "memory, MiB",
    "origin": "weights", "licence": "licence",
}  # fmt: skip


def method_name(row: FlowRow) -> str:
    """Name of a method as code, with marks: † row of earlier code, ° random weights."""
    return f"`{row.method}`" + (" †" if row.stale else "") + (" °" if row.random_weights else "")


def ranked(rows: Sequence[FlowRow]) -> list[FlowRow]:
    """Rows without leak detectors, best macro-F1 first."""
    compared = [row for row in rows if not row.detector]
    return sorted(compared, key=lambda row: -row.value() if not math.isnan(row.value()) else math.inf)


def best_of(rows: Sequence[FlowRow]) -> FlowRow | None:
    """The row with the best macro-F1 that is not a leak detector."""
    order = ranked(rows)
    return order[0] if order and not math.isnan(order[0].value()) else None


def default_of(rows: Sequence[FlowRow]) -> FlowRow | None:
    """The row of the method that the product uses, by name or group, and never by test results."""
    by_name = {row.method: row for row in rows}
    named = [by_name[name] for name in DEFAULTS if name in by_name]
    return next((row for row in rows if row.group == "default"), named[0] if named else None)


def _cell(row: FlowRow, name: str) -> str:
    value, pair = row.value(name), row.interval(name)
    return figure_text(value) + (f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair and not math.isnan(value) else "")


def seeds_cell(row: FlowRow, name: str = "macro_f1") -> str:
    """Minimum and maximum of a figure over the seeds, and the number of seeds."""
    seeds = row.seeds(name)
    if not seeds:
        return ""
    return f"{min(seeds):.3f} … {max(seeds):.3f} ({len(seeds)})" if len(seeds) > 1 else f"{seeds[0]:.3f} (1)"


def quality_table(rows: Sequence[FlowRow]) -> str:
    """One line per method, best first: figures with intervals, and macro-F1 by seed."""
    columns = _columns(rows, FIGURES[""])
    heads = [FIGURES[""][name] for name in columns]
    lines = [
        "| method | "
        + " | ".join([*(heads[:1] or ["macro-F1"]), "by seed", "above chance", *heads[1:], "n", "what it is"])
        + " |",
        "|---|" + "---|" * (max(len(columns), 1) + 4),
    ]
    for row in ranked(rows):
        above = row.value() - chance_of(row)
        cells = [
            _cell(row, "macro_f1"),
            seeds_cell(row),
            "" if math.isnan(above) else f"{above:+.3f}",
            *(_cell(row, name) for name in columns[1:]),
            str(row.n),
            row.method_title,
        ]
        lines.append(f"| {method_name(row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def more_tables(rows: Sequence[FlowRow]) -> dict[str, str]:
    """Tables of the other figures, by heading; only figures that some row has."""
    tables = {}
    for head, names in FIGURES.items():
        columns = _columns(rows, names)
        # Verdicts on one flow alone are those of the first table.
        if not head or not set(columns) - {"device_macro_f1@1"}:
            continue
        lines = ["| method | " + " | ".join(names[name] for name in columns) + " |", "|---|" + "---|" * len(columns)]
        lines += [
            f"| {method_name(row)} | " + " | ".join(_cell(row, name) for name in columns) + " |"
            for row in ranked(rows) if not all(math.isnan(row.value(name)) for name in columns)
        ]  # fmt: skip
        tables[head] = "\n".join(lines)
    return tables


def _columns(rows: Sequence[FlowRow], names: Mapping[str, str]) -> list[str]:
    return [name for name in names if any(not math.isnan(row.value(name)) for row in ranked(rows))]


def cost_table(rows: Sequence[FlowRow]) -> str:
    """Cost of each method, in the same order; '' without any."""
    known = [name for name in COSTS if any(getattr(row.cost, name) is not None for row in rows)]
    if not known:
        return ""
    lines = ["| method | " + " | ".join(COSTS[name] for name in known) + " | processor time, s | wall time, s |"]
    lines.append("|---|" + "---|" * (len(known) + 2))
    for row in ranked(rows):
        cells = [_cost_cell(row, name) for name in known]
        cells += ["" if row.cpu_s is None else f"{row.cpu_s:.0f}", f"{row.wall_s:.0f}"]
        lines.append(f"| {method_name(row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cost_cell(row: FlowRow, name: str) -> str:
    value = getattr(row.cost, name)
    if value is None:
        return ""
    if name == "origin" and row.cost.checkpoint and row.cost.checkpoint not in str(value):
        return f"{value}, `{row.cost.checkpoint[:19]}`"
    if name == "memory_mib":
        value = max(value, 0.5)  # none more than before was measured, which is little
    return str(value) if isinstance(value, str) else quantity_text(value)


def quantity_text(value: float | None) -> str:
    """A cost as text; '' if it was not measured.

    >>> [quantity_text(value) for value in (None, 0, 0.3, 1.84, 131_535_360)]
    ['', '0', '< 1', '1.8', '131,535,360']
    """
    if value is None:
        return ""
    if 0 < value < 1:
        return "< 1"
    return f"{value:,.1f}" if value < 10 and value != int(value) else f"{value:,.0f}"


def reached(rows: Sequence[FlowRow]) -> list[float]:
    """Label budgets that some type reaches; larger ones give the same figures as all labels."""
    sizes = set()
    for row in rows:
        budgets = row.budgets()
        sizes |= {size for size, value, _ in budgets if math.isfinite(size) and value != budgets[-1][1]}
    return sorted(sizes)


def budget_table(rows: Sequence[FlowRow]) -> str:
    """Macro-F1 by label budget; '' when no row has budgets."""
    by_row = [(row, {size: (value, pair) for size, value, pair in row.budgets()}) for row in ranked(rows)]
    sizes = [*reached(ranked(rows)), math.inf]
    if len(sizes) < 2:
        return ""
    heads = ["all" if math.isinf(size) else f"{size:,.0f}" for size in sizes]
    lines = ["| labelled flows for each type | " + " | ".join(heads) + " |", "|---|" + "---|" * len(sizes)]
    for row, budgets in by_row:
        if not budgets:
            continue
        cells = []
        for size in sizes:
            value, pair = budgets.get(size, (math.nan, None))
            cells.append(figure_text(value) + (f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair else ""))
        lines.append(f"| {method_name(row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def types_table(rows: Sequence[FlowRow]) -> str:
    """F1 of each type with the default and the best method; '' if both lack it."""
    shown = {row.method: row for row in (default_of(rows), best_of(rows)) if row is not None and row.details.per_type}
    if not shown:
        return ""
    types = sorted({name for row in shown.values() for name in row.details.per_type})
    lines = ["| type | " + " | ".join(f"F1 of {method_name(row)}" for row in shown.values()) + " |"]
    lines.append("|---|" + "---|" * len(shown))
    lines += [f"| {name} | " + " | ".join(_type_cell(row, name) for row in shown.values()) + " |" for name in types]
    return "\n".join(lines)


def network_table(rows: Sequence[FlowRow]) -> str:
    """Macro-F1 by test network of the default method, each modality alone, and the best baseline."""
    baselines = [row for row in ranked(rows) if row.group == "baseline"][:1]
    shown = [row for row in (default_of(rows), *(r for r in rows if r.group == "alone"), *baselines) if row]
    shown = list({row.method: row for row in shown if row.details.accuracy_by_network}.values())
    if not shown:
        return ""
    lines = ["| network | items | " + " | ".join(f"{method_name(row)}" for row in shown) + " | weights |"]
    lines.append("|---|---|" + "---|" * (len(shown) + 1))
    for name, (count, _, _) in shown[0].details.accuracy_by_network.items():
        figures = [row.details.accuracy_by_network.get(name) for row in shown]
        weights = ", ".join(f"{side} {value:.2f}" for side, value in shown[0].details.weights.get(name, {}).items())
        cells = [f"{cell[2]:.3f}" if cell else "" for cell in figures]
        lines.append(f"| {name} | {count} | " + " | ".join(cells) + f" | {weights} |")
    return "\n".join(lines)


def _type_cell(row: FlowRow, name: str) -> str:
    figures = row.details.per_type.get(name)
    value = figures.get("f1") if isinstance(figures, dict) else figures
    flows = figures.get("flows", figures.get("n")) if isinstance(figures, dict) else None
    if not isinstance(value, int | float):
        return ""
    return f"{float(value):.3f}" + (f" ({flows})" if flows is not None else "")


def write_csv(path: Path, rows: Sequence[FlowRow]) -> Path:
    """Write all values with intervals, values by seed, cost and provenance; leak detectors are marked."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    bounds = [f"{name}_{side}" for name in names for side in ("low", "high")]
    costs = [*COSTS, "checkpoint"]
    encoder = ["kind", "size", "view", "kl_weight", "loss"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        first = ["task", "experiment", "method", "group", "leak_detector", "n", "n_enrol", "labels"]
        last = ["wall_s", "cpu_s", "commit", "data_digest", "split"]
        writer.writerow([*first, *names, *bounds, "macro_f1_seeds", *costs, *encoder, *last])
        for row in [*ranked(rows), *(row for row in rows if row.detector)]:
            pairs = [row.interval(name) or ("", "") for name in names]
            writer.writerow([
                row.task, row.experiment, row.method, row.group, int(row.detector), row.n, row.n_enrol, row.labels,
                *("" if math.isnan(row.value(name)) else row.value(name) for name in names),
                *(bound for pair in pairs for bound in pair), " ".join(f"{value:g}" for value in row.seeds()),
                *(getattr(row.cost, name) for name in costs), *(getattr(row.encoder, name) for name in encoder),
                row.wall_s, row.cpu_s, row.commit, row.data_digest, row.split,
            ])  # fmt: skip
    return path
