"""Parsing of cells: every spelling of a number gives that number, and anything else is a fault."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ethogram.io import parse_columns as columns
from ethogram.io.parse_columns import FINE, NULL_WORD, OUT_OF_RANGE, UNREADABLE, NumberMarks, ParsedColumn
from ethogram.io.parse_times import parse_times

LAW = settings(deadline=None, max_examples=200)
UNSET_WORDS = ["", "-", "(empty)", "NULL", "null", "None", "NaN", "nan", "N/A", "n/a", "NA", "\\N", " NULL "]


def one(result: ParsedColumn) -> tuple[object, int]:
    (value,), (fault,) = result.values.to_list(), result.all_faults.to_list()
    return value, fault


def text(value: str) -> pl.Series:
    return pl.Series([value], dtype=pl.String)


whole = st.one_of(st.integers(0, 70_000), st.integers(0, (1 << 64) - 1), st.sampled_from([1 << 63, (1 << 64) - 1]))


@LAW
@given(
    whole,
    st.sampled_from(
        ["{}", " {} ", "\t{}", "+{}", "{}.0", "{}.", "000{}", "{}e0", "{}.00000", "{}0e-1", "{:#x}", "0x{:X}"]
    ),
)
def test_every_spelling_of_a_whole_number_gives_that_number(number: int, form: str) -> None:
    assert one(columns.parse_integers(text(form.format(number)))) == (number, FINE)


@LAW
@given(whole, st.sampled_from([(",", "."), (".", ","), (",", " "), (",", "'"), (".", "\N{NO-BREAK SPACE}")]))
def test_stated_marks_are_read(number: int, marks: tuple[str, str]) -> None:
    decimal, thousands = marks
    shown = f"{number:,}".replace(",", thousands)
    for spelling in (shown, str(number), f"{shown}{decimal}0", f"{number}{decimal}"):
        assert one(columns.parse_integers(text(spelling), marks=NumberMarks(decimal, thousands))) == (number, FINE)


@pytest.mark.parametrize("spelling", ["1.5", "1.234.56", "12.3", ",5", "1.23", "1..234", "1.2345"])
def test_groups_that_are_none_are_unreadable_under_stated_marks(spelling: str) -> None:
    assert one(columns.parse_integers(text(spelling), marks=NumberMarks(",", ".")))[1] == UNREADABLE


@LAW
@given(st.text(max_size=12))
@example("1,234")
@example("1.234")
@example("1'234")
@example("1 234")
@example("1_000")
@example("２３")
@example("٣")
@example("2.3 M")
@example("1.2k")
@example("3 MB")
@example("inf")
@example("1e999999999")
@example("0x")
@example("1.5")
@example("true")
@example("--5")
@example("5-")
@example("50001.9")
@example("1e-3")
def test_any_text_is_a_plain_number_or_a_fault(junk: str) -> None:
    """The reference grammar: an optional sign, digits, a point, an exponent; or hexadecimal digits."""
    bare = junk.strip()
    value, fault = one(columns.parse_integers(text(junk)))
    if bare.lower() in columns.UNSET:
        assert (value, fault) in {(None, FINE), (None, NULL_WORD)}
    elif value is not None:
        assert fault == FINE
        if re.fullmatch(r"0[xX][0-9a-fA-F]+", bare):
            assert value == int(bare, 16)
        else:
            assert re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", bare)
            assert Decimal(bare) == value
    else:
        assert fault in {UNREADABLE, OUT_OF_RANGE}


@pytest.mark.parametrize("word", UNSET_WORDS)
def test_unset_is_no_fault_in_any_field(word: str) -> None:
    for convert in (columns.parse_integers, columns.parse_durations, columns.parse_protocols, columns.parse_tcp_flags,
                    columns.parse_addresses, columns.parse_macs, columns.parse_strings, parse_times):  # fmt: skip
        result = convert(text(word))
        assert result.values.to_list() == [None]
        assert result.unset.to_list() == [True]
        assert not result.faulty.any()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (50001.0, (50001, FINE)), (50001.9, (None, UNREADABLE)), (float("inf"), (None, UNREADABLE)),
        (float("nan"), (None, NULL_WORD)), (-1.0, (None, OUT_OF_RANGE)), (70000.0, (None, OUT_OF_RANGE)),
        (1e30, (None, OUT_OF_RANGE)), (-0.0, (0, FINE)),
    ],
)  # fmt: skip
def test_a_float_is_never_cut(value: float, expected: tuple[object, int]) -> None:
    assert one(columns.parse_integers(pl.Series([value]), 65535)) == expected


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Int64, pl.UInt64, pl.Int128, pl.Float32, pl.Decimal(20, 2)])
def test_numbers_of_any_type_are_checked(dtype: pl.DataType) -> None:
    result = columns.parse_integers(pl.Series([7, None], dtype=dtype))
    assert (result.values.to_list(), result.faults) == ([7, None], None)


@pytest.mark.parametrize("values", [[True], [[1]], [datetime(2024, 1, 1)], [b"\xff"], [{"a": 1}]])
def test_invalid_numbers_are_unreadable(values: list[object]) -> None:
    for convert in (columns.parse_integers, columns.parse_durations, columns.parse_protocols, columns.parse_addresses):
        assert convert(pl.Series(values)).all_faults.to_list() == [UNREADABLE]


@LAW
@given(st.integers(0, 10**15))
def test_durations_as_numbers_and_as_clocks(us: int) -> None:
    day, rest = divmod(us, 86_400_000_000)
    hour, rest = divmod(rest, 3_600_000_000)
    minute, rest = divmod(rest, 60_000_000)
    seconds = f"{rest // 10**6:02d}.{rest % 10**6:06d}"
    expected = timedelta(microseconds=us)
    for spelling in (f"{us // 10**6}.{us % 10**6:06d}", f"{day} days {hour:02d}:{minute:02d}:{seconds}",
                     f"{day * 24 + hour:02d}:{minute:02d}:{seconds}"):  # fmt: skip
        value, fault = one(columns.parse_durations(text(spelling)))
        assert fault == FINE
        assert isinstance(value, timedelta)
        assert abs(value - expected) <= timedelta(microseconds=1)
    assert one(columns.parse_durations(text(str(us)), 1.0)) == (expected, FINE)


@pytest.mark.parametrize(
    ("spelling", "fault"),
    [("-0.5", OUT_OF_RANGE), ("garbage", UNREADABLE), ("12,5", UNREADABLE), ("inf", UNREADABLE),
     ("1e400", OUT_OF_RANGE),
     ("00:75:00", UNREADABLE), ("04:05", UNREADABLE), ("1 h", UNREADABLE), ("９", UNREADABLE), ("1e10", OUT_OF_RANGE)],
)  # fmt: skip
def test_durations_that_are_none(spelling: str, fault: int) -> None:
    assert one(columns.parse_durations(text(spelling))) == (None, fault)


def test_a_decimal_comma_of_a_duration_where_it_is_stated() -> None:
    result = columns.parse_durations(pl.Series(["12,5", "1.234,5", "1.5"]), marks=NumberMarks(",", "."))
    assert result.values.to_list() == [timedelta(seconds=12.5), timedelta(seconds=1234.5), None]
    assert result.all_faults.to_list() == [FINE, FINE, UNREADABLE]


def test_units_round_to_the_nearest_whole_number() -> None:
    result = columns.parse_scaled(pl.Series(["1.5", "1.2346", "-1", "x", "NULL"]), 1e3)
    assert result.values.to_list() == [1500, 1235, None, None, None]
    assert result.all_faults.to_list() == [FINE, FINE, OUT_OF_RANGE, UNREADABLE, NULL_WORD]


@pytest.mark.parametrize(
    ("spelling", "hexadecimal", "expected"),
    [("A", True, 0x10), ("AS", True, 0x12), ("0x1b", True, 0x1B), ("1b", True, 0x1B), ("18", False, 18),
     ("........", False, 0), ("...AP.SF", False, 0x1B), ("0x0112", False, 0x12), ("SYN|ACK", False, None),
     ("-1", False, None), ("70000", False, None), ("2.5", False, None), ("1_8", False, None)],
)  # fmt: skip
def test_flags(spelling: str, hexadecimal: bool, expected: int | None) -> None:
    value, fault = one(columns.parse_tcp_flags(text(spelling), hexadecimal=hexadecimal))
    assert value == expected
    assert (fault == FINE) == (expected is not None)


moment = st.datetimes(datetime(1980, 1, 2), datetime(2099, 12, 30))


@LAW
@given(moment, st.integers(-14 * 60, 14 * 60))
def test_every_spelling_of_a_time_gives_that_time(when: datetime, offset: int) -> None:
    here = when + timedelta(minutes=offset)
    sign, (hours, minutes) = "-" if offset < 0 else "+", divmod(abs(offset), 60)
    us = round((when - datetime(1970, 1, 1)) / timedelta(microseconds=1))
    spellings = [
        f"{when:%Y-%m-%d %H:%M:%S.%f}", f"{when:%Y-%m-%dT%H:%M:%S.%fZ}", f"{when:%Y-%m-%dt%H:%M:%S.%fz}",
        f"{when:%Y-%m-%d %H:%M:%S,%f}", f"{when:%Y/%m/%d %H:%M:%S.%f}", f"{when:%Y%m%dT%H%M%S.%fZ}",
        f" {when:%Y-%m-%d %H:%M:%S.%f} UTC ", f"{here:%Y-%m-%dT%H:%M:%S.%f}{sign}{hours:02d}:{minutes:02d}",
        f"{here:%Y-%m-%d %H:%M:%S.%f} {sign}{hours:02d}{minutes:02d}", str(us), f"{us}000",
        f"{when:%Y-%m-%dT%H:%M:%S.%f}000Z",
    ]  # fmt: skip
    if not minutes:
        spellings.append(f"{here:%Y-%m-%dT%H:%M:%S.%f}{sign}{hours:02d}")
    result = parse_times(pl.Series(spellings))
    assert result.values.to_list() == [when.replace(tzinfo=UTC)] * len(spellings)
    cut = when.replace(second=0, microsecond=0)
    result = parse_times(pl.Series([f"{when:%Y-%m-%d %H:%M}", f"{when:%Y-%m-%dT%H:%MZ}", f"{when:%Y%m%dT%H%M}"]))
    assert result.values.to_list() == [cut.replace(tzinfo=UTC)] * 3
    ms = when.replace(microsecond=when.microsecond // 1000 * 1000)
    for values in (pl.Series([us // 1000]), pl.Series([us // 1000], dtype=pl.Float64), pl.Series([str(us // 1000)])):
        assert parse_times(values).values.to_list() == [ms.replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    "spelling",
    ["yesterday", "2023-11-14", "14.11.2023 22:13:25", "14-11-20 22:13:25", "20231114221320", "inf", "-5", "1e300",
     "2023-11-14 25:00:00", "2023-02-30 10:00:00", "2023-11-14 22:13:20 CET", "2023-11-14T22:13:20+25:00",
     "２023-11-14 22:13:20", "1700000000,25", "99999999999999999999"],
)  # fmt: skip
def test_invalid_times_are_unreadable(spelling: str) -> None:
    assert one(parse_times(text(spelling))) == (None, UNREADABLE)


def test_the_unit_that_a_field_states_goes_before_the_size_of_its_number() -> None:
    quarter = [datetime(1970, 1, 1, 0, 0, 0, 250_000, UTC)]
    assert parse_times(pl.Series([250]), unit="ms").values.to_list() == quarter
    assert parse_times(pl.Series(["250"]), form="epoch_ms").values.to_list() == quarter
    assert parse_times(pl.Series(["2023-11-14 22:13:20"]), form="epoch_ms").all_faults.to_list() == [UNREADABLE]
