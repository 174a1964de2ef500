"""Embedding during one pass over captures, and the bounded sample of embedded flows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from custom_flow_twin import P, capture
from ethogram.config import FlowSettings
from ethogram.errors import EthogramWarning
from ethogram.flow.devices import LocalDevices
from ethogram.pipeline import embed_stream
from ethogram.pipeline.assign_devices import resolve_ends
from ethogram.pipeline.embed_stream import EmbeddingListener, sampling_keys
from ethogram.pipeline.inputs import read_windows
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.vectors import collect_vectors, read_vectors
from ethogram.schema import TIME, CustomFlows, TimeSpan

HOUR, DAY = 3600, 86_400
S = 1_000_000_000
FIRST = 1_556_668_800  # 2019-05-01


@dataclass
class Clock:
    """An encoder that returns the start of a flow, and counts the flows it embeds."""

    digest: str = "clock"
    asked: int = 0

    def __post_init__(self) -> None:
        self.header = SimpleNamespace(d=2, data={"direction": "outgoing"})

    def embed(self, flows: CustomFlows) -> NDArray[np.float32]:
        self.asked += len(flows)
        seconds = flows.start_us // 1_000_000 - FIRST
        return np.stack([seconds, flows.device_port], axis=1).astype(np.float32)


@pytest.fixture
def days(tmp_path: Path) -> list[Path]:
    """Two days of two devices: 80 and 20 flows a day."""
    paths = []
    for day in range(2):
        packets = []
        for device, count in ((7, 80), (8, 20)):
            for k in range(count):
                at = (FIRST + day * DAY + k * 600 + device) * S
                sent = P(
                    at,
                    f"192.168.1.{device}",
                    source_port=20_000 + k,
                    payload=b"x",
                    source_mac=f"02:00:00:00:00:0{device}",
                )
                packets += [sent, sent.back(at + S // 10)]
        paths.append(tmp_path / f"day-{day}.pcap")
        paths[-1].write_bytes(capture(sorted(packets, key=lambda packet: packet.time_ns)))
    return paths


def heard(paths: list[Path], encoder: Clock, **options: object) -> tuple[EmbeddingListener, object]:
    feed = EmbeddingListener(encoder, **options)  # type: ignore[arg-type]
    return feed, read_windows(paths, listener=feed)


def test_embedding_while_reading_equals_two_passes(days: list[Path]) -> None:
    feed, reading = heard(days, Clock(), stretch_s=DAY, most=1000)
    alone = read_windows(days)
    assert reading.seen.windows.counts.equals(alone.seen.windows.counts)  # type: ignore[attr-defined]
    assert reading.log == alone.log  # type: ignore[attr-defined]
    flows = collect_vectors(read_vectors(days))
    embedded = feed.embedded()
    assert (embedded.flows, feed.captures, embedded.encoder) == (200, 2, "clock")
    assert sorted(zip(embedded.device, embedded.at.tolist(), strict=True)) == sorted(
        zip(flows.device, flows.start_us.tolist(), strict=True)
    )
    windows = alone.seen.windows
    assert embedded.of(windows, 1000).flows.tolist() == [80, 80, 20, 20]
    starts = windows.items["start"].dt.epoch("s").to_numpy()
    for item, start in enumerate(starts):
        seconds = embedded.of(windows, 1000).z[embedded.of(windows, 1000).owner == item][:, 0] + FIRST
        assert ((seconds >= start) & (seconds < start + DAY)).all()


def test_the_sample_is_uniform_bounded_and_order_independent(days: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = heard(days, Clock(), stretch_s=DAY)[0].embedded()
    windows = read_windows(days).seen.windows
    flows = collect_vectors(read_vectors(days))
    drawn = sampling_keys(flows)
    names = np.array(flows.device.to_list())
    assert len(np.unique(drawn)) == 200
    want = {}
    for item, device, start, end in windows.items.select("item", "device", "start", "end").iter_rows():
        span = [int(time.timestamp() * 1e6) for time in (start, end)]
        mine = np.flatnonzero((names == device) & (flows.start_us >= span[0]) & (flows.start_us < span[1]))
        want[item] = sorted(flows.start_us[mine[np.argsort(drawn[mine])[:10]]].tolist())
    monkeypatch.setattr(embed_stream, "PENDING", 7)
    for order in (days, days[::-1]):
        encoder = Clock()
        feed, _ = heard(order, encoder, stretch_s=DAY, most=10)
        embedded = feed.embedded()
        assert feed.kept == 40
        assert embedded.flows == 200
        items = embedded.of(windows, 10)
        assert items.flows.tolist() == [10, 10, 10, 10]
        for item, times in want.items():
            seconds = items.z[items.owner == item][:, 0].astype(int) + FIRST
            assert sorted((seconds * 1_000_000).tolist()) == times
        assert (whole.of(windows, 10).z == items.z).all()
    first = heard(days, Clock(), stretch_s=None, most=10)[0].embedded()
    assert len(first.at) == 20


def test_flows_beyond_the_quota_are_not_embedded(days: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_stream, "PENDING", 1)
    encoder = Clock()
    feed = EmbeddingListener(encoder, stretch_s=None, most=5)  # type: ignore[arg-type]
    feed._stream._block = 10
    read_windows(days, listener=feed)
    embedded = feed.embedded()
    assert len(embedded.at) == 10
    assert embedded.flows == 200
    assert 10 <= encoder.asked < 120


def test_flows_outside_the_time_span_are_skipped(days: list[Path]) -> None:
    begin, end = FIRST + 6 * HOUR, FIRST + 12 * HOUR
    span = TimeSpan(datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC))
    embedded = heard(days, Clock(), span=span)[0].embedded()
    assert embedded.flows == 36
    assert (embedded.at >= begin * 1e6).all()
    assert (embedded.at < end * 1e6).all()


def test_damage_ends_a_capture_for_both(days: list[Path]) -> None:
    octets = days[0].read_bytes()
    days[0].write_bytes(octets[: len(octets) // 2])
    with pytest.warns(EthogramWarning, match="truncated"):
        feed, reading = heard(days, Clock())
    assert len(reading.log.errors) == 1  # type: ignore[attr-defined]
    assert feed.captures == 2
    assert 100 < feed.embedded().flows < 200


def test_flow_records_yield_no_packets(days: list[Path], tmp_path: Path) -> None:
    from ethogram.pipeline.flows import read_flows, write_flows

    write_flows(read_flows(days), tmp_path / "flows.parquet")
    feed, reading = heard([tmp_path / "flows.parquet"], Clock())
    assert len(reading.seen.windows) == 4  # type: ignore[attr-defined]
    assert (feed.captures, feed.embedded().flows) == (0, 0)


REPEATER = "02:00:00:00:00:fe"


def capture_with_repeater(path: Path) -> list[str]:
    """A repeater whose MAC three hosts use at once: by TCP one after the other, by ICMP at the same time."""
    hosts = [f"192.168.1.{number}" for number in (21, 22, 23)]
    packets = []
    for minute in range(60):
        at = (FIRST + minute * 60) * S
        packets += [P(at, host, "192.168.1.1", protocol=1, source_mac=REPEATER) for host in hosts]
        host = hosts[minute // 20]
        sent = P(at + S, host, source_port=30_000 + minute, payload=b"x", source_mac=REPEATER)
        packets += [sent, sent.back(at + 2 * S)]
    path.write_bytes(capture(packets))
    return hosts


@pytest.mark.parametrize("block_flows", [1 << 20, 16])
def test_embeddings_and_flows_name_devices_alike_behind_a_repeater(tmp_path: Path, block_flows: int) -> None:
    # Custom flows have no ICMP: by themselves, they show one address after the other, as of a host with leases.
    hosts = capture_with_repeater(tmp_path / "repeater.pcap")
    flow = FlowSettings.of(block_flows=block_flows)
    feed = EmbeddingListener(Clock(), flow=flow)  # type: ignore[arg-type]
    windows = read_windows([tmp_path / "repeater.pcap"], ReadOptions(flow=flow), listener=feed).seen.windows
    embedded = feed.embedded()
    if block_flows > 100:  # smaller blocks know of the repeater only later, flow table and embeddings alike
        assert sorted(set(embedded.device)) == hosts
    assert set(embedded.device) <= set(windows.items["device"])
    assert int(embedded.of(windows).flows.sum()) == embedded.flows == 60
    alone = collect_vectors(read_vectors([tmp_path / "repeater.pcap"]))
    assert set(alone.device) == {REPEATER}


def test_quotas_of_addresses_merge_to_the_quota_of_their_device(tmp_path: Path) -> None:
    packets = []
    for k in range(40):  # one host, which changes its address half-way
        sent = P((FIRST + k * 600) * S, f"192.168.1.{30 + k // 20}", source_port=20_000 + k, payload=b"x")
        packets += [sent, sent.back(sent.time_ns + S)]
    (tmp_path / "leases.pcap").write_bytes(capture(packets))
    embedded = heard([tmp_path / "leases.pcap"], Clock(), most=10)[0].embedded()
    flows = collect_vectors(read_vectors([tmp_path / "leases.pcap"]))
    assert set(embedded.device) == {"02:00:00:00:00:07"}
    assert sorted(embedded.draw.tolist()) == sorted(sampling_keys(flows).tolist())[:10]


def test_flows_between_two_addresses_of_a_device_count_once() -> None:
    namer = LocalDevices()
    start = pl.Series([FIRST * 1_000_000] * 2).cast(TIME)
    namer.learn(pl.DataFrame({
        "start": start, "address": ["10.0.0.2", "10.0.0.3"], "mac": ["02:00:00:00:00:07"] * 2, "place": [1, 1],
    }))  # fmt: skip
    ends = pl.Series(["10.0.0.2 02:00:00:00:00:07", "10.0.0.3  10.0.0.2 02:00:00:00:00:07", "10.0.0.9   "])
    names = resolve_ends(ends, np.zeros(3, np.int64), namer).to_list()
    assert names == ["02:00:00:00:00:07", None, "10.0.0.9"]
