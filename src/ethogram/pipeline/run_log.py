"""What a run has to say beside its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ethogram.pipeline.input_report import InputReport
from ethogram.pipeline.summary import summary_line
from ethogram.schema import Accounting

__all__ = ["RunLog", "run_log"]

MAX_INPUT_LINES = 20
"""With more inputs, accounting is summed by format; errors stay one line each."""


@dataclass
class RunLog:
    """Lines for the user, from the shortest to the most detailed, and errors.

    Parameters
    ----------
    summary
        One line for the whole run.
    notices
        What the user should see without asking: notes on inputs, files passed over.
    details
        Accounting of every input and stage, by reason.
    messages
        Which methods were used, and why not more.
    errors
        One line for each input that ended early; what was read before it is kept.
    """

    summary: str = ""
    notices: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def run_log(
    reports: Sequence[InputReport], stages: Mapping[str, Accounting], skipped: Sequence[tuple[str, str]], result: str,
    errors: Sequence[str] = (),
) -> RunLog:  # fmt: skip
    """Put together what a run has to say from its accounting.

    Parameters
    ----------
    reports, stages, skipped
        Accounting by input and by stage; files passed over, with the reason.
    result
        What the run gave, such as ``55 flows``.
    errors
        One line for each input that ended early.
    """
    passed_over = [f"{name}: passed over: {reason}" for name, reason in skipped]
    notices = [f"{report.name}: note: {note}" for report in reports for note in report.notes]
    problems = [f"first problem: {report.first_problem}" for report in reports if report.first_problem is not None]
    by_stage = [f"{name}: {accounting.line()}" for name, accounting in stages.items()]
    details = [*_input_lines(reports), *passed_over, *by_stage]
    summary = summary_line([report.accounting for report in reports], stages.values(), result)
    return RunLog(summary, [*notices, *problems[:1], *passed_over], details, [], list(errors))


def _input_lines(reports: Sequence[InputReport]) -> list[str]:
    """Accounting of each input, with notes and the first problem; of many inputs, summed by format."""
    if len(reports) <= MAX_INPUT_LINES:
        lines = []
        for report in reports:
            lines.append(f"{report.name} ({report.format}): {report.accounting.line()}")
            lines += [f"  note: {note}" for note in report.notes]
            lines += [f"  first: {report.first_problem}"] if report.first_problem is not None else []
        return lines
    sums: dict[tuple[str, str], Accounting] = {}
    for report in reports:
        kind = report.format, report.accounting.unit
        sums.setdefault(kind, Accounting(report.accounting.unit)).merge(report.accounting)
    formats = Counter(report.format for report in reports)
    return [f"{formats[form]:,} inputs ({form}): {total.line()}" for (form, _), total in sums.items()]
