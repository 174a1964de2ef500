"""Bounds of counts: independence of order, accounting of every flow, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ethogram.config import BoundSettings, ExporterSettings
from ethogram.fingerprint import gather
from ethogram.fingerprint.bound import bound_keys, drop_devices, level, sizes_of
from ethogram.fingerprint.count import sort_counts
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.gather import Gathering
from ethogram.schema import DYNAMIC_FROM, Accounting

from .flows import count_table, flow_table, hours

ROOT = Path(__file__).parents[2]
TIGHT = BoundSettings(device_counts=2)
arrivals = st.lists(
    st.builds(
        lambda device, hour, port, name, protocol: {
            "device": device, "start": hours(hour), "end": hours(hour), "service_port": port, "remote_domain": name,
            "protocol": protocol,
        },
        st.sampled_from("ab"), st.integers(0, 2), st.sampled_from([53, 443, 8883, DYNAMIC_FROM, 60000]),
        st.sampled_from([None, *(f"{c}.example" for c in "pqrstu")]), st.sampled_from([6, 17, 1]),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


def counted(rows: list[dict[str, Any]], bounds: BoundSettings, step: int, least: int = 1) -> Gathering:
    gathering = Gathering(least=least, bounds=bounds)
    for start in range(0, len(rows), step):
        gathering.add(flow_table(rows[start : start + step]))
    return gathering


@settings(max_examples=60, deadline=None)
@given(arrivals, st.integers(1, 40), st.integers(0, 30), st.data())
def test_order_and_batches_do_not_matter_where_the_bound_of_a_device_is_reached(
    rows: list[dict[str, Any]], step: int, least: int, data: st.DataObject
) -> None:
    at_once = counted(rows, TIGHT, len(rows), least=1000)
    mixed = [rows[i] for i in data.draw(st.permutations(range(len(rows))))]
    in_parts = counted(mixed, TIGHT, step, least)
    counts = at_once.counts()
    assert_frame_equal(in_parts.counts(), counts)
    assert in_parts.accounting.as_dict() == at_once.accounting.as_dict()
    assert at_once.accounting.balanced
    assert counts["flows"].sum() == at_once.accounting.used
    sizes = sizes_of(counts)
    assert sizes.filter((pl.col("named") > 2) | (pl.col("all") - pl.col("named") > 2)).is_empty()


@settings(max_examples=40, deadline=None)
@given(arrivals, st.integers(1, 40))
def test_streamed_is_gathered_where_the_bound_of_a_device_is_reached(rows: list[dict[str, Any]], step: int) -> None:
    exporter = FingerprintExporter(ExporterSettings(min_flows=1), bounds=TIGHT)
    for start in range(0, len(rows), step):
        exporter.feed(flow_table(rows[start : start + step]))
        _ = exporter.pending  # as when the state is saved
    gathering = counted(rows, TIGHT, len(rows))
    whole = FingerprintExporter(ExporterSettings(min_flows=1), max_devices=None)
    table = whole.whole(gathering.blocks(), gathering.last() or 0)
    assert_frame_equal(exporter.finish(), table)
    assert exporter.accounting.as_dict() == gathering.accounting.as_dict()


def test_a_flood_of_names_keeps_services_and_counts_every_flow() -> None:
    flood = [{"remote_domain": f"n{i}.example"} for i in range(50)]
    gathering = counted([*flood, {"service_port": 53, "protocol": 17}], BoundSettings(device_counts=8), 10)
    counts = gathering.counts()
    assert counts.group_by("protocol", "port").agg(pl.col("flows").sum()).sort("port").rows() == [
        (17, 53, 1), (6, 443, 50),
    ]  # fmt: skip
    assert counts["name"].n_unique() == 9  # eight, and none
    assert dict(gathering.accounting.corrected) == {"names over the bound on arrival": 42}


def test_a_scan_of_all_ports_keeps_the_lowest() -> None:
    counts = count_table([{"port": port} for port in range(60, 0, -1)])
    accounting = Accounting("flows")
    stored = sort_counts(bound_keys(counts, accounting, 10))
    assert stored["port"].to_list() == [*range(1, 11), DYNAMIC_FROM]
    assert stored["flows"].to_list() == [1] * 10 + [50]
    assert dict(accounting.corrected) == {"services over the bound on arrival": 50}
    assert bound_keys(stored, accounting, 10) is stored  # what was made coarser is no key of its own


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20), st.integers(0, 300))
def test_the_level_is_the_greatest_that_fits(groups: list[tuple[int, int]], total: int) -> None:
    sizes = pl.DataFrame({"named": [n for n, _ in groups], "all": [n + m for n, m in groups]}, schema_overrides={
        "named": pl.UInt32, "all": pl.UInt32})  # fmt: skip

    def held(most: int) -> int:
        return sum(min(n, most) + min(n + m, most) for n, m in groups)

    result = level(sizes, total, 40)
    assert held(result) <= total or result == 0
    assert result == 40 or held(result + 1) > total


@settings(max_examples=40, deadline=None)
@given(arrivals, st.integers(1, 40), st.integers(1, 12))
def test_counts_of_files_stay_under_their_bound(rows: list[dict[str, Any]], step: int, most: int) -> None:
    bounds = BoundSettings(device_counts=4, file_counts=most)
    gathering = Gathering(least=1, bounds=bounds)
    for start in range(0, len(rows), step):
        gathering.add(flow_table(rows[start : start + step]))
        assert len(gathering._table) <= most
    counts = gathering.counts()
    gathering.accounting.check()
    assert counts["flows"].sum() == gathering.accounting.used
    assert_frame_equal(counts, counted(rows, bounds, len(rows)).counts())  # the order is the same, the batches are not


def test_counts_of_open_epochs_stay_under_their_bound() -> None:
    exporter = FingerprintExporter(bounds=BoundSettings(open_counts=60, device_counts=50))
    quiet = [{"device": f"quiet{i}", "service_port": 443} for i in range(5) for _ in range(3)]
    loud = [{"device": f"loud{i}", "service_port": port} for i in range(4) for port in range(1, 41)]
    exporter.feed(flow_table([*quiet, *loud]))
    counts = exporter.pending
    assert counts.height <= 60
    assert counts.filter(pl.col("device").str.starts_with("quiet"))["port"].to_list() == [443] * 5
    assert exporter.accounting.corrected.total() > 0
    assert counts["flows"].sum() == exporter.accounting.used == exporter.accounting.read == 175


def test_devices_with_fewest_flows_are_dropped_when_coarser_counts_are_too_many() -> None:
    exporter = FingerprintExporter(bounds=BoundSettings(open_counts=20))
    forged = [{"device": f"forged{i}"} for i in range(40)]
    exporter.feed(flow_table([{"device": "camera"}] * 3 + forged))
    assert exporter.pending.height == 15
    assert "camera" in exporter.pending["device"]
    assert dict(exporter.accounting.dropped) == {"devices over the bound": 26}
    assert exporter.accounting.balanced
    sizes = pl.DataFrame({"device": ["a", "b", "c"], "flows": [5, 9, 5], "counts": [2, 2, 2]})
    assert drop_devices(sizes, 4).to_list() == ["c"]


def test_the_largest_windows_are_discarded_at_the_bound() -> None:
    exporter = FingerprintExporter(ExporterSettings(min_epochs=5), bounds=BoundSettings(held_counts=20))
    loud = [{"device": "loud", "service_port": port} for port in range(1, 31)]
    for day in range(3):
        times = {"start": hours(24 * day), "end": hours(24 * day)}
        exporter.feed(flow_table([{**times, "device": "camera"}, *({**row, **times} for row in loud)]))
    assert exporter.held["device"].unique().to_list() == ["camera"]
    assert exporter.evicted == 1  # at the end of the first day; the second is still open
    assert set(exporter.finish()["device"]) == {"camera", "loud"}  # what came since is a window of its own


def test_the_largest_known_fingerprints_are_forgotten_at_the_bound() -> None:
    changed = ExporterSettings(min_flows=1, mode="change", threshold=0.0)
    exporter = FingerprintExporter(changed, bounds=BoundSettings(held_counts=8))
    loud = [{"device": "loud", "service_port": port} for port in range(1, 8)]
    for day in range(3):
        times = {"start": hours(24 * day), "end": hours(24 * day + 1)}
        exporter.feed(flow_table({**row, **times} for row in [{"device": "camera"}, {"device": "hub"}, *loud]))
    assert {name for name, state in exporter.devices.items() if state.known} == {"camera", "hub"}
    assert exporter.evicted >= 1


def test_texts_without_counts_are_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "_SPARE_WORDS", 10)
    gathering = Gathering(least=1)
    probe = {"initiator": "remote", "answered": False}
    for start in range(0, 200, 20):
        gathering.add(flow_table({**probe, "device": f"probed{i}"} for i in range(start, start + 20)))
        assert gathering._last_word <= 30
    gathering.add(flow_table([{}]))
    assert gathering.counts().select("device", "flows").rows() == [("camera", 1)]
    assert dict(gathering.accounting.ignored) == {"inbound unanswered": 200}


FLOOD = """
import json, sys
sys.path.insert(0, "benchmarks/speed")
import floods
print(json.dumps(floods.curve("names", sys.argv[1], int(sys.argv[2]), 5)))
"""


COUNT_OCTETS = 448
"""Octets per count while an epoch closes, as stated in docs/explanation/robustness.md."""


@pytest.mark.parametrize(("way", "names"), [("exporter", 5_000_000), ("files", 1_500_000)])
def test_a_flood_of_names_stays_under_the_stated_bound(way: str, names: int) -> None:
    command = [sys.executable, "-c", FLOOD, way, str(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    result = json.loads(done.stdout)
    bounds, sub_epochs = BoundSettings(), 24
    at_once = 1 << 19  # counts that wait, and a batch of flows
    stated_mib = COUNT_OCTETS * (2 * bounds.device_counts * sub_epochs + at_once) / (1 << 20)
    assert result["mib_peak"] < stated_mib
    assert max(mib for _, mib in result["curve"]) < stated_mib
    accounting = result["accounting"]
    assert result["balanced"]
    assert accounting["used"] == accounting["read"] == names
    stored = bounds.device_counts * sub_epochs
    assert accounting["corrected"]["names over the bound on arrival"] == names - stored
