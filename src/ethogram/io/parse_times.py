"""Times of flow records: ISO 8601 in its usual spellings, numbers since 1970, or a form that the user states."""

from __future__ import annotations

import polars as pl

from ethogram.io.parse_columns import BLANK, NULL_WORD, UNREADABLE, UNSET, ParsedColumn, as_text
from ethogram.schema import TIME

__all__ = ["parse_times", "parse_times_or_null"]

EARLIEST_US = -86_400_000_000
"""The first day of 1970, in any zone. Earlier is no time of a flow, but a date that was read wrongly."""
LATEST_US = 7_258_118_400_000_000  # the year 2200

# A number whose unit is not stated is of the unit that puts it between 1980 and 2100; seconds may also be smaller,
# because exporters without a clock begin at 1970.
_SIZES = ((1_000, 315_532_800_000, 4_102_444_800_000), (1, 315_532_800_000_000, 4_102_444_800_000_000))
_NANOSECONDS = (315_532_800_000_000_000, 4_102_444_800_000_000_000)
_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}

_ISO = (
    r"^([0-9]{4})[-/]?([0-9]{2})[-/]?([0-9]{2})(?:[Tt]| +)([0-9]{2}):?([0-9]{2})(?::?([0-9]{2})(?:[.,]([0-9]{1,18}))?)?"
    r" *([Zz]|UTC|utc|GMT|gmt|[+-][0-9]{2}(?::?[0-9]{2})?)?$"
)
_NAMES = ("year", "month", "day", "hour", "minute", "second", "fraction", "offset")
_PLAIN = "%Y-%m-%d %H:%M:%S%.f"


def parse_times_or_null(
    series: pl.Series, zone: str = "UTC", form: str | None = None, unit: str | None = None
) -> pl.Series:
    """As :func:`parse_times`, without telling unset from unreadable.

    >>> parse_times_or_null(pl.Series(["2019-01-02 03:04:05.678", "1546398245.678"])).dt.epoch("ms").to_list()
    [1546398245678, 1546398245678]
    """
    return parse_times(series, zone, form, unit).values


def parse_times(series: pl.Series, zone: str = "UTC", form: str | None = None, unit: str | None = None) -> ParsedColumn:
    """Times as microseconds of UTC.

    Parameters
    ----------
    series
        Text, numbers since 1970, or times.
    zone
        Zone of times that state none. An hour that a change of the clocks repeats is its first one; an hour that it
        leaves out is unreadable.
    form
        A ``strftime`` form; or ``epoch_s``, ``epoch_ms``, ``epoch_us``, ``epoch_ns``. Nothing else is read then.
    unit
        Unit of numbers (s, ms, us, ns) where the field says it. Otherwise their size says it.

    Examples
    --------
    >>> spellings = ["2019-01-02T03:04Z", "2019-01-02 04:04:00,5 +01", "1546398240250", "yesterday", "-"]
    >>> column = parse_times(pl.Series(spellings))
    >>> column.values.dt.epoch("ms").to_list(), column.faults.to_list()
    ([1546398240000, 1546398240500, 1546398240250, None, None], [0, 0, 0, 1, 0])
    """
    kind = series.dtype
    if kind == pl.Datetime:
        return _checked(_moved(series, zone), series.is_not_null())
    if form is not None and form.startswith("epoch_") and form.removeprefix("epoch_") in _UNITS:
        unit, iso, form = form.removeprefix("epoch_"), False, None
    else:
        iso = True
    if kind.is_numeric() and not kind.is_decimal():
        present = series.is_not_null() & (series.is_not_nan() if kind.is_float() else True)
        return _checked(_epoch(series, unit), present)
    raw, lost = as_text(series)
    text = raw.str.strip_chars()
    found = _stated(text, form, zone) if form is not None else _read(text, zone, unit, iso)
    present = text.is_not_null() if lost is None else text.is_not_null() | lost
    if not (present & found.is_null()).any():
        return _checked(found, present)
    words = text.str.to_lowercase()
    unset = words.is_in(list(UNSET)).fill_null(False)
    cells = _checked(found, present & ~unset)
    null_words = unset & ~words.is_in(list(BLANK)).fill_null(False)
    return cells if not null_words.any() else ParsedColumn(cells.values, cells.all_faults.set(null_words, NULL_WORD))


def _checked(found: pl.Series, present: pl.Series) -> ParsedColumn:
    """Times inside the bounds; a cell that is there and has none is unreadable."""
    us = found.to_physical()
    found = found.cast(TIME).set(~us.is_between(EARLIEST_US, LATEST_US, closed="left"), None)
    faulty = present & found.is_null()
    return ParsedColumn(found, faulty.cast(pl.UInt8) * UNREADABLE) if faulty.any() else ParsedColumn(found)


def _moved(times_: pl.Series, zone: str) -> pl.Series:
    """Datetimes of any unit to microseconds of UTC."""
    if times_.dtype.time_zone is None:  # type: ignore[attr-defined]
        times_ = times_.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return times_.dt.cast_time_unit("us").dt.convert_time_zone("UTC")


def _epoch(values: pl.Series, unit: str | None) -> pl.Series:
    """Numbers since 1970 as times; null where the number is none of their unit or of any unit."""
    whole = values.dtype.is_integer()
    if whole:  # nanoseconds do not fit a float exactly
        values = values.cast(pl.Int64, strict=False)
    number = pl.col("number")
    if unit is not None:
        us = number * _UNITS[unit]
    else:
        us = pl.when(number.is_between(*_NANOSECONDS)).then(number // 1000 if whole else number / 1000)
        for scale, low, high in _SIZES:
            us = us.when(number.is_between(low, high)).then(number * scale)
        us = us.when(number.is_between(0, LATEST_US // 1_000_000)).then(number * 1_000_000)
    if unit == "ns" and whole:
        us = number // 1000
    found = values.to_frame("number").select(us.alias("us"))["us"]
    if found.dtype.is_float():
        found = found.set(~(found < float(LATEST_US)).fill_null(False), None).round()
    found = found.set((found < 0).fill_null(False), None)
    return found.cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _read(text: pl.Series, zone: str, unit: str | None, iso: bool) -> pl.Series:
    """Numbers and, if asked for, ISO 8601."""
    whole = text.cast(pl.Int64, strict=False)
    found = _epoch(whole, unit)
    rest = text.is_not_null() & whole.is_null()
    if rest.any():
        real = text.set(~rest, None).cast(pl.Float64, strict=False)
        if real.null_count() < len(real):
            found = found.zip_with(whole.is_not_null(), _epoch(real, unit))
            rest = rest & ~real.is_finite().fill_null(False)
    if not iso or not rest.any():
        return found
    plain = text.set(~rest, None).str.replace("T", " ", literal=True)
    local = plain.str.to_datetime(_PLAIN, strict=False, time_unit="us")
    found = found.zip_with(~rest, _moved(local, zone))
    rest = rest & local.is_null()
    return found.scatter(rest.arg_true(), _iso(text.filter(rest), zone)) if rest.any() else found


def _iso(text: pl.Series, zone: str) -> pl.Series:
    """ISO 8601 with an offset, in its basic form, with a comma, to the minute."""
    parts = text.str.extract_groups(_ISO).struct.rename_fields(_NAMES).struct.unnest()
    offset = pl.col("offset")
    digits = offset.str.replace(":", "", literal=True)
    minutes = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(3, 2).cast(
        pl.Int64, strict=False
    ).fill_null(0)
    shown = pl.concat_str(
        "year", pl.lit("-"), "month", pl.lit("-"), "day", pl.lit(" "), "hour", pl.lit(":"), "minute", pl.lit(":"),
        pl.col("second").fill_null("00"), pl.lit("."), pl.col("fraction").fill_null("0").str.slice(0, 9),
    )  # fmt: skip
    found = parts.select(
        local=shown.str.to_datetime(_PLAIN, strict=False, time_unit="us"),
        here=offset.is_null(),
        shift=pl.when(offset.str.contains("^[+-]"))
        .then(pl.when(minutes < 16 * 60).then(minutes * pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)))
        .otherwise(0),
    )
    there = found.select(
        (pl.col("local") - pl.duration(minutes=pl.col("shift"))).dt.replace_time_zone("UTC").dt.cast_time_unit("us")
    ).to_series()
    return _moved(found["local"], zone).zip_with(found["here"], there)


def _stated(text: pl.Series, form: str, zone: str) -> pl.Series:
    """Times of a ``strftime`` form."""
    parsed = text.str.to_datetime(form, strict=False, time_unit="us", ambiguous="earliest")
    return _moved(parsed, zone)
