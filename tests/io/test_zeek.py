"""Zeek: headers in the middle, directions from the history, payload octets, and the logs beside."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ethogram.config import FlowSettings, NameSettings
from ethogram.io.open_text import TextInput
from ethogram.io.zeek import Source
from flow_records import ZEEK_FIELDS, ZEEK_ROWS, zeek_tsv


def read(file: Path, **settings: object) -> tuple[pl.DataFrame, Source]:
    source = Source(TextInput(file), FlowSettings.of(**settings))
    rows = pl.concat(list(source.batches()))
    source.accounting.check()
    return rows, source


def row(**changes: str) -> list[str]:
    return [changes.get(name, value) for name, value in zip(ZEEK_FIELDS, ZEEK_ROWS[1], strict=True)]


def test_joined_rotated_logs_bring_a_new_header(tmp_path: Path) -> None:
    order = [*reversed(range(len(ZEEK_FIELDS)))]
    turned = zeek_tsv([ZEEK_FIELDS[i] for i in order], [[r[i] for i in order] for r in ZEEK_ROWS])
    (tmp_path / "conn.log").write_bytes(zeek_tsv() + turned)
    rows, source = read(tmp_path / "conn.log")
    assert rows.head(3).equals(rows.tail(3))
    assert source.accounting.read == 6


def test_the_history_tells_who_sent_the_first_packets(tmp_path: Path) -> None:
    cases = [("ShADadFf", 2, 18), ("HAd", 18, 16), ("DadA", 16, 16), ("hD", 16, 18), ("S", 2, None), ("^sA", 16, 2)]
    (tmp_path / "conn.log").write_bytes(zeek_tsv(rows=[row(history=h) for h, _, _ in cases]))
    rows, _ = read(tmp_path / "conn.log")
    assert rows.select("initial_tcp_flags", "reverse_initial_tcp_flags").rows() == [(a, b) for _, a, b in cases]


def test_without_a_history_the_state_tells(tmp_path: Path) -> None:
    states = [("S0", 2, None), ("SHR", None, 18), ("OTH", None, None)]
    (tmp_path / "conn.log").write_bytes(zeek_tsv(rows=[row(history="-", conn_state=s) for s, _, _ in states]))
    rows, _ = read(tmp_path / "conn.log")
    assert rows.select("initial_tcp_flags", "reverse_initial_tcp_flags").rows() == [(a, b) for _, a, b in states]


def test_payload_octets_stand_in_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "conn.log").write_bytes(zeek_tsv(rows=[row(orig_ip_bytes="-"), row()]))
    rows, source = read(tmp_path / "conn.log")
    assert rows["octets"].to_list() == [900, 1500]
    assert source.accounting.corrected == {"payload octets for IP octets": 1}


def test_icmp_of_both_versions_and_unknown_protocols(tmp_path: Path) -> None:
    six = {"id.orig_h": "fe80::1", "id.resp_h": "ff02::2"}
    changed = [row(proto="icmp"), row(proto="icmp", **six), row(proto="unknown_transport")]
    (tmp_path / "conn.log").write_bytes(zeek_tsv(rows=changed))
    rows, source = read(tmp_path / "conn.log")
    assert rows["protocol"].to_list() == [1, 58]
    assert rows["source_port"].to_list() == [0, 0]
    assert source.accounting.dropped == {"no protocol": 1}


def test_names_come_from_the_logs_beside(tmp_path: Path) -> None:
    (tmp_path / "conn.log").write_bytes(zeek_tsv())
    ssl = zeek_tsv(["ts", "uid", "server_name"], [["1556668801.1", "C2", "api.example.com"]], "ssl")
    (tmp_path / "ssl.log").write_bytes(ssl)
    fields = ["ts", "uid", "id.orig_h", "query", "answers", "TTLs"]
    answer = ["1556668800.5", "C1", "192.168.1.5", "API.example.com", "cdn.example.net,198.51.100.7", "300.0,60.0"]
    (tmp_path / "dns.log").write_bytes(zeek_tsv(fields, [answer], "dns"))
    rows, source = read(tmp_path / "conn.log")
    assert rows["destination_name"].to_list() == ["API.example.com", "api.example.com", None]
    answers = source.name_answers().drop("time").rows()
    assert answers == [("192.168.1.5", "198.51.100.7", "api.example.com", 60)]
    rows, source = read(tmp_path / "conn.log", names=NameSettings(enabled=False))
    assert rows["destination_name"].null_count() == 3
    assert source.name_answers().height == 0
