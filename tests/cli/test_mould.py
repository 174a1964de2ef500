"""What all commands have in common: JSON, standard input, suggestions."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from custom_flow_twin import P, capture
from ethogram.cli import main
from ethogram.cli.app import COMMANDS
from ethogram.cli.run import command_of
from ethogram.cli.spelling import FORMAT_VERBS


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home") / "home.pcap"
    packets = []
    for hour in range(0, 24, 2):
        at = (1_714_521_600 + hour * 3_600) * 1_000_000_000
        sent = P(at, "192.168.1.5", "198.51.100.7", 40_000 + hour, 443, payload=b"x", source_mac="02:00:00:00:00:05")
        packets += [sent, sent.back(at + 100_000_000)]
    path.write_bytes(capture(packets))
    return path


def command(*arguments: str, stdin: bytes = b"") -> Any:
    program = [sys.executable, "-m", "ethogram", *arguments]
    return subprocess.run(program, input=stdin, capture_output=True, check=False, timeout=300)


def test_json_is_short_for_format_json_wherever_there_is_a_format() -> None:
    for verb, (module, _) in COMMANDS.items():
        parameters = command_of(importlib.import_module(module).command, verb).params
        options = {name for parameter in parameters for name in parameter.opts}
        if verb == "flows":  # its report of the accounting; --format is an old spelling there
            continue
        assert ("--format" in options) == (verb in FORMAT_VERBS), verb
        if "--format" in options:
            assert "--json" in options, verb


def test_a_capture_may_come_from_standard_input(home: Path, tmp_path: Path) -> None:
    for verb in (["identify", "--json"], ["flows", "-o", str(tmp_path / "flows.parquet"), "--force"]):
        piped = command(*verb, "-", stdin=home.read_bytes())
        named = command(*verb, str(home))
        assert (piped.returncode, named.returncode) == (0, 0), piped.stderr
        assert piped.stdout == named.stdout
    devices = json.loads(command("identify", "-", "--json", stdin=home.read_bytes()).stdout)["devices"]
    assert [device["device"] for device in devices] == ["02:00:00:00:00:05"]


def test_an_empty_pipe_is_an_error_of_input() -> None:
    done = command("identify", "-")
    assert done.returncode == 3
    assert b"the file is empty" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_wrong_value_is_named_with_the_right_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identify", "x.pcap", "--format", "xml"]) == 2
    assert "'--format': 'xml' is not one of 'table', 'json', 'jsonl', 'csv'." in capsys.readouterr().err


def test_a_mistyped_command_or_option_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["idnetify"]) == 2
    assert "did you mean 'identify'?" in capsys.readouterr().err
    assert main(["identify", "--libary", "x"]) == 2
    assert "--library" in capsys.readouterr().err
