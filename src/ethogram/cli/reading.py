"""What commands that read flows have in common: their options, their summary and their exit code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ethogram.cli.terminal import report, say
from ethogram.cli.verbosity import is_verbose

if TYPE_CHECKING:
    from ethogram.config import FlowSettings
    from ethogram.pipeline.read_options import ReadOptions
    from ethogram.pipeline.run_log import RunLog

__all__ = ["end_with", "flow_settings", "read_options", "show_log"]


def flow_settings(local: Sequence[str] | None, **values: object) -> FlowSettings:
    """Settings of the flow stages, with the local prefixes if any are given."""
    from ethogram.config import FlowSettings

    return FlowSettings.of(**({"local": tuple(local)} if local else {}), **values)


def read_options(
    devices: Path | None, local: Sequence[str] | None, time_from: datetime | None, time_to: datetime | None
) -> ReadOptions:
    """Collect the options by which inputs become flows of devices."""
    from ethogram.pipeline.read_options import ReadOptions
    from ethogram.schema import TimeSpan

    return ReadOptions(devices, flow_settings(local), TimeSpan(time_from, time_to))


def show_log(log: RunLog, *, summary: bool = True) -> None:
    """Show what a run has to say: a summary, or the whole accounting under ``--verbose``.

    Parameters
    ----------
    log
        Of the run.
    summary
        False where standard output is for programs: then only the methods used are shown, since they change results.
    """
    if is_verbose() and log.details:
        report(*log.details)
    elif summary:
        report(log.summary, *log.notices)
    report(*log.messages)


def end_with(errors: Sequence[str]) -> int:
    """Show one line for each input that ended early, and give the exit code."""
    for line in errors:
        say(f"ethogram: {line}")
    return 3 if errors else 0
