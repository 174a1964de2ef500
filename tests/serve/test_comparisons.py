"""Comparisons in the background: one at a time, each once for an hour of data, and an error is tried again."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from ethogram.errors import InputError
from ethogram.schema import ChangedSpan
from ethogram.serve.api.comparisons import KEPT, Comparisons
from ethogram.serve.changes import StoredChanges

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
END = datetime(2026, 3, 2, tzinfo=UTC)
WAIT_S = 60.0


class Slow:
    """Compares when it may; notes what it was asked, and how many comparisons ran at once."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[tuple[timedelta, datetime]] = []
        self.running, self.most = 0, 0
        self.error: Exception | None = None

    def changes(self, since: timedelta, end: datetime, *, every: bool = False) -> StoredChanges:
        self.asked.append((since, end))
        self.running += 1
        self.most = max(self.most, self.running)
        assert self.go.wait(WAIT_S)
        self.running -= 1
        if self.error is not None:
            raise self.error
        span = ChangedSpan(start=end - since, end=end, hours=1, devices=0, flows=0)
        return StoredChanges(span, span, 0, len(self.asked), ())


def test_a_result_is_there_later_and_is_kept_for_its_hour() -> None:
    slow = Slow()
    comparisons = Comparisons(cast(Any, slow))
    assert comparisons.get(END, DAY) is None
    assert comparisons.get(END, HOUR, wait_s=0.01) is None  # the first one still runs
    slow.go.set()
    first = comparisons.get(END, DAY, wait_s=WAIT_S)
    assert first is not None and first is comparisons.get(END, DAY)
    other = comparisons.get(END, HOUR, wait_s=WAIT_S)
    later = comparisons.get(END + HOUR, DAY, wait_s=WAIT_S)
    assert other is not None and later is not None
    assert slow.asked == [(DAY, END), (HOUR, END), (DAY, END + HOUR)]
    assert slow.most == 1


def test_few_results_are_kept() -> None:
    slow = Slow()
    slow.go.set()
    comparisons = Comparisons(cast(Any, slow))
    for hour in range(KEPT + 2):
        assert comparisons.get(END + hour * HOUR, DAY, wait_s=WAIT_S) is not None
    assert comparisons.get(END + (KEPT + 1) * HOUR, DAY, wait_s=WAIT_S) is not None
    assert len(slow.asked) == KEPT + 2
    assert comparisons.get(END, DAY, wait_s=WAIT_S) is not None
    assert len(slow.asked) == KEPT + 3


@pytest.mark.parametrize("error", [InputError("counts.parquet: cannot be read"), ValueError("a bug")])
def test_an_error_is_raised_and_the_next_call_tries_again(error: Exception) -> None:
    slow = Slow()
    slow.go.set()
    slow.error = error
    comparisons = Comparisons(cast(Any, slow))
    with pytest.raises(InputError, match="cannot be read" if isinstance(error, InputError) else "ValueError: a bug"):
        comparisons.get(END, DAY, wait_s=WAIT_S)
    slow.error = None
    assert comparisons.get(END, DAY, wait_s=WAIT_S) is not None
