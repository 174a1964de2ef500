"""Units of systemd are valid and hardened; the container runs without root on a read-only file system."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = sorted((PACKAGING / "systemd").glob("*.service"))
MOST_EXPOSURE = 1.5
"""The exposure that the page states, on systemd's scale from 0 (sandboxed) to 10."""


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_understands_every_line_of_a_unit(unit: Path) -> None:
    lines = analyze("verify", unit).stderr.splitlines()
    # Neither the program nor its manual is installed here.
    absent = ("/opt/ethogram/bin/ethogram is not executable", "Command 'man ethogram-")
    assert [line for line in lines if unit.stem in line and not any(text in line for text in absent)] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_hardened(unit: Path) -> None:
    result = analyze("security", "--offline=true", "--no-pager", unit)
    exposure = re.search(r"Overall exposure level.*?: ([0-9.]+)", result.stdout)
    if exposure is None:
        pytest.skip(f"this systemd cannot analyse a file: {(result.stderr or result.stdout).strip()[:100]}")
    assert float(exposure[1]) <= MOST_EXPOSURE


def test_units_use_options_that_exist() -> None:
    manual = {verb: (PACKAGING / "man" / f"ethogram-{verb}.1").read_text("utf-8") for verb in ("serve", "collect")}
    for unit in UNITS:
        for line in re.findall(r"^(?:ExecStart=|#).*", unit.read_text("utf-8"), re.MULTILINE):
            for option in re.findall(r"(?<![\w-])--[a-z-]+", line):
                verb = "serve" if "serve" in line else unit.stem.partition("-")[2]
                assert option.replace("-", "\\-") in manual[verb], option


def test_the_container_has_no_root_and_a_health_check() -> None:
    text = (PACKAGING / "container" / "Containerfile").read_text("utf-8")
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last and "/healthz" in last
    compose = (PACKAGING / "container" / "compose.yaml").read_text("utf-8")
    services = re.findall(r"^  (\w+):\n(?:    .*\n)+", compose, re.MULTILINE)
    assert services == ["ethogram", "router"]
    assert compose.count("read_only: true") == compose.count("cap_drop: [ALL]") == len(services)
