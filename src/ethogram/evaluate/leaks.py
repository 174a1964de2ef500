"""Leak detectors beside the methods: did shuffled labels fall to chance, and what do addresses, ports and time give?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ethogram.evaluate.claims import seed_interval
from ethogram.evaluate.flow_rows import DETECTORS, Confusion, FlowRow
from ethogram.evaluate.flow_tables import seeds_cell

__all__ = ["Shuffled", "blind_macro_f1", "chance_of", "leak_lines", "leak_overview", "shuffled_of"]


def blind_macro_f1(confusion: Confusion) -> float:
    """Macro-F1 that the same verdicts would get if they knew nothing of the truth: chance, with these shares.

    With a share p of a type among the flows and q among the verdicts, both independent, its F1 is 2 p q / (p + q).

    >>> blind_macro_f1(Confusion(labels=("a", "b"), matrix=((5, 5), (5, 5))))
    0.5
    """
    matrix = np.asarray(confusion.matrix, np.float64)
    if not matrix.size or not matrix.sum():
        return math.nan
    true, said = matrix.sum(axis=1) / matrix.sum(), matrix.sum(axis=0) / matrix.sum()
    present = true > 0
    return float(np.mean(2 * true[present] * said[present] / (true[present] + said[present])))


def chance_of(row: FlowRow) -> float:
    """Macro-F1 of chance: by the shares of the row's own verdicts; without them, one of so many types."""
    found = blind_macro_f1(row.details.confusion)
    return found if not math.isnan(found) or not row.labels else 1 / row.labels


@dataclass(frozen=True)
class Shuffled:
    """What became of shuffled labels on one task.

    Parameters
    ----------
    task
        Its name.
    value, chance
        Macro-F1, mean over permutations, and that of the same verdicts if they knew nothing of the truth.
    low
        Lower end of an interval over permutations and device-days together: where types are far apart, all flows of a
        type go to one label, and one permutation is right or wrong by luck about a whole type.
    permutations
        How many there were.
    """

    task: str
    value: float
    low: float
    chance: float
    permutations: int

    @property
    def margin(self) -> float:
        """How much more than chance it is."""
        return self.value - self.chance

    @property
    def verdict(self) -> str:
        """Whether it fell to chance: the interval reaches down to it."""
        if math.isnan(self.value + self.chance + self.low):
            return "cannot be told"
        return "fell to chance" if self.low <= self.chance else "ABOVE CHANCE"


def shuffled_of(rows: Sequence[FlowRow]) -> Shuffled | None:
    """The shuffled row of a task, judged; None when there is none."""
    for row in rows:
        if row.method == "shuffled":
            low, _ = row.interval() or (math.nan, math.nan)
            over = seed_interval(row.seeds(), level=0.99)[0]
            # Independent: which labels went where, and which days were met. One permutation tells nothing of the first.
            below = math.hypot(row.value() - low, 0.0 if math.isnan(over) else float(np.mean(row.seeds())) - over)
            return Shuffled(row.task, row.value(), row.value() - below, chance_of(row), max(1, len(row.seeds())))
    return None


def leak_lines(rows: Sequence[FlowRow]) -> list[str]:
    """The leak detectors of one task, apart from the methods."""
    lines = ["## Leak detectors", ""]
    there = {row.method: row for row in rows if row.detector}
    missing = [name for name in DETECTORS if name not in there]
    if there:
        lines += ["| detector | what it is | macro-F1 | by seed | balanced accuracy |", "|---|---|---|---|---|"]
    for name, row in there.items():
        pair = row.interval()
        between = f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair else ""
        seeds = seeds_cell(row)
        accuracy = row.value("balanced_accuracy")
        shown = "" if math.isnan(accuracy) else f"{accuracy:.3f}"
        lines.append(f"| `{name}` | {DETECTORS[name]} | {row.value():.3f}{between} | {seeds} | {shown} |")
    if there:
        lines.append("")
    found = shuffled_of(rows)
    if found is not None:
        lines += [
            f"`shuffled` {found.verdict}: {found.value:.3f} against {found.chance:.3f}, which the same verdicts would"
            f" get if they knew nothing of the truth. Margin {found.margin:+.3f} (permutations: {found.permutations};"
            f" lower end of the interval over permutations and device-days {found.low - found.chance:+.3f}).",
            "",
        ]
    if "shortcut" in there:
        lines += [_shortcut(there["shortcut"], rows), ""]
    if missing:
        lines += [f"Not run: {', '.join(f'`{name}`' for name in missing)}.", ""]
    return lines


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
    return f"`shortcut` is not below {shown}: what those say, addresses, ports and time say as well."


def leak_overview(by_task: Mapping[str, Sequence[FlowRow]]) -> list[str]:
    """One line for each task: shuffled against chance, shortcut beside the best method."""
    lines = []
    for task, rows in by_task.items():
        found = shuffled_of(rows)
        shortcut = next((row for row in rows if row.method == "shortcut"), None)
        if found is None and shortcut is None:
            continue
        rivals = [row.value() for row in rows if not row.detector and not math.isnan(row.value())]
        cells = ["", "", "", "not run"]
        if found is not None:
            cells = [f"{found.value:.3f}", f"{found.chance:.3f}", f"{found.margin:+.3f}", found.verdict]
        cells += [f"{shortcut.value():.3f}" if shortcut else "", f"{max(rivals):.3f}" if rivals else ""]
        lines.append(f"| [{task}]({task}.md) | " + " | ".join(cells) + " |")
    if not lines:
        return []
    return [
        "## Leak detectors",
        "",
        "`shuffled`: labels of the training flows permuted. Chance is the macro-F1 of the same verdicts if they knew",
        "nothing of the truth; above it is what stays above with the whole interval over permutations and device-days.",
        "`shortcut`: a probe on remote address, ports and time alone.",
        "",
        "| task | shuffled | chance | margin | | shortcut | best method |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
    ]
