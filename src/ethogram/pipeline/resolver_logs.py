"""Logs of DNS resolvers, read before the flows that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ethogram.errors import InputError, UsageError
from ethogram.io.resolver.open import read_log
from ethogram.pipeline.input_report import InputReport
from ethogram.pipeline.text import plural
from ethogram.schema import NAME_ANSWER, NAME_QUESTION

__all__ = ["ResolverLogs"]


@dataclass(frozen=True)
class ResolverLogs:
    """Passive DNS of resolver logs.

    Parameters
    ----------
    answers, questions
        Forms :data:`ethogram.schema.NAME_ANSWER` and :data:`ethogram.schema.NAME_QUESTION`.
    reports
        Accounting of each log.

    Examples
    --------
    >>> ResolverLogs.load([], "UTC", names=True).notices
    []
    """

    answers: pl.DataFrame = field(default_factory=NAME_ANSWER.empty)
    questions: pl.DataFrame = field(default_factory=NAME_QUESTION.empty)
    reports: tuple[InputReport, ...] = ()

    @classmethod
    def load(cls, paths: Sequence[Path], zone: str, *, names: bool) -> ResolverLogs:
        """Read the logs.

        Parameters
        ----------
        paths
            Logs of any known format.
        zone
            Time zone of times without one.
        names
            Whether remote ends are named at all.

        Raises
        ------
        ConfigurationError
            If a log cannot be read, or is of no known format.
        UsageError
            If remote ends are not named.
        """
        if paths and not names:
            raise UsageError("--dns-log and --no-remote-names contradict each other")
        answers, questions, reports = [NAME_ANSWER.empty()], [NAME_QUESTION.empty()], []
        for path in paths:
            log = read_log(path, zone)
            report = InputReport(str(path), log.format, log.accounting)
            if log.first_problem is not None:
                line, reason = log.first_problem
                report.first_problem = str(InputError(reason, file=path, line=line))
            if log.zoneless:
                note = f"times state no zone: {zone} is assumed" + ("; --time-zone says another" * (zone == "UTC"))
                report.notes.append(note)
            if log.version_note:
                report.notes.append(log.version_note)
            if log.left_out:
                report.notes.append(f"{plural(log.left_out, 'older entry', 'older entries')} beyond the bound left out")
            if not log.answers.height and not log.questions.height:
                report.notes.append("no question and no answer in it")
            answers.append(log.answers)
            questions.append(log.questions)
            reports.append(report)
        return cls(pl.concat(answers), pl.concat(questions), tuple(reports))

    @property
    def lines(self) -> list[str]:
        """Accounting of each log."""
        lines = [f"{report.name} ({report.format}): {report.accounting.line()}" for report in self.reports]
        if lines:
            lines.append(f"resolver logs: {plural(self.answers.height, 'answer')}, "
                         f"{plural(self.questions.height, 'question')}")  # fmt: skip
        return lines

    @property
    def notices(self) -> list[str]:
        """Lines for the user: what could not be used, and assumptions."""
        lines = []
        for report in self.reports:
            dropped = report.accounting.dropped.total()
            if dropped:
                first = f"; the first: {report.first_problem}" if report.first_problem else ""
                lines.append(f"{report.name}: {plural(dropped, 'log entry', 'log entries')} cannot be used{first}")
            lines += [f"{report.name}: note: {note}" for note in report.notes]
        return lines
