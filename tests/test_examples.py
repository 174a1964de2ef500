"""The example programs run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_prints(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(path), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_the_simulated_home_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES[0].parent / "simulated_home.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert sum("sim camera" in line and "02:00:5e:00:77:0a" in line for line in lines) == 1
    assert sum("  unknown  " in line for line in lines) >= 5
