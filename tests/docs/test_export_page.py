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
from tests.export.fake_netbox import TOKEN, fake_netbox

PAGE = page("docs/howto/export.md")


def test_the_examples_write_what_receivers_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, trial, netbox = blocks(PAGE, "bash")
    with fake_netbox(page=100) as server:
        server.add("dcim/sites", name="Home", slug="home")
        monkeypatch.setenv("ETHOGRAM_NETBOX_TOKEN", TOKEN)
        # The page exports the live service to NetBox; here it is the simulated home.
        here = netbox.replace("https://netbox.example.com", server.url).replace(" --url", " home.ipfix --url")
        for line in (first + trial + here).splitlines():
            word, *arguments = shlex.split(line)
            assert word == "export" or main(arguments) == 0, line
        assert {row["status"] for row in server.rows("dcim/devices")} == {"staged"}
    rows = list(csv.DictReader(Path("devices.csv").read_text("utf-8").splitlines()))
    documents = [json.loads(line) for line in Path("devices.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == len(documents) > 10
    assert {row["id"] for row in rows} == {each["host"]["id"] for each in documents}
    assert all(group["targets"][0].endswith(":9100") for group in json.loads(Path("targets.json").read_text("utf-8")))
    profiles = [read_mud(path) for path in sorted(Path("mud").iterdir())]
    assert len(profiles) > 10
    dropped = list(csv.DictReader(Path("dropped.csv").read_text("utf-8").splitlines()))
    totals = [row for row in dropped if row["direction"] == "all"]
    assert len(totals) > 10
    assert sum(int(row["flows"]) for row in totals) < sum(int(row["flows_in_all"]) for row in totals)
    assert "chain forward" in Path("home.nft").read_text("utf-8")
    assert json.loads(Path("aliases.json").read_text("utf-8"))["aliases"]["alias"]
    assert all(profile.rules and not accounting.dropped for profile, accounting in profiles)
