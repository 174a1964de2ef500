"""Read delimited text with arbitrary columns through a mapping file (TOML)."""

from __future__ import annotations

import tomllib
import zoneinfo
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ethogram._tables import TextFileError, utf8_text
from ethogram.errors import ConfigurationError
from ethogram.io.delimited import delimited, split_header
from ethogram.io.open_text import TextInput, first_line
from ethogram.io.parse_columns import NumberMarks, ParsedColumn, parse_durations, parse_scaled
from ethogram.io.parse_times import parse_times
from ethogram.io.record_reader import RecordReader, to_biflows
from ethogram.schema import BIFLOW

__all__ = ["MappedTextReader", "Mapping"]

_NEEDED = ("start", "source_address", "destination_address", "protocol")
_TOTALS = ("total_octets", "total_packets")
_FIELDS = {*BIFLOW.names, "duration", *_TOTALS}
_SECTIONS = {"columns", "constants", "units", "time", "values", "text"}
_THOUSANDS = (None, ",", ".", "'", " ", "\N{RIGHT SINGLE QUOTATION MARK}", "\N{NO-BREAK SPACE}",
              "\N{NARROW NO-BREAK SPACE}")  # fmt: skip
_TIME_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_OCTET_UNITS = {"octets": 1.0, "bits": 0.125, "kilobytes": 1e3, "kibibytes": 1024.0}


@dataclass(frozen=True)
class Mapping:
    """Meaning of the columns of a delimited text.

    Parameters
    ----------
    file
        The mapping file.
    columns
        Column name for each field: a field of the biflow table, ``duration``, ``total_octets`` or ``total_packets``.
        Totals count both directions; half is assigned to each.
    constants
        One value for all rows, by field.
    values
        Table of texts and their meaning, by field.
    time_form, time_zone
        See :func:`ethogram.io.parse_times.parse_times`.
    duration_us, octet_scale
        Factors to microseconds and octets.
    delimiter, unset, one_way
        Field separator, texts that mean *no value* in addition to :data:`ethogram.io.parse_columns.UNSET`, and whether
        records have one direction only.
    marks
        Decimal and thousands mark of numbers.
    """

    file: Path
    columns: dict[str, str]
    constants: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    time_form: str | None = None
    time_zone: str = "UTC"
    duration_us: float = 1e6
    octet_scale: float = 1.0
    delimiter: str = ","
    unset: tuple[str, ...] = ("", "-")
    one_way: bool = False
    marks: NumberMarks = field(default_factory=NumberMarks)

    def missing(self, header: Sequence[str]) -> str | None:
        """The first field whose column is missing from a header."""
        return next((name for name, column in self.columns.items() if column not in header), None)

    def fits(self, head: bytes) -> bool:
        """Whether a text with this head has all columns of the mapping."""
        return self.missing(split_header(first_line(head), self.delimiter)) is None

    @classmethod
    def load(cls, file: Path) -> Mapping:
        """Read a mapping file.

        Raises
        ------
        ConfigurationError
            If the file is not TOML, has no columns or an unknown field, or omits a required one.
        """

        def wrong(reason: str) -> ConfigurationError:
            return ConfigurationError(f"mapping {file}: {reason}")

        try:
            raw = tomllib.loads(utf8_text(file.read_bytes()))
        except OSError as error:
            raise wrong(error.strerror or str(error)) from None
        except TextFileError as error:
            place = f"{file}:{error.line}" if error.line else str(file)
            raise ConfigurationError(f"mapping {place}: {error.reason}") from None
        except tomllib.TOMLDecodeError as error:
            raise wrong(f"not TOML: {error}") from None
        sections: dict[str, dict[str, Any]] = {}
        for name, value in raw.items():
            if name not in _SECTIONS or not isinstance(value, dict):
                raise wrong(f"unknown section {name!r}; expected one of {', '.join(sorted(_SECTIONS))}")
            sections[name] = value
        columns, constants = sections.get("columns", {}), sections.get("constants", {})
        if not columns:
            raise wrong("[columns] is missing or empty")
        for name, value in (*columns.items(), *constants.items()):
            if name not in _FIELDS:
                raise wrong(f"unknown field {name!r}; expected one of {', '.join(sorted(_FIELDS))}")
            if isinstance(value, dict | list) or value == "":
                raise wrong(f"field {name!r} has no column name")
        missing = [name for name in _NEEDED if name not in columns and name not in constants]
        if missing:
            raise wrong(f"no column for {', '.join(missing)}")
        values = sections.get("values", {})
        if any(name not in _FIELDS or not isinstance(table, dict) for name, table in values.items()):
            raise wrong("[values] must contain one table per field, such as [values.protocol]")
        return cls(
            file,
            {name: str(value) for name, value in columns.items()},
            {name: str(value) for name, value in constants.items()},
            {name: {str(k): str(v) for k, v in table.items()} for name, table in values.items()},
            **_time(sections.get("time", {}), wrong),
            **_units(sections.get("units", {}), wrong),
            **_text(sections.get("text", {}), wrong),
        )


def _only(section: dict[str, Any], known: set[str], name: str, wrong: Any) -> None:
    if unknown := set(section) - known:
        raise wrong(f"unknown setting {name}.{min(unknown)}; expected one of {', '.join(sorted(known))}")


def _time(section: dict[str, Any], wrong: Any) -> dict[str, Any]:
    _only(section, {"format", "zone"}, "time", wrong)
    zone = str(section.get("zone", "UTC"))
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong(f"unknown time zone {zone!r}") from None
    form = section.get("format")
    return {"time_form": None if form in {None, "iso"} else str(form), "time_zone": zone}


def _units(section: dict[str, Any], wrong: Any) -> dict[str, Any]:
    _only(section, {"duration", "octets"}, "units", wrong)
    duration, octets = section.get("duration", "s"), section.get("octets", "octets")
    if duration not in _TIME_UNITS:
        raise wrong(f"units.duration must be one of {', '.join(_TIME_UNITS)}")
    if octets not in _OCTET_UNITS:
        raise wrong(f"units.octets must be one of {', '.join(_OCTET_UNITS)}")
    return {"duration_us": _TIME_UNITS[duration], "octet_scale": _OCTET_UNITS[octets]}


def _text(section: dict[str, Any], wrong: Any) -> dict[str, Any]:
    _only(section, {"delimiter", "unset", "one_way", "decimal", "thousands"}, "text", wrong)
    delimiter, unset = section.get("delimiter", ","), section.get("unset", ["", "-"])
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\n\r':
        raise wrong("text.delimiter must be one character")
    if not isinstance(unset, list) or not all(isinstance(text, str) for text in unset):
        raise wrong("text.unset must be a list of strings")
    decimal, thousands = section.get("decimal"), section.get("thousands")
    if decimal not in {None, ".", ","}:
        raise wrong("text.decimal must be '.' or ','")
    if thousands not in _THOUSANDS:
        raise wrong(f"text.thousands must be one of {', '.join(repr(mark) for mark in _THOUSANDS if mark)}")
    if thousands is not None and thousands == (decimal or "."):
        raise wrong("text.decimal and text.thousands must differ")
    return {
        "delimiter": delimiter,
        "unset": tuple(unset),
        "one_way": bool(section.get("one_way", False)),
        "marks": NumberMarks(decimal, thousands),
    }


class MappedTextReader(RecordReader):
    """Reader of delimited text through a mapping."""

    def __init__(self, text: TextInput, mapping: Mapping) -> None:
        super().__init__(text.name)
        self.unidirectional = mapping.one_way
        self._text = text
        self._mapping = mapping

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield biflow tables, one for each block of lines.

        Raises
        ------
        ConfigurationError
            If the mapping names a column that the text does not have.
        """
        mapping, header = self._mapping, None
        for batch in self._text.batches():
            lines_at, lines = batch.filled()
            if header is None and lines:
                header = split_header(lines.pop(0), mapping.delimiter)
                lines_at.pop(0)
                self._check(header)
            if header is not None and lines:
                frame, rows = delimited(lines, lines_at, header, self, mapping.delimiter, mapping.unset)
                yield to_biflows(self._columns(frame), self, rows, mapping.marks)

    def _check(self, header: list[str]) -> None:
        name = self._mapping.missing(header)
        if name is not None:
            raise ConfigurationError(
                f"mapping {self._mapping.file}: {name} is mapped to column {self._mapping.columns[name]!r}, but "
                f"{self.name} has only {', '.join(header[:40])}"
            )

    def _columns(self, frame: pl.DataFrame) -> dict[str, ParsedColumn | pl.Series]:
        mapping = self._mapping
        series_by_field: dict[str, pl.Series] = {}
        for name, value in mapping.constants.items():
            series_by_field[name] = pl.Series(name, [value], dtype=pl.String).new_from_index(0, frame.height)
        for name, column in mapping.columns.items():
            series_by_field[name] = frame[column].str.strip_chars().alias(name)
        for name, table in mapping.values.items():
            if name in series_by_field:
                series_by_field[name] = series_by_field[name].replace(table)
        cells: dict[str, ParsedColumn | pl.Series] = {}
        for name, series in series_by_field.items():
            if name in _TOTALS:
                cells |= self._halves(name, series)
            else:
                cells[name] = self._cells(name, series)
        return cells

    def _halves(self, name: str, series: pl.Series) -> dict[str, ParsedColumn | pl.Series]:
        """Split a total of both directions in half."""
        total = parse_scaled(series, self._mapping.octet_scale if "octets" in name else 1, self._mapping.marks)
        counter = name.removeprefix("total_")
        half = total.values // 2
        return {
            counter: ParsedColumn(total.values - half, total.faults),
            f"reverse_{counter}": ParsedColumn(half, total.faults),
        }

    def _cells(self, name: str, series: pl.Series) -> ParsedColumn | pl.Series:
        mapping = self._mapping
        if name in {"start", "end"}:
            if mapping.marks.decimal == ",":  # in seconds since 1970
                series = series.str.replace("^([0-9]+),([0-9]+)$", "$1.$2")
            return parse_times(series, mapping.time_zone, mapping.time_form)
        if name == "duration":
            return parse_durations(series, mapping.duration_us, mapping.marks)
        if "octets" in name:
            return parse_scaled(series, mapping.octet_scale, mapping.marks)
        return series
