"""A split proves that it is disjoint, or names the rows that leak."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.bench.splits import by_model, by_network, chronological
from ethogram.errors import LeakError, UsageError
from ethogram.identify.split import Split

DAY = datetime(2020, 1, 1, tzinfo=UTC)


def items(rows: list[tuple[str, int]], hours: int = 24, **columns: list[str]) -> pl.DataFrame:
    """Items of units that begin so many windows after the first day."""
    return pl.DataFrame(
        {
            "item": range(len(rows)), "device": [u for u, _ in rows], "unit": [u for u, _ in rows],
            "start": [DAY + timedelta(hours=hours * k) for _, k in rows],
            "end": [DAY + timedelta(hours=hours * (k + 1)) for _, k in rows],
            **columns,
        },
        schema_overrides={"item": pl.UInt32},
    )  # fmt: skip


def test_the_first_third_of_the_days_enrols_rounded_up() -> None:
    frame = items([("a", k) for k in range(20)] + [("b", k) for k in range(4)])
    split = chronological(frame)
    assert len(split.enrol) == 7 + 2
    assert len(split.test) == 13 + 2
    assert split.in_time


def test_hours_of_one_day_are_cut_between_days_or_between_windows() -> None:
    frame = items([("a", k) for k in range(72)], hours=1)
    assert len(chronological(frame, by="day").enrol) == 24
    assert len(chronological(frame.head(9), by="window").enrol) == 3
    with pytest.raises(UsageError, match="nothing in test"):
        chronological(frame.head(9), by="day")


def test_by_the_clock_only_devices_on_both_sides_take_part() -> None:
    frame = items([("a", 0), ("a", 5), ("b", 6), ("c", 1)], hours=1)
    split = chronological(frame, by="clock", clock=2 * 3600)
    assert split.enrol.tolist() == [0]
    assert split.test.tolist() == [1]


def test_an_item_on_both_sides_is_refused_by_name() -> None:
    frame = items([("a", 0), ("a", 1)])
    with pytest.raises(LeakError, match=r"share time in enrol and test: 1 items, first a on 2020-01-01; rows \[0\]"):
        Split.of_items("leaky", frame, np.array([0]), np.array([0, 1]))


def test_two_items_of_one_unit_may_not_share_time_across_the_sides() -> None:
    frame = items([("a", 0), ("a", 0), ("b", 0)])
    with pytest.raises(LeakError, match=r"share time in enrol and test: 1 items, first a on 2020-01-01; rows \[1\]"):
        Split.of_items("overlap", frame, np.array([0]), np.array([1, 2]))
    # The same unit at another time is allowed, unless later days enrol.
    later = items([("a", 1), ("a", 0)])
    Split.of_items("any order", later, np.array([0]), np.array([1]))
    with pytest.raises(LeakError):
        Split.of_items("in time", later, np.array([0]), np.array([1]), in_time=True)


def spans(*hours: tuple[int, int]) -> pl.DataFrame:
    """Items of one unit that begin and end at these hours."""
    return items([("a", 0)] * len(hours)).with_columns(
        start=pl.Series([DAY + timedelta(hours=begin) for begin, _ in hours]),
        end=pl.Series([DAY + timedelta(hours=end) for _, end in hours]),
    )


@pytest.mark.parametrize(
    ("enrolled", "tested"),
    [((0, 30), (24, 48)), ((0, 25), (24, 48)), ((0, 72), (24, 48)), ((24, 48), (0, 24)), ((30, 40), (24, 48))],
)
def test_in_time_all_that_is_enrolled_of_a_unit_ends_before_its_test_items_begin(
    enrolled: tuple[int, int], tested: tuple[int, int]
) -> None:
    with pytest.raises(LeakError, match="enrol does not end before test begins"):
        Split.of_items("leaky", spans(enrolled, tested), np.array([0]), np.array([1]), in_time=True)
    sound = spans((0, 24), tested if tested[0] else (24, 48))
    Split.of_items("sound", sound, np.array([0]), np.array([1]), in_time=True)


SPAN = st.tuples(st.integers(0, 20), st.integers(1, 20))


@given(SPAN, SPAN, st.booleans())
def test_a_split_is_refused_exactly_where_a_plain_reading_of_the_rule_refuses_it(
    first: tuple[int, int], second: tuple[int, int], in_time: bool
) -> None:
    enrolled, tested = (first[0], sum(first)), (second[0], sum(second))
    hours = [set(range(*span)) for span in (enrolled, tested)]
    leaks = enrolled[1] > tested[0] if in_time else bool(hours[0] & hours[1])
    frame, sides = spans(enrolled, tested), (np.array([0]), np.array([1]))
    if leaks:
        with pytest.raises(LeakError, match="does not end before" if in_time else "share time"):
            Split.of_items("drawn", frame, *sides, in_time=in_time)
    else:
        Split.of_items("drawn", frame, *sides, in_time=in_time)


def test_a_unit_in_two_networks_is_not_enrolled_or_refused() -> None:
    frame = items([("u1", 0), ("u2", 0), ("u1", 5)], network=["x", "x", "y"], model=["m", "n", "m"])
    split = by_network(frame, ["x"], ["y"])
    assert split.enrol.tolist() == [1]
    with pytest.raises(LeakError, match=r"unit u1 in both enrol and test: 1 items, first u1 on 2020-01-06; rows \[2\]"):
        by_network(frame, ["x"], ["y"], drop_shared=False)
    two = items([("u1", 0), ("u2", 0)], network=["x", "x"])
    with pytest.raises(LeakError, match=r"network x in both enrol and test: .*rows \[1\]"):
        Split.of_items("one network", two, np.array([0]), np.array([1]), separates=("network",))


def test_networks_of_one_site_never_stand_on_both_sides() -> None:
    frame = items([("u1", 0), ("u2", 0), ("u3", 0)], network=["lab", "lab-rules", "home"], model=["m", "m", "m"])
    sites = {"lab": "lab", "lab-rules": "lab"}
    assert by_network(frame, ["home"], ["lab"], sites=sites).enrol.tolist() == [2]
    with pytest.raises(LeakError, match=r"site lab in both enrol and test: .*rows \[0\]"):
        by_network(frame, ["home", "lab-rules"], ["lab"], sites=sites)


def test_a_model_left_out_is_nowhere_enrolled() -> None:
    frame = items([("a", 0), ("b", 0), ("c", 0)], model=["m", "n", "m"])
    split = by_model(frame, ["m"])
    assert split.enrol.tolist() == [1]
    assert split.test.tolist() == [0, 2]


def test_the_digest_tells_splits_apart_and_is_the_same_for_the_same_rows() -> None:
    frame = items([("a", k) for k in range(6)])
    same = chronological(frame)
    assert same.digest == chronological(frame.sample(fraction=1.0, shuffle=True, seed=1)).digest
    assert same.digest != chronological(frame, share=0.5).digest


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=2, max_size=40, unique=True))
def test_no_device_day_stands_on_both_sides(rows: list[tuple[str, int]]) -> None:
    frame = items(rows)
    try:
        split = chronological(frame)
    except UsageError:
        return  # every device has only one day: nothing to test
    last = {u: max(k for i, (v, k) in enumerate(rows) if v == u and i in split.enrol) for u, _ in rows}
    assert all(rows[i][1] > last[rows[i][0]] for i in split.test)
    assert len(split.enrol) + len(split.test) == len(rows)
