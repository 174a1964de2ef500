"""Base class of record readers: parse columns of any format to biflow tables, and drop invalid records by reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from ethogram.io.parse_columns import (
    FINE,
    MAX_COUNT,
    NULL_WORD,
    OUT_OF_RANGE,
    POINT,
    UNREADABLE,
    NumberMarks,
    ParsedColumn,
    parse_addresses,
    parse_booleans,
    parse_choices,
    parse_device_names,
    parse_durations,
    parse_integers,
    parse_macs,
    parse_protocols,
    parse_strings,
    parse_tcp_flags,
)
from ethogram.io.parse_times import parse_times
from ethogram.schema import BIFLOW, FLOW, TIME, Accounting, FlowSource

__all__ = ["PORT_PROTOCOLS", "RecordCounters", "RecordReader", "first_of", "to_biflows", "to_flows"]

PORT_PROTOCOLS = (6, 17, 33, 132, 136)
"""Protocols with ports: TCP, UDP, DCCP, SCTP, UDP-Lite. Meters store ICMP types in other port fields."""


class RecordCounters:
    """What a reader of records counts, and the first record that could not be read.

    Attributes
    ----------
    name
        The input, for messages.
    accounting
        Over the unit ``records``.
    first_problem, first_unreadable
        As of :class:`ethogram.schema.FlowSource`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.accounting = Accounting("records")
        self.first_problem: tuple[int, str] | None = None
        self.first_unreadable: tuple[int, str] | None = None

    def problem(self, line: int, reason: str) -> None:
        """Remember the first dropped record."""
        if self.first_problem is None:
            self.first_problem = (line, reason)

    def drop(self, reason: str, lines: Sequence[int]) -> None:
        """Count dropped records and remember the first."""
        self.accounting.drop(reason, len(lines))
        if lines:
            self.problem(lines[0], reason)

    def unreadable_field(self, name: str, rows: pl.Series, lines: Sequence[int]) -> None:
        """Count an unreadable optional field that was omitted, and remember the first.

        Parameters
        ----------
        name
            Name of the field in messages.
        rows
            Records with an unreadable value, N.
        lines
            Their line numbers, N.
        """
        count = int(rows.sum())
        if count:
            reason = f"unreadable {name}"
            self.accounting.correct(reason, count)
            first = (lines[int(rows.arg_max() or 0)], reason)
            self.first_unreadable = min(self.first_unreadable or first, first)


class RecordReader(RecordCounters, FlowSource):
    """Base class of readers of record files.

    Attributes
    ----------
    exporter_counters
        Counters that the exporter reports of itself, such as its drops.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.exporter_counters: dict[str, int] = {}

    @property
    def notes(self) -> list[str]:
        """One line for each non-zero drop counter of the exporter."""
        return [f"exporter counter {key}: {value:,}" for key, value in self.exporter_counters.items() if value]


def first_of(frame: pl.DataFrame, *names: str) -> pl.Series:
    """The first non-null value of these columns in each row; all null if the frame has none of them."""
    present = [pl.col(name) for name in names if name in frame.columns]
    if not present:
        return pl.Series("first", [None] * frame.height, dtype=pl.String)
    return frame.select(pl.coalesce(present).alias("first"))["first"]


_REQUIRED = ("start", "end", "duration", "protocol", "source_address", "destination_address", "source_port",
             "destination_port", "octets", "packets", "reverse_octets", "reverse_packets")  # fmt: skip
"""Fields that a record must have, in checking order."""
_UNSET_REASONS = {
    "start": "no start time", "protocol": "no protocol", "source_address": "no address",
    "destination_address": "no address", "source_port": "no port", "destination_port": "no port",
}  # fmt: skip
_COUNTS = ("octets", "packets", "reverse_octets", "reverse_packets")
_PORTS = ("source_port", "destination_port")
_MOST = {"source_port": 0xFFFF, "destination_port": 0xFFFF, "vlan": 0xFFF, "end_reason": 0xFF, "direction": 0xFF}
_FAULTS = {UNREADABLE: "unreadable {}", OUT_OF_RANGE: "{} out of range"}
_WORDS = {"start": "start time", "end": "end time"}


def _field_name(name: str) -> str:
    """Name of a field in messages."""
    return _WORDS.get(name) or name.replace("_", " ").replace("tcp", "TCP").replace("mac", "MAC")


def _parse_column(name: str, column: ParsedColumn | pl.Series, marks: NumberMarks) -> ParsedColumn:
    """Parse a column according to its field."""
    if isinstance(column, ParsedColumn):
        return column
    if name in {"start", "end"}:
        return parse_times(column)
    if name == "duration":
        return parse_durations(column, marks=marks)
    if name == "protocol":
        return parse_protocols(column)
    if name.endswith("_address"):
        return parse_addresses(column)
    if name.endswith("_mac"):
        return parse_macs(column)
    if name.endswith("_tcp_flags"):
        return parse_tcp_flags(column)
    if name == "one_way":
        return parse_booleans(column)
    if BIFLOW.schema[name] == pl.String():
        return parse_strings(column)
    return parse_integers(column, _MOST.get(name, MAX_COUNT), marks)


def _required(cells: dict[str, ParsedColumn], rows: int) -> dict[str, ParsedColumn]:
    """The required fields, with defaults for unset cells."""

    def column(name: str) -> ParsedColumn:
        dtype = TIME if name in {"start", "end"} else pl.UInt64()
        return cells.get(name) or ParsedColumn(pl.Series(name, [None], dtype=dtype).new_from_index(0, rows))

    required = {name: column(name) for name in _REQUIRED if name in cells or name != "duration"}
    for name in _COUNTS:
        required[name] = ParsedColumn(required[name].values.fill_null(0), required[name].faults)
    without = ~required["protocol"].values.is_in(PORT_PROTOCOLS).fill_null(False)
    for name in _PORTS:  # ports of other protocols are not read
        values, faults = required[name].values, required[name].faults
        required[name] = ParsedColumn(values.set(without, 0), None if faults is None else faults.set(without, FINE))
    start, end = required["start"].values, required["end"].values
    if "duration" in required and end.null_count():
        end = end.zip_with(end.is_not_null(), start + required["duration"].values)
    required["end"] = ParsedColumn(end.zip_with(end.is_not_null(), start), required["end"].faults)
    return required


def _reasons(required: Mapping[str, ParsedColumn], unset: Mapping[str, str]) -> pl.Series | None:
    """Why each record is dropped (null if it is used); None if all are used."""
    reasons: pl.Series | None = None
    for name, cells in required.items():
        masks = []
        if cells.faults is not None:
            masks = [(cells.faults == fault, form.format(_field_name(name))) for fault, form in _FAULTS.items()]
        if name in unset and cells.values.null_count():
            masks.append((cells.unset, unset[name]))
        for mask, reason in masks:
            if mask.any():
                if reasons is None:
                    reasons = pl.Series("reason", [None], dtype=pl.String).new_from_index(0, len(mask))
                reasons = reasons.set(mask & reasons.is_null(), reason)
    return reasons


def _usable(
    required: Mapping[str, ParsedColumn],
    optional: Mapping[str, ParsedColumn],
    unset: Mapping[str, str],
    source: RecordReader,
    lines: Sequence[int],
) -> pl.DataFrame:
    """Select the usable records and count the others.

    Parameters
    ----------
    required
        Fields without which a record is dropped, including ``start`` and ``end``, in checking order.
    optional
        Fields that are omitted if unreadable.
    unset
        Reason for a record without a required field, by field.
    source
        Holds the counters.
    lines
        Line numbers, N.
    """
    frame = pl.DataFrame([cells.values.alias(name) for name, cells in (*required.items(), *optional.items())])
    source.accounting.read += frame.height
    reasons = _reasons(required, unset)
    usable: pl.Series | None = None
    if reasons is not None:
        usable = reasons.is_null()
        for reason, count in reasons.drop_nulls().value_counts(name="count").iter_rows():
            source.accounting.drop(reason, count)
        first = int((~usable).arg_max() or 0)
        source.problem(lines[first], reasons[first])
        frame = frame.filter(usable)
    for name, cells in optional.items():
        if cells.faults is not None:
            unreadable = cells.faulty
            source.unreadable_field(_field_name(name), unreadable if usable is None else unreadable & usable, lines)
    for name, cells in required.items():
        if cells.faults is not None:
            null_words = cells.faults == NULL_WORD
            without = null_words if usable is None else null_words & usable
            source.accounting.correct(f"no {_field_name(name)}", int(without.sum()))
    source.accounting.correct("end before start", int((frame["end"] < frame["start"]).sum()))
    source.accounting.used += frame.height
    return frame.with_columns(start=pl.min_horizontal("start", "end"), end=pl.max_horizontal("start", "end"))


def to_biflows(
    columns: Mapping[str, ParsedColumn | pl.Series],
    source: RecordReader,
    lines: Sequence[int],
    marks: NumberMarks = POINT,
) -> pl.DataFrame:
    """Parse columns, check each record, and return the valid ones as biflows.

    Parameters
    ----------
    columns
        Columns of the biflow table and ``duration``, each of length N: unparsed cells of any type, or columns that the
        reader has parsed. An unset counter is 0, an unset end is start plus duration, an unset duration is 0; other
        optional columns become null. If ``end`` precedes ``start``, the two are swapped.
    source
        Counts the N records as used, or as dropped by a reason that names the field. An unreadable optional field
        becomes null and is counted as corrected.
    lines
        Line number of each record, length N.
    marks
        Number format.
    """
    if not len(lines):
        return BIFLOW.empty()
    cells = {name: _parse_column(name, column, marks) for name, column in columns.items()}
    required = _required(cells, len(lines))
    optional = {name: column for name, column in cells.items() if name not in _REQUIRED}
    return BIFLOW.conform(_usable(required, optional, _UNSET_REASONS, source, lines), file=source.name)


def to_flows(columns: Mapping[str, pl.Series], source: RecordReader, lines: Sequence[int]) -> pl.DataFrame:
    """Like :func:`to_biflows`, for the columns of a flow table (:data:`ethogram.schema.FLOW`)."""
    if not len(lines):
        return FLOW.empty()
    cells = {name: _flow_cells(name, column) for name, column in columns.items()}
    required = {column.name: cells[column.name] for column in FLOW.columns if not column.nullable}
    optional = {name: column for name, column in cells.items() if name not in required}
    unset = dict.fromkeys(required, "empty required column")
    return FLOW.conform(_usable(required, optional, unset, source, lines), file=source.name)


def _most(dtype: pl.DataType) -> int:
    bits = {"UInt8": 8, "UInt16": 16, "UInt32": 32}.get(str(dtype), 64)
    return (1 << bits) - 1


def _flow_cells(name: str, column: pl.Series) -> ParsedColumn:
    dtype = FLOW.schema[name]
    if dtype == TIME:
        return parse_times(column)
    if name == "device":
        return parse_device_names(column)
    if name in {"device_address", "remote"}:
        return parse_addresses(column)
    if isinstance(dtype, pl.Enum):
        return parse_choices(column, dtype.categories)
    if dtype == pl.Boolean:
        return parse_booleans(column)
    if dtype == pl.String:
        return parse_strings(column)
    return parse_integers(column, _most(dtype))
