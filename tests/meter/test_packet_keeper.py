"""Packets beside custom flows: edge cases, equality with a plain twin, and unchanged custom flows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import custom_flow_twin as twin
from custom_flow_twin import MINUTE, Kept, P
from ethogram.config import CaptureSettings, CustomFlowSettings, PacketFlowSettings
from ethogram.errors import ConfigurationError
from ethogram.io.capture import open_capture
from ethogram.meter.custom import CustomFlowBatch, CustomMeter
from ethogram.schema import PacketBatch, PacketFlows

S = 1_000_000_000
HOME = ("192.168.0.0/16",)


def read(folder: Path, octets: bytes) -> list[PacketBatch]:
    path = folder / "capture.pcap"
    path.write_bytes(octets)
    return list(open_capture(path, CaptureSettings(strict=True)).batches())


def cut(batch: PacketBatch, cuts: Sequence[int]) -> list[PacketBatch]:
    edges = [0, *sorted(c % (len(batch) + 1) for c in cuts), len(batch)]
    names = [f.name for f in fields(PacketBatch) if f.name != "data"]
    return [
        PacketBatch(**{name: getattr(batch, name)[a:b] for name in names}, data=batch.data)
        for a, b in itertools.pairwise(edges)
    ]


def metered(
    batches: list[PacketBatch], senders: Sequence[str] = HOME, kept: PacketFlowSettings | None = None, **options: object
) -> tuple[CustomFlowBatch, CustomMeter]:
    meter = CustomMeter(CustomFlowSettings.of(**options), senders, kept or PacketFlowSettings())
    parts = [part for batch in batches for part in meter.feed(batch)] + meter.flush()
    meter.keeper.accounting.check()
    none = CustomFlowBatch(np.zeros(0, np.void), *(np.zeros(0),) * 7, packets=PacketFlows.empty())  # type: ignore[arg-type]
    return CustomFlowBatch.concat(parts) if parts else none, meter


def entries(flows: PacketFlows | None) -> list[list[Kept]]:
    """Packets kept, in the form of the twin."""
    assert flows is not None
    collected = []
    for i in range(len(flows)):
        collected.append([])
        for j in range(flows.first_packet[i], flows.first_packet[i + 1]):
            octets = bytes(flows.data[flows.first_octet[j] : flows.first_octet[j + 1]])
            ip, transport = int(flows.ip_octets[j]), int(flows.ip_octets[j]) + int(flows.transport_octets[j])
            assert len(octets) == transport + flows.payload_octets[j]
            collected[-1].append(
                Kept(
                    int(flows.packet_offset_us[j]), bool(flows.packet_out[j]), int(flows.packet_octets[j]), octets[:ip],
                    octets[ip:transport], octets[transport:],
                )
            )  # fmt: skip
    return collected


def of(folder: Path, packets: list[P], **options: object) -> tuple[list[list[Kept]], dict[str, int]]:
    records, meter = metered(read(folder, twin.capture(packets)), **options)  # type: ignore[arg-type]
    counted = meter.keeper.accounting
    assert counted.used == sum(map(len, entries(records.packets)))
    return entries(records.packets), dict(counted.ignored + counted.dropped)


def test_answers_are_kept_beside_sent_packets(tmp_path: Path) -> None:
    ask = P(0, payload=b"ask")
    flows, counted = of(tmp_path, [ask, ask.back(S, payload=b"answer"), replace(ask, time_ns=2 * S, payload=b"")])
    assert [(k.offset_us, k.out, k.payload) for k in flows[0]] == [
        (0, True, b"ask"), (1_000_000, False, b"answer"), (2_000_000, True, b"")
    ]  # fmt: skip
    assert [k.internet + k.transport for k in flows[0]][1] == ask.back(S, payload=b"answer").internet()[:40]
    assert counted == {}


def test_answers_before_and_after_the_minute_are_counted(tmp_path: Path) -> None:
    ask = P(S)
    packets = [ask.back(0), ask, ask.back(S + MINUTE - 1), ask.back(S + MINUTE), replace(ask, time_ns=S + MINUTE + 1)]
    flows, counted = of(tmp_path, packets)
    assert [[(k.offset_us, k.out) for k in flow] for flow in flows] == [[(0, True), (59_999_999, False)], [(0, True)]]
    assert counted == {"received before the device sent": 2}


def test_packets_between_two_devices_are_kept_for_both(tmp_path: Path) -> None:
    ask = P(0, destination="192.168.1.8")
    flows, counted = of(tmp_path, [ask, ask.back(1000), replace(ask, time_ns=2000)])
    assert [[(k.offset_us, k.out) for k in flow] for flow in flows] == [
        [(0, True), (1, False), (2, True)], [(0, True), (1, False)]
    ]  # fmt: skip
    assert counted == {"received before the device sent": 1}


def test_a_device_that_talks_to_itself_does_not_answer_itself(tmp_path: Path) -> None:
    flows, counted = of(tmp_path, [P(0, destination="192.168.1.7", destination_port=50000), P(1)])
    assert [len(flow) for flow in flows] == [1, 1]
    assert counted == {}


def test_the_first_packets_are_kept_and_payload_of_fewer(tmp_path: Path) -> None:
    packets = [P(i, payload=bytes([i]) * 300) for i in range(80)]
    [flow], counted = of(tmp_path, packets)
    assert [k.payload for k in flow] == [bytes([i]) * (240 if i < 5 else 12) for i in range(72)]
    assert [k.octets for k in flow] == [340] * 72
    assert counted == {"beyond the packets kept of a flow": 8}
    [flow], counted = of(
        tmp_path, packets, kept=PacketFlowSettings(packets=3, payload_packets=1, payload_octets=7, later_octets=2)
    )
    assert [k.payload for k in flow] == [bytes(7), b"\x01" * 2, b"\x02" * 2]
    assert counted == {"beyond the packets kept of a flow": 77}


def test_later_fragments_have_no_transport_header(tmp_path: Path) -> None:
    ask = P(0, protocol=17, payload=b"?")
    first = ask.back(S, payload=b"a" * 16, more=True, identification=7)
    later = replace(first, time_ns=S + 1000, payload=b"b" * 8, offset=3, more=False)
    lost = replace(later, identification=8)
    sent = replace(ask, time_ns=2 * S, identification=9, more=True, payload=b"c" * 16)
    [flow], counted = of(tmp_path, [ask, first, later, lost, sent, replace(sent, offset=3, more=False)])
    assert [(len(k.transport), k.payload, k.out) for k in flow] == [
        (8, b"?", True), (8, b"a" * 16, False), (0, b"b" * 8, False), (8, b"c" * 16, True), (0, b"c" * 16, True)
    ]  # fmt: skip
    assert counted == {"fragment without its first": 1}


@pytest.mark.parametrize("there", [20 + 4, 20 + 13, 20 + 20, 20 + 23])
def test_captured_octets_of_truncated_packets_are_kept(tmp_path: Path, there: int) -> None:
    frame = P(0, payload=b"payload").frame()
    octets = twin.capture([]) + np.array([0, 0, 14 + there, len(frame)], "<u4").tobytes() + frame[: 14 + there]
    records, _ = metered(read(tmp_path, octets))
    [[stored]] = entries(records.packets)
    assert (stored.internet + stored.transport + stored.payload) == frame[14 : 14 + there]
    assert (len(stored.internet), len(stored.transport), stored.octets) == (20, min(there - 20, 20), 47)


def test_ipv6_and_other_protocols_are_counted_as_before(tmp_path: Path) -> None:
    packets = [P(0, version=6), P(1, protocol=1), P(2), P(2).back(3, version=6)]
    records, meter = metered(read(tmp_path, twin.capture(packets)))
    assert [len(flow) for flow in entries(records.packets)] == [1]
    assert meter.ignored == {"ipv6": 2, "other protocol": 1, "sent from outside": 0, "fragment without its first": 0}
    assert meter.keeper.accounting.read == 1


def test_octets_of_live_flows_are_bounded_and_free_again(tmp_path: Path) -> None:
    packets = [P(i, source_port=i % 1000, payload=bytes(240)) for i in range(2000)]
    later = [replace(p, time_ns=p.time_ns + 2 * MINUTE) for p in packets[:10]]
    flows, counted = of(tmp_path, packets + later, kept=PacketFlowSettings(max_octets=1 << 14))
    # A packet takes three blocks of 128, two take five: 42 flows fit, and one more packet.
    assert counted == {"no room": 2000 - 43}
    assert [len(flow) for flow in flows] == [2] + [1] * 41 + [0] * 958 + [1] * 10


def test_many_flows_live_at_once(tmp_path: Path) -> None:
    packets = [P(i, source_port=i, payload=i.to_bytes(2)) for i in range(5_000)]
    packets += [p.back(p.time_ns + S) for p in packets]
    flows, counted = of(tmp_path, packets)
    assert counted == {}
    assert [[k.payload for k in flow] for flow in flows] == [[i.to_bytes(2), b""] for i in range(5_000)]


def test_packets_are_kept_only_beside_outgoing_flows() -> None:
    with pytest.raises(ConfigurationError, match="direction"):
        CustomMeter(CustomFlowSettings(direction="bidirectional"), (), PacketFlowSettings())


@st.composite
def traffic(draw: st.DrawFn) -> list[P]:
    time, packets = 1000 * S, []
    step = st.sampled_from([0, 1, 999, S, 20 * S, MINUTE - 1, MINUTE, 66 * S, -1, -2 * S, -7 * S, -61 * S])
    ends = st.sampled_from(["192.168.1.7", "192.168.1.8", "198.51.100.9"])
    port = st.sampled_from([53, 443])
    for _ in range(draw(st.integers(1, 40))):
        time += draw(step)
        size, first = draw(st.sampled_from([0, 0, 1, 55, 127, 240, 241, 1400])), draw(st.integers(0, 255))
        packet = P(
            time, draw(ends), draw(ends), draw(port), draw(port), draw(st.sampled_from([6, 6, 17, 17, 1])),
            bytes((first + 7 * i) % 256 for i in range(size)), identification=draw(st.integers(1, 3)),
        )  # fmt: skip
        match draw(st.sampled_from(["plain"] * 6 + ["first", "later", "six", "cut", "padded"])):
            case "first":
                packet = replace(packet, more=True)
            case "later":
                packet = replace(packet, offset=draw(st.integers(1, 8191)), more=draw(st.booleans()))
            case "six":
                packet = replace(packet, version=6)
            case "cut":
                packet = replace(packet, captured=draw(st.integers(0, size)))
            case "padded":
                packet = replace(packet, padding=b"\xee" * draw(st.integers(1, 9)))
        packets.append(packet)
    return packets


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    traffic(), st.lists(st.integers(0, 50), max_size=4), st.sampled_from([1, 2, 3, 100]), st.sampled_from([1, 2, 100]),
    st.sampled_from(
        [(72, 5, 240, 12, 1 << 20), (72, 5, 240, 12, 1 << 12), (3, 1, 1400, 0, 1 << 12), (2, 1, 0, 1400, 1 << 20)]
    ),
    st.sampled_from([(), HOME, ("192.168.1.8/32", "198.51.0.0/16")]),
)  # fmt: skip
def test_the_plain_twin_keeps_the_same(
    tmp_path: Path, packets: list[P], cuts: list[int], flows: int, fragments: int, kept: tuple[int, ...],
    senders: tuple[str, ...],
) -> None:  # fmt: skip
    bounds = PacketFlowSettings.of(
        **dict(zip(("packets", "payload_packets", "payload_octets", "later_octets", "max_octets"), kept, strict=True))
    )
    options = {"max_flows": flows, "max_fragments": fragments}
    batches = [piece for batch in read(tmp_path, twin.capture(packets)) for piece in cut(batch, cuts)]
    records, meter = metered(batches, senders, bounds, **options)
    expected, counts = twin.meter(packets, CustomFlowSettings.of(**options), senders, bounds)
    assert entries(records.packets) == [record.beside for record in expected]
    counted = meter.keeper.accounting
    theirs = {reason.removeprefix("beside: "): n for reason, n in counts.items() if reason.startswith("beside: ")}
    assert {"kept": counted.used} | counted.ignored + counted.dropped == {"kept": 0} | theirs
    without = CustomMeter(CustomFlowSettings.of(**options), senders)
    alone = [part for batch in batches for part in without.feed(batch)] + without.flush()
    assert without.ignored == meter.ignored and without.corrected == meter.corrected
    assert bool(alone) == bool(len(records))
    for name, value in vars(CustomFlowBatch.concat(alone)).items() if alone else ():
        if name == "packets":
            assert value is None
        elif name == "records":
            for field in ("start", "octets", "packets", "source", "destination", "source_port", "kept", "evicted"):
                np.testing.assert_array_equal(value[field], records.records[field])
        else:
            np.testing.assert_array_equal(value, getattr(records, name), name)
