"""Splits of flows: sides are disjoint, and overlapping sides are refused."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.errors import LeakError, UsageError
from ethogram.identify.split import FlowDays, Split


def flows(rows: list[tuple[str, int]], network: str = "home") -> FlowDays:
    """Flows of (device, day)."""
    days = np.array([day for _, day in rows], np.int64)
    return FlowDays(network, pl.Series([name for name, _ in rows], dtype=pl.String), days, np.arange(len(rows)))


ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=2, max_size=60)


@given(ROWS, st.floats(0.1, 0.9), st.integers(0, 3), st.sampled_from(["day", "device-day"]))
def test_sides_of_a_split_by_day_are_disjoint_and_ordered(
    rows: list[tuple[str, int]], share: float, gap: int, by: str
) -> None:
    try:
        split = Split.by_day(flows(rows), test_share=share, gap_days=gap, by=by)  # type: ignore[arg-type]
    except LeakError:
        raise
    except UsageError:
        return  # too few days
    train, test = split.sides["train"], split.sides["test"]
    assert not set(train.rows) & set(test.rows)
    for row, other in [(i, j) for i in train.rows for j in test.rows]:
        (device, day), (tested, later) = rows[row], rows[other]
        if by == "day" or device == tested:
            assert later - day > gap


def test_the_last_days_test_and_the_gap_is_not_used() -> None:
    split = Split.by_day(flows([("a", day) for day in range(10)]), test_share=0.3, gap_days=2)
    assert split.sides["train"].rows.tolist() == [0, 1, 2, 3, 4]
    assert split.sides["test"].rows.tolist() == [7, 8, 9]
    assert split.digest != Split.by_day(flows([("a", d) for d in range(10)]), test_share=0.2, gap_days=2).digest


def test_by_device_day_each_device_has_its_own_last_days() -> None:
    rows = [("a", 1), ("a", 3), ("b", 8), ("b", 9), ("b", 20), ("once", 5)]
    split = Split.by_day(flows(rows), test_share=0.3, gap_days=1, by="device-day")
    assert split.sides["train"].rows.tolist() == [0, 2, 3, 5]
    assert split.sides["test"].rows.tolist() == [1, 4]
    with pytest.raises(UsageError, match="too few"):
        Split.by_day(flows([("a", 1), ("b", 1)]), test_share=0.3, gap_days=1, by="device-day")


@pytest.mark.parametrize("apart", [0, 1, -1])
def test_days_within_the_gap_leak(apart: int) -> None:
    train, test = flows([("a", 17_000), ("a", 17_009)]), flows([("b", 17_005), ("b", 17_009 + apart)])
    with pytest.raises(LeakError, match=r"1 device-days, first b on 2016-07-\d\d; rows \[1\]"):
        Split("deliberate", "day", {"train": train, "test": test}, 1)
    Split("apart by device", "device-day", {"train": train, "test": test}, 1)


def test_a_device_day_on_both_sides_leaks() -> None:
    both = flows([("a", 3), ("b", 9)])
    with pytest.raises(LeakError, match=r"a on 1970-01-04.*rows \[0\]"):
        Split("deliberate", "device-day", {"train": flows([("a", 3)]), "test": both}, 0)


def test_networks() -> None:
    here, there = flows([("a", 3), ("plug", 4)]), flows([("plug", 3)], "office")
    assert Split("names may be the same", "network", {"train": here, "test": there}).digest
    with pytest.raises(LeakError, match="network home in both train and test"):
        Split("same", "network", {"train": here, "test": flows([("z", 90)])})
    unit = "20:F8:5e:ca:91:52"
    with pytest.raises(LeakError, match=rf"{unit} in both train and test: the same unit: 1 device-days, .*rows \[1\]"):
        Split("one unit", "network", {"train": flows([(unit, 3)]), "test": flows([("x", 9), (unit, 90)], "office")})


def test_pretraining_flows_are_a_side_of_the_split() -> None:
    train, test = flows([("a", 3)]), flows([("b", 9)], "office")
    Split("P2", "network", {"train": train, "test": test, "unlabelled": flows([("b", 5)], "office")})
    with pytest.raises(LeakError, match="test and unlabelled"):
        Split("P4", "network", {"train": train, "test": test, "unlabelled": flows([("c", 8)], "office")})


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing in test"):
        Split("s", "day", {"train": flows([("a", 3)]), "test": flows([])})


def test_a_device_in_two_networks_is_one_unit_however_its_mac_is_written() -> None:
    train, test = flows([("20:F8:5E:CA:91:52", 3)]), flows([("20:f8:5e:ca:91:52", 90)], "office")
    with pytest.raises(LeakError, match="20:f8:5e:ca:91:52 in both train and test: the same unit"):
        Split("one unit", "device-day", {"train": train, "test": test})


def test_digests_that_result_rows_state_do_not_change() -> None:
    """Expected digests are those of two earlier classes, one for flows and one for items."""
    rows = flows([("a", 1), ("b", 3), ("a", 9)])
    sides = {"train": rows.take(rows.day < 5), "test": rows.take(rows.day > 5)}
    assert Split("s", "day", sides, 2).digest == "bf30800f7a6f"
    assert Split("s", "device-day", sides).digest == "1dafb1d0ac22"
    office = {**sides, "train": FlowDays("office", rows.device, rows.day, rows.rows)}
    assert Split("s", "network", office, 1, "device-day").digest == "6a874b491144"
    start = [datetime(2020, 1, 1), datetime(2020, 1, 2)]
    items = pl.DataFrame({"item": [0, 1], "device": ["a", "a"], "unit": ["a", "a"], "start": start})
    items = items.with_columns(end=pl.col("start") + pl.duration(days=1))
    assert Split.of_items("s", items, np.array([0]), np.array([1])).digest == "af3cab439c1c"
