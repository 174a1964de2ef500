"""A release is refused, in one line, for a tree whose files are not committed or do not agree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", "src/ethogram/_version.py", "packaging/release.py")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout that has the files that state the version."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Add the files")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=test", "-c", "user.email=test@example.invalid")
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, timeout=60)


def release(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, folder / "packaging/release.py", "-o", folder.parent / "release", *options],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_files_that_are_not_committed_are_refused(checkout: Path) -> None:
    (checkout / "CITATION.cff").write_text("changed")
    result = release(checkout)
    assert result.returncode == 1
    assert result.stderr == "release: 1 files are not committed; the first is CITATION.cff\n"


def test_a_version_that_the_change_log_does_not_name_is_refused(checkout: Path) -> None:
    log = checkout / "CHANGELOG.md"
    log.write_text("# Changelog\n\n## Unreleased\n")
    git(checkout, "commit", "-q", "-a", "-m", "Start a log")
    result = release(checkout)
    assert result.returncode == 1
    assert result.stderr.startswith("release: CHANGELOG.md does not state version")
    assert not (checkout.parent / "release").exists()
