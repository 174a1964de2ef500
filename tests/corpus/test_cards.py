"""Cards against the corpus itself: every folder, every labelled device, and the counted numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pytest

from ethogram.corpora.card import Card, CardDevice, card, cards
from ethogram.corpora.labelled import LABELS, CorpusFlowTable
from ethogram.corpora.load import files_of, load
from ethogram.schema import COUNTS, FLOW

pytestmark = pytest.mark.corpus
NAMES = sorted(cards())


def rows_of(corpus: Path, source: str) -> list[dict[str, str]]:
    with (corpus / "labels.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["source"] == source]


def only(read: Card, *devices: str) -> Card:
    """The same card with a few of its devices."""
    return read.model_copy(update={"devices": tuple(d for d in read.devices if d.id in devices)})


def loaded(name: str, corpus: Path, *devices: str) -> CorpusFlowTable:
    read = card(name)
    return load(only(read, *devices) if devices else read, corpus, cache_folder=None)


def test_every_folder_has_a_card(corpus: Path) -> None:
    assert sorted(p.name for p in corpus.iterdir() if p.is_dir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_labelled_device_is_on_its_card(corpus: Path, name: str) -> None:
    rows = {row["device"]: row for row in rows_of(corpus, name)}
    read = card(name)
    assert {device.id for device in read.devices} == set(rows)
    for device in read.devices:
        assert files_of(read, device, corpus)
        row = rows[device.id]
        if not device.dropped:
            assert device.type == row["type"]
        given = [part.zfill(2) for part in row["mac"].lower().split(":")][-6:] if row["mac"] else None
        assert device.mac == (":".join(given) if given else None)


def check_form(found: CorpusFlowTable) -> None:
    assert FLOW.matches(found.flows.schema)
    assert COUNTS.matches(found.counts.schema)
    assert LABELS.matches(found.labels.schema)
    assert found.labels["device"].is_unique().all()
    seen = set(found.flows["device"]) | set(found.counts["device"])
    assert seen == set(found.labels["device"])
    for accounting in found.accounting.values():
        accounting.check()


def test_stevens_has_the_counted_packets_and_explained_flows(corpus: Path) -> None:
    corpus_table = loaded("stevens_lsif_2019", corpus)
    check_form(corpus_table)
    assert corpus_table.accounting["read"].read == corpus_table.card.expected["packets"] == 1_214_391
    assert corpus_table.accounting["join"].read == corpus_table.card.expected["flows"] == 87_592
    assert corpus_table.labels.height == 7


@pytest.mark.parametrize("name", ["EdimaxCam2", "EdnetCam1", "iKettle2", "HomeMaticPlug"])
def test_aalto_flows_are_exactly_those_counted(corpus: Path, name: str) -> None:
    row = next(r for r in rows_of(corpus, "aalto_iot_sentinel_2016") if r["device"] == name)
    corpus_table = loaded("aalto_iot_sentinel_2016", corpus, name)
    check_form(corpus_table)
    assert corpus_table.accounting["read"].read == int(row["packets"])
    assert corpus_table.accounting["join"].read == int(row["flows"])
    assert set(corpus_table.labels["run"]) == {d.split("#")[1] for d in corpus_table.labels["device"]}


def test_unsw_has_every_row_and_names_those_of_nobody(corpus: Path) -> None:
    corpus_table = loaded("unsw_2016_kics_flows", corpus)
    check_form(corpus_table)
    assert corpus_table.accounting["orient"].read == corpus_table.card.expected["flows"] == 13_913
    assert dict(corpus_table.accounting["orient"].ignored) == {"no device": 8}
    by_device = dict(corpus_table.flows.group_by("device").len().iter_rows())
    assert by_device["Dropcam"] == 2
    assert by_device["HP Printer"] == 10


def test_ctu_has_every_connection(corpus: Path) -> None:
    corpus_table = loaded("ctu_iot23_benign", corpus)
    check_form(corpus_table)
    assert corpus_table.accounting["orient"].read == corpus_table.card.expected["flows"] == 1_956


def test_cesnet_leaves_out_anomalies_and_scans(corpus: Path) -> None:
    corpus_table = loaded("cesnet_nemea_siot", corpus)
    check_form(corpus_table)
    assert corpus_table.accounting["read"].read == corpus_table.card.expected["flows"] == 1_136
    unfiltered = corpus_table.card.model_copy(update={"exclude": ()})
    files = {file for device in unfiltered.devices for file in files_of(unfiltered, device, corpus)}
    assert sum(len(file.read_bytes().splitlines()) for file in files) >= 3_261


def test_rule_counters_are_those_of_the_devices_themselves(corpus: Path) -> None:
    corpus_table = loaded("neu_imperial_mud_2019", corpus)
    check_form(corpus_table)
    assert corpus_table.flows.height == 0
    assert corpus_table.accounting["read"].read == corpus_table.card.expected["rules"] == 5_998
    us_uk = tuple(d.id for d in corpus_table.card.devices if "_merged_" in d.id)
    assert loaded("neu_imperial_mud_2019", corpus, *us_uk).accounting["read"].read == 5_106
    plug = corpus_table.counts.filter(pl.col("device") == "tplink_plug_merged_us")
    control = plug.filter((pl.col("port") == 9999) & (pl.col("role") == "server"))
    assert control.select("scope", "packets_out", "packets_in").row(0) == ("lan", 771, 800)
    assert set(plug["name"].drop_nulls()) >= {"tplinkra.com", "tplinkcloud.com"}


def test_behaviot_has_every_flow_and_no_port_it_does_not_know(corpus: Path) -> None:
    corpus_table = loaded("neu_behaviot_2021", corpus)
    check_form(corpus_table)
    assert corpus_table.flows.height == corpus_table.card.expected["flows"] == 92_179
    assert set(corpus_table.flows["service_port"]) <= {0, 53, 67, 80, 123, 443, 1900, 5353}


def test_cic_packets_are_all_accounted_for(corpus: Path) -> None:
    corpus_table = loaded("cic_iot_2022_interactions", corpus, "nestcam", "netatmocam", "smartboard", "eufyhomebase")
    check_form(corpus_table)
    rows = {r["device"]: int(r["packets"]) for r in rows_of(corpus, "cic_iot_2022_interactions")}
    assert corpus_table.accounting["read"].read == sum(rows[d.id] for d in corpus_table.card.devices)
    # Direction was rebuilt: these devices ask, and are answered.
    assert corpus_table.flows["answered"].mean() > 0.5
    assert (corpus_table.flows["initiator"] == "device").mean() > 0.5


@pytest.mark.parametrize(("name", "packets"), [("nku_lifecycle_2025", 11_366), ("uclouvain_2023_firewall", 51_117)])
def test_captures_named_on_the_card_are_read_once(corpus: Path, name: str, packets: int) -> None:
    corpus_table = loaded(name, corpus)
    check_form(corpus_table)
    assert corpus_table.accounting["read"].read == corpus_table.card.expected["packets"] == packets
    assert corpus_table.labels.height == len(corpus_table.card.used_devices)


def test_what_was_loaded_is_kept_and_read_back(corpus: Path, tmp_path: Path) -> None:
    read = only(card("ctu_iot23_benign"), "Philips Hue")
    first = load(read, corpus, cache_folder=tmp_path)
    again = load(read, corpus, cache_folder=tmp_path)
    assert first.flows.equals(again.flows)
    assert first.labels.equals(again.labels)
    assert first.accounting == again.accounting
    for file in (tmp_path / "corpus").glob("*flows.parquet"):
        file.write_bytes(b"broken")
    assert load(read, corpus, cache_folder=tmp_path).flows.equals(first.flows)


def test_a_device_of_the_card_that_has_no_file_is_said(corpus: Path) -> None:
    ghost = CardDevice(id="ghost", model="m", vendor="v", type="plug", files=("none*.csv",), addresses=("10.0.0.1",))
    read = card("ctu_iot23_benign").model_copy(update={"devices": (ghost,)})
    with pytest.raises(Exception, match="no file of device ghost"):
        load(read, corpus, cache_folder=None)


def test_mud_profiles_are_rules_without_volume(corpus: Path) -> None:
    corpus_table = loaded("unsw_mud_2018", corpus)
    check_form(corpus_table)
    assert corpus_table.labels.height == corpus_table.card.expected["profiles"] == 28
    assert corpus_table.counts.select("octets_out", "octets_in", "duration_ms").sum().row(0) == (0, 0, 0)
    assert corpus_table.counts["packets_out"].max() == 1
    bulb = corpus_table.counts.filter(pl.col("device") == "lifxbulb")
    assert (17, 53, "client") in set(bulb.select("protocol", "port", "role").iter_rows())
    assert "lifx.co" in set(bulb["name"].drop_nulls()) | {"lifx.com", "lifx.co"}
