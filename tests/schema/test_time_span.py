from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest

from ethogram.schema import ALWAYS, TimeSpan

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
END = datetime(2024, 5, 2, tzinfo=UTC)
TICK = timedelta(microseconds=1)
TIMES = [BEGIN - TICK, BEGIN, END - TICK, END]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (TimeSpan(BEGIN, END), [False, True, True, False]),
        (TimeSpan(begin=BEGIN), [False, True, True, True]),
        (TimeSpan(end=END), [True, True, True, False]),
        (ALWAYS, [True, True, True, True]),
    ],
    ids=["both", "begin", "end", "unbounded"],
)
def test_a_span_contains_its_begin_and_not_its_end(span: TimeSpan, expected: list[bool]) -> None:
    frame = pl.DataFrame({"start": TIMES}, schema={"start": pl.Datetime("us", "UTC")})
    times_us = frame["start"].to_physical().to_numpy()
    assert span.filter(frame)["start"].to_list() == [t for t, inside in zip(TIMES, expected, strict=True) if inside]
    assert span.filter(frame.lazy()).collect().equals(span.filter(frame))
    assert frame.filter(span.contains_expr(pl.col("start"))).equals(span.filter(frame))
    assert span.contains(times_us).tolist() == expected
    assert not (span.before(times_us) & span.after(times_us)).any()
    assert span.bounded == (span != ALWAYS)


def test_a_window_may_close_at_the_end_of_the_span() -> None:
    windows = pl.DataFrame({"start": [BEGIN, BEGIN, BEGIN - TICK], "end": [END, END + TICK, END]})
    assert windows.select(inside=TimeSpan(BEGIN, END).covers_expr())["inside"].to_list() == [True, False, False]
    assert windows.filter(ALWAYS.covers_expr()).height == 3


def test_times_without_a_zone_are_utc_and_zones_are_converted() -> None:
    assert TimeSpan(datetime(2024, 5, 1), datetime(2024, 5, 2)) == TimeSpan(BEGIN, END)
    in_two_hours = BEGIN.astimezone(timezone(timedelta(hours=2)))
    span = TimeSpan(in_two_hours)
    assert span.begin_us == round(BEGIN.timestamp() * 1e6)
    assert span.end_us is None
    assert span.contains(np.array([[span.begin_us], [span.begin_us - 1]])).tolist() == [[True], [False]]
