"""Custom flows of captures of every kind, broken ones too: sums hold, numbers lie in [0, 1], errors are ours."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ethogram.config import CaptureSettings, CustomFlowSettings, FlowSettings
from ethogram.errors import InputError
from ethogram.pipeline.vectors import collect_vectors, read_vectors
from ethogram.representation.vector import expand

pytestmark = [pytest.mark.wire, pytest.mark.filterwarnings("ignore::ethogram.errors.EthogramWarning")]

EVERY = 6  # captures; all of them take half a minute
MAX_OCTETS = 1_000_000


def test_captures_of_every_kind(wire: Path) -> None:
    kinds = {".pcap", ".pcapng", ".cap"}
    files = [p for p in sorted(wire.rglob("*")) if p.suffix in kinds and p.stat().st_size < MAX_OCTETS]
    settings = CustomFlowSettings(direction="bidirectional", max_flows=100)
    everything, into = FlowSettings(local=("0.0.0.0/0",)), CaptureSettings(tunnels=True)
    happened: Counter[str] = Counter()
    for path in files[::EVERY]:
        try:
            run = read_vectors([path], settings=settings, flow=everything, capture=into)
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
