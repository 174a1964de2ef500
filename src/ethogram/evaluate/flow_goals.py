"""Goals of flow tasks, set before anything was measured, answered from rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ethogram.evaluate.flow_rows import RAW, FlowRow
from ethogram.evaluate.flow_tables import best_of, default_of, ranked

__all__ = ["INSIDE", "Answer", "answers", "flow_goal_lines"]

INSIDE = 0.9
"""Macro-F1 asked inside a network, split by day."""

COVERED = "coverage_macro_f1"
"""Mean macro-F1 over coverages of one half and more: both sides say as many verdicts."""

FUSED = "both"
"""Name of the method that goals about both methods together are about; those of the group ``alone`` are its parts."""


@dataclass(frozen=True)
class Answer:
    """One goal on one task: what was asked, what was reached, and beside it what it is compared with."""

    goal: str
    task: str
    asked: str
    reached: str
    verdict: str


def answers(by_task: Mapping[str, Sequence[FlowRow]]) -> list[Answer]:
    """All goals that rows can answer: inside a network, across networks, and both methods together."""
    found = []
    for task, rows in by_task.items():
        experiment = rows[0].experiment
        ours = default_of(rows)
        if experiment == "both":
            found += _together(task, rows)
        elif ours is not None and experiment == "P0":
            found += _inside(task, ours)
        elif ours is not None and experiment in ("P2", "P3"):
            found += _across(task, ours, rows)
    return found


def _inside(task: str, ours: FlowRow) -> list[Answer]:
    """Of single flows, as it was asked; and of verdicts on several flows of a device, as a device is told in use."""
    found = []
    for goal, name in (
        ("types inside a network, later days", "macro_f1"),
        ("the same, verdicts on 20 flows of a device", "device_macro_f1@20"),
    ):
        if math.isnan(ours.value(name)):
            continue
        pair = ours.interval(name)
        verdict = "not met" if round(ours.value(name), 3) <= INSIDE else "met"
        if verdict == "met" and pair and pair[0] < INSIDE:
            verdict = "met, the interval spans it"
        found.append(Answer(goal, task, f"macro-F1 > {INSIDE:.2f}", _shown(ours, name), verdict))
    return found


def _across(task: str, ours: FlowRow, rows: Sequence[FlowRow]) -> list[Answer]:
    """Better than the raw 40 numbers, than every other kind of row, and than the same kind changed or not trained."""
    raw = next((row for row in rows if row.method in RAW), None)
    kind = ours.encoder.kind
    others = [row for row in rows if row is not ours]
    other = best_of([row for row in others if not kind or row.encoder.kind != kind])
    own = best_of([row for row in others if kind and row.encoder.kind == kind and row.group != "probes"])
    found = []
    if raw is not None:
        found.append(Answer("better than the raw 40 numbers", task, _asked(raw), _shown(ours), _against(ours, raw)))
    if other is not None:
        found.append(Answer("better than every other kind", task, _asked(other), _shown(ours), _against(ours, other)))
    if own is not None:
        found.append(Answer("better than its own ablations", task, _asked(own), _shown(ours), _against(ours, own)))
    return found


def _together(task: str, rows: Sequence[FlowRow]) -> list[Answer]:
    """Both methods together against each alone, and against the best baseline."""
    by_name = {row.method: row for row in rows}
    fused = by_name.get(FUSED)
    if fused is None:
        return []
    rivals = [(f"both together better than {row.method} alone", row) for row in rows if row.group == "alone"]
    baseline = next((row for row in ranked(rows) if row.group == "baseline"), None)
    if baseline is not None:
        rivals.append(("both together better than the best baseline", baseline))
    found = [Answer(goal, task, _asked(row), _shown(fused), _against(fused, row)) for goal, row in rivals]
    for goal, row in rivals:
        if math.isnan(fused.value(COVERED) + row.value(COVERED)):
            continue
        verdict = "met" if round(fused.value(COVERED), 3) > round(row.value(COVERED), 3) else "not met"
        asked, reached = (f"{one.value(COVERED):.3f} (`{one.method}`)" for one in (row, fused))
        found.append(Answer(f"{goal}, at equal coverage", task, f"> {asked}", reached, verdict))
    return found


def _asked(row: FlowRow) -> str:
    return f"> {row.value():.3f} (`{row.method}`)"


def _shown(row: FlowRow, name: str = "macro_f1") -> str:
    pair = row.interval(name)
    return f"{row.value(name):.3f}{f' [{pair[0]:.3f}, {pair[1]:.3f}]' if pair else ''} (`{row.method}`)"


def _against(ours: FlowRow, other: FlowRow) -> str:
    """Whether one row is above another; intervals of both by device-day say how surely."""
    if math.isnan(ours.value() + other.value()):
        return "cannot be told"
    verdict = "met" if round(ours.value(), 3) > round(other.value(), 3) else "not met"
    pair, against = ours.interval(), other.interval()
    if pair and against and pair[0] <= against[1] and against[0] <= pair[1]:
        verdict += ", intervals overlap"
    return verdict


def flow_goal_lines(by_task: Mapping[str, Sequence[FlowRow]]) -> list[str]:
    """The goals as a Markdown table, and how many are met; nothing when no row answers any."""
    found = answers(by_task)
    if not found:
        return []
    lines = [
        f"| {one.goal} | [{one.task}]({one.task}.md) | {one.asked} | {one.reached} | {one.verdict} |" for one in found
    ]
    counts = []
    for goal in dict.fromkeys(one.goal for one in found):
        own = [one for one in found if one.goal == goal]
        counts.append(f"{goal}: {sum(one.verdict.startswith('met') for one in own)} of {len(own)}")
    return [
        "## Goals",
        "",
        "Each with the method that the product uses. What it is compared with is chosen on the test items, which",
        "favours the other side. Intervals that overlap do not make two methods alike: both met the same items.",
        "",
        f"Met: {'; '.join(counts)}.",
        "",
        "| goal | task | asked | reached | |",
        "|---|---|---|---|---|",
        *lines,
        "",
    ]
