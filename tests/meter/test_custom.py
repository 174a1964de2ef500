"""The custom meter: edge cases, and equality with a plain twin for any batches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import custom_flow_twin as twin
from custom_flow_twin import MINUTE, P
from ethogram.config import CaptureSettings, CustomFlowSettings
from ethogram.errors import ConfigurationError
from ethogram.io.capture import open_capture
from ethogram.meter.custom import CustomFlowBatch, CustomMeter
from ethogram.representation.vector import expand
from ethogram.schema import CustomFlows, PacketBatch

S = 1_000_000_000


def read(folder: Path, octets: bytes) -> list[PacketBatch]:
    path = folder / "capture.pcap"
    path.write_bytes(octets)
    source = open_capture(path, CaptureSettings(strict=True))
    return list(source.batches())


def cut(batch: PacketBatch, cuts: Sequence[int]) -> list[PacketBatch]:
    edges = [0, *sorted(c % (len(batch) + 1) for c in cuts), len(batch)]
    names = [f.name for f in fields(PacketBatch) if f.name != "data"]
    return [
        PacketBatch(**{name: getattr(batch, name)[a:b] for name in names}, data=batch.data)
        for a, b in itertools.pairwise(edges)
    ]


def metered(folder: Path, packets: list[P], cuts: Sequence[int] = (), /, *, link: int = 1, vlan: int | None = None,
            senders: Sequence[str] = (), **options: object) -> tuple[CustomFlowBatch, CustomMeter]:  # fmt: skip
    meter = CustomMeter(CustomFlowSettings.of(**options), senders)
    parts = []
    for batch in read(folder, twin.capture(packets, link=link, vlan=vlan)):
        for piece in cut(batch, cuts):
            parts += meter.feed(piece)
    parts += meter.flush()
    assert meter.live == 0
    assert meter.read == len(packets) == meter.metered + sum(meter.ignored.values())
    return CustomFlowBatch.concat(parts or [CustomMeter(CustomFlowSettings())._given()]), meter


def seen(records: CustomFlowBatch, reverse: bool = False, private: Sequence[str] | None = None) -> CustomFlows:
    n = len(records)
    prefixes = CustomFlowSettings().private if private is None else private
    return records.from_devices(np.arange(n), np.full(n, reverse), pl.Series(["x"] * n, dtype=pl.String), prefixes)


def address(number: int) -> str:
    return str(ip_address(int(number)))


def test_a_packet_exactly_a_minute_after_the_first_opens_the_next_record(tmp_path: Path) -> None:
    packets = [P(5 * S), P(5 * S + MINUTE - 1), P(5 * S + MINUTE), P(5 * S + 2 * MINUTE - 1)]
    records, _ = metered(tmp_path, packets)
    assert records.records["start"].tolist() == [5 * S, 5 * S + MINUTE]
    assert records.records["packets"].tolist() == [2, 2]
    assert records.packet_offset_us.tolist() == [0, 59_999_999, 0, 59_999_999]


def test_tcp_state_ends_nothing(tmp_path: Path) -> None:
    records, _ = metered(tmp_path, [P(0, flags=2), P(1, flags=0x11), P(2, flags=4), P(3, flags=2)])
    assert records.records["packets"].tolist() == [4]


def test_directions_are_separate_records_or_one(tmp_path: Path) -> None:
    packets = [P(0, payload=b"ask"), P(0).back(S, payload=b"answer"), P(2 * S), P(0).back(MINUTE)]
    one_way, _ = metered(tmp_path, packets)
    assert one_way.records["packets"].tolist() == [2, 2]
    assert [address(a) for a in one_way.records["source"]] == ["192.168.1.7", "198.51.100.9"]
    both, _ = metered(tmp_path, packets, direction="bidirectional")
    assert both.records["packets"].tolist() == [3, 1]
    assert both.packet_way.tolist() == [1, 0, 1, 1]
    flows = seen(both)
    assert flows.packet_out.tolist() == [1, 0, 1, 1]
    assert bytes(flows.payload) == b"askanswer"
    mirrored = seen(both, reverse=True)
    assert mirrored.packet_out.tolist() == [0, 1, 0, 0]
    assert (mirrored.remote_port.tolist(), mirrored.device_port.tolist()) == ([50000, 443], [443, 50000])
    assert [address(a) for a in flows.remote] == ["198.51.100.9", "0.0.0.0"]
    assert [address(a) for a in mirrored.remote] == ["0.0.0.0", "198.51.100.9"]


@pytest.mark.parametrize(
    ("remote", "shown"),
    [("10.1.2.3", "0.0.0.0"), ("172.31.0.1", "0.0.0.0"), ("172.32.0.1", "172.32.0.1"), ("169.254.9.9", "0.0.0.0"),
     ("100.64.0.1", "0.0.0.0"), ("224.0.0.251", "224.0.0.251"), ("255.255.255.255", "255.255.255.255")],
)  # fmt: skip
def test_a_private_remote_address_is_replaced(tmp_path: Path, remote: str, shown: str) -> None:
    records, _ = metered(tmp_path, [P(0, destination=remote)])
    assert [address(a) for a in seen(records).remote] == [shown]
    assert [address(a) for a in seen(records, private=()).remote] == [remote]


def test_what_is_not_metered_is_counted_by_reason(tmp_path: Path) -> None:
    packets = [P(0, version=6), P(1, protocol=1), P(2, protocol=47), P(3), P(4, offset=9, payload=b"z" * 8)]
    _, meter = metered(tmp_path, packets)
    assert meter.ignored == {"ipv6": 1, "other protocol": 2, "sent from outside": 0, "fragment without its first": 1}
    assert meter.metered == 1
    _, meter = metered(tmp_path, packets, protocols=(6, 17, 47))
    assert meter.ignored["other protocol"] == 1


def test_fragments_join_their_first_by_identification(tmp_path: Path) -> None:
    first = P(0, protocol=17, payload=b"a" * 16, more=True, identification=7)
    second = replace(first, time_ns=S, payload=b"b" * 8, offset=3, more=False)
    other = replace(second, identification=8)
    late = replace(second, time_ns=31 * S)
    records, meter = metered(tmp_path, [first, second, other, late])
    assert records.records["packets"].tolist() == [2]
    assert records.packet_octets.tolist() == [44, 28]
    assert bytes(records.payload) == b"a" * 16 + b"b" * 8
    assert meter.ignored["fragment without its first"] == 2
    assert meter.corrected["fragment joined to its first"] == 1
    _, meter = metered(tmp_path, [first, second], fragment_s=0)
    assert meter.ignored["fragment without its first"] == 1


def test_the_oldest_fragment_is_forgotten_first(tmp_path: Path) -> None:
    firsts = [P(i, protocol=17, more=True, identification=i) for i in range(5)]
    rests = [replace(p, time_ns=10 + p.time_ns, offset=2, more=False) for p in firsts]
    records, meter = metered(tmp_path, firsts + rests, max_fragments=3)
    assert meter.ignored["fragment without its first"] == 2
    assert records.records["packets"].tolist() == [8]


def test_sizes_are_those_of_the_wire_and_payload_is_what_was_captured(tmp_path: Path) -> None:
    packets = [P(0, payload=bytes(range(200)), captured=30), P(1, payload=b"abc", padding=b"\xee" * 6)]
    records, meter = metered(tmp_path, packets)
    assert records.packet_octets.tolist() == [240, 43]
    assert records.records["octets"].tolist() == [283]
    assert records.payload_octets.tolist() == [30, 3]
    assert bytes(records.payload) == bytes(range(30)) + b"abc"
    assert meter.corrected["payload not captured whole"] == 1


@pytest.mark.parametrize(("link", "vlan"), [(1, None), (1, 5), (113, None), (276, None)])
def test_link_types_make_no_difference(tmp_path: Path, link: int, vlan: int | None) -> None:
    packets = [P(0, payload=b"one"), P(S, payload=b"two", protocol=17), P(2 * S).back(3 * S)]
    records, _ = metered(tmp_path, packets, link=link, vlan=vlan)
    expected = [twin.vector(r, CustomFlowSettings()) for r in twin.meter(packets, CustomFlowSettings())[0]]
    np.testing.assert_array_equal(expand(seen(records)), np.array(expected, np.float32))


def test_payload_is_cut_to_3000_symbols_with_its_marks(tmp_path: Path) -> None:
    packets = [P(i, payload=bytes([i]) * 1400) for i in range(4)]
    records, _ = metered(tmp_path, packets)
    assert records.payload_octets.tolist() == [1000, 1000, 995, 0]
    x = expand(seen(records), "payload")[0]
    codes = np.round(x * 258).astype(int)
    assert codes.tolist() == [1, *[3] * 1000, 2, 1, *[4] * 1000, 2, 1, *[5] * 995]


@pytest.mark.parametrize(("octets", "last"), [(993, [2, 1]), (994, [3, 2]), (995, [3, 3])])
def test_a_cut_may_fall_on_a_mark(tmp_path: Path, octets: int, last: list[int]) -> None:
    packets = [P(i, payload=bytes(size)) for i, size in enumerate([1000, 1000, octets, 5])]
    records, _ = metered(tmp_path, packets)
    codes = np.round(expand(seen(records), "payload")[0] * 258).astype(int)
    assert codes[2998:].tolist() == last
    [record], _ = twin.meter(packets, CustomFlowSettings())
    assert codes.tolist() == twin.symbols(record, CustomFlowSettings())


def test_reordered_packets_find_their_record_and_a_leap_back_ends_all_records(tmp_path: Path) -> None:
    late = [P(10 * S), P(8 * S), P(4 * S, source_port=1), P(1000 * S), P(999 * S), P(900 * S)]
    records, meter = metered(tmp_path, late)
    assert records.records["start"].tolist() == [10 * S, 4 * S, 1000 * S, 900 * S]
    assert records.records["packets"].tolist() == [2, 1, 2, 1]
    assert records.packet_offset_us.tolist() == [0] * 6
    assert meter.corrected["time went back"] == 1


def test_the_oldest_records_are_ended_first_at_the_bound(tmp_path: Path) -> None:
    packets = [P(i, source_port=i % 50) for i in range(200)]
    records, meter = metered(tmp_path, packets, max_flows=10)
    assert records.records["packets"].sum() == 200
    assert meter.corrected["record ended early for lack of room"] == 190
    assert records.records["start"].tolist() == list(range(200))


def test_payload_of_live_records_is_bounded(tmp_path: Path) -> None:
    packets = [P(i, source_port=i, payload=bytes([i % 256]) * 900) for i in range(300)]
    records, meter = metered(tmp_path, packets, max_octets=1 << 14)
    assert records.records["packets"].tolist() == [1] * 300
    assert bytes(records.payload) == b"".join(p.payload for p in packets)
    assert 250 < meter.corrected["record ended early for lack of room"] < 300


def test_many_records_live_at_once(tmp_path: Path) -> None:
    packets = [P(i, source_port=i, payload=b"p" * 300) for i in range(3_000)]
    packets += [replace(p, time_ns=p.time_ns + S) for p in packets]
    records, meter = metered(tmp_path, packets)
    assert records.records["packets"].tolist() == [2] * 3_000
    assert records.records["source_port"].tolist() == list(range(3_000))
    assert bytes(records.payload) == b"p" * (600 * 3_000)
    assert meter.corrected["record ended early for lack of room"] == 0


def test_invalid_settings_raise_one_line_errors() -> None:
    for wrong in ({"private": ("x",)}, {"protocols": (300,)}, {"packets": 11}, {"direction": "in"}):
        with pytest.raises(ConfigurationError, match="setting"):
            CustomMeter(CustomFlowSettings.of(**wrong))


SIZES = st.sampled_from([0, 0, 1, 5, 100, 127, 128, 129, 256, 996, 999, 1000, 1001, 1400])


@st.composite
def traffic(draw: st.DrawFn) -> list[P]:
    count = draw(st.integers(1, 40))
    time, packets = 1000 * S, []
    step = st.sampled_from([0, 1, 999, S, 5 * S, 20 * S, MINUTE - 1, MINUTE, 66 * S, -1, -2 * S, -7 * S, -61 * S])
    ends = st.sampled_from(["192.168.1.7", "192.168.1.8", "198.51.100.9"])
    port = st.sampled_from([53, 443])
    for _ in range(count):
        time += draw(step)
        size = draw(SIZES)
        first = draw(st.integers(0, 255))
        kind = draw(st.sampled_from(["plain"] * 6 + ["first", "later", "six", "cut", "padded"]))
        packet = P(
            time, draw(ends), draw(ends), draw(port), draw(port), draw(st.sampled_from([6, 6, 17, 17, 1])),
            bytes((first + 7 * i) % 256 for i in range(size)), identification=draw(st.integers(1, 3)),
        )  # fmt: skip
        match kind:
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
    traffic(), st.lists(st.integers(0, 50), max_size=4), st.sampled_from(["outgoing", "bidirectional"]),
    st.sampled_from([1, 2, 3, 100]), st.sampled_from([1, 2, 100]), st.sampled_from([(10, 1000), (3, 7), (1, 0)]),
    st.sampled_from([(), (), ("192.168.1.8/32", "198.51.0.0/16")]),
)  # fmt: skip
def test_the_plain_twin_gives_the_same_records(
    tmp_path: Path, packets: list[P], cuts: list[int], direction: str, flows: int, fragments: int,
    keep: tuple[int, int], senders: tuple[str, ...],
) -> None:  # fmt: skip
    options = {"direction": direction, "max_flows": flows, "max_fragments": fragments, "packets": keep[0],
               "packet_octets": keep[1]}  # fmt: skip
    changed = CustomFlowSettings.of(**options)
    records, meter = metered(tmp_path, packets, cuts, senders=senders, **options)
    expected, counts = twin.meter(packets, changed, senders)
    assert meter.metered == counts.pop("metered", 0)
    assert {reason: count for reason, count in meter.ignored.items() if count} == dict(counts)
    for reverse in (False, True):
        numbers = expand(seen(records, reverse=reverse))
        plain = np.array([twin.vector(r, changed, reverse=reverse) for r in expected], np.float32).reshape(-1, 3040)
        np.testing.assert_allclose(numbers, plain, rtol=1e-6, atol=0)
