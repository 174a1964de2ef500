"""Convert columns of flow records to typed values. All readers of text, JSON and Parquet share these functions.

*Unset* and *unreadable* differ. An unset cell (:data:`UNSET`) is null without a fault and takes the default of its
field. A non-empty cell without a valid value is null with a fault: the caller drops the record or the field and counts
it. No value is guessed or truncated.

Conversion is columnar: a cast reads the common spelling, and each distinct text that the cast rejects is parsed once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import polars as pl

from ethogram._arrays import codes_of
from ethogram._parse_address import canonical_device, parse_address, parse_mac

__all__ = [
    "FINE", "MAX_COUNT", "NULL_WORD", "OUT_OF_RANGE", "POINT", "PROTOCOL_NUMBERS", "UNREADABLE", "UNSET",
    "NumberMarks", "ParsedColumn", "as_text", "parse_addresses", "parse_booleans", "parse_choices",
    "parse_device_names", "parse_durations", "parse_integers", "parse_macs", "parse_protocols", "parse_refused",
    "parse_scaled", "parse_strings", "parse_tcp_flags",
]  # fmt: skip

FINE, UNREADABLE, OUT_OF_RANGE, NULL_WORD = 0, 1, 2, 3
MAX_COUNT = (1 << 64) - 1
MAX_DURATION_US = 1e15  # 31 years
MAX_DIGITS = 64  # of a number; longer texts are unreadable

BLANK = frozenset({"", "-", "(empty)"})
UNSET = BLANK | {"null", "nil", "none", "nan", "-nan", "na", "n/a", "#n/a", "<na>", "\\n"}
"""Words that mean *no value* in any field, in lower case: from Zeek, SQL, R, Python and spreadsheets."""

PROTOCOL_NUMBERS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50,
    "ah": 51, "icmp6": 58, "icmpv6": 58, "ipv6-icmp": 58, "eigrp": 88, "ospf": 89, "ospfigp": 89, "pim": 103,
    "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136, "udp-lite": 136,
}  # fmt: skip
_FLAG_BITS = {"F": 0x01, "S": 0x02, "R": 0x04, "P": 0x08, "A": 0x10, "U": 0x20, "E": 0x40, "C": 0x80}
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")
_DIGITS = re.compile(r"[0-9]+")
_CLOCK = re.compile(r"(?:([0-9]{1,5}) ?d(?:ays?)?,? ?)?([0-9]{1,6}):([0-5][0-9]):([0-5][0-9](?:\.[0-9]{1,9})?)")
_GROUP_OF_THREE = re.compile(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}")
_MAX_CACHED = 1 << 18

Parsed = tuple[Any, int]


@dataclass(frozen=True, slots=True)
class ParsedColumn:
    """A converted column of N cells.

    Parameters
    ----------
    values
        Typed values; null where the cell is unset or has a fault.
    faults
        :data:`FINE`, :data:`UNREADABLE`, :data:`OUT_OF_RANGE`, or :data:`NULL_WORD` for a cell that is unset by a word
        such as ``NULL`` (UInt8, N); None if there are no faults.
    """

    values: pl.Series
    faults: pl.Series | None = None

    @property
    def all_faults(self) -> pl.Series:
        """The faults; zeros if there are none."""
        return pl.zeros(len(self.values), pl.UInt8, eager=True) if self.faults is None else self.faults

    @property
    def unset(self) -> pl.Series:
        """Whether each cell is empty, N."""
        return self.values.is_null() if self.faults is None else self.values.is_null() & ~self.faulty

    @property
    def faulty(self) -> pl.Series:
        """Whether each cell is non-empty but invalid, N."""
        return self.all_faults.is_in([UNREADABLE, OUT_OF_RANGE])

    def or_else(self, other: ParsedColumn) -> ParsedColumn:
        """These cells, with unset ones replaced by those of another column."""
        unset = self.unset
        if not unset.any():
            return self
        values = other.values.zip_with(unset, self.values.cast(other.values.dtype))
        if self.faults is None and other.faults is None:
            return ParsedColumn(values)
        return ParsedColumn(values, other.all_faults.zip_with(unset, self.all_faults))


@dataclass(frozen=True, slots=True)
class NumberMarks:
    """Number format: decimal and thousands mark stated by the user.

    By default, the decimal mark is a point and there is no thousands mark. An integer such as ``1.234`` is then
    unreadable, because it could mean 1234.
    """

    decimal: str | None = None
    thousands: str | None = None


POINT = NumberMarks()


def parse_refused(
    text: pl.Series, values: pl.Series, failed: pl.Series, parse: Callable[[str], Parsed]
) -> ParsedColumn:
    """Parse the texts that a cast rejected, each distinct one once.

    Parameters
    ----------
    text
        The cells, N.
    values
        Result of the cast, N.
    failed
        Cells to parse, N; null is False.
    parse
        Converts a stripped text that is not in :data:`UNSET` to a value, or to None and a fault.
    """
    failed = failed.fill_null(False)
    if not failed.any():
        return ParsedColumn(values)
    rows = failed.arg_true()
    codes, distinct = codes_of(text.gather(rows))
    parsed = [_parsed(spelling, parse) for spelling in distinct]
    replacements = pl.Series([value for value, _ in parsed], dtype=values.dtype)
    faults = pl.Series([fault for _, fault in parsed], dtype=pl.UInt8)
    values = values.scatter(rows, replacements.gather(codes))
    if not (faults > FINE).any():
        return ParsedColumn(values)
    all_faults = pl.zeros(len(text), pl.UInt8, eager=True).scatter(rows, faults.gather(codes))
    return ParsedColumn(values, all_faults)


def _parsed(text: str, parse: Callable[[str], Parsed]) -> Parsed:
    bare = text.strip()
    word = bare.lower()
    if word in UNSET:
        return None, FINE if word in BLANK else NULL_WORD
    return parse(bare)


def as_text(series: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    """A column as text, and a mask of non-empty cells without text (invalid UTF-8, lists)."""
    kind = series.dtype
    if kind == pl.String:
        return series, None
    if kind.is_nested() or kind.is_temporal() or kind in (pl.Boolean, pl.Object):
        text = pl.Series(series.name, [None], dtype=pl.String).new_from_index(0, len(series))
    elif kind == pl.Binary:
        text = pl.Series(series.name, [_decoded(octets) for octets in series], dtype=pl.String)
    else:
        text = series.cast(pl.String, strict=False)
    lost = series.is_not_null() & text.is_null()
    return text, lost if lost.any() else None


def _decoded(octets: bytes | None) -> str | None:
    try:
        return None if octets is None else octets.decode()
    except UnicodeDecodeError:
        return None


def _from_text(series: pl.Series, convert: Callable[[pl.Series], ParsedColumn]) -> ParsedColumn:
    """Convert through text; cells without text are unreadable."""
    text, lost = as_text(series)
    cells = convert(text)
    if lost is None:
        return cells
    return ParsedColumn(cells.values, cells.all_faults.set(lost, UNREADABLE))


def _faulty(values: pl.Series, *faults: tuple[pl.Series, int]) -> ParsedColumn:
    """Cells with faults where the masks are true (later masks take precedence); their values become null."""
    codes = pl.zeros(len(values), pl.UInt8, eager=True)
    for where, fault in faults:
        codes = codes.set(where.fill_null(False), fault)
    bad = codes > FINE
    return ParsedColumn(values.set(bad, None), codes) if bad.any() else ParsedColumn(values)


@lru_cache(maxsize=64)
def _pattern(marks: NumberMarks) -> re.Pattern[str]:
    point = re.escape(marks.decimal or ".")
    whole = "[0-9]+"
    if marks.thousands is not None:
        whole = rf"(?:[0-9]{{1,3}}(?:{re.escape(marks.thousands)}[0-9]{{3}})+|[0-9]+)"
    return re.compile(rf"[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]{{1,4}})?")


def _decimal(text: str, marks: NumberMarks) -> Decimal | None:
    """The exact number spelled by a text: ASCII digits only, no unit."""
    if len(text) > MAX_DIGITS or _pattern(marks).fullmatch(text) is None:
        return None
    if marks.thousands is not None:
        text = text.replace(marks.thousands, "")
    try:
        return Decimal(text.replace(marks.decimal, ".") if marks.decimal is not None else text)
    except InvalidOperation:
        return None


def _whole(text: str, most: int, marks: NumberMarks) -> Parsed:
    if _HEXADECIMAL.fullmatch(text) and len(text) <= MAX_DIGITS:
        number = Decimal(int(text, 16))
    else:
        decimal = _decimal(text, marks)
        if decimal is None or (marks == POINT and _GROUP_OF_THREE.fullmatch(text)):
            return None, UNREADABLE
        number = decimal
    if number != number.to_integral_value():
        return None, UNREADABLE
    return (int(number), FINE) if 0 <= number <= most else (None, OUT_OF_RANGE)


def parse_integers(series: pl.Series, most: int = MAX_COUNT, marks: NumberMarks = POINT) -> ParsedColumn:
    """Parse integers from 0 to ``most`` (UInt64): numbers, decimal text, or hexadecimal text with ``0x``.

    >>> column = parse_integers(pl.Series(["2", " 3.0 ", "0x1f", "1e3", "NULL", "2.5", "1,000", "-1"]))
    >>> column.values.to_list()
    [2, 3, 31, 1000, None, None, None, None]
    >>> column.faults.to_list()
    [0, 0, 0, 0, 3, 1, 1, 2]
    """
    kind = series.dtype
    if kind.is_integer() or kind == pl.Null:
        values = series.cast(pl.UInt64, strict=False)
        if kind in (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64) and (values.max() or 0) <= most:  # type: ignore[operator]
            return ParsedColumn(values)
        return _faulty(values, (series.is_not_null() & ~(values <= most).fill_null(False), OUT_OF_RANGE))
    if kind.is_float():
        nan = series.is_nan().fill_null(False)
        whole = (series.is_finite() & (series == series.round())).fill_null(False)
        values = series.set(~whole, None).cast(pl.UInt64, strict=False)
        beyond = whole & ~(values <= most).fill_null(False)
        return _faulty(values, (series.is_not_null() & ~whole, UNREADABLE), (beyond, OUT_OF_RANGE), (nan, NULL_WORD))
    return _from_text(series, lambda text: _whole_texts(text, most, marks))


def _whole_texts(text: pl.Series, most: int, marks: NumberMarks) -> ParsedColumn:
    values = text.cast(pl.UInt64, strict=False)
    refused = text.is_not_null() & ~(values <= most).fill_null(False)
    return parse_refused(text, values.set(refused, None), refused, lambda cell: _whole(cell, most, marks))


def _real_texts(text: pl.Series, marks: NumberMarks, parse: Callable[[str], Parsed]) -> ParsedColumn:
    """Parse numbers as Float64. With user-defined marks, only plain digits are left to the cast."""
    if marks == POINT:
        values = text.cast(pl.Float64, strict=False)
        refused = text.is_not_null() & ~values.is_finite().fill_null(False)
    else:
        values = text.cast(pl.UInt64, strict=False).cast(pl.Float64)
        refused = text.is_not_null() & values.is_null()
    return parse_refused(text, values.set(refused, None), refused, parse)


def _reals(series: pl.Series, marks: NumberMarks, parse: Callable[[str], Parsed]) -> ParsedColumn:
    if series.dtype.is_integer() or series.dtype == pl.Null:
        return ParsedColumn(series.cast(pl.Float64))
    if series.dtype.is_float():
        values = series.cast(pl.Float64)
        return _faulty(values, (values.is_infinite(), UNREADABLE), (values.is_nan(), NULL_WORD))
    return _from_text(series, lambda text: _real_texts(text, marks, parse))


def _real(text: str, marks: NumberMarks) -> Parsed:
    number = _decimal(text, marks)
    if number is None:
        return None, UNREADABLE
    value = float(number)
    return (value, FINE) if abs(value) < float("inf") else (None, OUT_OF_RANGE)


def _bounded(cells: ParsedColumn, scale: float, most: float) -> ParsedColumn:
    values = cells.values * scale
    outside = ~values.is_between(0, most)
    bounded = _faulty(values, (outside, OUT_OF_RANGE))
    if cells.faults is None or bounded.faults is None:
        return ParsedColumn(bounded.values, cells.faults if bounded.faults is None else bounded.faults)
    return ParsedColumn(bounded.values, cells.faults.zip_with(cells.faults != FINE, bounded.faults))


def parse_scaled(series: pl.Series, scale: float, marks: NumberMarks = POINT) -> ParsedColumn:
    """Numbers of some unit, possibly fractions, times ``scale``: rounded to the nearest whole one (UInt64)."""
    if scale == 1:
        return parse_integers(series, marks=marks)
    cells = _bounded(_reals(series, marks, lambda text: _real(text, marks)), scale, float(1 << 63))
    return ParsedColumn(cells.values.round().cast(pl.UInt64, strict=False), cells.faults)


def parse_durations(series: pl.Series, unit_us: float = 1e6, marks: NumberMarks = POINT) -> ParsedColumn:
    """Durations from numbers of a unit, or text as ``[D days ]HH:MM:SS[.fff]``; from 0 to 31 years.

    >>> column = parse_durations(pl.Series(["1.5", "00:00:04.096", "-", "-0.5", "12,5"]))
    >>> [None if value is None else value.total_seconds() for value in column.values], column.faults.to_list()
    ([1.5, 4.096, None, None, None], [0, 0, 0, 2, 1])
    """
    if series.dtype == pl.Duration:
        series, unit_us = series.dt.total_microseconds(), 1.0

    def parse(text: str) -> Parsed:
        clock = _CLOCK.fullmatch(text)
        if clock is None:
            return _real(text, marks)
        days, hours, minutes, seconds = clock.groups()
        whole = int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60
        return (whole + float(seconds)) * 1e6 / unit_us, FINE

    cells = _bounded(_reals(series, marks, parse), unit_us, MAX_DURATION_US)
    return ParsedColumn(cells.values.round().cast(pl.Int64).cast(pl.Duration("us")), cells.faults)


def _by_text(series: pl.Series, kind: pl.DataType, parse: Callable[[str], Parsed]) -> ParsedColumn:
    """Parse each distinct text once."""

    def convert(text: pl.Series) -> ParsedColumn:
        if kind == pl.String and all(s is None or _parsed(s, parse)[0] == s for s in text.unique()):
            return ParsedColumn(text)  # all values canonical: the common case
        codes, distinct = codes_of(text)
        parsed = [_parsed(spelling, parse) for spelling in distinct.to_list()]
        canonical = [value for value, _ in parsed]
        faults = [fault for _, fault in parsed]
        values = pl.Series(text.name, canonical, dtype=kind).gather(codes)
        if not any(faults):
            return ParsedColumn(values)
        return ParsedColumn(values, pl.Series(faults, dtype=pl.UInt8).gather(codes).fill_null(FINE))

    return _from_text(series, convert)


class _ParseCache(dict[str, Parsed]):
    """Parsed values by text, cleared when full."""

    def __init__(self, parse: Callable[[str], Parsed]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, text: str) -> Parsed:
        if len(self) >= _MAX_CACHED:
            self.clear()
        parsed = self[text] = self._parse(text)
        return parsed


def _parse_address(text: str) -> Parsed:
    address = parse_address(text)
    return address, UNREADABLE if address is None else FINE


_address = _ParseCache(_parse_address).__getitem__


def parse_addresses(series: pl.Series) -> ParsedColumn:
    """Parse addresses to canonical text, see :func:`ethogram._parse_address.parse_address`.

    >>> parse_addresses(pl.Series(["10.0.0.1", "2001:DB8:0::1", "10.0.0"])).values.to_list()
    ['10.0.0.1', '2001:db8::1', None]
    """
    return _by_text(series, pl.String(), _address)


def parse_device_names(series: pl.Series) -> ParsedColumn:
    """Parse device names; addresses and MAC addresses become canonical."""
    return _by_text(series, pl.String(), lambda text: (canonical_device(text), FINE))


def _parse_mac(text: str) -> Parsed:
    mac = parse_mac(text)
    if mac is None:
        return None, UNREADABLE
    return None if mac == "00:00:00:00:00:00" else mac, FINE


_mac = _ParseCache(_parse_mac).__getitem__


def parse_macs(series: pl.Series) -> ParsedColumn:
    """Parse MAC addresses to ``aa:bb:cc:dd:ee:ff``; the all-zero address is unset.

    >>> parse_macs(pl.Series(["AA:BB:CC:00:01:02:", "0:17:88:1:2:3", "unknown"])).values.to_list()
    ['aa:bb:cc:00:01:02', '00:17:88:01:02:03', None]
    """
    return _by_text(series, pl.String(), _mac)


def parse_tcp_flags(series: pl.Series, *, hexadecimal: bool = False) -> ParsedColumn:
    """Parse TCP flags (UInt8): letters (``S``, ``SA``, ``...AP.SF``), ``0x`` text, or digits.

    >>> parse_tcp_flags(pl.Series(["S", "...AP.SF", "0x12", "18", "?"])).values.to_list()
    [2, 27, 18, 18, None]
    """
    if series.dtype.is_numeric():
        numbers = parse_integers(series, 0xFFFF)
        return ParsedColumn((numbers.values & 0xFF).cast(pl.UInt8), numbers.faults)
    return _by_text(series, pl.UInt8(), lambda text: _flag_bits(text, hexadecimal))


def _flag_bits(text: str, hexadecimal: bool) -> Parsed:
    # Letters take precedence over hexadecimal (``AF``); writers of numbers use 0x or a digit.
    letters = text.upper().replace(".", "")
    if all(letter in _FLAG_BITS for letter in letters):
        bits = 0
        for letter in letters:
            bits |= _FLAG_BITS[letter]
        return bits, FINE
    if hexadecimal and not text.startswith(("0x", "0X")):
        text = f"0x{text}"
    if not (_HEXADECIMAL.fullmatch(text) or _DIGITS.fullmatch(text)):
        return None, UNREADABLE
    value, fault = _whole(text, 0xFFFF, POINT)
    return (None, fault) if value is None else (value & 0xFF, FINE)


def parse_protocols(series: pl.Series) -> ParsedColumn:
    """Parse protocol numbers (UInt64, at most 255) from names or numbers.

    >>> parse_protocols(pl.Series(["tcp", "UDP", "47", "what"])).values.to_list()
    [6, 17, 47, None]
    """
    if not series.dtype.is_numeric():
        return _by_text(series, pl.UInt64(), _protocol)
    return parse_integers(series, 255)


def _protocol(text: str) -> Parsed:
    number = PROTOCOL_NUMBERS.get(text.lower())
    return _whole(text, 255, POINT) if number is None else (number, FINE)


def parse_booleans(series: pl.Series) -> ParsedColumn:
    """Parse booleans: ``true`` and ``false``, ``T`` and ``F``, or 1 and 0."""
    if series.dtype == pl.Boolean:
        return ParsedColumn(series)
    known = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}

    def parse(text: str) -> Parsed:
        value = known.get(text.lower())
        return value, UNREADABLE if value is None else FINE

    return _by_text(series, pl.Boolean(), parse)


def parse_strings(series: pl.Series) -> ParsedColumn:
    """Strip text."""
    return _by_text(series, pl.String(), lambda text: (text, FINE))


def parse_choices(series: pl.Series, known: Iterable[str]) -> ParsedColumn:
    """Parse texts from a fixed set."""
    allowed = frozenset(known)
    return _by_text(series, pl.String(), lambda text: (text, FINE) if text in allowed else (None, UNREADABLE))
