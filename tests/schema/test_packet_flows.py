"""Packet flows: selecting, concatenating, round trip on disk; cells against plain slices; errors of invalid tables.

The builder is tests/packet_flows_made.py: flows from lists of packets, headers built octet by octet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from custom_flows_made import made
from ethogram.errors import InputError
from ethogram.schema import CustomFlows, PacketFlows
from packet_flows_made import Packet, drawn, drawn_packets, packet_flows


def assert_same(a: PacketFlows, b: PacketFlows) -> None:
    for name, value in vars(a).items():
        assert value.dtype == getattr(b, name).dtype, name
        np.testing.assert_array_equal(value, getattr(b, name), name)


def test_headers_are_as_on_the_wire() -> None:
    flows = packet_flows([[Packet(payload=b"hello"), Packet(7, out=False, protocol=17, payload=b"x" * 300)]])
    assert flows.packet_octets.tolist() == [45, 328]
    assert flows.payload_octets.tolist() == [5, 240]
    first = bytes(flows.data[: flows.first_octet[1]])
    assert first[:4].hex() == "4500002d" and first[12:20].hex() == "c0a80107" + "c6336409"
    assert first[20:24].hex() == "c35001bb" and first[-5:] == b"hello"
    second = bytes(flows.data[flows.first_octet[1] :])
    assert second[20:28].hex() == "01bbc350" + "0134cafe"


@pytest.mark.parametrize("n", [0, 1, 40])
def test_tables_round_trip(n: int) -> None:
    flows = packet_flows(drawn_packets(n))
    assert len(flows) == n
    assert_same(flows, PacketFlows.of_arrow(flows.arrow()))
    cut = flows.arrow().slice(n // 3, n // 2)  # columns that do not begin at their buffers' beginning
    assert_same(flows.take(slice(n // 3, n // 3 + n // 2)), PacketFlows.of_arrow(cut))


def test_rows_are_picked_and_joined() -> None:
    packets = drawn_packets(30, seed=2)
    flows = packet_flows(packets)
    rows = [7, 7, 0, 29, 3]
    assert_same(flows.take(np.array(rows)), packet_flows([packets[i] for i in rows]))
    parts = [flows.take(slice(0, 11)), flows.take(slice(11, 11)), flows.take(slice(11, None))]
    assert_same(PacketFlows.concat(parts), flows)
    assert_same(PacketFlows.concat([]), PacketFlows.empty())
    assert_same(flows.take(np.zeros(0, np.int64)), PacketFlows.empty())


@pytest.mark.parametrize("part", ["all", "ip", "headers", "transport", "segment", "payload"])
@pytest.mark.parametrize(("packets", "octets"), [(5, 64), (2, 320), (13, 7)])
def test_cells_hold_what_plain_slices_hold(part: str, packets: int, octets: int) -> None:
    flows = drawn_packets(25, seed=5)
    rows = [3, 3, 24, 0]
    cells, lengths = packet_flows(flows).cells(packets, octets, part=part, rows=np.array(rows))
    for i, row in enumerate(rows):
        for k in range(packets):
            expected = b""
            if k < len(flows[row]):
                p = flows[row][k]
                payload = p.payload[: 240 if k < 5 else 12]
                expected = {
                    "all": p.internet + p.transport + payload, "ip": p.internet, "headers": p.internet + p.transport,
                    "transport": p.transport, "segment": p.transport + payload, "payload": payload,
                }[part][:octets]  # fmt: skip
            assert lengths[i, k] == len(expected)
            assert bytes(cells[i, k]) == expected.ljust(octets, b"\0")


def beside(n: int = 20) -> tuple[CustomFlows, list[list[Packet]]]:
    """Custom flows, and the packets they could be made of."""
    flows = made(n, seed=3)
    flows = CustomFlows(**{**vars(flows), "packet_out": np.ones_like(flows.packet_out)})
    packets = []
    for i in range(n):
        at = range(flows.first_packet[i], flows.first_packet[i + 1])
        protocol = int(flows.protocol[i])
        octets = flows.packet_octets - (40 if protocol == 6 else 28)
        packets.append([Packet(int(flows.packet_offset_us[j]), True, bytes(int(octets[j])), protocol) for j in at])
    return flows, packets


def test_packets_are_checked_against_their_flows() -> None:
    flows, packets = beside()
    packet_flows(packets).check_beside(flows)
    answered = [[p for sent in flow for p in (sent, replace(sent, out=False, payload=b"??"))] for flow in packets]
    packet_flows(answered).check_beside(flows)
    with pytest.raises(InputError, match="packets of 19 flows beside 20 custom flows"):
        packet_flows(packets[:-1]).check_beside(flows)
    swapped = [*packets[:5], packets[6], packets[5], *packets[7:]]
    with pytest.raises(InputError, match="row 5 are of another flow"):
        packet_flows(swapped).check_beside(flows)
    without = [[replace(p, out=False) for p in packets[0]], *packets[1:]]
    with pytest.raises(InputError, match="row 0 are of another flow"):
        packet_flows(without).check_beside(flows)


def wrong_tables() -> dict[str, tuple[pa.Table, str]]:
    table = drawn(4).arrow()
    frame = pl.DataFrame(pl.from_arrow(table))

    def changed(**columns: Any) -> pa.Table:
        return frame.with_columns(**columns).to_arrow(compat_level=pl.CompatLevel.oldest())

    longer = pl.col("ip_octets").list.concat([pl.lit(0, pl.UInt8)])
    return {
        "missing": (table.drop(["data"]), "no column data"),
        "kind": (changed(packet_out=pl.lit("text")), "not a packet_flow table"),
        "null": (changed(data=pl.when(pl.int_range(pl.len()) == 1).then("data")), "an empty data"),
        "null in a list": (changed(packet_out=pl.col("packet_out").list.eval(pl.lit(None, pl.UInt8))), "not a"),
        "longer": (changed(ip_octets=longer), "ip_octets is not as long"),
        "sum": (changed(payload_octets=pl.col("payload_octets").list.eval(pl.element() + 1)), "do not add up"),
        "direction": (changed(packet_out=pl.col("packet_out").list.eval(pl.element() + 2)), "neither 0 nor 1"),
        "large": (changed(payload_octets=pl.lit([70_000]).cast(pl.List(pl.UInt32))), "not a packet_flow table"),
    }


@pytest.mark.parametrize("name", list(wrong_tables()))
def test_an_invalid_table_raises_a_one_line_error(name: str) -> None:
    table, reason = wrong_tables()[name]
    with pytest.raises(InputError, match=reason) as raised:
        PacketFlows.of_arrow(table, file="packets.parquet")
    assert "packets.parquet" in str(raised.value) and "\n" not in str(raised.value)


def test_a_header_that_is_too_long_is_refused() -> None:
    flows = drawn(3)
    columns = {name: getattr(flows, name) for name in
               ("packet_offset_us", "packet_out", "packet_octets", "transport_octets")}  # fmt: skip
    moved = np.minimum(flows.payload_octets, 60).astype(np.uint8)
    wrong = PacketFlows.of_columns(
        flows.first_packet,
        {**columns, "ip_octets": flows.ip_octets + moved, "payload_octets": flows.payload_octets - moved},
        flows.data,
    )
    with pytest.raises(InputError, match="header longer than 60"):
        PacketFlows.of_arrow(wrong.arrow())
