"""The page about public knowledge: its examples run, and its table of tables is whole."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from docs.running import blocks, page
from ethogram.cli import main
from ethogram.knowledge.rows import TABLES

PAGE = page("docs/howto/knowledge.md")


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (facts,) = blocks(PAGE, "csv")
    Path("facts.csv").write_text(facts)
    commands = re.findall(r"^\$ ethogram (.*)$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        assert main(shlex.split(command)) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        assert "nothing is known" not in shown.out
    (program,) = blocks(PAGE, "python")
    exec(compile(program, "knowledge.md", "exec"), {})
    assert capsys.readouterr().out == "vendor acme strong our purchase list\n{'camera': 0.7, 'doorbell': 0.3}\n"


def test_every_table_is_described() -> None:
    cells = re.findall(r"^\| (`.*?) \|", PAGE, flags=re.MULTILINE)
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == set(TABLES) - {"platforms"}
