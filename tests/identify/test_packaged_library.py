"""The packaged library: made with the settings that its results page measures, and free of test items."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from ethogram.bench.counts.task import count_tasks
from ethogram.corpora.card import cards
from ethogram.identify import library_file
from ethogram.identify.library import Library
from ethogram.pipeline.library import open_library

MEASURED = "coarse-networks-names"
SPLIT = {"stevens_lsif_2019": "e4-stevens", "unsw_2016_kics_flows": "unsw-hours"}


@pytest.fixture(scope="module")
def library() -> Library:
    return open_library()


def later_windows() -> Library:
    with resources.as_file(resources.files("ethogram") / "data" / "later.jsonl.gz") as file:
        return library_file.read(Path(file))


def test_settings_are_those_of_the_measured_task(library: Library) -> None:
    task = count_tasks()[MEASURED]
    assert task.names
    assert {source.settings for source in library.sources} == {task.counts.digest}
    assert {source.name for source in library.sources} >= set(task.corpora)


def test_names_are_in_the_entries(library: Library) -> None:
    named = [entry for entry in library.entries if any(row[5] and row[3] == "wan" for row in entry.counts)]
    assert len(named) > len(library.entries) / 2
    names = {row[5] for entry in library.entries for row in entry.counts if row[5]}
    assert {"tplinkcloud.com", "meethue.com", "ring.com"} <= names
    assert any(name.endswith(".iot.amazonaws.com") for name in names)


def test_every_product_that_is_no_persons_device_is_held(library: Library) -> None:
    held = {entry.identity.model for entry in library.entries}
    products = {device.model for card in cards().values() for device in card.devices if device.type != "non-iot"}
    # The scale sent nothing in the hours that enrol, and later hours are test items.
    assert products - held == {"withings-smart-scale"}
    assert {entry.identity.type for entry in library.entries} >= {"lock", "printer", "photo-frame"}
    assert all(entry.identity.coarse != "non-iot" for entry in library.entries)


def test_no_test_item_of_a_split_in_time_is_held(library: Library) -> None:
    enrolled = [seen for entry in library.entries for seen in entry.observed]
    later = [seen for entry in later_windows().entries for seen in entry.observed]
    assert {seen.source for seen in later} == set(SPLIT)
    later.sort(key=lambda seen: seen.start, reverse=True)
    begins = {(seen.source, seen.device): seen.start for seen in later}
    assert all(seen.end <= begins.get((seen.source, seen.device), seen.end) for seen in enrolled)
