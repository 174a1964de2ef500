"""The built wheel installs into a fresh environment, and works there from an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "src", "packaging")
HOME = 15
"""Devices of the simulated home."""
INSTALL_S = 900.0
"""Longest time of one step; a slow index is no failure of the package."""


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd)} | variables
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False,
        timeout=INSTALL_S,
    )  # fmt: skip


def pip(*arguments: str | Path, python: Path, cwd: Path) -> None:
    """Run pip with the settings of the caller; skip where no package index answers."""
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = run(python, "-m", "pip", "--disable-pip-version-check", *arguments, cwd=cwd, **settings)
    output = result.stdout + result.stderr
    if result.returncode and any(sign in output for sign in ("Temporary failure", "Connection", "No matching dist")):
        pytest.skip(f"no package index can be had: {output.strip().splitlines()[-1]}")
    assert result.returncode == 0, output[-2000:]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    pip("wheel", "-q", "--no-deps", "-w", folder / "dist", folder, python=Path(sys.executable), cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program of a fresh environment that has the wheel and nothing but what it needs."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=INSTALL_S)
    pip(
        "install", "-q", "--no-compile", "-c", ROOT / "constraints.txt", wheel, python=folder / "venv/bin/python",
        cwd=folder,
    )  # fmt: skip
    yield folder / "venv/bin/ethogram"
    shutil.rmtree(folder)


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("this is no checkout of git")
    files = {line.removeprefix("src/") for line in tracked.stdout.splitlines() if (ROOT / line).exists()}
    assert files
    assert sorted(files - packed) == []


def test_the_wheel_has_manual_pages_and_completion(wheel: Path) -> None:
    shared = {name.partition(".data/data/share/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    assert {
        "man/man1/ethogram.1", "man/man1/ethogram-identify.1", "bash-completion/completions/ethogram",
        "zsh/site-functions/_ethogram", "fish/vendor_completions.d/ethogram.fish",
    } <= shared  # fmt: skip


def test_the_installed_command_identifies_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    assert run(installed, "--version", cwd=tmp_path).stdout.startswith("ethogram ")
    simulated = run(installed, "simulate", "-o", "home.ipfix", cwd=tmp_path)
    assert simulated.returncode == 0, simulated.stderr
    identified = run(installed, "identify", "home.ipfix", "--json", "-q", cwd=tmp_path)
    assert identified.returncode == 0, identified.stderr
    assert len(json.loads(identified.stdout)["devices"]) >= HOME


def test_a_command_whose_extra_is_not_installed_names_the_extra(installed: Path, tmp_path: Path) -> None:
    result = run(installed, "serve", "--data", "home", "--check", cwd=tmp_path)
    assert result.returncode != 0
    assert "ethogram[serve]" in result.stderr and len(result.stderr.strip().splitlines()) == 1
