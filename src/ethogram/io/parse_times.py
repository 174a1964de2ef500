"""Parse times of flow records: common ISO 8601 spellings, numbers since 1970, or a format stated by the user."""

from __future__ import annotations

import polars as pl

from ethogram.io.parse_columns import BLANK, NULL_WORD, UNREADABLE, UNSET, ParsedColumn, as_text
from ethogram.schema import TIME

__all__ = ["parse_times", "parse_times_or_null"]

EARLIEST_US = -86_400_000_000
"""The first day of 1970 in any zone. Earlier values result from misread dates."""
LATEST_US = 7_258_118_400_000_000  # the year 2200

# A number of unknown unit is interpreted in the unit that places it between 1980 and 2100. Smaller numbers are
# seconds, because exporters without a clock start at 1970.
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
    """Like :func:`parse_times`, without distinguishing unset from unreadable cells.

    >>> parse_times_or_null(pl.Series(["2019-01-02 03:04:05.678", "1546398245.678"])).dt.epoch("ms").to_list()
    [1546398245678, 1546398245678]
    """
    return parse_times(series, zone, form, unit).values


def parse_times(series: pl.Series, zone: str = "UTC", form: str | None = None, unit: str | None = None) -> ParsedColumn:
    """Parse times to UTC in microseconds.

    Parameters
    ----------
    series
        Text, numbers since 1970, or datetimes.
    zone
        Time zone of times without one. When clocks are set back, the first occurrence of a repeated hour is assumed; a
        time in a skipped hour is unreadable.
    form
        A ``strftime`` format; or ``epoch_s``, ``epoch_ms``, ``epoch_us``, ``epoch_ns``. Other forms are then
        unreadable.
    unit
        Unit of numbers (s, ms, us, ns) if known; otherwise inferred from their magnitude.

    Examples
    --------
    >>> spellings = ["2019-01-02T03:04Z", "2019-01-02 04:04:00,5 +01", "1546398240250", "yesterday", "-"]
    >>> column = parse_times(pl.Series(spellings))
    >>> column.values.dt.epoch("ms").to_list(), column.faults.to_list()
    ([1546398240000, 1546398240500, 1546398240250, None, None], [0, 0, 0, 1, 0])
    """
    kind = series.dtype
    if kind == pl.Datetime:
        return _within_bounds(_to_utc(series, zone), series.is_not_null())
    if form is not None and form.startswith("epoch_") and form.removeprefix("epoch_") in _UNITS:
        unit, iso, form = form.removeprefix("epoch_"), False, None
    else:
        iso = True
    if kind.is_numeric() and not kind.is_decimal():
        present = series.is_not_null() & (series.is_not_nan() if kind.is_float() else True)
        return _within_bounds(_epoch(series, unit), present)
    raw, lost = as_text(series)
    text = raw.str.strip_chars()
    parsed = _parse_format(text, form, zone) if form is not None else _parse_text(text, zone, unit, iso)
    present = text.is_not_null() if lost is None else text.is_not_null() | lost
    if not (present & parsed.is_null()).any():
        return _within_bounds(parsed, present)
    words = text.str.to_lowercase()
    unset = words.is_in(list(UNSET)).fill_null(False)
    cells = _within_bounds(parsed, present & ~unset)
    null_words = unset & ~words.is_in(list(BLANK)).fill_null(False)
    return cells if not null_words.any() else ParsedColumn(cells.values, cells.all_faults.set(null_words, NULL_WORD))


def _within_bounds(times: pl.Series, present: pl.Series) -> ParsedColumn:
    """Times inside the bounds; non-empty cells without such a time are unreadable."""
    us = times.to_physical()
    times = times.cast(TIME).set(~us.is_between(EARLIEST_US, LATEST_US, closed="left"), None)
    faulty = present & times.is_null()
    return ParsedColumn(times, faulty.cast(pl.UInt8) * UNREADABLE) if faulty.any() else ParsedColumn(times)


def _to_utc(series: pl.Series, zone: str) -> pl.Series:
    """Convert datetimes of any unit to UTC in microseconds."""
    if series.dtype.time_zone is None:  # type: ignore[attr-defined]
        series = series.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return series.dt.cast_time_unit("us").dt.convert_time_zone("UTC")


def _epoch(values: pl.Series, unit: str | None) -> pl.Series:
    """Numbers since 1970 as times; null if out of the range of their unit, or of all units."""
    whole = values.dtype.is_integer()
    if whole:  # nanoseconds exceed the precision of a float
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
    times = values.to_frame("number").select(us.alias("us"))["us"]
    if times.dtype.is_float():
        times = times.set(~(times < float(LATEST_US)).fill_null(False), None).round()
    times = times.set((times < 0).fill_null(False), None)
    return times.cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _parse_text(text: pl.Series, zone: str, unit: str | None, iso: bool) -> pl.Series:
    """Parse numbers and, optionally, ISO 8601."""
    whole = text.cast(pl.Int64, strict=False)
    times = _epoch(whole, unit)
    rest = text.is_not_null() & whole.is_null()
    if rest.any():
        real = text.set(~rest, None).cast(pl.Float64, strict=False)
        if real.null_count() < len(real):
            times = times.zip_with(whole.is_not_null(), _epoch(real, unit))
            rest = rest & ~real.is_finite().fill_null(False)
    if not iso or not rest.any():
        return times
    plain = text.set(~rest, None).str.replace("T", " ", literal=True)
    local = plain.str.to_datetime(_PLAIN, strict=False, time_unit="us")
    times = times.zip_with(~rest, _to_utc(local, zone))
    rest = rest & local.is_null()
    return times.scatter(rest.arg_true(), _parse_iso(text.filter(rest), zone)) if rest.any() else times


def _parse_iso(text: pl.Series, zone: str) -> pl.Series:
    """Parse ISO 8601 with an offset, in basic format, with a decimal comma, or without seconds."""
    parts = text.str.extract_groups(_ISO).struct.rename_fields(_NAMES).struct.unnest()
    offset = pl.col("offset")
    digits = offset.str.replace(":", "", literal=True)
    minutes = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(3, 2).cast(
        pl.Int64, strict=False
    ).fill_null(0)
    plain = pl.concat_str(
        "year", pl.lit("-"), "month", pl.lit("-"), "day", pl.lit(" "), "hour", pl.lit(":"), "minute", pl.lit(":"),
        pl.col("second").fill_null("00"), pl.lit("."), pl.col("fraction").fill_null("0").str.slice(0, 9),
    )  # fmt: skip
    local_times = parts.select(
        local=plain.str.to_datetime(_PLAIN, strict=False, time_unit="us"),
        zoneless=offset.is_null(),
        shift=pl.when(offset.str.contains("^[+-]"))
        .then(pl.when(minutes < 16 * 60).then(minutes * pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)))
        .otherwise(0),
    )
    zoned = local_times.select(
        (pl.col("local") - pl.duration(minutes=pl.col("shift"))).dt.replace_time_zone("UTC").dt.cast_time_unit("us")
    ).to_series()
    return _to_utc(local_times["local"], zone).zip_with(local_times["zoneless"], zoned)


def _parse_format(text: pl.Series, form: str, zone: str) -> pl.Series:
    """Parse times of a ``strftime`` format."""
    parsed = text.str.to_datetime(form, strict=False, time_unit="us", ambiguous="earliest")
    return _to_utc(parsed, zone)
