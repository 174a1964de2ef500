"""The README is short, its commands work as typed, and its picture can be drawn again."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from bench.user_corpus_made import write_captures
from docs.running import ROOT, blocks, page, run_shell
from ethogram.cli.app import COMMANDS

README = page("README.md")
NOT_RUN = ("pip ", "make ", "ethogram collect ", "ethogram serve ", "ethogram identify collected/")
"""Installation needs a network or minutes; the collector and the live service have tests of their own."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    write_captures(folder, ("home",), days=1)
    shutil.copy(next((folder / "home").glob("*.pcap")), folder / "capture.pcap")
    return folder


def commands() -> list[str]:
    lines = "".join(blocks(README, "sh")).splitlines()
    return [line.split("#")[0].strip() for line in lines if not line.startswith(NOT_RUN)]


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 120


@pytest.mark.parametrize("command", commands())
def test_commands_work_as_typed(command: str, capture: Path) -> None:
    if "embed" in command:
        pytest.importorskip("onnxruntime")
    done = run_shell(command, capture)
    assert done.returncode == 0, done.stderr


def test_other_commands_exist() -> None:
    targets = set(re.findall(r"^(\w+):", page("Makefile"), flags=re.MULTILINE))
    for target in re.findall(r"`?make (\w+)", README):
        assert target in targets or target == "sets"
    for verb in re.findall(r"^ethogram (\w+)", README, flags=re.MULTILINE):
        assert verb in COMMANDS


def test_the_picture_loads_nothing_and_can_be_drawn_again(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    drawn = importlib.import_module("screenshot").svg("ethogram identify capture.pcap", capture)
    picture = page("docs/images/identify.svg")
    for text in (drawn, picture):
        assert "<svg" in text
        assert "@font-face" not in text
        assert not re.search(r"(?:href|src)=|url\(['\"]?http", text)
    assert "unknown" in drawn
    assert "gourmia-coffee-maker" in picture.replace("&#160;", " ")
