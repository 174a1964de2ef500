"""The builder of the knowledge pack, on small made sources: what is taken, what takes precedence, the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ethogram.errors import InputError
from ethogram.knowledge.rows import Row
from studies import knowledge_pack, knowledge_sources

VENDORS = """slug\tname\taliases\towner\tdomains\tkinds
maker\tMaker!\tMaker Things|Thing!\t\tmaker.example maker-cloud.example~ big.example?\tcamera=2 plug=1
brand\tBrand\t\tmaker\tbrand.example\tlight
"""


@pytest.fixture
def hand(tmp_path: Path) -> Path:
    folder = tmp_path / "hand"
    folder.mkdir()
    (folder / "vendors.tsv").write_text(VENDORS)
    (folder / "platforms.tsv").write_text("slug\tname\tdomains\nhive\tHive\thive.example\n")
    (folder / "platform_kinds.tsv").write_text("key\tkinds\nhive\tcamera=.8 plug=.2\n")
    (folder / "parents.tsv").write_text("key\tvalue\n{keep}.cloud.example\tcloud\n")
    (folder / "words.tsv").write_text("key\tvalue\tweight\ncam\tcamera\tfair\n")
    (folder / "home_assistant.tsv").write_text(
        "key\tsubject\tvalue\tkind\nown_tv\tvendor\tmaker\ttv\nnew_one\tnew\t-\nnone\tignore\t-\n"
    )
    (folder / "sources.tsv").write_text("key\tname\tlicence\tdate\taddress\nhand\tby hand\tfree\t2026-01-01\t\n")
    return folder


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    home = folder / "home_assistant"
    home.mkdir(parents=True)
    manifests = [{"domain": "own_tv", "name": "Own TV"}, {"domain": "new_one", "name": "New One"},
                 {"domain": "brand", "name": "Brand"}]  # fmt: skip
    (home / "manifests.jsonl").write_text("\n".join(map(json.dumps, manifests)))
    (home / "platforms.json").write_text(json.dumps({"new_one": ["lock", "camera", "sensor", "switch"]}))
    (home / "dhcp.json").write_text(json.dumps({"DHCP": [
        {"domain": "own_tv", "hostname": "owntv-*"},
        {"domain": "brand", "macaddress": "0A1B2C*"},
        {"domain": "brand", "hostname": "connect", "macaddress": "0A1B2D*"},
        {"domain": "none", "hostname": "nothing-*"},
    ]}))  # fmt: skip
    (home / "zeroconf.json").write_text(json.dumps({
        "ZEROCONF": {"_brand._tcp.local.": [{"domain": "brand"}],
                     "_http._tcp.local.": [{"domain": "brand", "name": "brand*"}, {"domain": "own_tv"}]},
        "HOMEKIT": {"Lamp 1": {"domain": "brand"}},
    }))  # fmt: skip
    television = {"manufacturer": "Own Television", "deviceType": "urn:schemas-upnp-org:device:MediaRenderer:1"}
    (home / "ssdp.json").write_text(json.dumps({"SSDP": {"own_tv": [television]}}))
    lists = folder / "domain_list_community" / "data"
    lists.mkdir(parents=True)
    (lists / "category-ads-all").write_text("ads.example @ads\ninclude:acer @ads\nfull:a.b.c.d.example\nregexp:x\n")
    (lists / "acer").write_text("plain.example\nsell.example @ads\n# none\n")
    (lists / "category-ntp").write_text("full:time.maker.example\nclock.example\n")
    recog = folder / "recog"
    recog.mkdir()
    for name in ("dhcp_vendor_class", "mdns_device-info_txt", "sip_user_agents", "http_servers"):
        pattern = "^model=Maker\\-9(?:a|b)$" if "mdns" in name else "(?i)^Maker Print.*$"
        (recog / f"{name}.xml").write_text(
            f'<fingerprints><fingerprint pattern="{pattern}"><param pos="0" name="hw.vendor" value="Maker"/>'
            '<param pos="0" name="hw.device" value="Printer"/></fingerprint></fingerprints>'
        )
    return folder


def test_facts_are_taken_row_by_row(hand: Path, sources: Path) -> None:
    rows = knowledge_pack.build(sources, hand)
    every = {row[:4] for table in rows.values() for row in table}
    expected = [
        ("vendors", "maker", "name", "Maker"), ("vendors", "brand", "owner", "maker"),
        ("names", "maker-cloud.example", "vendor", "maker"), ("names", "hive.example", "platform", "hive"),
        ("hosts", "owntv-*", "vendor", "maker"), ("hosts", "owntv-*", "kind", "tv"),
        ("macs", "0a1b2c", "vendor", "brand"), ("mdns", "_brand._tcp", "vendor", "brand"),
        ("texts", "mdns-name brand*", "vendor", "brand"), ("texts", "homekit-model Lamp 1*", "vendor", "brand"),
        ("texts", "ssdp-manufacturer Own Television", "vendor", "maker"), ("vendors", "new-one", "name", "New One"),
        ("kinds", "new-one", "kind", "lock"), ("parents", "ads.example", "shared", "advertising"),
        ("parents", "sell.example", "shared", "advertising"), ("parents", "clock.example", "shared", "clock"),
        ("dhcp", "maker print*", "kind", "printer"), ("texts", "mdns-model maker-9*", "vendor", "maker"),
    ]  # fmt: skip
    assert [row for row in expected if row not in every] == []
    keys = {row[:2] for row in every}
    absent = [("parents", "plain.example"), ("parents", "a.b.c.d.example"), ("parents", "time.maker.example"),
              ("hosts", "nothing-*"), ("hosts", "connect"), ("macs", "0a1b2d"), ("mdns", "_http._tcp"),
              ("texts", "ssdp-type urn:schemas-upnp-org:device:MediaRenderer:1")]  # fmt: skip
    assert [key for key in absent if key in keys] == []


def test_names_that_are_words_and_domains_are_marked(hand: Path, sources: Path) -> None:
    rows = {row[1:4]: row.weight for table in knowledge_pack.build(sources, hand).values() for row in table}
    assert rows["maker", "name", "Maker"] == rows["maker", "alias", "Thing"] == "weak"
    assert rows["maker", "alias", "Maker Things"] == "strong"
    domains = ("maker.example", "maker-cloud.example", "big.example")
    assert [rows[domain, "vendor", "maker"] for domain in domains] == ["strong", "fair", "weak"]
    assert (rows["maker", "kind", "camera"], rows["maker", "kind", "plug"]) == ("0.667", "0.333")


def test_the_same_sources_give_the_same_bytes(hand: Path, sources: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = knowledge_pack.build(sources, hand)
        knowledge_pack.write(rows, tmp_path / name, hand)
        knowledge_pack.write_registry({"001788": "Maker", "0017881": "Other", "aabbcc": "Maker"}, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_missing_sources_are_said(hand: Path, tmp_path: Path) -> None:
    collected: list[str] = []
    knowledge_pack.build(tmp_path / "none", hand, collected.append)
    assert len(collected) == len(knowledge_sources.READERS)
    assert collected[0].startswith("home_assistant: not in ")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("other\tOther\t\tnobody\t\t", "vendors other: unknown vendor 'nobody'"),
        ("other\tMaker Things\t\t\t\t", "'Maker Things' is also a name of maker"),
        ("other\tOther\t\t\tmaker.example\t", "names maker.example: other is not its only vendor"),
        ("other\tOther\t\t\t\tspaceship", "kinds other: unknown kind 'spaceship'"),
        ("other\tOther\t\t\tnowhere\t", "invalid name 'nowhere'"),
        ("other\tOther\t\t\t\t\textra", "7 fields where 6 are expected"),
    ],
)
def test_an_unsound_part_is_refused(hand: Path, tmp_path: Path, line: str, reason: str) -> None:
    (hand / "vendors.tsv").write_text(VENDORS + line + "\n")
    with pytest.raises(InputError, match="nowhere" if "nowhere" in reason else ".") as raised:
        knowledge_pack.build(tmp_path / "none", hand)
    assert reason in str(raised.value)


def test_blocks_of_the_registry(tmp_path: Path) -> None:
    (tmp_path / "oui.txt").write_text("00-17-88   (hex)\t\tMaker\n001788     (base 16)\t\tMaker\n\t\t\t\tStreet\n")
    (tmp_path / "mam.txt").write_text("20-85-93   (hex)\t\tSmall\nB00000-BFFFFF     (base 16)\t\tSmall  Co\n")
    (tmp_path / "oui36.txt").write_text("70-B3-D5   (hex)\t\tTiny\n52A000-52AFFF     (base 16)\t\tPrivate\n")
    assert knowledge_sources.ieee_prefixes(tmp_path) == {"001788": "Maker", "208593b": "Small Co"}


def test_shares_are_whole_thousandths() -> None:
    rows = list(knowledge_pack.share_rows("maker", {"camera": 1.0, "plug": 1.0, "light": 1.0}, "hand"))
    assert sum(round(float(row.weight) * 1000) for row in rows) == 1000
    assert rows[0][:3] == Row("kinds", "maker", "kind", "camera", "", "")[:3]


def test_the_command_writes_every_table(hand: Path, sources: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(knowledge_pack, "HAND", hand)
    output = tmp_path / "pack"
    monkeypatch.setenv("ETHOGRAM_KNOWLEDGE", str(sources))
    assert knowledge_pack.main(["--output", str(output)]) == 0
    assert "home_assistant: " in capsys.readouterr().out
    assert (output / "names.tsv").exists()
