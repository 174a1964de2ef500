"""Run one command under Typer, and show progress on a terminal."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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
from ethogram._parse import duration_text
from ethogram.cli.spelling import current_spelling
from ethogram.cli.terminal import errors, results, say
from ethogram.cli.verbosity import NORMAL, QUIET, VERBOSE, set_verbosity
from ethogram.errors import EthogramError, EthogramWarning

__all__ = ["add_verbosity", "command_of", "errors", "progress", "read_progress", "results", "run", "say", "stages"]


CONTEXT = {"max_content_width": 120, "help_option_names": ["-h", "--help"]}
"""Help is as wide as the terminal, up to a width that is easy to read."""


def command_of(function: Callable[..., object], verb: str) -> Any:
    """Build the Click command ``ethogram VERB`` from the function that implements it.

    Every command has ``--quiet`` and ``--verbose`` beside its own options.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name=verb, context_settings=CONTEXT)(function)
    command: Any = typer.main.get_command(app)
    add_verbosity(command)
    return command


def add_verbosity(command: Any) -> None:
    """Add ``--quiet`` and ``--verbose`` to a Click command; the function that implements it does not see them.

    A command with ``--format json`` also has ``--json``. Defaults of durations become text, so that help shows ``1d``
    instead of 86400; arguments have a name and no Python type.
    """
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = _no_type
        if parameter.metavar == "DURATION" and isinstance(parameter.default, int | float):
            parameter.default = duration_text(parameter.default)
    app = typer.Typer(add_completion=False)
    app.command()(_verbosity)
    shared: Any = typer.main.get_command(app)
    names = {name for parameter in command.params for name in parameter.opts}
    added = {"quiet", "verbose"} | ({"as_json"} if "--format" in names and "--json" not in names else set())
    command.params += [parameter for parameter in shared.params if parameter.name in added]


def _no_type(ctx: object) -> None:
    """The type shown behind the name of an argument."""


def _be_quiet(given: bool) -> None:
    if given:
        set_verbosity(QUIET)


def _be_verbose(given: bool) -> None:
    if given:
        set_verbosity(VERBOSE)


def _verbosity(
    quiet: bool = typer.Option(
        False, "--quiet", "-q", callback=_be_quiet, expose_value=False, help="Show errors only."
    ),
    verbose: bool = typer.Option(
        False, "--verbose", "-v", callback=_be_verbose, expose_value=False,
        help="Show the accounting of every input and stage.",
    ),
    as_json: bool = typer.Option(False, "--json", expose_value=False, help="The same as --format json."),
) -> None:  # fmt: skip
    """Carry the options that every command has."""


def run(function: Callable[..., object], verb: str, arguments: Sequence[str]) -> int:
    """Parse the arguments of ``ethogram VERB`` and call the function that implements it."""
    set_verbosity(NORMAL)
    command = command_of(function, verb)
    try:
        # Click's main() ends a command whose output nobody reads with exit code 1.
        given = current_spelling(verb, arguments, lambda text: say(f"ethogram: warning: {text}"))
        with guarding(), command.make_context(f"ethogram {verb}", given) as context:
            result = command.invoke(context)
    except Exception as error:
        # Typer vendors Click; its exceptions carry an exit code, and those about usage a message.
        code = getattr(error, "exit_code", None)
        if isinstance(error, EthogramError) or code is None:
            raise
        if hasattr(error, "format_message"):
            context = getattr(error, "ctx", None)
            if context is not None:
                say(*context.get_usage().splitlines(), f"Try '{context.command_path} --help' for help.", "")
            say(f"Error: {error.format_message().replace(': Value error, ', ': ')}")  # as Pydantic words it
        return int(code)
    return result if isinstance(result, int) else 0


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show progress on a terminal and nothing in a pipe; call the value with the number of new units."""
    with stages(description, total) as (advance, _):
        yield advance


@contextmanager
def read_progress(what: str) -> Iterator[Callable[[int], None]]:
    """Show the progress of reading; warnings are silenced because the caller reports damaged inputs."""
    with progress(f"{what} read") as advance, warnings.catch_warnings():
        warnings.simplefilter("ignore", EthogramWarning)
        yield advance


@contextmanager
def stages(description: str, total: int | None = None) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """Show progress with a description that changes: call the second value with the new description."""
    if not errors.is_terminal:
        yield lambda _: None, lambda _: None
        return
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn()]  # fmt: skip
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda advance: bar.advance(task, advance), lambda text: bar.update(task, description=text)
