"""Cumulative counters of active flows: each report counts by its increase."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from exports import NOW_MS, Column, Export, ip
from hypothesis import given
from hypothesis import strategies as st

from ethogram.io.wire import cumulative_counters
from ethogram.io.wire.cumulative_counters import CumulativeCounters


def report(export: Export, octets: int, packets: int, lasted_ms: int, *more: Column, port: int = 40000) -> pl.DataFrame:
    columns: list[Column] = [
        (8, 4, [ip("192.168.1.2")]), (12, 4, [ip("198.51.100.1")]), (7, 2, [port]), (11, 2, [443]), (4, 1, [6]),
        (85, 8, [octets]), (86, 8, [packets]), (152, 8, [NOW_MS]), (153, 8, [NOW_MS + lasted_ms]), *more,
    ]  # fmt: skip
    export.send(columns)
    return export.table()


def test_a_flow_reported_again_counts_what_was_added_and_begins_where_it_ended() -> None:
    export = Export()
    result = [report(export, *item) for item in ((1000, 10, 60_000), (1500, 14, 120_000), (1600, 15, 180_000))]
    assert [table["octets"].to_list() for table in result] == [[1000], [500], [100]]
    assert [table["packets"].to_list() for table in result] == [[10], [4], [1]]
    starts = [table["start"].dt.epoch("ms")[0] - NOW_MS for table in result]
    assert starts == [0, 60_000, 120_000]
    assert export.biflows.accounting.corrected == {"total reduced to the change since the previous record": 2}


def test_an_unchanged_total_is_not_a_flow() -> None:
    export = Export()
    assert report(export, 1000, 10, 60_000).height == 1
    assert report(export, 1000, 10, 60_000).height == 0
    assert export.biflows.accounting.ignored == {"total without change": 1}


def test_other_flows_and_restarted_counters_count_in_full() -> None:
    export = Export()
    report(export, 1000, 10, 60_000)
    assert report(export, 1200, 12, 60_000, port=40001)["octets"].to_list() == [1200]
    assert report(export, 900, 9, 90_000)["octets"].to_list() == [900]
    assert report(export, 950, 10, 95_000)["octets"].to_list() == [50]
    numbered = report(export, 2000, 20, 99_000, (148, 8, [5]))
    assert numbered["octets"].to_list() == [2000]


def test_both_directions_of_a_biflow() -> None:
    export = Export()
    for octets, back, expected in ((10, 100, (10, 100)), (30, 400, (20, 300))):
        columns: list[Column] = [
            (8, 4, [1]), (12, 4, [2]), (4, 1, [17]), (85, 8, [octets]), (86, 8, [1]), (150, 4, [NOW_MS // 1000])
        ]  # fmt: skip
        export.send(columns, reverse=[(85, 8, [back]), (86, 8, [1])])
        assert export.table().select("octets", "reverse_octets").row(0) == expected


def test_deltas_next_to_totals_are_unchanged() -> None:
    export = Export()
    for _ in range(2):
        assert report(export, 1000, 10, 60_000, (1, 4, [70]))["octets"].to_list() == [70]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 1000)), min_size=1, max_size=60), st.integers(1, 7))
def test_what_was_added_sums_up_to_the_last_total(steps: list[tuple[int, int]], cut: int) -> None:
    sums = dict.fromkeys(range(6), 0)
    flows, values = [], []
    for flow, step in steps:
        sums[flow] += step
        flows.append(flow)
        values.append(sums[flow])
    known, result = CumulativeCounters(), dict.fromkeys(range(6), 0)
    for at in range(0, len(steps), cut):
        part = slice(at, at + cut)
        key = np.array(flows[part], np.uint64)
        time = np.zeros(key.size, np.int64)
        counts, _ = known.since([key], {"octets": np.array(values[part], np.uint64)}, time, time)
        for flow, added in zip(flows[part], counts["octets"].tolist(), strict=True):
            result[flow] += added
    assert result == sums


def test_flows_known_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cumulative_counters.CumulativeCounters._empty, "__defaults__", (16,))
    known = CumulativeCounters()
    keys = np.arange(100, dtype=np.uint64)
    time = np.zeros(100, np.int64)
    ones = {"octets": np.ones(100, np.uint64)}
    known.since([keys], ones, time, time)
    assert known._keys.size == 16
    again, _ = known.since([keys[-4:]], {"octets": np.full(4, 3, np.uint64)}, time[:4], time[:4])
    assert again["octets"].tolist() == [2, 2, 2, 2]  # the last ones are known
    forgotten, _ = known.since([keys[:1]], {"octets": np.full(1, 3, np.uint64)}, time[:1], time[:1])
    assert forgotten["octets"].tolist() == [3]
