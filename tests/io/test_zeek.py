"""Zeek: headers at any line, directions from the history, payload octets, and neighbouring logs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethogram.config import FlowSettings, NameSettings
from ethogram.errors import InputError
from ethogram.io.open_text import HEAD_OCTETS, TextInput
from ethogram.io.zeek import ZeekReader, sniff
from ethogram.pipeline.flows import read_flows
from flow_records import ZEEK_FIELDS, ZEEK_ROWS, zeek_csv, zeek_json, zeek_tsv


def read(file: Path, **settings: object) -> tuple[pl.DataFrame, ZeekReader]:
    source = ZeekReader(TextInput(file), FlowSettings.of(**settings))
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
    assert source.accounting.corrected == {"payload octets used as IP octets": 1}


def test_icmp_of_both_versions_and_unknown_protocols(tmp_path: Path) -> None:
    six = {"id.orig_h": "fe80::1", "id.resp_h": "ff02::2"}
    changed = [row(proto="icmp"), row(proto="icmp", **six), row(proto="unknown_transport")]
    (tmp_path / "conn.log").write_bytes(zeek_tsv(rows=changed))
    rows, source = read(tmp_path / "conn.log")
    assert rows["protocol"].to_list() == [1, 58]
    assert rows["source_port"].to_list() == [0, 0]
    assert source.accounting.dropped == {"no protocol": 1}


def test_names_come_from_neighbouring_logs(tmp_path: Path) -> None:
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


def record(path: str | None = "conn", **changes: object) -> dict[str, object]:
    result = json.loads(zeek_json().splitlines()[1]) | changes
    return result if path is None else {"_path": path} | result


OTHERS: list[tuple[dict[str, object], str]] = [
    ({"_path": "dns", **{k: v for k, v in record(None).items() if k[:2] in {"ts", "id", "pr"}}, "query": "a.example"},
     "Zeek log dns"),
    ({"ts": 1.5, "uid": "C1", "id.orig_h": "10.0.0.1", "id.resp_h": "10.0.0.2", "proto": "tcp", "note": "conn_state"},
     "Zeek log notice"),
    ({"ts": 1.5, "uid": "C1", "id.orig_h": "10.0.0.1", "id.resp_h": "10.0.0.2", "name": "odd"}, "Zeek log weird"),
    ({"ts": 1.5, "uid": "C1", "id.orig_h": "10.0.0.1", "id.resp_h": "10.0.0.2", "proto": "tcp", "analyzer": "SSL"},
     "Zeek log dpd"),
    (record("conn_long"), "Zeek log conn_long"),
    (record("open_conn"), "Zeek log open_conn"),
    ({"_path": "stats", "ts": 1.5, "mem": 3}, "Zeek log stats"),
    ({"_path": "a\x1b[2J", "ts": 1.5}, "not a Zeek conn record"),
    ({"ts": 1.5, "level": "info"}, "not a Zeek conn record"),
]  # fmt: skip


@given(st.lists(st.sampled_from([(record(), None), (record(None), None), *OTHERS]), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_conn_records_of_a_mixed_stream_are_flows(
    tmp_path: Path, stream: list[tuple[dict[str, object], str | None]]
) -> None:
    text = "".join(json.dumps(one) + "\n" for one, _ in stream)
    (tmp_path / "zeek.json").write_text(text)
    source = ZeekReader(TextInput(tmp_path / "zeek.json"), FlowSettings())
    rows = sum(frame.height for frame in source.batches())
    source.accounting.check()
    assert rows == source.accounting.used == sum(reason is None for _, reason in stream)
    assert source.accounting.ignored == Counter(reason for _, reason in stream if reason is not None)
    if any(reason is None for _, reason in stream):
        assert sniff(text.encode())


def test_a_stream_is_recognised_with_any_first_line(tmp_path: Path) -> None:
    for first, _ in OTHERS:
        assert sniff(json.dumps(first).encode() + b"\n" + json.dumps(record()).encode())
        assert not sniff(json.dumps(first).encode())
    dns_only = (json.dumps(OTHERS[0][0]).encode() + b"\n") * 400
    assert sniff(dns_only[:HEAD_OCTETS]), "connections may follow"
    assert not sniff(b'{"ts": 1, "event_type": "flow", "src_ip": "10.0.0.1"}\n')
    assert not sniff(b"#fields of another program\n") and not sniff(b"")


def test_sections_of_other_logs_in_one_file_are_ignored_by_name(tmp_path: Path) -> None:
    notice = zeek_tsv(["ts", "uid", "id.orig_h", "id.resp_h", "proto", "msg"],
                      [["1.0", "C1", "10.0.0.1", "10.0.0.2", "tcp", "conn_state odd"]], "notice")  # fmt: skip
    text = notice + zeek_tsv() + zeek_tsv(path="conn_long") + zeek_tsv() + zeek_tsv(path="open_conn")
    (tmp_path / "all.log").write_bytes(text)
    rows, source = read(tmp_path / "all.log")
    assert rows.height == 6
    assert source.accounting.ignored == {"Zeek log notice": 1, "Zeek log conn_long": 3, "Zeek log open_conn": 3}
    assert sniff(text) and not sniff(notice) and not sniff(zeek_tsv(path="conn_long"))


def test_a_section_without_its_path_is_known_by_its_fields(tmp_path: Path) -> None:
    bare = b"\n".join(line for line in zeek_tsv().splitlines() if not line.startswith((b"#path", b"#sep")))
    (tmp_path / "conn.log").write_bytes(bare)
    rows, _ = read(tmp_path / "conn.log")
    assert rows.height == 3 and sniff(bare)


def test_rows_before_the_header_are_dropped_by_reason(tmp_path: Path) -> None:
    (tmp_path / "conn.log").write_bytes(b"#close\n1.0\tC1\n" + zeek_tsv())
    rows, source = read(tmp_path / "conn.log")
    assert rows.height == 3 and source.accounting.dropped == {"no #fields line before it": 1}


def test_a_path_column_of_a_csv_names_the_log_of_each_row(tmp_path: Path) -> None:
    header, first, *rest = zeek_csv().decode().splitlines()
    lines = ["_path," + header, "conn," + first, *("dns," + line for line in rest)]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    rows, source = read(tmp_path / "all.csv")
    assert rows.height == 1 and source.accounting.ignored == {"Zeek log dns": 2}


def test_the_number_of_names_out_of_a_file_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "zeek.json").write_text("".join(json.dumps({"_path": f"log{i}", "ts": 1}) + "\n" for i in range(5000)))
    source = ZeekReader(TextInput(tmp_path / "zeek.json"), FlowSettings())
    list(source.batches())
    assert source.accounting.ignored.total() == 5000 and len(source.accounting.ignored) == 33


def test_logs_of_a_folder_that_are_not_conn_are_passed_over_by_name(tmp_path: Path) -> None:
    (tmp_path / "conn.log").write_bytes(zeek_tsv())
    (tmp_path / "conn_long.log").write_bytes(zeek_tsv(path="conn_long"))
    (tmp_path / "open_conn.json").write_bytes(zeek_json())
    (tmp_path / "dns.log").write_text((json.dumps(OTHERS[0][0]) + "\n") * 1000)
    run = read_flows([tmp_path])
    assert sum(frame.height for frame in run.batches()) > 0
    assert {report.name: report.accounting.used for report in run.reports} == {str(tmp_path / "conn.log"): 3}
    assert {Path(name).name: reason.split(":")[0] for name, reason in run.skipped} == {
        "conn_long.log": "Zeek log conn_long", "open_conn.json": "Zeek log open_conn", "dns.log": "Zeek log dns",
    }  # fmt: skip
    with pytest.raises(InputError, match="Zeek log conn_long: only conn records are connections"):
        read_flows([tmp_path / "conn_long.log"])
