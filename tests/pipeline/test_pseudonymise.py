"""Pseudonyms in everything that is read: key files, tables, and verdicts that stay the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ethogram
from ethogram.cli import main
from ethogram.errors import ConfigurationError
from ethogram.pipeline.device_facts import GENERIC_NAMES
from ethogram.pipeline.pseudonymise import NAME_FACTS, Pseudonymiser, read_key
from ethogram.schema import IDENTITY, Inventory

KEY = Pseudonymiser(bytes(range(32)))
STEVENS = "stevens_lsif_2019/*/*.zip"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(bytes(range(32)))
    path.chmod(0o600)
    return path


# The key file


def test_a_new_key_is_private_and_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    assert main(["new-key", str(path)]) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    first = read_key(path)
    assert len(first) == 65
    assert main(["new-key", str(path)]) == 3
    assert "exists already; a key file is never replaced" in capsys.readouterr().err
    assert read_key(path) == first
    assert main(["new-key", str(tmp_path / "none" / "key")]) == 3


@pytest.mark.parametrize(("content", "mode", "reason"), [
    (bytes(range(31)), 0o600, "31 octets; a key has 32 or more"),
    (b"", 0o600, "0 octets; a key has 32 or more"),
    (bytes(64), 0o600, "not random: 1 different octets"),
    (bytes(range(64)), 0o640, "other users may access it (mode 0640); chmod 600"),
    (bytes(range(64)), 0o604, "other users may access it (mode 0604); chmod 600"),
    (os.urandom(4097), 0o600, "more than 4096 octets"),
])  # fmt: skip
def test_a_key_file_that_is_not_one_is_refused(tmp_path: Path, content: bytes, mode: int, reason: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ConfigurationError) as error:
        read_key(path)
    assert str(error.value) == f"key file {path}: {reason}"


def test_a_folder_and_a_missing_key_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, reason in ((tmp_path, "not a regular file"),
                         (tmp_path / "none", "no such file; 'ethogram new-key' makes one")):  # fmt: skip
        out = str(tmp_path / "out.parquet")
        assert main(["flows", str(tmp_path), "-o", out, "--pseudonymise", str(path)]) == 5
        assert capsys.readouterr().err == f"ethogram: key file {path}: {reason}\n"


# Names and facts


def test_names_of_other_ends_keep_what_public_facts_know() -> None:
    names = pl.Series(["meethue.com", "diag.meethue.com", "blog.private.example", "224.0.0.251", None,
                       "a3k7odshaiipe8.iot.amazonaws.com", "annas-home.duckdns.org"])  # fmt: skip
    new = KEY.remote_names(names)
    assert new[0] == "meethue.com"
    assert new[1].startswith("name-")
    assert new[1].endswith(".meethue.com")
    assert new[2].endswith(".invalid")
    assert new[3] == "224.0.0.251"
    assert new[4] is None
    assert "a3k7odshaiipe8" not in new[5]
    assert new[5].endswith(".iot.amazonaws.com")
    assert "anna" not in new[6]
    assert new[6].endswith(".duckdns.org")


def test_facts_that_name_a_person_are_tokens_and_those_of_a_product_stay() -> None:
    rows = [
        {"device": "aa:bb:cc:00:00:01", "mac": "aa:bb:cc:00:00:01", "address": "192.168.1.5", "fact": fact,
         "value": value, "source": "DHCP", "times": 1}
        for fact, value in (("mac", "aa:bb:cc:00:00:01"), ("address", "192.168.1.5"), ("host_name", "Annas-iPhone"),
                            ("mdns_name", "Annas iPhone"), ("dhcp_vendor_class", "android-dhcp-9"),
                            ("host_name", "ESP"))
    ]  # fmt: skip
    new = KEY.identity(IDENTITY.conform(pl.DataFrame(rows)))
    assert new["fact"].to_list() == ["mac", "address", "host_name", "mdns_name", "dhcp_vendor_class",
                                       "host_name"]
    assert new["value"][5] == "ESP", "many devices are called so"
    assert new["value"][4] == "android-dhcp-9"
    assert all(value.startswith("name-") for value in new["value"][2:4])
    assert new["value"][0] == new["mac"][0] == new["device"][0]
    assert new["value"][1] == new["address"][0]
    assert "Anna" not in str(new.to_dict(as_series=False))


# Verdicts on real traffic


def _stated(inventory: Inventory, *, original: bool) -> dict[str, tuple[object, ...]]:
    return {
        KEY.device(v.device) if original else v.device: (
            v.verdict, v.score, v.nearest, v.ladder and (v.ladder.statement, v.ladder.level, v.ladder.score), v.flows)
        for v in inventory.devices
    }  # fmt: skip


@pytest.mark.corpus
def test_verdicts_without_names_of_other_ends_are_the_same(corpus: Path, key: Path, tmp_path: Path) -> None:
    inputs = sorted(corpus.glob(STEVENS))
    table = ethogram.read_flows(inputs, remote_names=False, identity=False)
    before = ethogram.identify(table.to_frame())
    after = ethogram.identify(table.to_frame(), pseudonymise=key)
    assert len(before.devices) == 8
    assert _stated(after, original=False) == _stated(before, original=True)
    assert set(_stated(after, original=False)).isdisjoint(v.device for v in before.devices)


@pytest.mark.corpus
def test_verdicts_with_names_have_the_same_labels(corpus: Path, key: Path) -> None:
    inputs = sorted((corpus / "uclouvain_2023_firewall").rglob("*.pcap"))
    before = ethogram.identify(inputs)
    after = ethogram.identify(inputs, pseudonymise=key)
    labels = {KEY.device(v.device): v.verdict for v in before.devices}
    assert {v.device: v.verdict for v in after.devices} == labels
    ladders = {v.device: v.ladder for v in after.devices}
    named = {v.device for v in before.devices if any(fact.fact in NAME_FACTS for fact in v.identity)}
    for verdict in before.devices:
        ladder = ladders[KEY.device(verdict.device)]
        assert verdict.ladder is not None
        assert ladder is not None
        if verdict.device not in named:
            assert (ladder.statement, ladder.level) == (verdict.ladder.statement, verdict.ladder.level)
    text = after.model_dump_json()
    facts = [fact for verdict in before.devices for fact in verdict.identity]
    products = {fact.value for fact in facts if fact.fact in ("model", "mdns_model")}  # some are also names
    secrets = {v.device for v in before.devices} | {f.value for f in facts if f.fact in ("mac", *NAME_FACTS)} - products
    assert not [secret for secret in secrets if secret in text and secret.lower() not in GENERIC_NAMES]


@pytest.mark.corpus
def test_labels_of_the_original_devices_enrol_pseudonymous_ones(corpus: Path, key: Path, tmp_path: Path) -> None:
    capture = next(iter(sorted((corpus / "uclouvain_2023_firewall").rglob("philips-hue/**/lan.pcap"))))
    device = ethogram.identify([capture], flows=False).devices[0].device
    library = ethogram.enrol([capture], {device: "my hub"}, pseudonymise=key)
    assert [o.device for entry in library.entries for o in entry.observed] == [KEY.device(device)]
    path = tmp_path / "library.jsonl.gz"
    library.save(path)
    after = ethogram.identify([capture], library=path, labels={device: "the hub"}, pseudonymise=key)
    assert [v.verdict for v in after.devices if v.pinned] == ["the hub"]


@pytest.mark.corpus
def test_flow_tables_vectors_and_embeddings_hold_no_original(corpus: Path, key: Path, tmp_path: Path) -> None:
    capture = next(iter(sorted((corpus / "uclouvain_2023_firewall").rglob("tplink-plug/**/wlan2.4.pcap"))))
    plain, hidden = tmp_path / "plain.parquet", tmp_path / "hidden.parquet"
    assert main(["flows", str(capture), "-o", str(plain)]) == 0
    assert main(["flows", str(capture), "-o", str(hidden), "--pseudonymise", str(key)]) == 0
    before, after = pl.read_parquet(plain), pl.read_parquet(hidden)
    same = [name for name in before.columns
            if name not in ("device", "device_address", "remote", "remote_name", "remote_domain")]  # fmt: skip
    assert after.select(same).equals(before.select(same))
    assert set(after["device"]).isdisjoint(before["device"])
    # A table that was written without pseudonyms gives the same ones.
    assert main(["flows", str(plain), "-o", str(tmp_path / "again.parquet"), "--pseudonymise", str(key)]) == 0
    assert pl.read_parquet(tmp_path / "again.parquet").equals(after)
    flows = tmp_path / "vectors.parquet"
    assert main(["vectors", str(capture), "-o", str(flows), "--pseudonymise", str(key)]) == 0
    vectors = pl.read_parquet(flows)
    assert set(vectors["device"]) <= set(after["device"])
    assert vectors["payload"].bin.size().sum() == 0
    public = np.array([int.from_bytes(bytes(map(int, text.split(".")))) for text in set(after["remote"])
                       if ":" not in text], np.uint32)  # fmt: skip
    assert set(vectors["remote"].to_list()) <= {0, *public.tolist()}, "0 stands for any private address"


def test_what_cannot_be_pseudonymised_is_refused(
    key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capture = tmp_path / "a.pcap"
    capture.write_bytes(b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + bytes(8) + b"\xff\xff\x00\x00\x01\x00\x00\x00")
    arguments = ["vectors", str(capture), "-o", str(tmp_path / "v.parquet"), "--packets-output",
                 str(tmp_path / "p.parquet"), "--pseudonymise", str(key)]  # fmt: skip
    assert main(arguments) == 2
    assert "packets cannot be pseudonymised" in capsys.readouterr().err
