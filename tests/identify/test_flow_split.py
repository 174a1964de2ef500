"""Splits of flows: sides are disjoint, and overlapping sides are refused."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.errors import LeakError, UsageError
from ethogram.identify.flow_split import FlowDays, FlowSplit


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
        split = FlowSplit.by_day(flows(rows), test_share=share, gap_days=gap, by=by)  # type: ignore[arg-type]
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
    split = FlowSplit.by_day(flows([("a", day) for day in range(10)]), test_share=0.3, gap_days=2)
    assert split.sides["train"].rows.tolist() == [0, 1, 2, 3, 4]
    assert split.sides["test"].rows.tolist() == [7, 8, 9]
    assert split.digest != FlowSplit.by_day(flows([("a", d) for d in range(10)]), test_share=0.2, gap_days=2).digest


def test_by_device_day_each_device_has_its_own_last_days() -> None:
    rows = [("a", 1), ("a", 3), ("b", 8), ("b", 9), ("b", 20), ("once", 5)]
    split = FlowSplit.by_day(flows(rows), test_share=0.3, gap_days=1, by="device-day")
    assert split.sides["train"].rows.tolist() == [0, 2, 3, 5]
    assert split.sides["test"].rows.tolist() == [1, 4]
    with pytest.raises(UsageError, match="too few"):
        FlowSplit.by_day(flows([("a", 1), ("b", 1)]), test_share=0.3, gap_days=1, by="device-day")


@pytest.mark.parametrize("apart", [0, 1, -1])
def test_days_within_the_gap_leak(apart: int) -> None:
    train, test = flows([("a", 17_000), ("a", 17_009)]), flows([("b", 17_005), ("b", 17_009 + apart)])
    with pytest.raises(LeakError, match=r"1 device-days, first b on 2016-07-\d\d; rows \[1\]"):
        FlowSplit("deliberate", "day", {"train": train, "test": test}, 1)
    FlowSplit("apart by device", "device-day", {"train": train, "test": test}, 1)


def test_a_device_day_on_both_sides_leaks() -> None:
    both = flows([("a", 3), ("b", 9)])
    with pytest.raises(LeakError, match=r"a on 1970-01-04.*rows \[0\]"):
        FlowSplit("deliberate", "device-day", {"train": flows([("a", 3)]), "test": both}, 0)


def test_networks() -> None:
    here, there = flows([("a", 3), ("plug", 4)]), flows([("plug", 3)], "office")
    assert FlowSplit("names may be the same", "network", {"train": here, "test": there}).digest
    with pytest.raises(LeakError, match="are both in home"):
        FlowSplit("same", "network", {"train": here, "test": flows([("z", 90)])})
    unit = "20:F8:5e:ca:91:52"
    with pytest.raises(LeakError, match=rf"{unit} in both train and test: the same unit; rows \[1\]"):
        FlowSplit("one unit", "network", {"train": flows([(unit, 3)]), "test": flows([("x", 9), (unit, 90)], "office")})


def test_pretraining_flows_are_a_side_of_the_split() -> None:
    train, test = flows([("a", 3)]), flows([("b", 9)], "office")
    FlowSplit("P2", "network", {"train": train, "test": test, "unlabelled": flows([("b", 5)], "office")})
    with pytest.raises(LeakError, match="test and unlabelled"):
        FlowSplit("P4", "network", {"train": train, "test": test, "unlabelled": flows([("c", 8)], "office")})


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(UsageError, match="no flow in test"):
        FlowSplit("s", "day", {"train": flows([("a", 3)]), "test": flows([])})
