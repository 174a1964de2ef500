"""YAF JSON with the additional content of real files between and in flows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ethogram.config import FlowSettings
from ethogram.io.open_text import TextInput
from ethogram.io.supermediator import SupermediatorReader, sniff
from ethogram.schema import IDENTITY
from flow_records import yaf


def read(folder: Path, *lines: object, **settings: object) -> tuple[pl.DataFrame, SupermediatorReader]:
    file = folder / "yaf.json"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    assert sniff(TextInput(file).head())
    source = SupermediatorReader(TextInput(file), FlowSettings.of(**settings))
    rows = pl.concat(list(source.batches()))
    source.accounting.check()
    return rows, source


def test_statistics_tombstones_and_blank_lines_are_no_flows(tmp_path: Path) -> None:
    rows, source = read(
        tmp_path,
        {"stats": {"systemInitTimeMilliseconds": "2019-05-01 00:00:00", "droppedPacketTotalCount": 5,
                   "ignoredPacketTotalCount": 2, "exportedFlowRecordTotalCount": 9}},
        "", {"flows": yaf()}, "  ",
        {"tombstone": {"certToolId": 1}},
        {"stats": {"droppedPacketTotalCount": 7, "ignoredPacketTotalCount": 2}},
        {"dns": {"dnsQName": "x"}},
    )  # fmt: skip
    assert rows.height == 1
    assert source.accounting.read == 5
    assert source.accounting.ignored == {"statistics": 2, "tombstone": 1, "not a flow": 1}
    assert source.notes == [
        "exporter counter droppedPacketTotalCount: 7",
        "exporter counter ignoredPacketTotalCount: 2",
    ]


def test_macs_flags_and_hexadecimal_numbers(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, {"flows": yaf(vlanId="0x00a")})
    got = rows.row(0, named=True)
    assert (got["source_mac"], got["destination_mac"]) == ("aa:bb:cc:00:01:02", "00:11:22:33:44:55")
    assert (got["initial_tcp_flags"], got["union_tcp_flags"]) == (0x02, 0x1B)
    assert (got["reverse_initial_tcp_flags"], got["reverse_union_tcp_flags"]) == (0x12, 0x1B)
    assert got["vlan"] == 10


def test_end_reasons_as_text_and_number(tmp_path: Path) -> None:
    cases = {"idle": 1, "active": 2, "eof": 3, "forced end": 4, "rsrc": 5, 2: 2, "0x03": 3, 129: 1, "what": None}
    rows, _ = read(tmp_path, *({"flows": yaf(flowEndReason=value)} for value in cases))
    assert rows["end_reason"].to_list() == list(cases.values())


def test_ipv6_names_and_dual_stack_zeros(tmp_path: Path) -> None:
    six = {"sourceIPv6Address": "2001:DB8::0:5", "destinationIPv6Address": "2001:db8:0:0::7"}
    only_six = {key: value for key, value in yaf().items() if "IPv4" not in key} | six
    zero_six = {"sourceIPv6Address": "::", "destinationIPv6Address": "::"}
    zero_four = {"sourceIPv4Address": "0.0.0.0", "destinationIPv4Address": "0.0.0.0"}
    rows, _ = read(tmp_path, {"flows": only_six}, {"flows": yaf(**zero_six)}, {"flows": yaf(**zero_four, **six)})
    assert rows["source_address"].to_list() == ["2001:db8::5", "192.168.1.5", "2001:db8::5"]
    assert rows["destination_address"].to_list() == ["2001:db8::7", "198.51.100.7", "2001:db8::7"]


def test_times_have_no_zone_and_the_setting_says_which(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, {"flows": yaf()}, time_zone="Asia/Tokyo")
    assert rows["start"].to_list() == [datetime(2019, 4, 30, 15, 0, 1, tzinfo=UTC)]


def test_delta_counts_other_wrappers_and_names(tmp_path: Path) -> None:
    flow = yaf(sslServerName="api.example.com")
    flow["packetDeltaCount"] = flow.pop("packetTotalCount")
    rows, _ = read(tmp_path, {"flows": flow}, yaf(httpHost=["www.example.com"]))
    assert rows["packets"].to_list() == [12, 12]
    assert rows["destination_name"].to_list() == ["api.example.com", "www.example.com"]


def test_what_dhcp_clients_state_is_kept_as_facts(tmp_path: Path) -> None:
    record = {"flowStartMilliseconds": "2019-05-01 00:00:00.250", "protocolIdentifier": 17,
              "sourceIPv4Address": "0.0.0.0", "destinationIPv4Address": "255.255.255.255", "sourceTransportPort": 68,
              "destinationTransportPort": 67, "sourceMacAddress": "aa:bb:cc:00:00:01:", "dhcpVendorCode": "udhcp 1.19",
              "dhcpOption": [1, 3, 6]}  # fmt: skip
    other = {key: value for key, value in record.items() if not key.startswith(("dhcp", "sourceMac"))}
    file = tmp_path / "yaf.json"
    file.write_text("\n".join(json.dumps({"flows": each}) for each in (record, other)))
    reader = SupermediatorReader(TextInput(file), FlowSettings())
    list(reader.batches())
    facts = reader.identity_facts()
    assert IDENTITY.matches(facts.schema)
    assert facts.select("mac", pl.col("fact").cast(pl.String), "value").rows() == [
        ("aa:bb:cc:00:00:01", "dhcp_vendor_class", "udhcp 1.19"), ("aa:bb:cc:00:00:01", "dhcp_parameters", "1,3,6"),
    ]  # fmt: skip
