"""Rows of users: they add to the pack and replace its rows; what is wrong is one line with file, line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from ethogram.errors import ConfigurationError
from ethogram.knowledge import rows
from ethogram.knowledge.tables import Knowledge


def values(facts: list, subject: str) -> list[str]:
    return [fact.value for fact in facts if fact.subject == subject]


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str | bytes) -> Path:
        path = tmp_path / "mine.tsv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def test_rows_add_and_replace(write) -> None:
    path = write(
        "table\tkey\tsubject\tvalue\tweight\tsource\n"
        "# our own\n"
        "vendors\tmaker\tname\tMaker of Things\t\t\n"
        "vendors\tmaker\talias\tMaker Things Ltd\t\t\n"
        "names\tmaker.example\tvendor\tmaker\t\tour notes\n"
        "names\ttplinkcloud.com\tvendor\tmaker\tweak\t\n"
        "kinds\tmaker\tkind\tcamera\t.75\t\n"
        "kinds\tmaker\tkind\tplug\t.25\t\n"
        "macs\t00:17:88\tvendor\tmaker\t\t\n"
        "parents\t{keep}.hub.example\tshared\tiot-broker\t\t\n"
        "ports\ttcp/4711 server lan\tkind\tcamera\tfair\t\n"
    )
    bundled = Knowledge.bundled()
    knowledge = bundled.with_rows(path)
    fact = knowledge.name("cloud.maker.example")[0]
    assert (fact.value, fact.weight, fact.source, fact.licence) == ("maker", "strong", "our notes", "")
    assert values(knowledge.name("tplinkcloud.com"), "vendor") == ["maker"]
    assert values(bundled.name("tplinkcloud.com"), "vendor") == ["tp-link"]
    assert knowledge.kinds_of("maker") == {"camera": 0.75, "plug": 0.25}
    assert knowledge.vendor("Maker Things Ltd") == knowledge.vendor("maker of things") == "maker"
    assert values(knowledge.mac("001788aabbcc"), "vendor") == ["maker"]
    assert values(knowledge.mac("001788aabbcc"), "organisation") == ["Philips Lighting BV"]
    assert values(knowledge.port("tcp", 4711, "server", "lan"), "kind") == ["camera"]
    assert values(knowledge.port("tcp", 9100, "server", "lan"), "kind") == ["printer"]
    assert knowledge.is_shared("maker.hub.example") == "iot-broker"
    assert knowledge.is_shared("pool.ntp.org") == "clock"
    assert [fact.source for fact in knowledge.name("x1.hub.example") if fact.subject == "shared"] == ["mine.tsv"]
    assert knowledge.rejected == 0


def test_comma_separated_rows_need_three_columns(write) -> None:
    knowledge = Knowledge.bundled().with_rows(write('table,key,value\nwords,zap,plug\nvendors,maker,"Maker, Inc"\n'))
    assert values(knowledge.name_word("zap.maker.example"), "kind") == ["plug"]
    assert knowledge.vendor_name("maker") == "Maker, Inc"


def test_later_rows_of_one_file_add_to_its_first(write) -> None:
    path = write("table\tkey\tvalue\nwords\tcam\tplug\nwords\tcam\tlight\n")
    assert sorted(values(Knowledge.bundled().with_rows(path).name_word("cam.example.com"), "kind")) == ["light", "plug"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("nonesuch\tx\t\tcamera", "unknown table 'nonesuch'"),
        ("words\tcam\t\tcamcorder", "unknown kind 'camcorder'"),
        ("names\tmaker.example\towner\tmaker", "unknown subject 'owner' in table names"),
        ("names\tmaker\tvendor\tmaker", "invalid name 'maker'"),
        ("names\tmaker.example\tvendor\tMaker & Co", "invalid vendor 'maker & co'"),
        ("ports\ttcp/99999 server lan\tkind\tcamera", "invalid service 'tcp/99999 server lan'"),
        ("groups\t192.0.2.1\tkind\tcamera", "invalid multicast group '192.0.2.1'"),
        ("mdns\tipp\tkind\tprinter", "invalid service type 'ipp'"),
        ("hosts\t*\tkind\tcamera", "pattern '*' matches any text"),
        ("texts\tsmell maker*\tkind\tcamera", "unknown kind of text 'smell'"),
        ("macs\t00:17\tvendor\tmaker", "invalid MAC prefix '0017'"),
        ("parents\t{keep}\tshared\tcloud", "invalid pattern '{keep}'"),
        ("words\tcam\t\t", "no value"),
        ("words\tcam\t\tcamera\tmuch", "unknown weight 'much'"),
        ("kinds\tmaker\tkind\tcamera\t1.5", "invalid share '1.5'"),
        ("words\tcam\t\tcamera\tfair\t1\t2", "7 fields where the header has 5"),
        ("words\tcam\x07\t\tcamera", "characters that do not print"),
        ("words\tok\t\tlight", "the same fact as in line 2"),
    ],
)
def test_an_invalid_row_is_counted_and_the_rest_used(write, row: str, reason: str) -> None:
    path = write(f"table\tkey\tsubject\tvalue\tweight\nwords\tok\t\tlight\tfair\n{row}\n")
    knowledge = Knowledge.bundled().with_rows(path)
    assert knowledge.rejected == 1
    assert knowledge.messages[0].startswith(f"{path}:3: ")
    assert reason in knowledge.messages[0]
    assert values(knowledge.name_word("ok.example.com"), "kind") == ["light"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "mine.tsv: empty"),
        (b"table\tkey\n", ":1: no column 'value'"),
        (b"table,key,value,key\n", ":1: a column appears twice"),
        (b"table\tkey\tvalue\n", "no rows"),
        (b"table\tkey\tvalue\nwords\tcam\tx\n", ":2: unknown kind 'x'"),
        (b"table\tkey\tvalue\nwords\tk\xfcche\tlight\n", ":2: not UTF-8"),
        (b"\x1f\x8b\x08", "a gzip file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(write, content: bytes, reason: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Knowledge.bundled().with_rows(write(content))
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_column_is_one_line_and_the_rest_used(write) -> None:
    path = write("table\tkey\tcolour\tvalue\nwords\tporch\tred\tcamera\nwords\tden\tblue\tx\n")
    knowledge = Knowledge.bundled().with_rows(path)
    assert values(knowledge.name_word("porch.example.com"), "kind") == ["camera"]
    assert knowledge.rejected == 1
    column, row = knowledge.messages
    assert column.startswith(f"{path}:1: unknown column 'colour'; not read; known are key, table, value")
    assert row.startswith(f"{path}:3: unknown kind 'x'")
    path.write_text("table\tkey\tvalue\t" + "\t".join(f"c{i}" for i in range(9)) + "\nwords\tporch\tcamera\n")
    [column] = Knowledge.bundled().with_rows(path).messages
    assert "unknown columns 'c0', 'c1', 'c2', 'c3', 'c4', ...;" in column


def test_a_missing_or_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        Knowledge.bundled().with_rows(tmp_path / "none.tsv")
    path = tmp_path / "large.tsv"
    path.write_text("table\tkey\tvalue\n" + "words\tcam\tcamera\n" * 100)
    monkeypatch.setattr(rows, "_MAX_ROWS", 50)
    with pytest.raises(ConfigurationError, match="more than 50 rows"):
        Knowledge.bundled().with_rows(path)
    monkeypatch.setattr(rows, "_MAX_FILE", 100)
    with pytest.raises(ConfigurationError, match="larger than"):
        Knowledge.bundled().with_rows(path)


def test_messages_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "many.tsv"
    path.write_text("table\tkey\tvalue\nwords\tok\tlight\n" + "words\tcam\tx\n" * 99)
    knowledge = Knowledge.bundled().with_rows(path)
    assert knowledge.rejected == 99
    assert len(knowledge.messages) == 20
