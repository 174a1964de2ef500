"""What commands that read flows have in common: their summary and their exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ethogram.cli.terminal import report, say
from ethogram.cli.verbosity import is_verbose

if TYPE_CHECKING:
    from ethogram.pipeline.run_log import RunLog

__all__ = ["end_with", "show_log"]


def show_log(log: RunLog, *, summary: bool = True) -> None:
    """Show what a run has to say: a summary, or the whole accounting under ``--verbose``.

    Parameters
    ----------
    log
        Of the run.
    summary
        False where standard output is for programs: then only notices and the methods used are shown, since both bear
        on the results.
    """
    if is_verbose() and log.details:
        report(*log.details)
    else:
        report(*([log.summary] if summary else []), *log.notices)
    report(*log.messages)


def end_with(errors: Sequence[str]) -> int:
    """Show one line for each input that ended early, and give the exit code."""
    for line in errors:
        say(f"ethogram: {line}")
    return 3 if errors else 0
