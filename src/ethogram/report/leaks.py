"""Leak detectors: whether shuffled labels fall to chance, and the score of addresses, ports and time alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ethogram.identify.metrics import seed_interval
from ethogram.report.flow_rows import DETECTORS, FlowRow, blind_recall, chance_of
from ethogram.report.flow_tables import seeds_cell

__all__ = ["Shuffled", "leak_lines", "leak_overview", "shuffled_of"]


@dataclass(frozen=True)
class Shuffled:
    """Result of shuffled labels on one task.

    Parameters
    ----------
    task, method
        Names of the task and the detector.
    value, chance
        Balanced accuracy, mean over permutations, and that of verdicts independent of the labels.
    low
        Lower end of an interval over permutations and device-days. When types are well separated, all flows of a type
        get one label, and a permutation is right or wrong about a whole type by chance.
    permutations
        Number of permutations.
    """

    task: str
    method: str
    value: float
    low: float
    chance: float
    permutations: int

    @property
    def margin(self) -> float:
        """Difference to chance."""
        return self.value - self.chance

    @property
    def verdict(self) -> str:
        """Whether the interval includes chance."""
        if math.isnan(self.value + self.chance + self.low):
            return "cannot be told"
        return "fell to chance" if self.low <= self.chance else "ABOVE CHANCE"


def shuffled_of(rows: Sequence[FlowRow]) -> Shuffled | None:
    """The shuffled row of a task with the largest margin above chance; None without one."""
    judged = [_judged(row) for row in rows if row.shuffled]
    return max(judged, key=lambda verdict: -math.inf if math.isnan(verdict.margin) else verdict.margin, default=None)


def _judged(row: FlowRow) -> Shuffled:
    # Balanced accuracy is linear in the verdicts, so its chance level can be pooled over permutations; macro-F1 is not.
    value, chance = row.value("balanced_accuracy"), blind_recall(row.details.confusion)
    if math.isnan(chance) and row.labels:
        chance = 1 / row.labels
    low, _ = row.interval() or (math.nan, math.nan)
    seeds = row.seeds("balanced_accuracy")
    over = seed_interval(seeds, level=0.99)[0]
    # Permutations and device-days (by the interval of macro-F1) are independent sources of variance.
    below = math.hypot(row.value() - low, 0.0 if math.isnan(over) else float(np.mean(seeds)) - over)
    return Shuffled(row.task, row.method, value, value - below, chance, max(1, len(seeds)))


def leak_lines(rows: Sequence[FlowRow]) -> list[str]:
    """Section on the leak detectors of one task."""
    lines = ["## Leak detectors", ""]
    there = {row.method: row for row in rows if row.detector}
    missing = [name for name in DETECTORS if name not in there]
    if there:
        lines += ["| detector | what it is | macro-F1 | by seed | balanced accuracy |", "|---|---|---|---|---|"]
    for name, row in there.items():
        says = DETECTORS.get(name, row.method_title or "a detector")
        pair = row.interval()
        between = f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair else ""
        seeds = seeds_cell(row)
        accuracy = row.value("balanced_accuracy")
        shown = "" if math.isnan(accuracy) else f"{accuracy:.3f}"
        lines.append(f"| `{name}` | {says} | {row.value():.3f}{between} | {seeds} | {shown} |")
    if there:
        lines.append("")
    for judged in (_judged(row) for row in rows if row.shuffled):
        lines += [
            f"`{judged.method}` {judged.verdict}: balanced accuracy {judged.value:.3f} against {judged.chance:.3f} of"
            f" verdicts independent of the truth. Margin {judged.margin:+.3f}"
            f" (permutations: {judged.permutations};"
            f" lower end of the interval over permutations and device-days {judged.low - judged.chance:+.3f}).",
            "",
        ]
    if "shortcut" in there:
        lines += [_shortcut(there["shortcut"], rows), ""]
    lines += _no_better_than_chance(rows)
    if missing:
        lines += [f"Not run: {', '.join(f'`{name}`' for name in missing)}.", ""]
    return lines


def _no_better_than_chance(rows: Sequence[FlowRow]) -> list[str]:
    """Line on methods whose interval includes chance."""
    named = []
    for row in rows:
        pair, chance = row.interval(), chance_of(row)
        if not row.detector and pair and not math.isnan(chance) and pair[0] <= chance:
            named.append(f"`{row.method}` ({row.value():.3f}, chance {chance:.3f})")
    return [f"Not above chance with their whole interval: {', '.join(named)}.", ""] if named else []


def _shortcut(row: FlowRow, rows: Sequence[FlowRow]) -> str:
    rivals = [other for other in rows if not other.detector and not math.isnan(other.value())]
    if not rivals:
        return ""
    best = max(rivals, key=lambda other: other.value())
    beaten = [f"`{other.method}`" for other in rivals if other.value() <= row.value()]
    if not beaten:
        return (
            f"`shortcut` is below every method; the best, `{best.method}`, is {best.value() - row.value():+.3f} above."
        )
    shown = ", ".join(beaten[:6]) + (f" and {len(beaten) - 6} more" if len(beaten) > 6 else "")
    return f"`shortcut` is not below {shown}: addresses, ports and time alone reach the same figures."


def leak_overview(by_task: Mapping[str, Sequence[FlowRow]]) -> list[str]:
    """Table with one line per task: shuffled labels and chance, shortcut and the best method."""
    lines = []
    for task, rows in by_task.items():
        shuffled = shuffled_of(rows)
        shortcut = next((row for row in rows if row.method == "shortcut"), None)
        if shuffled is None and shortcut is None:
            continue
        rivals = [row.value() for row in rows if not row.detector and not math.isnan(row.value())]
        cells = ["", "", "", "not run"]
        if shuffled is not None:
            cells = [f"{shuffled.value:.3f}", f"{shuffled.chance:.3f}", f"{shuffled.margin:+.3f}", shuffled.verdict]
        cells += [f"{shortcut.value():.3f}" if shortcut else "", f"{max(rivals):.3f}" if rivals else ""]
        lines.append(f"| [{task}]({task}.md) | " + " | ".join(cells) + " |")
    if not lines:
        return []
    return [
        "## Leak detectors",
        "",
        "`shuffled`: labels of the training flows permuted; balanced accuracy, and that of verdicts that know nothing",
        "of the truth. Above chance is what is above it with the whole interval over permutations and device-days.",
        "`shortcut`: a probe on remote address, ports and time alone; macro-F1.",
        "",
        "| task | shuffled | chance | margin | | shortcut | best method |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
    ]
