"""All time encodings, their limits, and corrections."""

from __future__ import annotations

import numpy as np
import pytest
from exports import BOOT_MS, COUNTS, KEY, NOW_MS, Column, Export
from hypothesis import given
from hypothesis import strategies as st

from ethogram.io.wire.record_times import ntp_us, uptime_us

START, END = NOW_MS - 5000, NOW_MS - 1000


def ntp(ms: int) -> int:
    return ((ms // 1000 + 2_208_988_800) << 32) | ((ms % 1000) * (1 << 32) // 1000 + 1)


def two(element: int, length: int, first: int) -> Column:
    return (element, length, [first, first])


def times_of(*columns: Column, version: int = 10, reverse: tuple[Column, ...] = ()) -> tuple[int, int, dict[str, int]]:
    export = Export(version)
    export.send([*KEY, *COUNTS, *columns], reverse=reverse)
    row = export.table().row(0, named=True)
    start, end = (round(row[name].timestamp() * 1e6) for name in ("start", "end"))
    return start, end, dict(export.biflows.accounting.corrected)


@pytest.mark.parametrize(
    "columns",
    [
        (two(150, 4, START // 1000), two(151, 4, END // 1000)),
        (two(152, 8, START), two(153, 8, END)),
        (two(154, 8, ntp(START)), two(155, 8, ntp(END))),
        (two(156, 8, ntp(START)), two(157, 8, ntp(END))),
        (two(154, 8, START * 1000), two(155, 8, END * 1000)),  # plain counts instead of NTP
        (two(156, 8, START * 1_000_000), two(157, 8, END * 1_000_000)),
        (two(158, 4, 5_000_000), two(159, 4, 1_000_000)),
        (two(22, 4, START - BOOT_MS), two(21, 4, END - BOOT_MS), two(160, 8, BOOT_MS)),
        (two(152, 8, START), two(161, 4, 4000)),
        (two(153, 8, END), two(162, 4, 4_000_000)),
        (two(152, 8, START), two(323, 8, END)),
        (two(152, 8, START), two(151, 4, END // 1000)),
        (two(150, 4, 1), two(152, 8, START), two(153, 8, END)),  # the finest counts
    ],
)
def test_all_forms_tell_the_same_time(columns: tuple[Column, ...]) -> None:
    assert times_of(*columns) == (START * 1000, END * 1000, {})


def test_the_uptime_of_version_9_is_in_the_message() -> None:
    assert times_of(two(22, 4, START - BOOT_MS), two(21, 4, END - BOOT_MS), version=9) == (START * 1000, END * 1000, {})


def test_version_9_takes_the_system_start_of_the_record_where_it_is_there() -> None:
    columns = (two(22, 4, 5000), two(21, 4, 6000), two(160, 8, NOW_MS - 10_000))
    assert times_of(*columns, version=9)[:2] == ((NOW_MS - 5000) * 1000, (NOW_MS - 4000) * 1000)


def test_the_system_start_may_stand_in_options_that_come_later() -> None:
    export = Export()
    export.send([*KEY, *COUNTS, two(22, 4, START - BOOT_MS), two(21, 4, END - BOOT_MS)])
    export.send([(149, 4, [1]), (160, 8, [BOOT_MS])], number=300, options=True)
    row = export.table().row(0, named=True)
    assert row["start"].timestamp() * 1000 == START
    assert not export.biflows.accounting.corrected


def test_without_any_system_start_the_end_is_the_time_of_export() -> None:
    start, end, corrected = times_of(two(22, 4, START - BOOT_MS), two(21, 4, END - BOOT_MS))
    assert (start, end) == (NOW_MS * 1000 - 4_000_000, NOW_MS * 1000)
    assert corrected == {"system start unknown, export time used as end": 2}


def test_uptime_wraps() -> None:
    wrapped = (1 << 32) - 3000
    export = Export(9)
    export.builder.boot_ms = NOW_MS - (1 << 32) - 2000  # the uptime at export is 2,000 ms again
    export.send([*KEY, *COUNTS, two(22, 4, wrapped), two(21, 4, 1000)])
    row = export.table().row(0, named=True)
    assert row["start"].timestamp() * 1000 == NOW_MS - 5000
    assert row["end"].timestamp() * 1000 == NOW_MS - 1000


def test_a_biflow_lasts_from_the_first_packet_of_either_direction_to_the_last() -> None:
    reverse = (two(152, 8, START + 10), two(153, 8, END + 20), two(1, 4, 5))
    assert times_of(two(152, 8, START), two(153, 8, END), reverse=reverse)[:2] == (START * 1000, (END + 20) * 1000)


def test_times_that_are_not_there_are_filled_in_and_counted() -> None:
    assert times_of() == (NOW_MS * 1000, NOW_MS * 1000, {"no time, export time used": 2})
    assert times_of(two(323, 8, END)) == (END * 1000, END * 1000, {})
    assert times_of(two(153, 8, END)) == (END * 1000, END * 1000, {})
    assert times_of(two(152, 8, 0), two(153, 8, END)) == (END * 1000, END * 1000, {"time 0 replaced": 2})
    assert times_of(two(152, 8, 1 << 60), two(153, 8, END)) == (END * 1000, END * 1000, {"time 0 replaced": 2})
    assert times_of(two(152, 8, 0), two(150, 4, START // 1000), two(153, 8, END))[:2] == (START * 1000, END * 1000)


def test_an_end_before_its_start_changes_places_with_it() -> None:
    assert times_of(two(152, 8, END), two(153, 8, START)) == (START * 1000, END * 1000, {"end before start": 2})


@given(st.integers(0, 4_102_444_800_000_000))
def test_ntp_times_are_exact_to_the_microsecond_until_2100(us: int) -> None:
    seconds, rest = divmod(us, 1_000_000)
    value = (((seconds + 2_208_988_800) & 0xFFFFFFFF) << 32) | -(-rest * (1 << 32) // 1_000_000)
    assert ntp_us(np.array([value], np.uint64), np.array([us]), 1.0).tolist() == [us]


@given(st.integers(0, (1 << 32) - 1), st.integers(-(1 << 31) + 1, 1 << 31))
def test_uptime_within_24_days_of_the_export_is_exact(uptime: int, before: int) -> None:
    value = np.array([(uptime - before) % (1 << 32)], np.uint64)
    result = uptime_us(value, np.array([uptime], np.uint32), np.array([10**15]))
    assert result.tolist() == [10**15 - (before if before < 1 << 31 else before - (1 << 32)) * 1000]


@pytest.mark.parametrize(
    ("ahead_s", "moved"), [(0, False), (9, False), (11, True), (99, True), (86_400 * 20, True)]
)
def test_no_flow_ends_long_after_its_export(ahead_s: int, moved: bool) -> None:
    """An uptime in seconds, or with an earlier reference, gives ends after the export time."""
    uptime = NOW_MS - BOOT_MS + ahead_s * 1000
    start, end, corrected = times_of(two(22, 4, uptime - 9000), two(21, 4, uptime), version=9)
    assert end - start == 9_000_000
    assert end == (NOW_MS if moved else NOW_MS + ahead_s * 1000) * 1000
    assert corrected == ({"end after export time, moved to it": 2} if moved else {})
