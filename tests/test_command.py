"""The command as a whole: help, unknown verbs, and where errors end."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from ethogram._version import __version__
from ethogram.cli import app


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in app.COMMANDS)


@pytest.mark.parametrize("verb", app.COMMANDS)
def test_every_verb_loads_and_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(importlib.import_module(app.COMMANDS[verb][0]).command)
    assert app.main([verb, "--help"]) == 0
    assert "Usage: ethogram" in capsys.readouterr().out


def test_no_verb_and_an_unknown_verb_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([]) == 2
    assert app.main(["fly"]) == 2
    assert "no command 'fly'" in capsys.readouterr().err


def test_an_unknown_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["doctor", "--nonsense"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_ours_is_one_line_unless_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr("ethogram.cli.run.run", broken)
    assert app.main(["doctor"]) == 1
    result = capsys.readouterr().err
    assert result.count("\n") == 1
    assert "ZeroDivisionError: first line" in result
    monkeypatch.setenv("ETHOGRAM_TRACE", "1")
    with pytest.raises(ZeroDivisionError):
        app.main(["doctor"])


def test_it_runs_as_a_module() -> None:
    run = subprocess.run([sys.executable, "-m", "ethogram", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == f"ethogram {__version__}\n"
