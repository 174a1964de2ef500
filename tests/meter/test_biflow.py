"""The biflow meter: which packets make a flow, when it ends, and that counts are conserved."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.config import MeterSettings
from ethogram.meter.biflow import BiflowMeter
from ethogram.schema import BIFLOW, PacketBatch

A, B, C = 0x0A000001, 0x0A000002, 0x0A000003
SYN, SYN_ACK, ACK, FIN = 0x02, 0x12, 0x10, 0x11


class P(NamedTuple):
    """A packet: seconds, source, destination, ports, and the rest by default."""

    time: float
    source: int = A
    destination: int = B
    source_port: int = 40000
    destination_port: int = 443
    flags: int = ACK
    octets: int = 100
    protocol: int = 6
    vlan: int = 0xFFFF

    def back(self, time: float, **changes: int) -> P:
        return P(time, self.destination, self.source, self.destination_port, self.source_port, self.flags, self.octets,
                 self.protocol, self.vlan)._replace(**changes)  # fmt: skip


def batch(packets: Sequence[P]) -> PacketBatch:
    n = len(packets)

    def column(values: list[int], kind: type) -> np.ndarray:
        return np.array(values, kind)

    zeros = np.zeros(n, np.uint64)
    return PacketBatch(
        column([round(p.time * 1e9) for p in packets], np.int64),
        np.full(n, 4, np.uint8),
        column([p.protocol for p in packets], np.uint8),
        zeros, column([p.source for p in packets], np.uint64),
        zeros, column([p.destination for p in packets], np.uint64),
        column([p.source_port for p in packets], np.uint16),
        column([p.destination_port for p in packets], np.uint16),
        column([p.flags if p.protocol == 6 else 0 for p in packets], np.uint8),
        column([p.octets for p in packets], np.uint32),
        column([p.octets + 14 for p in packets], np.uint32),
        column([p.vlan for p in packets], np.uint16),
        column([0x020000000000 + p.source for p in packets], np.uint64),
        column([0x020000000000 + p.destination for p in packets], np.uint64),
        np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int32), np.zeros(0, np.uint8),
    )  # fmt: skip


def metered(packets: Sequence[P], cuts: Sequence[int] = (), **options: object) -> pl.DataFrame:
    meter = BiflowMeter(MeterSettings.of(**options))
    edges = [0, *sorted(cuts), len(packets)]
    frames = [meter.feed(batch(packets[a:b])) for a, b in itertools.pairwise(edges)]
    frames.append(meter.flush())
    assert meter.live == 0
    return pl.concat(frames)


def test_a_handshake_is_one_biflow_from_its_initiator() -> None:
    syn = P(1.0, flags=SYN, octets=60)
    flow = metered([syn, syn.back(1.1, flags=SYN_ACK, octets=52), P(1.2, octets=40), P(1.3, flags=FIN)])
    assert BIFLOW.matches(flow.schema)
    exported = ["raw_octets", "raw_packets", "reverse_raw_octets", "reverse_raw_packets", "direction", "one_way"]
    assert not any(flow[name].count() for name in exported)
    assert flow.drop("start", "end", *exported).to_dicts() == [
        {
            "protocol": 6, "source_address": "10.0.0.1", "destination_address": "10.0.0.2",
            "source_port": 40000, "destination_port": 443, "octets": 200, "packets": 3, "reverse_octets": 52,
            "reverse_packets": 1, "initial_tcp_flags": SYN, "reverse_initial_tcp_flags": SYN_ACK,
            "union_tcp_flags": SYN | ACK | FIN, "reverse_union_tcp_flags": SYN_ACK, "end_reason": 4,
            "source_mac": "02:00:0a:00:00:01", "destination_mac": "02:00:0a:00:00:02", "vlan": None,
            "source_name": None, "destination_name": None,
        }
    ]  # fmt: skip
    assert flow.select(pl.col("start", "end").dt.timestamp("us")).row(0) == (1_000_000, 1_300_000)


def test_flags_are_null_where_no_tcp_packet_went() -> None:
    columns = ["initial_tcp_flags", "reverse_initial_tcp_flags", "union_tcp_flags", "reverse_union_tcp_flags"]
    assert metered([P(1, protocol=17)]).select(columns).row(0) == (None, None, None, None)
    assert metered([P(1)]).select(columns).row(0) == (ACK, None, ACK, None)


@pytest.mark.parametrize(("gap", "flows"), [(120.0, 1), (120.000001, 2)])
def test_a_flow_ends_when_it_is_silent_for_longer_than_the_idle_timeout(gap: float, flows: int) -> None:
    first = P(5.0)
    got = metered([first, first.back(5.0 + gap)])
    assert got.height == flows
    if flows == 2:  # the second is new: whoever speaks first starts it
        assert got["source_address"].to_list() == ["10.0.0.1", "10.0.0.2"]
        assert got["end_reason"].to_list() == [1, 4]


@pytest.mark.parametrize(("jump", "flows"), [(3600.0, 2), (121.0, 2), (119.0, 1), (0.5, 1)])
def test_a_clock_that_went_back_by_more_than_the_idle_timeout_ends_a_flow(jump: float, flows: int) -> None:
    meter = BiflowMeter(MeterSettings(idle_timeout_s=120, active_timeout_s=1800))
    first = [P(10_000.0), P(10_000.0).back(10_000.1)]
    later = [P(10_000.0).back(10_000.2 - jump), P(10_000.3 - jump)]
    table = pl.concat([meter.feed(batch(first + later)), meter.flush()])
    assert table.height == flows
    assert meter.set_back == flows - 1
    assert table["packets"].sum() + table["reverse_packets"].sum() == 4
    longest = (table["end"] - table["start"]).max()
    assert longest is not None and longest.total_seconds() <= 120  # type: ignore[union-attr]
    if flows == 2:
        assert table["source_port"].to_list() == [40000, 443], "whoever speaks first after the jump starts the new flow"


def test_a_flow_cut_at_the_active_timeout_keeps_its_source() -> None:
    first = P(0.0, flags=SYN)
    packets = [first, *(first.back(100.0 * i, flags=ACK) for i in range(1, 22))]
    got = metered(packets)
    assert got["end_reason"].to_list() == [2, 4]
    assert got["source_port"].to_list() == [40000, 40000]
    assert got["packets"].to_list() == [1, 0]
    assert got["reverse_packets"].to_list() == [18, 3]
    assert got["initial_tcp_flags"].to_list() == [SYN, None]
    assert got["destination_mac"].to_list() == ["02:00:0a:00:00:02"] * 2


def test_idle_flows_leave_before_the_end() -> None:
    meter = BiflowMeter(MeterSettings())
    first = meter.feed(batch([P(float(i), source_port=1000 + i) for i in range(100)]))
    assert (first.height, meter.live) == (0, 100)
    later = meter.feed(batch([P(1000.0), P(1000.0, source_port=1)]))
    assert later["source_port"].to_list() == list(range(1000, 1100))
    assert set(later["end_reason"]) == {1}
    assert meter.live == 2


def test_the_oldest_flows_are_ended_first_at_the_bound() -> None:
    packets = [P(i / 1000, source_port=i) for i in range(1000)]
    meter = BiflowMeter(MeterSettings(max_flows=100))
    got = pl.concat([meter.feed(batch(packets)), meter.flush()])
    assert got["packets"].sum() == got.height == 1000
    evicted = got.filter(pl.col("end_reason") == 5)
    assert meter.evicted == evicted.height >= 900
    assert got.filter(pl.col("end_reason") == 4)["source_port"].min() > evicted["source_port"].max()


def test_octets_of_frames_and_vlans_in_the_key_are_settings() -> None:
    packets = [P(1, vlan=5), P(2, vlan=6).back(2), P(3)]
    assert metered(packets)["vlan"].to_list() == [5]
    assert metered(packets, vlan_key=True)["vlan"].to_list() == [5, 6, None]
    assert metered(packets, octets="frame").select("octets", "reverse_octets").row(0) == (228, 114)


def test_protocols_without_ports_are_flows_between_addresses() -> None:
    got = metered([P(1, source_port=0, destination_port=0, protocol=1),
                   P(1, B, A, 0, 0, protocol=1), P(1, A, A, 0, 0, protocol=1)])  # fmt: skip
    assert got.select("packets", "reverse_packets").rows() == [(1, 1), (1, 0)]


def test_the_output_may_run_full_in_the_middle_of_a_sweep() -> None:
    packets = [P(0.0, source=i) for i in range(20_000)] + [P(10_000.0)]
    got = metered(packets)
    assert got["packets"].sum() == 20_001
    assert got["source_address"].n_unique() == 20_001


TRAFFIC = st.lists(
    st.builds(
        P,
        st.floats(0, 600, allow_nan=False).map(lambda t: round(t, 6)),
        st.sampled_from([A, B, C]), st.sampled_from([A, B, C]),
        st.sampled_from([0, 53, 443]), st.sampled_from([0, 53, 443]),
        st.integers(0, 255), st.integers(20, 1500), st.sampled_from([1, 6, 17]), st.just(0xFFFF),
    ),
    max_size=60,
)  # fmt: skip


def plainly(packets: Sequence[P], idle: float, active: float) -> list[tuple[object, ...]]:
    """Plain implementation of the meter, with a dictionary; packets are in order of time."""
    live: dict[object, list[object]] = {}
    done = []
    for p in packets:
        here, there = (p.source, p.source_port), (p.destination, p.destination_port)
        key = (p.protocol, *sorted([here, there]))
        flow = live.get(key)
        if flow and p.time - flow[1] > idle:
            done.append(live.pop(key))
            flow = None
        elif flow and p.time - flow[0] > active:
            done.append(flow)
            flow = live[key] = [p.time, p.time, flow[2], 0, 0, 0, 0]
        if not flow:
            flow = live[key] = [p.time, p.time, here, 0, 0, 0, 0]
        flow[1] = p.time
        way = 3 if flow[2] == here else 5
        flow[way] += 1
        flow[way + 1] += p.octets
    return sorted(tuple(flow) for flow in [*done, *live.values()])


@settings(max_examples=200, deadline=None)
@given(packets=TRAFFIC, idle=st.sampled_from([1.0, 30.0, 1e6]), active=st.sampled_from([10.0, 100.0, 1e6]))
def test_the_meter_agrees_with_a_plain_implementation(packets: list[P], idle: float, active: float) -> None:
    packets = sorted(packets)
    got = metered(packets, idle_timeout_s=idle, active_timeout_s=active)
    rows = sorted(
        (
            round(row["start"].timestamp(), 6), round(row["end"].timestamp(), 6),
            (A + int(row["source_address"][-1]) - 1, row["source_port"]),
            row["packets"], row["octets"], row["reverse_packets"], row["reverse_octets"],
        )
        for row in got.iter_rows(named=True)
    )  # fmt: skip
    assert rows == plainly(packets, idle, active)


@settings(max_examples=100, deadline=None)
@given(packets=TRAFFIC, cuts=st.lists(st.integers(0, 60), max_size=4), most=st.sampled_from([1, 3, 1 << 22]))
def test_metering_conserves_packets_and_octets_for_any_batches(packets: list[P], cuts: list[int], most: int) -> None:
    cuts = [min(cut, len(packets)) for cut in cuts]
    options = {"idle_timeout_s": 20.0, "active_timeout_s": 50.0, "max_flows": most}
    got = metered(packets, cuts, **options)  # time may go backwards here
    assert got["packets"].sum() + got["reverse_packets"].sum() == len(packets)
    assert got["octets"].sum() + got["reverse_octets"].sum() == sum(p.octets for p in packets)
    assert got.equals(metered(packets, **options))
