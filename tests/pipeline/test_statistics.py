"""Flow statistics against figures worked out by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from ethogram.pipeline.statistics import STATISTICS, flow_statistics
from ethogram.schema import FLOW, ITEM, ITEM_COUNTS, Windows

T0 = datetime(2024, 3, 4, tzinfo=UTC)


def flow(at_s: float, lasts_s: float, out: int, back: int, remote: str = "9.9.9.9", protocol: int = 6) -> dict:
    start = T0 + timedelta(seconds=at_s)
    return {
        "device": "a", "device_address": "10.0.0.1", "remote": remote, "local_port": 50000, "remote_port": 443,
        "protocol": protocol, "start": start, "end": start + timedelta(seconds=lasts_s), "octets_out": out,
        "octets_in": back, "packets_out": 2, "packets_in": 1, "initiator": "device", "service_port": 443,
        "role": "client", "scope": "wan", "answered": True, "joined": 1,
    }  # fmt: skip


def test_figures_are_those_worked_out_by_hand() -> None:
    flows = FLOW.conform(pl.DataFrame([flow(0, 2, 100, 50), flow(10, 4, 300, 50, "8.8.8.8", 17), flow(7200, 1, 7, 7)]))
    items = pl.DataFrame(
        [(0, "a", T0, T0 + timedelta(hours=1)), (1, "b", T0, T0 + timedelta(hours=1))], schema=ITEM.schema, orient="row"
    )
    result = flow_statistics(flows, Windows(items, ITEM_COUNTS.empty()))
    assert result.columns == ["item", *STATISTICS]
    row = result.row(0, named=True)
    assert row["log_flows"] == pytest.approx(math.log(3))
    assert row["octets_out_mean"] == 200
    assert row["octets_out_std"] == 100
    assert row["octets_out_log_sum"] == pytest.approx(math.log(401))
    assert row["duration_s_max"] == 4
    assert row["gap_s_mean"] == 10
    assert row["packet_octets_out"] == 100
    assert row["tcp_share"] == 0.5
    assert row["remotes"] == 2
    assert row["remote_entropy"] == pytest.approx(1.0)
    assert row["service_port_entropy"] == pytest.approx(0.0)
    assert all(value is None for name, value in result.row(1, named=True).items() if name != "item")
