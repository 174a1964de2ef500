"""How one command runs under Typer, and what every command shares: the console and progress."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from ethogram.errors import EthogramWarning

__all__ = ["errors", "progress", "read_progress", "results", "run", "stages"]

errors = Console(stderr=True, highlight=False)
"""Messages for people go to standard error; results alone go to standard output."""


PIPE_WIDTH = 140
"""Columns of a table that nobody's terminal bounds."""


def results() -> Console:
    """Where results for people go: as wide as the terminal, and wide enough in a pipe."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def run(function: Callable[..., object], verb: str, arguments: Sequence[str]) -> int:
    """Give ``function`` to Typer as the command ``ethogram VERB`` and call it."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name=verb)(function)
    command = typer.main.get_command(app)
    try:
        result = command.main(args=list(arguments), prog_name=f"ethogram {verb}", standalone_mode=False)
    except Exception as error:
        # Typer brings its own Click; its usage errors know how to show themselves and which code to give.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            return int(error.exit_code)
        raise
    return result if isinstance(result, int) else 0


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show progress on a terminal, nothing in a pipe; the value advances by the number given."""
    with stages(description, total) as (advance, _):
        yield advance


@contextmanager
def read_progress(what: str) -> Iterator[Callable[[int], None]]:
    """Progress of a reading that says itself, as lines and an exit code, which captures are damaged: warns of none."""
    with progress(f"{what} read") as advance, warnings.catch_warnings():
        warnings.simplefilter("ignore", EthogramWarning)
        yield advance


@contextmanager
def stages(description: str, total: int | None = None) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """Likewise, for work that says what it is doing: the second function takes that."""
    if not errors.is_terminal:
        yield lambda _: None, lambda _: None
        return
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn()]  # fmt: skip
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda advance: bar.advance(task, advance), lambda text: bar.update(task, description=text)
