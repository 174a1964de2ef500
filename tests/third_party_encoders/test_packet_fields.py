"""The table of packet fields against a plain reading of each packet, and what must not be in it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ethogram.schema import PacketFlows
from ethogram.third_party_encoders.packet_fields import KNOWN_PORTS, FieldTable
from packet_flows_made import Packet, drawn_packets, packet_flows

TABLE = FieldTable(packets=6, ports=True, octets=3)
NAMES = [field.name for field in TABLE.packet_fields]
SYN_OPTIONS = bytes.fromhex("020405b40402080a000000010000000001030307")


def rows_of(flow: list[Packet], table: FieldTable = TABLE) -> list[dict[str, float]]:
    """Fields that are there by name: of the flow, then of each packet."""
    described = table.describe(packet_flows([flow]))[0]
    names = [[field.name for field in table.flow_fields], *[[f.name for f in table.packet_fields]] * table.packets]
    return [
        {n: float(v) - 1 for n, v in zip(ns, row, strict=False) if v > 0}
        for ns, row in zip(names, described, strict=True)
    ]


def plain_size(octets: int) -> float:
    edges = [*range(0, 128, 4), *range(128, 512, 16), *range(512, 1537, 64)]
    return min(float(np.interp(octets, edges, range(len(edges)))), 72.0)


def plain(flow: list[Packet], k: int) -> dict[str, float]:
    """Fields of a packet, read from what it was built of."""
    p, found = flow[k], {}
    found |= {"way": p.out, "payload": plain_size(len(p.payload)), "keep_whole": p.flags >> 1 & 1}
    found["ttl"] = [32, 64, 128, 255].index(min(x for x in (32, 64, 128, 255) if x >= p.ttl))
    if k:
        us = p.offset_us - flow[k - 1].offset_us
        found["gap"] = 0 if us < 300_000 else min(1 + 12 * math.log(us / 3e5, 200), 13)
    if p.out:
        found["service"] = 0
        before = [q.identification for q in flow[:k] if q.out]
        step = (p.identification - before[-1]) % 65_536 if before else 0
        if not before:
            found["identification"] = 0 if p.identification == 0 else 1
        elif p.identification == 0:
            found["identification"] = 2
        else:
            swapped = step % 256 == 0 and step // 256 <= 64
            found["identification"] = 3 if step == 0 else 4 if step == 1 else 5 if step <= 64 else 6 if swapped else 7
    if p.protocol == 6:
        known = {2: 0, 18: 1, 16: 2, 24: 3, 17: 4, 25: 5, 4: 6, 20: 7, 1: 8}
        found |= {"flags": known.get(p.tcp_flags, 9), "window": min(2 * math.log2(p.window + 1), 32)}
        found["header"] = len(p.tcp_options) // 4
    found |= {f"octet_{j}": octet for j, octet in enumerate(p.payload[:3])}
    return {name: float(value) for name, value in found.items()}


def test_fields_are_those_of_a_plain_reading() -> None:
    for flow in drawn_packets(30, seed=8):
        rows = rows_of(flow)[1:]
        for k, row in enumerate(rows):
            expected = plain(flow, k) if k < len(flow) else {}
            by_name = {name: value for name, value in row.items() if name not in ("options", "segment", "scale")}
            assert by_name == pytest.approx(expected, abs=1e-4), (k, flow)


def test_the_row_of_the_flow() -> None:
    flow = [Packet(0, payload=b"a" * 100), Packet(10, out=False, payload=b"b" * 7), Packet(60_000_000, payload=b"c")]
    row = rows_of(flow)[0]
    assert row == pytest.approx({
        "protocol": 0, "packets": 2 * math.log2(3), "sent": 8 * 2 / 3, "lasts": 13, "octets_sent": 2 * math.log2(102),
        "octets_received": 6, "remote_port": KNOWN_PORTS.index(443), "device_port": len(KNOWN_PORTS) + 3,
    }, abs=1e-5)  # fmt: skip


def test_ports_are_told_of_both_ways_and_only_when_asked() -> None:
    received = [Packet(out=False, device_port=5353, remote_port=40_000, protocol=17)]
    row = rows_of(received)[0]
    assert row["device_port"] == KNOWN_PORTS.index(5353) and row["remote_port"] == len(KNOWN_PORTS) + 2
    assert "remote_port" not in rows_of(received, FieldTable(packets=6))[0]
    other = [replace(received[0], device_port=1, remote_port=2)]
    assert rows_of(received, FieldTable(packets=6)) == rows_of(other, FieldTable(packets=6))


def test_options_by_order_and_what_the_first_packet_offers() -> None:
    sent, received = rows_of(
        [Packet(tcp_flags=2, tcp_options=SYN_OPTIONS), Packet(out=False, tcp_options=SYN_OPTIONS)]
    )[1:3]
    assert sent["segment"] == 5 and sent["scale"] == received["scale"] == 7
    assert "segment" not in received, "routers on the way change it"
    assert sent["options"] == received["options"]
    reordered = bytes.fromhex("0402020405b4080a000000010000000001030307")
    assert rows_of([Packet(tcp_options=reordered)])[1]["options"] != sent["options"]


@pytest.mark.parametrize("options", [b"\2\0\0\0", b"\2\xff\0\0", b"\3", b"\0\2\4\5", b"\1\1\1\2", b"\x08"])
def test_options_that_are_cut_or_wrong_do_no_harm(options: bytes) -> None:
    row = rows_of([Packet(tcp_options=options.ljust(4, b"\0")[:4])])[1]
    assert "segment" not in row and 0 <= row["options"] < 32


@pytest.mark.parametrize("change", [
    {"device": "10.9.8.7", "remote": "203.0.113.4"}, {"ip_checksum": 1, "checksum": 2}, {"ttl": 55},
    {"sequence": 77, "acknowledgement": 78}, {"urgent": 3}, {"offset_us": 250_000}, {"identification": 9_999},
])  # fmt: skip
def test_what_tells_the_network_or_nothing_is_not_in_it(change: dict) -> None:
    packet, other = Packet(1000, ttl=60, identification=1), replace(Packet(1000, ttl=60, identification=1), **change)
    assert rows_of([packet]) == rows_of([other])
    if "identification" not in change:
        assert rows_of([Packet(), packet]) == rows_of([Packet(), other])


def test_what_routers_rewrite_is_not_read_of_what_was_received() -> None:
    assert rows_of([Packet(), Packet(out=False, tos=0xB8)]) == rows_of([Packet(), Packet(out=False)])
    assert [rows_of([Packet(tos=tos)])[1]["service"] for tos in (0, 0x10, 0xB8, 0x20, 1)] == [0, 1, 2, 3, 4]


def test_classes_stay_in_their_field() -> None:
    flows = packet_flows([[replace(p, window=65_535, payload=b"x" * 1460) for p in flow] for flow in drawn_packets(40)])
    table = TABLE.describe(flows)
    limits = np.zeros(table.shape[1:])
    limits[0, : len(TABLE.flow_fields)] = [field.classes for field in TABLE.flow_fields]
    limits[1:] = [field.classes for field in TABLE.packet_fields]
    assert (table <= limits).all() and (table >= 0).all() and np.isfinite(table).all()
    assert TABLE.begins[-1] == sum(field.classes for field in TABLE.fields)


def test_rows_and_flows_without_packets() -> None:
    packets = drawn_packets(9, seed=1)
    flows = packet_flows([*packets, []])
    whole = TABLE.describe(flows)
    assert (whole[9] == 0).all()
    rows = np.array([9, 3, 3, 0])
    np.testing.assert_array_equal(TABLE.describe(flows, rows), whole[rows])
    assert TABLE.describe(PacketFlows.empty()).shape == (0, 7, 16)
    fragment = rows_of([Packet(fragment=100, payload=b"abc")])
    assert "flags" not in fragment[1] and "remote_port" not in fragment[0]
