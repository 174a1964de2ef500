"""Where commands write: messages to standard error, results to standard output, and all foreign text made safe.

No other module of the commands writes to a stream, so that no device, exporter or library can send codes to a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ethogram._text import csv_text, json_text, visible
from ethogram.cli.verbosity import is_quiet

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SafeConsole", "errors", "moving_line", "report", "results", "say", "write_csv", "write_frames",
           "write_json", "write_line", "write_text"]  # fmt: skip

PIPE_WIDTH = 140
"""Columns of a table in a pipe, which has no width of its own."""


class SafeConsole(Console):
    """A console on which text is only text: no markup, no emoji codes, and what does not show is written out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string on one line."""
        return super().render_str(visible(text), **{**options, "markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments; text that some renderable brings along is made safe like strings."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text == "\n" or segment.text.isprintable():
                yield segment
            else:
                lines = "\n".join(map(visible, segment.text.split("\n")))
                yield Segment(lines, segment.style)

    def on_broken_pipe(self) -> None:
        """The reader has closed the pipe: :func:`ethogram.cli.app.main` ends the command."""
        raise BrokenPipeError


errors = SafeConsole(stderr=True)
"""Messages for people go to standard error; results alone go to standard output."""


def results() -> SafeConsole:
    """Where results for people go: as wide as the terminal, and wide enough in a pipe."""
    return SafeConsole(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def say(*lines: str) -> None:
    """Write errors and warnings to standard error, also under ``--quiet``."""
    for line in lines:
        errors.print(line, soft_wrap=True)


def report(*lines: str) -> None:
    """Write what a command did to standard error, unless ``--quiet`` is given."""
    if not is_quiet():
        say(*lines)


def moving_line(text: str) -> None:
    """Replace the last line of a terminal on standard error; nothing clears it."""
    sys.stderr.write(f"\r\x1b[2K{visible(text)}")
    sys.stderr.flush()


def write_line(text: str = "") -> None:
    """Write one line to standard output."""
    sys.stdout.write(visible(text) + "\n")


def write_json(value: object, *, indent: bool = True) -> None:
    """Write one JSON value to standard output."""
    sys.stdout.write(json_text(value, indent=indent))


def write_csv(names: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV to standard output."""
    sys.stdout.write(csv_text(names, rows))


def write_frames(frames: dict[str, pl.DataFrame]) -> None:
    """Write several tables as CSV, each with its own header and its name in front; empty ones are left out."""
    for name, frame in frames.items():
        if frame.height:
            write_csv(["table", *frame.columns], ((name, *row) for row in frame.iter_rows()))


def write_text(text: str) -> None:
    """Write a text that :mod:`ethogram._text` has made to standard output as it is."""
    sys.stdout.write(text)
