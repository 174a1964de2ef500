"""How one command runs under Typer, and its progress on a terminal."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from ethogram._files import guarding
from ethogram.cli.terminal import errors, results, say
from ethogram.errors import EthogramError, EthogramWarning

__all__ = ["errors", "progress", "read_progress", "results", "run", "say", "stages"]

def run(function: Callable[..., object], verb: str, arguments: Sequence[str]) -> int:
    """Give ``function`` to Typer as the command ``ethogram VERB`` and call it."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name=verb)(function)
    command = typer.main.get_command(app)
    try:
        # Not Click's main(): it ends a command whose output nobody reads with exit code 1.
        with guarding(), command.make_context(f"ethogram {verb}", list(arguments)) as context:
            result = command.invoke(context)
    except Exception as error:
        # Typer brings its own Click, whose errors bring their exit code; those of usage bring a text.
        code = getattr(error, "exit_code", None)
        if isinstance(error, EthogramError) or code is None:
            raise
        if hasattr(error, "format_message"):
            place = getattr(error, "ctx", None)
            if place is not None:
                say(*place.get_usage().splitlines(), f"Try '{place.command_path} --help' for help.", "")
            say(f"Error: {error.format_message()}")
        return int(code)
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
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn()]  # fmt: skip
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda advance: bar.advance(task, advance), lambda text: bar.update(task, description=text)
