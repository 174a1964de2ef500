"""Loose columns of any format to biflow tables: values checked by column, rows that do not fit dropped by reason."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import polars as pl

from ethogram.schema import BIFLOW, NAME_ANSWER, TIME, Accounting, by_unique

__all__ = [
    "PORT_PROTOCOLS", "PROTOCOL_NUMBERS", "RecordSource", "addresses", "as_time", "first_of", "flags",
    "mac_addresses", "numbers", "protocols", "to_biflows",
]  # fmt: skip

PORT_PROTOCOLS = (6, 17, 33, 132, 136)
"""Protocols with ports: TCP, UDP, DCCP, SCTP, UDP-Lite. Meters put ICMP types into the ports of others."""

PROTOCOL_NUMBERS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "dccp": 33, "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50,
    "ah": 51, "icmp6": 58, "icmpv6": 58, "ipv6-icmp": 58, "eigrp": 88, "ospf": 89, "ospfigp": 89, "pim": 103,
    "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136, "udp-lite": 136,
}  # fmt: skip

_FLAG_BITS = {"F": 0x01, "S": 0x02, "R": 0x04, "P": 0x08, "A": 0x10, "U": 0x20, "E": 0x40, "C": 0x80}
_MAX_CACHED = 1 << 18


class RecordSource:
    """What all readers of flow records share: a name, counters, the first broken record, and no names by default.

    Attributes
    ----------
    name
        The input, for messages.
    accounting
        Over the unit ``records``; complete when the batches end.
    exporter_counters
        What the records' exporter says of itself, as its own drop counters.
    first_problem
        Line and reason of the first record that was dropped.
    unidirectional
        Whether the format has one record for each direction.
    """

    unidirectional = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.accounting = Accounting("records")
        self.exporter_counters: dict[str, int] = {}
        self.first_problem: tuple[int, str] | None = None

    @property
    def notes(self) -> list[str]:
        """One line for each drop counter of the exporter that is not zero."""
        return [f"the exporter says {key} {value:,}" for key, value in self.exporter_counters.items() if value]

    def problem(self, line: int, reason: str) -> None:
        """Remember the first record that was dropped."""
        if self.first_problem is None:
            self.first_problem = (line, reason)

    def drop(self, reason: str, lines: Sequence[int]) -> None:
        """Count dropped records and remember the first."""
        self.accounting.drop(reason, len(lines))
        if lines:
            self.problem(lines[0], reason)

    def name_answers(self) -> pl.DataFrame:
        """Passive DNS; none unless the format has it."""
        return NAME_ANSWER.empty()


_address_cache: dict[str, str | None] = {}


def _canonical_address(text: str) -> str | None:
    if text in _address_cache:
        return _address_cache[text]
    bare = text.strip().split("%", 1)[0]
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        found: str | None = socket.inet_ntop(family, socket.inet_pton(family, bare))
    except (OSError, ValueError, UnicodeEncodeError):
        found = None
    if len(_address_cache) >= _MAX_CACHED:
        _address_cache.clear()
    _address_cache[text] = found
    return found


def _each(series: pl.Series, function: Callable[[str], object], dtype: pl.DataType) -> pl.Series:
    """Apply a function to each distinct text."""
    return by_unique(series.cast(pl.String), lambda texts: pl.Series([function(text) for text in texts], dtype=dtype))


def addresses(series: pl.Series) -> pl.Series:
    """Canonical text of addresses (RFC 5952 for IPv6); null where the text is no address.

    >>> addresses(pl.Series(["10.0.0.1", "2001:DB8:0::1", "10.0.0"])).to_list()
    ['10.0.0.1', '2001:db8::1', None]
    """
    return _each(series, _canonical_address, pl.String())


def _canonical_mac(text: str) -> str | None:
    parts = text.strip().lower().replace("-", ":").strip(":").split(":")
    if len(parts) == 1 and "." in parts[0]:
        parts = [parts[0].replace(".", "")]
    if len(parts) == 1 and len(parts[0]) == 12:
        parts = [parts[0][i : i + 2] for i in range(0, 12, 2)]
    if len(parts) != 6:
        return None
    try:
        octets = [int(part, 16) for part in parts]
    except ValueError:
        return None
    if any(len(part) > 2 for part in parts) or not any(octets):
        return None
    return ":".join(f"{octet:02x}" for octet in octets)


def mac_addresses(series: pl.Series) -> pl.Series:
    """MACs as ``aa:bb:cc:dd:ee:ff``; null where the text is none, or all zero.

    >>> mac_addresses(pl.Series(["AA:BB:CC:00:01:02:", "0:17:88:1:2:3", "none"])).to_list()
    ['aa:bb:cc:00:01:02', '00:17:88:01:02:03', None]
    """
    return _each(series, _canonical_mac, pl.String())


def numbers(values: Sequence[object] | pl.Series) -> pl.Series:
    """Whole numbers from numbers, decimal text or hexadecimal text with ``0x``; null where there is none.

    >>> numbers([1, "2", "0x1f", None, "x", 3.0]).to_list()
    [1, 2, 31, None, None, 3]
    """
    series = values if isinstance(values, pl.Series) else pl.Series(values, strict=False) if _plain(values) else None
    if series is not None and series.dtype.is_numeric():
        return series.cast(pl.Int64, strict=False)
    if series is not None and series.dtype == pl.String:
        return _each(series, _whole, pl.Int64())
    return pl.Series([_whole(value) for value in values], dtype=pl.Int64)


def _plain(values: Sequence[object]) -> bool:
    return all(type(value) is int or value is None for value in values)


def _whole(value: object) -> int | None:
    try:
        if isinstance(value, str):
            text = value.strip()
            found = int(text, 16) if text[:2] in {"0x", "0X"} else int(text)
        elif isinstance(value, int | float):
            found = int(value)
        else:
            return None
    except (ValueError, OverflowError):
        try:
            found = int(float(value))  # type: ignore[arg-type]
        except (ValueError, OverflowError):
            return None
    return found if -(1 << 63) <= found < 1 << 63 else None


def flags(series: pl.Series, *, hexadecimal: bool = False) -> pl.Series:
    """TCP flags as a number from letters (``S``, ``SA``, ``...AP.SF``), ``0x`` text, or digits; null where none.

    >>> flags(pl.Series(["S", "...AP.SF", "0x12", None])).to_list()
    [2, 27, 18, None]
    """
    if series.dtype.is_numeric():
        return (series.cast(pl.Int64, strict=False) & 0xFF).cast(pl.UInt8, strict=False)
    return _each(series, lambda text: _flag_bits(text.strip(), hexadecimal), pl.UInt8())


def _flag_bits(text: str, hexadecimal: bool) -> int | None:
    if not text or text in {"-", "."}:
        return 0 if text == "." else None
    try:
        if text[:2].lower() == "0x" or hexadecimal:
            return int(text, 16) & 0xFF
        if text.isdigit():
            return int(text) & 0xFF
    except ValueError:
        pass
    letters = text.upper().replace(".", "")
    if any(letter not in _FLAG_BITS for letter in letters):
        return None
    bits = 0
    for letter in letters:
        bits |= _FLAG_BITS[letter]
    return bits


def protocols(series: pl.Series) -> pl.Series:
    """Protocol numbers from names or digits; null where unknown.

    >>> protocols(pl.Series(["tcp", "UDP", "47", "what"])).to_list()
    [6, 17, 47, None]
    """
    if series.dtype.is_numeric():
        return series.cast(pl.Int64, strict=False)
    return _each(series, lambda text: PROTOCOL_NUMBERS.get(text.strip().lower(), _whole(text)), pl.Int64())


def first_of(frame: pl.DataFrame, *names: str) -> pl.Series:
    """The first of these columns that a row has a value in; all null when there is none of them."""
    present = [pl.col(name) for name in names if name in frame.columns]
    if not present:
        return pl.Series("first", [None] * frame.height, dtype=pl.String)
    return frame.select(pl.coalesce(present).alias("first"))["first"]


def as_time(series: pl.Series, zone: str = "UTC", form: str | None = None) -> pl.Series:
    """Times as microseconds of UTC, from ISO text, seconds since 1970 (as number or text), or ``form``.

    Parameters
    ----------
    series
        Text or numbers.
    zone
        Zone of texts that state none.
    form
        A ``strftime`` form; or ``epoch_s``, ``epoch_ms``, ``epoch_us``, ``epoch_ns``.

    Examples
    --------
    >>> as_time(pl.Series(["2019-01-02 03:04:05.678", "1546398245.678"])).dt.epoch("ms").to_list()
    [1546398245678, 1546398245678]
    """
    scale = {None: 1e6, "epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3}.get(form)
    # Beyond the year 2200 a number of seconds is no time; the cast to whole microseconds must not overflow.
    limit = 7.3e15
    if scale is not None:
        value = series.cast(pl.Float64, strict=False) * scale
        value = value.set(~(value.abs() < limit), None).round()
        epoch = value.cast(pl.Int64, strict=False).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        if form is not None or series.dtype != pl.String or epoch.null_count() == series.null_count():
            return epoch.cast(TIME)
    else:
        epoch = pl.Series([None] * len(series), dtype=TIME)
    text = series.cast(pl.String).str.strip_chars()
    if form is not None:
        parsed = text.str.to_datetime(form, strict=False, time_unit="us", ambiguous="earliest")
        if isinstance(parsed.dtype, pl.Datetime) and parsed.dtype.time_zone is None:
            parsed = parsed.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        return parsed.dt.convert_time_zone("UTC").cast(TIME)
    text = text.str.replace("T", " ", literal=True)
    zoned = text.str.contains(r"(Z|[+-]\d\d:?\d\d)$")
    bare = text.str.replace(r"(Z|[+-]\d\d:?\d\d)$", "")
    local = bare.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    there = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
    if zoned.any():
        shifted = text.str.replace(r"Z$", "+0000").str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f%z", strict=False, time_unit="us"
        )
        there = shifted.dt.convert_time_zone("UTC").zip_with(zoned.fill_null(False), there)
    return epoch.zip_with(epoch.is_not_null(), there.cast(TIME)).cast(TIME)


_OPTIONAL_NUMBERS = {c.name: c.dtype for c in BIFLOW.columns if c.nullable and c.dtype.is_integer()}
_COUNTS = ("octets", "packets", "reverse_octets", "reverse_packets")


def to_biflows(columns: dict[str, pl.Series], source: RecordSource, lines: Sequence[int]) -> pl.DataFrame:
    """Check loose columns row by row and give those that are biflows.

    Parameters
    ----------
    columns
        Columns of the biflow table, each of length N: ``start`` and ``end`` as times, addresses as text, numbers
        as whole numbers. Missing optional columns become null or 0; an ``end`` before ``start`` changes
        places with it.
    source
        Where N records are counted as used, or dropped by reason.
    lines
        Line number of each record, length N.
    """
    frame = pl.DataFrame({name: series.alias(name) for name, series in columns.items()})
    source.accounting.read += frame.height
    if not frame.height:
        return BIFLOW.empty()
    zero = pl.lit(0, dtype=pl.Int64)
    present = set(frame.columns)
    ported = pl.col("protocol").is_in(PORT_PROTOCOLS)
    frame = frame.with_columns(
        *(pl.col(name).fill_null(0) if name in present else zero.alias(name) for name in _COUNTS),
        *(
            pl.when(ported)
            .then(pl.col(name).fill_null(-1) if name in present else zero - 1)
            .otherwise(zero)
            .alias(name)
            for name in ("source_port", "destination_port")
        ),
        *(pl.Series(name, addresses(frame[name])) for name in ("source_address", "destination_address")),
        *(pl.Series(name, mac_addresses(frame[name])) for name in ("source_mac", "destination_mac") if name in present),
        end=pl.col("end").fill_null(pl.col("start")) if "end" in present else pl.col("start"),
    )
    reasons = (
        (pl.col("start").is_null(), "no start time"),
        (pl.col("protocol").is_null() | ~pl.col("protocol").is_between(0, 255), "no protocol"),
        (pl.any_horizontal(pl.col("source_address", "destination_address").is_null()), "no address"),
        (pl.any_horizontal(~pl.col("source_port", "destination_port").is_between(0, 65535)), "no port"),
        (pl.any_horizontal(pl.col(*_COUNTS) < 0), "negative counter"),
    )
    reason = pl.lit(None, dtype=pl.String)
    for test, text in reversed(reasons):
        reason = pl.when(test).then(pl.lit(text)).otherwise(reason)
    frame = frame.with_columns(reason.alias("_reason"), pl.Series("_line", lines, dtype=pl.Int64))
    bad = frame.filter(pl.col("_reason").is_not_null())
    if bad.height:
        for text, count in bad.group_by("_reason", maintain_order=True).len().iter_rows():
            source.accounting.drop(text, count)
        source.problem(bad["_line"][0], bad["_reason"][0])
        frame = frame.filter(pl.col("_reason").is_null())
    backwards = int(frame.select((pl.col("end") < pl.col("start")).sum()).item())
    source.accounting.correct("end before start", backwards)
    source.accounting.used += frame.height
    frame = frame.with_columns(
        *(pl.col(name).cast(dtype, strict=False) for name, dtype in _OPTIONAL_NUMBERS.items() if name in present),
        start=pl.min_horizontal("start", "end"),
        end=pl.max_horizontal("start", "end"),
    )
    return BIFLOW.conform(frame, file=source.name)
