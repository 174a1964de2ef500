"""Custom flows of captures of every kind, broken ones too: sums hold, numbers lie in [0, 1], errors are ours."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ethogram.config import CaptureSettings, CustomFlowSettings, FlowSettings, PacketFlowSettings
from ethogram.errors import InputError
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.vectors import collect_pairs, collect_vectors, read_vectors
from ethogram.representation.vector import expand
from ethogram.schema import PacketFlows
from ethogram.third_party_encoders.bursts import bursts_of
from ethogram.third_party_encoders.nprint import bits_of

pytestmark = [pytest.mark.wire, pytest.mark.filterwarnings("ignore::ethogram.errors.EthogramWarning")]

EVERY = 6  # captures; all of them take half a minute
MAX_OCTETS = 1_000_000
NUMBERS = ("start_us", "remote", "remote_port", "device_port", "packets", "first_packet", "payload_octets", "payload")


def small_captures(wire: Path) -> list[Path]:
    kinds = {".pcap", ".pcapng", ".cap"}
    return [p for p in sorted(wire.rglob("*")) if p.suffix in kinds and p.stat().st_size < MAX_OCTETS]


def test_captures_of_every_kind(wire: Path) -> None:
    settings = CustomFlowSettings(direction="bidirectional", max_flows=100)
    everything, into = FlowSettings(local=("0.0.0.0/0",)), CaptureSettings(tunnels=True)
    happened: Counter[str] = Counter()
    for path in small_captures(wire)[::EVERY]:
        try:
            run = read_vectors([path], ReadOptions(flow=everything), settings=settings, capture=into)
            flows = collect_vectors(run)
        except InputError as error:
            assert path.name in str(error)
            happened["refused"] += 1
            continue
        x = expand(flows)
        assert ((x >= 0) & (x <= 1)).all()
        stages = run.stages
        assert stages["meter"].read == sum(report.accounting.used for report in run.reports)
        assert stages["device"].read == stages["meter"].used
        assert int(flows.packets.sum()) >= stages["device"].used
        happened["read"] += 1
        happened.update(stages["meter"].corrected)
        happened.update(stages["meter"].ignored)
    assert min(happened["read"], happened["refused"]) > 50
    assert min(happened["ipv6"], happened["other protocol"], happened["payload not captured whole"]) > 0


def test_packets_beside_flows_of_every_kind(wire: Path) -> None:
    settings, bounds = CustomFlowSettings(max_flows=100, max_fragments=8), PacketFlowSettings(max_octets=1 << 14)
    everything = FlowSettings(local=("0.0.0.0/0",))
    happened: Counter[str] = Counter()
    for path in small_captures(wire)[3::EVERY]:
        options = ReadOptions(flow=everything)
        try:
            run = read_vectors([path], options, settings=settings, packets=bounds)
            flows, packets = collect_pairs(run)
        except InputError:
            happened["refused"] += 1
            continue
        packets.check_beside(flows)
        alone = collect_vectors(read_vectors([path], options, settings=settings))
        assert all(np.array_equal(getattr(alone, name), getattr(flows, name)) for name in NUMBERS)
        assert PacketFlows.of_arrow(packets.arrow()).data.size == packets.data.size
        bursts, bits = bursts_of(packets), bits_of(packets, np.arange(len(packets)))
        assert np.isin(np.unique(bits), (-1, 0, 1)).all() and 0 <= bursts.tokens.min() <= bursts.tokens.max() <= 65_537
        stage = run.stages["packets of both directions"]
        stage.check()
        happened["read"] += 1
        happened.update(stage.ignored + stage.dropped)
        happened["cut"] += int((packets.ip_octets + packets.transport_octets < 28).sum())
    assert min(happened["read"], happened["refused"]) > 40
    assert min(happened["no room"], happened["received before the device sent"], happened["cut"]) > 0
