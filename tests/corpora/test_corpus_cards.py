"""Corpus cards: they parse, they are complete, and a wrong one is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethogram.bench.suite import every_task
from ethogram.corpora.card import COARSE, card, cards, read_card
from ethogram.errors import ConfigurationError

GOOD = """
name = "home"
title = "A home"
years = "2020"
network = "home"
kind = "flow_table"
runs = "none"
source = "made up"
citation = "none"
licence = "none"
traps = []
devices = [{ id = "cam", model = "acme-cam", vendor = "acme", type = "doorbell", files = ["*.parquet"] }]
"""


@pytest.mark.parametrize("name", sorted(cards()))
def test_a_card_says_all_that_it_must(name: str) -> None:
    read = card(name)
    assert read.citation and read.licence and read.source
    assert read.traps
    for device in read.devices:
        assert device.files
        assert device.model and device.vendor and device.type
        assert device.family == f"{device.vendor}/{device.type}"
        assert read.network_of(device)
        assert device.mac is None or len(device.mac) == 17


def test_every_corpus_and_every_reader_of_one_corpus_is_used_by_a_task() -> None:
    known = cards()
    tasks = every_task().values()
    fields = [getattr(task, name, ()) for task in tasks for name in ("corpora", "captures")]
    used = {name for names in fields if isinstance(names, tuple) for name in names}
    assert set(known) - used == set()
    assert {known[name].kind for name in used} >= {"app_flows", "packet_csv", "flow_features", "rule_counters", "mud"}


def test_one_unit_in_several_corpora_is_one_unit() -> None:
    known = cards()
    units: dict[str, set[str]] = {}
    models: dict[str, set[str]] = {}
    for read in known.values():
        for device in read.used_devices:
            units.setdefault(read.unit_of(device), set()).add(read.name)
            models.setdefault(read.unit_of(device), set()).add(device.model)
    assert any(len(corpora) > 1 for corpora in units.values())
    assert {unit: names for unit, names in models.items() if len(names) > 1} == {}


def test_a_better_sentence_changes_no_digest() -> None:
    read = read_card(GOOD, file="home.toml")
    assert read.model_copy(update={"title": "Our home", "traps": ("one",)}).digest == read.digest
    assert read.model_copy(update={"kind": "capture"}).digest != read.digest


def test_twin_units_share_a_model() -> None:
    aalto = {device.id: device.model for device in card("aalto_iot_sentinel_2016").devices}
    assert aalto["EdimaxCam1"] == aalto["EdimaxCam2"]
    assert aalto["WeMoSwitch"] == aalto["WeMoSwitch2"] != aalto["WeMoInsightSwitch"]
    assert len({device.model for device in card("aalto_iot_sentinel_2016").used_devices}) == 25


def test_devices_behind_a_hub_are_dropped() -> None:
    dropped = {device.id for device in card("aalto_iot_sentinel_2016").devices if device.dropped}
    assert dropped == {"D-LinkDoorSensor", "HueSwitch"}


def test_the_models_of_both_countries_are_the_same_26() -> None:
    read = card("neu_imperial_mud_2019")
    by_network: dict[str, set[str]] = {}
    for device in read.devices:
        by_network.setdefault(read.network_of(device), set()).add(device.model)
    assert by_network["neu-us-2019"] == by_network["imperial-uk-2019"]
    assert len(by_network["neu-us-2019"]) == 26


def test_coarse_types_are_those_that_are_scored() -> None:
    assert set(COARSE.values()) == {
        "camera", "plug", "light", "hub", "speaker", "tv", "lock", "sensor", "appliance", "non-iot",
    }  # fmt: skip
    read = read_card(GOOD, file="home.toml")
    assert read.devices[0].coarse == "camera"
    assert read.unit_of(read.devices[0]) == "home/cam"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('kind = "flow_table"', 'kind = "rumour"'), "kind"),
        (('years = "2020"\n', ""), "years: Field required"),
        (("traps = []", "traps = []\ncolour = 1"), "colour"),
        (("traps = []", "traps = ["), "home.toml"),
    ],
)
def test_a_wrong_card_is_refused_and_says_where(change: tuple[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read_card(GOOD.replace(*change), file="home.toml")


def test_a_device_may_stand_on_a_card_only_once() -> None:
    line = GOOD.split("devices = [")[1].rstrip("]\n")
    with pytest.raises(ConfigurationError, match="device cam is listed twice"):
        read_card(GOOD.replace(f"[{line}]", f"[{line}, {line}]"), file="home.toml")


def test_an_unknown_card_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no corpus card 'none'; there are aalto"):
        card("none")
    (tmp_path / "home.toml").write_text(GOOD)
    assert list(cards(tmp_path)) == ["home"]
