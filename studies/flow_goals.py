"""Goals of flow tasks, set before anything was measured, and whether rows meet them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ethogram.bench import EXPERIMENTS, RAW_METHODS, FlowRow, best_of, default_of, ranked

__all__ = ["INSIDE", "Answer", "answers", "flow_goal_lines", "goal_details"]

INSIDE = 0.9
"""Goal for macro-F1 inside a network, split by day."""

COVERED = "coverage_macro_f1"
"""Mean macro-F1 over coverages from one half: both methods give the same number of verdicts."""

FUSED = "both"
"""Name of the fused method; methods of the group ``alone`` are its parts."""


@dataclass(frozen=True)
class Answer:
    """Result of one goal on one task.

    Parameters
    ----------
    goal, task
        Description of the goal, and name of the task.
    asked, reached
        Figures with their methods.
    verdict
        ``met`` or ``not met``, with a note when intervals do not support it, or ``cannot be told``.
    section, column
        Table and column of the details.
    """

    goal: str
    task: str
    asked: str
    reached: str
    verdict: str
    section: str = ""
    column: str = ""

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.verdict.startswith("met")

    @property
    def sure(self) -> bool:
        """Whether intervals support the verdict."""
        return self.verdict in ("met", "not met")


def answers(by_task: Mapping[str, Sequence[FlowRow]]) -> list[Answer]:
    """Results of all goals that rows can answer: inside a network, across networks, and fused."""
    answers_given = []
    for task, rows in by_task.items():
        experiment = rows[0].experiment
        ours = default_of(rows)
        if experiment == "both":
            answers_given += _together(task, rows)
        elif ours is not None and experiment == "P0":
            answers_given += _inside(task, ours)
        elif ours is not None and experiment in ("P2", "P3"):
            answers_given += _across(task, ours, rows)
    return answers_given


def _inside(task: str, ours: FlowRow) -> list[Answer]:
    """Goals per flow, and per device (verdicts on 20 flows)."""
    answers_given = []
    for goal, name, section in (
        ("types inside a network, later days", "macro_f1", "Inside a network, single flows"),
        ("the same, verdicts on 20 flows of a device", "device_macro_f1@20", "Inside a network, 20 flows of a device"),
    ):
        if math.isnan(ours.value(name)):
            continue
        pair = ours.interval(name)
        verdict = "not met" if round(ours.value(name), 3) <= INSIDE else "met"
        if verdict == "met" and pair and pair[0] < INSIDE:
            verdict = "met, the interval spans it"
        asked = f"macro-F1 > {INSIDE:.2f}"
        answers_given.append(Answer(goal, task, asked, _shown(ours, name), verdict, section, "asked"))
    return answers_given


def _across(task: str, ours: FlowRow, rows: Sequence[FlowRow]) -> list[Answer]:
    """Goals across networks: better than the raw 40 numbers, other kinds of encoder, and ablations of the same kind."""
    kind = ours.encoder.kind
    others = [row for row in rows if row is not ours]
    rivals = {
        "the raw 40 numbers": next((row for row in rows if row.method in RAW_METHODS), None),
        "every other kind": best_of([row for row in others if not kind or row.encoder.kind != kind]),
        "its own ablations": best_of(
            [row for row in others if kind and row.encoder.kind == kind and row.group != "probes"]
        ),
    }
    section = f"{rows[0].experiment}: {EXPERIMENTS[rows[0].experiment]}"
    return [
        Answer(f"better than {name}", task, _asked(row), _shown(ours), _against(ours, row), section, name)
        for name, row in rivals.items() if row is not None
    ]  # fmt: skip


def _together(task: str, rows: Sequence[FlowRow]) -> list[Answer]:
    """Goals of the fused method: better than each modality alone, and than the best baseline."""
    by_name = {row.method: row for row in rows}
    fused = by_name.get(FUSED)
    if fused is None:
        return []
    rivals = [(f"{row.method} alone", row) for row in rows if row.group == "alone"]
    baseline = next((row for row in ranked(rows) if row.group == "baseline"), None)
    if baseline is not None:
        rivals.append(("the best baseline", baseline))
    section = "Both methods together"
    answers_given = [
        Answer(f"both together better than {name}", task, _asked(row), _shown(fused), _against(fused, row), section,
               name) for name, row in rivals
    ]  # fmt: skip
    for name, row in rivals:
        if math.isnan(fused.value(COVERED) + row.value(COVERED)):
            continue
        verdict = "met" if round(fused.value(COVERED), 3) > round(row.value(COVERED), 3) else "not met"
        asked, reached = (f"{side.value(COVERED):.3f} (`{side.method}`)" for side in (row, fused))
        goal = f"both together better than {name}, at equal coverage"
        answers_given.append(Answer(goal, task, f"> {asked}", reached, verdict, f"{section}, at equal coverage", name))
    return answers_given


def _asked(row: FlowRow) -> str:
    return f"> {row.value():.3f} (`{row.method}`)"


def _shown(row: FlowRow, name: str = "macro_f1") -> str:
    pair = row.interval(name)
    return f"{row.value(name):.3f}{f' [{pair[0]:.3f}, {pair[1]:.3f}]' if pair else ''} (`{row.method}`)"


def _against(ours: FlowRow, other: FlowRow) -> str:
    """Compare two rows; note when their intervals by device-day overlap."""
    if math.isnan(ours.value() + other.value()):
        return "cannot be told"
    verdict = "met" if round(ours.value(), 3) > round(other.value(), 3) else "not met"
    pair, against = ours.interval(), other.interval()
    if pair and against and pair[0] <= against[1] and against[0] <= pair[1]:
        verdict += ", intervals overlap"
    return verdict


def flow_goal_lines(by_task: Mapping[str, Sequence[FlowRow]]) -> list[str]:
    """Markdown table with the number of tasks that meet each goal; empty without results."""
    every_answer = answers(by_task)
    if not every_answer:
        return []
    lines = []
    for goal in dict.fromkeys(answer.goal for answer in every_answer):
        of_goal = [answer for answer in every_answer if answer.goal == goal]
        missed = [f"[{answer.task}]({answer.task}.md)" for answer in of_goal if not answer.met]
        sure = sum(answer.met and answer.sure for answer in of_goal)
        lines.append(f"| {goal} | {sum(answer.met for answer in of_goal)} of {len(of_goal)} | {_sure(goal, sure)} | "
                     + ", ".join(missed) + " |")  # fmt: skip
    return [
        "## Goals",
        "",
        "The goals were set before anything was measured, and apply to the method that the product uses. It is",
        "compared with the best method of the other kind on the test items, which favours the other kind. *Surely*:",
        "intervals by device-day do not overlap. By task: [below](#goals-task-by-task).",
        "",
        "| goal | met | surely | missed on |",
        "|---|---|---|---|",
        *lines,
        "",
    ]


def _sure(goal: str, count: int) -> str:
    return "" if goal.endswith("coverage") else str(count)


def goal_details(by_task: Mapping[str, Sequence[FlowRow]]) -> list[str]:
    """Markdown tables of the results by task, one table per kind of goal."""
    every_answer = answers(by_task)
    if not every_answer:
        return []
    lines = [
        "## Goals, task by task",
        "",
        "The value reached, then the values to beat: ✓ beaten, ✗ not beaten; ~ the two intervals overlap, or the",
        "interval includes the goal. Overlap does not mean that two methods are equal, since both were tested on the",
        "same items.",
        "",
    ]
    for section in dict.fromkeys(answer.section for answer in every_answer):
        of_section = [answer for answer in every_answer if answer.section == section]
        columns = list(dict.fromkeys(answer.column for answer in of_section))
        lines += [f"### {section}", "", "| task | reached | " + " | ".join(columns) + " |",
                  "|---|---|" + "---|" * len(columns)]  # fmt: skip
        for task in dict.fromkeys(answer.task for answer in of_section):
            by_column = {answer.column: answer for answer in of_section if answer.task == task}
            reached = next(iter(by_column.values())).reached
            cells = [_detail(by_column[column]) if column in by_column else "" for column in columns]
            lines.append(f"| [{task}]({task}.md) | {reached} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def _detail(answer: Answer) -> str:
    if answer.verdict == "cannot be told":
        return answer.verdict
    mark = ("✓" if answer.met else "✗") + ("" if answer.sure else " ~")
    return f"{answer.asked.removeprefix('> ')} {mark}"
