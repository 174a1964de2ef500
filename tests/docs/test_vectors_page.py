"""The page about custom flows: its examples run and print the documented output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.running import run_shell

PAGE = (Path(__file__).parent.parent.parent / "docs" / "howto" / "vectors.md").read_text("utf-8")


def block(language: str) -> str:
    return "".join(re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL))


def test_examples_run_and_print_the_documented_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_shell(block("sh"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == block("text")
    exec(compile(block("python"), "vectors.md", "exec"), {})
    assert capsys.readouterr().out == (
        "(2, 36) ('relative_time', 'remote_port', 'device_port')\n2 (2, 5, 64) [12, 12, 0, 0, 0]\n"
    )
