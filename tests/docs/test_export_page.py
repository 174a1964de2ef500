"""The page about exports: its examples run, and what they write is read."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest

from docs.running import blocks, page
from ethogram.cli import main
from ethogram.io.mud import read_mud

PAGE = page("docs/howto/export.md")


def test_the_examples_write_what_receivers_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (script,) = blocks(PAGE, "bash")
    for line in script.splitlines():
        _, *arguments = shlex.split(line)
        assert main(arguments) == 0
    rows = list(csv.DictReader(Path("devices.csv").read_text("utf-8").splitlines()))
    documents = [json.loads(line) for line in Path("devices.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == len(documents) > 10
    assert {row["id"] for row in rows} == {each["host"]["id"] for each in documents}
    assert all(group["targets"][0].endswith(":9100") for group in json.loads(Path("targets.json").read_text("utf-8")))
    profiles = [read_mud(path) for path in sorted(Path("mud").iterdir())]
    assert len(profiles) > 10
    assert all(profile.rules and not accounting.dropped for profile, accounting in profiles)
