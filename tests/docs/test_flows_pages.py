"""The page about flows: its examples run and print the documented output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.running import run_shell
from ethogram.io.mapping import Mapping
from ethogram.io.open import format_names

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "howto" / "flows.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_example_runs_and_prints_the_documented_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (shell,), (expected,), (python,) = blocks("sh"), blocks("text"), blocks("python")
    done = run_shell(shell, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == expected
    exec(compile(python, "flows.md", "exec"), {})
    assert capsys.readouterr().out == "1 ['1 records read = 1 used + 0 ignored + 0 dropped']\n"


def test_every_format_is_listed_and_the_mapping_is_valid(tmp_path: Path) -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE) != []
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == set(format_names())
    (tmp_path / "map.toml").write_text(blocks("toml")[0])
    assert Mapping.load(tmp_path / "map.toml").one_way
