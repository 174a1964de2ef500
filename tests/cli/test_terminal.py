"""Whatever a command writes goes through one module, and nothing that it writes acts on a terminal."""

from __future__ import annotations

import ast
import io
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from ethogram.cli import app, terminal
from ethogram.cli.inventory import show_rows
from text_made import ANY, is_safe

CLI = Path(terminal.__file__).parent


def show_table(text: str) -> None:
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    table.add_row(Text(text))
    terminal.results().print(table)


# How each function that writes is given one foreign text. A function that is added without a line here fails below.
WAYS: dict[str, Callable[[str], Any]] = {
    "report": terminal.report,
    "say": terminal.say,
    "write_line": terminal.write_line,
    "write_json": lambda text: terminal.write_json({text: [text]}),
    "write_csv": lambda text: terminal.write_csv(["a", "b"], [[text, 1.5]]),
    "write_frames": lambda text: terminal.write_frames(
        {"t": pl.DataFrame({"a": [text.encode(errors="ignore").decode()]})}
    ),
    "results": show_table,
    "errors": lambda text: terminal.SafeConsole(stderr=True).print(Text(text), text, f"[red]{text}[/]"),
}
NOT_FOREIGN = {"SafeConsole", "moving_line", "write_text"}
"""A class, the line that moves (its own code precedes the text), and what takes text that is safe already."""


def written(way: Callable[[str], Any], text: str) -> str:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        way(text)
    return out.getvalue() + err.getvalue()


@pytest.mark.parametrize("name", [name for name in terminal.__all__ if name not in NOT_FOREIGN])
@given(text=ANY)
def test_every_way_to_write_makes_foreign_text_safe(name: str, text: str) -> None:
    assert is_safe(written(WAYS[name], text).replace("\n", ""))


@given(text=st.text("ab\n\r\x85\u2028\x1b", min_size=1, max_size=10))
def test_a_line_stays_one_line(text: str) -> None:
    for way in (terminal.say, terminal.write_line):
        assert written(way, text).count("\n") == 1


@given(text=ANY)
def test_rows_of_verdicts_are_safe_and_keep_their_lines(text: str) -> None:
    def way(text: str) -> None:
        show_rows(terminal.SafeConsole(width=4000), ["device", "verdict"], [([text, text], "green", f"as {text} does")])

    shown = written(way, text)
    assert is_safe(shown.replace("\n", ""))
    assert shown.count("\n") == 3


def test_markup_and_emoji_codes_are_text() -> None:
    shown = written(show_table, "[red]x[/red] [/nothing] :smile:")
    assert shown.count("[red]x[/red] [/nothing] :smile:") == 5


@given(text=ANY)
def test_error_lines_and_warnings_are_safe(text: str) -> None:
    def fail(*_: object) -> int:
        warnings.warn(text, UserWarning, stacklevel=1)
        raise ValueError(text)

    def run(_: str) -> None:
        with patch("ethogram.cli.run.run", fail), warnings.catch_warnings():
            warnings.simplefilter("always")
            assert app.main(["doctor", text]) == 1

    assert is_safe(written(run, text).replace("\n", ""))


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_no_other_module_of_the_commands_writes_to_a_stream(path: Path) -> None:
    if path.stem in {"terminal", "app"}:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            of_sys = isinstance(node.value, ast.Name) and node.value.id == "sys"
            assert not (of_sys and node.attr in {"stdout", "stderr"})
            assert node.attr not in {"echo", "secho"}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "Console"}, f"{path}:{node.lineno}"
