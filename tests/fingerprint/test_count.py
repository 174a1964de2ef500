"""Counting: which flows count, under which key, and that counts can be merged."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ethogram.config import CountSettings
from ethogram.fingerprint.count import count, merge_counts, split, split_fate, tally
from ethogram.fingerprint.gather import Gathering, count_block
from ethogram.schema import COUNT_KEYS, COUNTS, Accounting

from .flows import T0, flow_table, hours


def test_flows_of_one_hour_and_service_become_one_row() -> None:
    flows = flow_table([
        {"start": hours(0.1), "end": hours(0.1) + timedelta(milliseconds=1500)},
        {"start": hours(0.99), "end": hours(1.2), "octets_out": 1, "packets_in": 2},
        {"start": hours(1.0), "end": hours(1.0)},
    ])  # fmt: skip
    counts, accounting = count(flows)
    assert COUNTS.matches(counts.schema)
    assert counts["time"].to_list() == [T0, hours(1)]
    assert counts["flows"].to_list() == [2, 1]
    assert counts["octets_out"].to_list() == [601, 600]
    assert counts["packets_in"].to_list() == [10, 8]
    assert counts["duration_ms"].to_list() == [1500 + 756_000, 0]
    assert accounting.as_dict() == {
        "unit": "flows", "read": 3, "used": 3, "ignored": {}, "dropped": {}, "corrected": {},
    }  # fmt: skip


def test_probes_and_other_protocols_are_left_out_and_counted() -> None:
    flows = flow_table([
        {},
        {"protocol": 1, "service_port": 0},
        {"initiator": "remote", "role": "server", "answered": False, "service_port": 137, "protocol": 17},
        {"initiator": "remote", "role": "server", "answered": True, "service_port": 80},
        {"initiator": "device", "answered": False, "service_port": 1900, "protocol": 17},
        {"initiator": "remote", "answered": False, "protocol": 1, "service_port": 0},
    ])  # fmt: skip
    counts, accounting = count(flows)
    assert sorted(counts["port"].to_list()) == [80, 443, 1900]
    assert dict(accounting.ignored) == {"protocol": 2, "inbound unanswered": 1}
    assert (accounting.read, accounting.used) == (6, 3)
    everything, all_used = count(flows, CountSettings(other_protocols=True, drop_probes=False))
    assert (all_used.read, all_used.used) == (6, 6)
    assert everything.filter(protocol=1)["flows"].sum() == 2


def test_an_end_before_the_start_has_no_duration() -> None:
    counts, _ = count(flow_table([{"end": T0 - timedelta(seconds=5)}]))
    assert counts["duration_ms"].to_list() == [0]


def test_rare_services_over_the_cap_become_the_dynamic_port() -> None:
    flows = flow_table([{"service_port": 443}] * 5 + [{"service_port": port} for port in range(1, 11)])
    counts, accounting = count(flows, CountSettings(max_services=3))
    assert counts.group_by("port").agg(pl.col("flows").sum()).sort("port").rows() == [
        (1, 1),
        (2, 1),
        (443, 5),
        (49152, 8),
    ]
    assert dict(accounting.corrected) == {"services over the cap": 8}
    assert accounting.used == counts["flows"].sum() == 15


def test_rare_names_over_the_cap_become_unknown() -> None:
    flows = flow_table([{"remote_domain": f"{x}.example"} for x in "aabcd"] + [{}])
    counts, accounting = count(flows, CountSettings(max_services=2))
    assert counts.select("name", "flows").sort("name").rows() == [(None, 3), ("a.example", 2), ("b.example", 1)]
    assert dict(accounting.corrected) == {"names over the cap": 2}


def test_lazy_and_eager_frames_give_equal_counts() -> None:
    flows = flow_table([{"start": hours(i / 3), "service_port": i % 4, "answered": i % 2 == 0} for i in range(50)])
    assert_frame_equal(count(flows)[0], count(flows.lazy())[0])


small_flow = st.fixed_dictionaries({
    "device": st.sampled_from(["a", "b"]),
    "start": st.integers(0, 5).map(lambda n: hours(n / 2)),
    "protocol": st.sampled_from([1, 6, 17]),
    "service_port": st.sampled_from([0, 53, 443]),
    "initiator": st.sampled_from(["device", "remote"]),
    "answered": st.booleans(),
    "remote_domain": st.sampled_from([None, "example.com"]),
    "octets_in": st.integers(0, 1 << 40),
})  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(small_flow, min_size=1, max_size=30), st.data())
def test_counting_in_parts_and_adding_is_counting_at_once(rows: list[dict[str, object]], data: st.DataObject) -> None:
    whole, accounting = count(flow_table(rows))
    assert accounting.balanced
    assert accounting.used == whole["flows"].sum()
    cut = data.draw(st.integers(0, len(rows)))
    order = data.draw(st.permutations(range(len(rows))))
    mixed = [rows[i] for i in order]
    a, b = tally(flow_table(mixed[:cut])), tally(flow_table(mixed[cut:]))
    assert_frame_equal(split(merge_counts(a, b))[0], whole)
    assert_frame_equal(split(merge_counts(b, a))[0], whole)
    assert_frame_equal(split(merge_counts(merge_counts(a), b, merge_counts(a).clear()))[0], whole)
    assert whole.select(COUNT_KEYS).is_unique().all()


@settings(max_examples=20, deadline=None)
@given(st.lists(small_flow, min_size=1, max_size=30), st.integers(1, 7), st.integers(0, 20))
def test_gathering_batches_is_counting_at_once(rows: list[dict[str, object]], step: int, least: int) -> None:
    gathering = Gathering(least=least)
    for start in range(0, len(rows), step):
        gathering.add(flow_table(rows[start : start + step]))
    whole, accounting = count(flow_table(rows))
    assert_frame_equal(gathering.counts(), whole)
    assert gathering.accounting.as_dict() == accounting.as_dict()


@settings(max_examples=40, deadline=None)
@given(st.lists(small_flow | st.fixed_dictionaries({"protocol": st.sampled_from([1, 6])}), max_size=30))
def test_a_block_is_counted_by_compiled_code_as_by_expressions(rows: list[dict[str, object]]) -> None:
    flows = flow_table(rows)
    by_code, by_expressions = Accounting("flows"), Accounting("flows")
    counts = count_block(flows, CountSettings(), by_code)
    expected = split_fate(tally(flows), by_expressions)
    assert_frame_equal(counts, expected.select(COUNTS.names), check_row_order=False)
    assert by_code.as_dict() == by_expressions.as_dict()


def test_devices_are_those_of_the_counts() -> None:
    gathering = Gathering()
    assert gathering.devices().to_list() == []
    gathering.add(flow_table([{"device": "b"}, {"device": "a"}, {"device": "b"}]))
    assert gathering.devices().to_list() == sorted(set(gathering.counts()["device"])) == ["a", "b"]
