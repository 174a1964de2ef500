"""``ethogram knowledge show``: every form of a query, every format, a user's rows."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from ethogram.cli import main


def answers(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, list[str]]:
    """How a query was read, with the values of its facts."""
    assert main(["knowledge", "show", *arguments, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["format"] == "ethogram.knowledge/1"
    (query,) = document["queries"]
    return {answer["read_as"]: [fact["value"] for fact in answer["facts"]] for answer in query["answers"]}


@pytest.mark.parametrize(
    ("query", "read_as", "value"),
    [
        ("9100", "port", "printer"),
        ("TCP/9100", "port", "printer"),
        ("9100/tcp", "port", "printer"),
        ("udp 56700", "port", "lifx"),
        ("a.b.tplinkcloud.com", "name", "tp-link"),
        ("cam-3.maker.example", "name", "camera"),
        ("0.pool.ntp.org", "name", "clock"),
        ("00-17-88-01-02-03", "MAC", "philips-hue"),
        ("001788", "MAC", "Philips Lighting BV"),
        ("00:17:88", "MAC", "philips-hue"),
        ("fe80::217:88ff:fe01:203", "MAC", "philips-hue"),
        ("224.0.0.251", "multicast group", "mdns"),
        ("_ipp._tcp", "service type", "printer"),
        ("Sonos Inc.", "vendor", "speaker"),
        ("tuya", "platform", "Tuya"),
        ("doorbell", "kind", "doorbell"),
        ("MSFT 5.0", "DHCP vendor class", "windows"),
        ("Linux UPnP/1.0 Sonos/70", "ssdp-server", "sonos"),
        ("android-12ab", "host name", "android"),
    ],
)
def test_a_query_is_read_in_every_way(
    query: str, read_as: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert value in answers(capsys, query)[read_as]


def test_the_table_names_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knowledge", "show", "tcp/9100", "192.0.2.1", "zz\x1bzz"]) == 0
    shown = capsys.readouterr().out
    assert "tcp/9100, as port" in shown
    assert "hand-written" in shown
    assert "192.0.2.1: nothing is known" in shown
    assert "zz\\x1bzz: nothing is known" in shown


def test_formats_hold_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knowledge", "show", "sonos.com", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert main(["knowledge", "show", "sonos.com", "--format", "jsonl"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    assert (rows[0]["query"], rows[0]["read_as"], rows[0]["value"]) == ("sonos.com", "name", "sonos")


def test_rows_of_a_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("table,key,subject,value\nnames,maker.example,vendor,acme\nwords,cam,kind,spaceship\n")
    assert main(["knowledge", "show", "maker.example", "--knowledge", str(path)]) == 0
    shown = capsys.readouterr()
    assert "acme" in shown.out
    assert f"{path}:3: unknown kind 'spaceship'" in shown.err
    path.write_text("table,key,colour\n")
    assert main(["knowledge", "show", "maker.example", "--knowledge", str(path)]) == 5
    assert capsys.readouterr().err.count("\n") == 1
