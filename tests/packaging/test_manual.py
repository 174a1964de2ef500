"""Manual pages have no error of roff, and completion works as a shell calls it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ethogram.cli.app import COMMANDS

PACKAGING = Path(__file__).parents[2] / "packaging"


def test_every_command_has_a_manual_page() -> None:
    pages = {path.stem for path in (PACKAGING / "man").glob("*.1")}
    assert pages == {"ethogram", *(f"ethogram-{verb}" for verb in COMMANDS)}


def test_groff_accepts_every_page() -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed (Debian: apt-get install groff)")
    for path in sorted((PACKAGING / "man").glob("*.1")):
        result = subprocess.run(
            ["groff", "-man", "-Tutf8", "-P-cbu", "-ww", path], capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (0, ""), path.name
        assert "NAME" in result.stdout and "SYNOPSIS" in result.stdout


def test_bash_completes_a_command_and_an_option(tmp_path: Path) -> None:
    program = tmp_path / "ethogram"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ethogram "$@"\n')
    program.chmod(0o755)
    script = f"""
source {PACKAGING / "completions" / "ethogram"}
COMP_WORDS=(ethogram ide); COMP_CWORD=1; _ethogram_completion ethogram; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(ethogram identify --lib); COMP_CWORD=2; _ethogram_completion ethogram; echo "${{COMPREPLY[@]}}"
"""
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    result = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.splitlines() == ["identify", "--library"]
