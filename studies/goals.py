"""Goals of tasks on counts, set before development, and the figures of the methods that the product uses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ethogram.bench import FIGURE_TITLES, Row, interval_of, values_of

__all__ = ["GOALS", "Goal", "goal_table"]


@dataclass(frozen=True)
class Goal:
    """A bound on a figure of a method on a task."""

    says: str
    task: str
    method: str
    figure: str
    bound: float
    most: bool = False

    def met(self, value: float) -> bool:
        """Whether a figure, rounded to three digits, meets the bound."""
        return round(value, 3) <= self.bound if self.most else round(value, 3) >= self.bound


GOALS = (
    Goal("devices, later days, one home", "e4-stevens", "evidence", "macro_f1", 0.98),
    Goal("devices, hours, another network", "unsw-hours", "evidence", "macro_f1", 0.85),
    Goal("models, US to UK, no names", "country-us-uk", "cross-network", "accuracy", 0.85),
    Goal("models, UK to US, no names", "country-uk-us", "cross-network", "accuracy", 0.85),
    Goal("models, US to UK, names", "country-us-uk-names", "cross-network", "accuracy", 0.92),
    Goal("models, UK to US, names", "country-uk-us-names", "cross-network", "accuracy", 0.92),
    Goal("families, a new network, names", "family-networks-names", "cross-network-families", "macro_f1", 0.85),
    Goal("coarse types, a new network, names", "coarse-networks-names", "cross-network-kinds", "macro_f1", 0.50),
    Goal("coarse types, a new network, no names", "coarse-networks", "cross-network-kinds", "macro_f1", 0.50),
    Goal("never enrolled, twins apart", "e5-stevens-open", "evidence", "auroc_apart", 0.95),
    Goal("never enrolled, twins apart", "e5-stevens-open", "evidence", "fpr95_apart", 0.20, most=True),
)


def goal_table(by_task: Mapping[str, Sequence[Row]]) -> list[str]:
    """Markdown table of the goals that rows can answer: whether they are met, and the best baseline."""
    lines = []
    for goal in GOALS:
        rows = {str(row["method"]): row for row in by_task.get(goal.task, []) if "absent" not in row}
        if goal.method not in rows:
            continue
        value = values_of(rows[goal.method]).get(goal.figure, math.nan)
        pair = interval_of(rows[goal.method], goal.figure)
        between = f" [{pair[0]:.3f}, {pair[1]:.3f}]" if pair else ""
        others = [
            (values_of(row)[goal.figure], name)
            for name, row in rows.items() if row["group"] == "baseline" and goal.figure in values_of(row)
        ]  # fmt: skip
        peer = min(others) if goal.most and others else max(others, default=None)
        verdict = "met" if goal.met(value) else "not met"
        if verdict == "met" and pair and not goal.most and pair[0] < goal.bound:
            verdict = "met, the interval spans it"
        asked = f"{FIGURE_TITLES[goal.figure]} {'≤' if goal.most else '≥'} {goal.bound:.2f}"
        best = f"{peer[0]:.3f} (`{peer[1]}`)" if peer else ""
        reached = f"{value:.3f}{between} (`{goal.method}`)"
        lines.append(f"| {goal.says} | [{goal.task}]({goal.task}.md) | {asked} | {reached} | {verdict} | {best} |")
    if not lines:
        return []
    head = ["| goal | task | asked | reached | | best baseline |", "|---|---|---|---|---|---|"]
    return [
        "## Goals",
        "",
        "Each with the method that the product uses there. The best baseline is chosen on the test items.",
        "",
        *head,
        *lines,
        "",
    ]
