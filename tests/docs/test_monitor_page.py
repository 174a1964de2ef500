"""The page about the monitor: its examples run, and its output is that of a run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from docs.running import blocks, page
from ethogram.cli import main

PAGE = page("docs/howto/monitor.md")


def test_the_example_gives_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for line in blocks(PAGE, "bash")[1].splitlines():
        capsys.readouterr()
        _, *arguments = shlex.split(line)
        assert main(arguments) == 0
    (shown,) = blocks(PAGE, "text")
    rows = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert rows == [line.rstrip() for line in shown.splitlines()]
    program, _ = blocks(PAGE, "python")
    exec(compile(program, "monitor.md", "exec"), {})
    assert capsys.readouterr().out.startswith("02:00:5e:00:77:16 2026-01-11 01:55")
