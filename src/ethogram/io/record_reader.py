"""Loose columns of any format to biflow tables: values checked by column, rows that do not fit dropped by reason."""

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

__all__ = ["PORT_PROTOCOLS", "RecordReader", "first_of", "to_biflows", "to_flows"]

PORT_PROTOCOLS = (6, 17, 33, 132, 136)
"""Protocols with ports: TCP, UDP, DCCP, SCTP, UDP-Lite. Meters put ICMP types into the ports of others."""


class RecordReader(FlowSource):
    """Base class of readers of record files: counters, and the first record that could not be read.

    Attributes
    ----------
    accounting
        Over the unit ``records``.
    exporter_counters
        Counters that the exporter reports of itself, such as its drops.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.accounting = Accounting("records")
        self.exporter_counters: dict[str, int] = {}

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

    def unreadable_field(self, name: str, rows: pl.Series, lines: Sequence[int]) -> None:
        """Count an optional field that could not be read and was left out, and remember the first.

        Parameters
        ----------
        name
            The field, as messages call it.
        rows
            Which records had it unreadable, N.
        lines
            Their line numbers, N.
        """
        count = int(rows.sum())
        if count:
            reason = f"unreadable {name}"
            self.accounting.correct(reason, count)
            first = (lines[int(rows.arg_max() or 0)], reason)
            self.first_unreadable = min(self.first_unreadable or first, first)


def first_of(frame: pl.DataFrame, *names: str) -> pl.Series:
    """The first of these columns that a row has a value in; all null when there is none of them."""
    present = [pl.col(name) for name in names if name in frame.columns]
    if not present:
        return pl.Series("first", [None] * frame.height, dtype=pl.String)
    return frame.select(pl.coalesce(present).alias("first"))["first"]


_REQUIRED = ("start", "end", "duration", "protocol", "source_address", "destination_address", "source_port",
             "destination_port", "octets", "packets", "reverse_octets", "reverse_packets")  # fmt: skip
"""Fields without which a record is not used, in the order of the checks."""
_UNSET_REASONS = {
    "start": "no start time", "protocol": "no protocol", "source_address": "no address",
    "destination_address": "no address", "source_port": "no port", "destination_port": "no port",
}  # fmt: skip
_COUNTS = ("octets", "packets", "reverse_octets", "reverse_packets")
_PORTS = ("source_port", "destination_port")
_MOST = {"source_port": 0xFFFF, "destination_port": 0xFFFF, "vlan": 0xFFF, "end_reason": 0xFF, "direction": 0xFF}
_FAULTS = {UNREADABLE: "unreadable {}", OUT_OF_RANGE: "{} out of range"}
_WORDS = {"start": "start time", "end": "end time"}


def _said(name: str) -> str:
    """A field's name in messages."""
    return _WORDS.get(name) or name.replace("_", " ").replace("tcp", "TCP").replace("mac", "MAC")


def _converted(name: str, column: ParsedColumn | pl.Series, marks: NumberMarks) -> ParsedColumn:
    """A column of loose cells as what its field holds."""
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
    """The fields without which a record is not used, with the defaults of those that are unset."""

    def column(name: str) -> ParsedColumn:
        dtype = TIME if name in {"start", "end"} else pl.UInt64()
        return cells.get(name) or ParsedColumn(pl.Series(name, [None], dtype=dtype).new_from_index(0, rows))

    found = {name: column(name) for name in _REQUIRED if name in cells or name != "duration"}
    for name in _COUNTS:
        found[name] = ParsedColumn(found[name].values.fill_null(0), found[name].faults)
    without = ~found["protocol"].values.is_in(PORT_PROTOCOLS).fill_null(False)
    for name in _PORTS:  # where the protocol has no ports, what stands there is not read
        values, faults = found[name].values, found[name].faults
        found[name] = ParsedColumn(values.set(without, 0), None if faults is None else faults.set(without, FINE))
    start, end = found["start"].values, found["end"].values
    if "duration" in found and end.null_count():
        end = end.zip_with(end.is_not_null(), start + found["duration"].values)
    found["end"] = ParsedColumn(end.zip_with(end.is_not_null(), start), found["end"].faults)
    return found


def _reasons(required: Mapping[str, ParsedColumn], unset: Mapping[str, str]) -> pl.Series | None:
    """Why each record is not used, null where it is; None where all are."""
    reasons: pl.Series | None = None
    for name, cells in required.items():
        masks = []
        if cells.faults is not None:
            masks = [(cells.faults == fault, form.format(_said(name))) for fault, form in _FAULTS.items()]
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
    """The records that can be used; what cannot is counted.

    Parameters
    ----------
    required
        Fields without which a record is dropped, ``start`` and ``end`` among them, in the order of the checks.
    optional
        Fields that are left out where they cannot be read.
    unset
        Required field to the reason of a record that has none.
    source
        Where all is counted.
    lines
        Line numbers, N.
    """
    frame = pl.DataFrame([cells.values.alias(name) for name, cells in (*required.items(), *optional.items())])
    source.accounting.read += frame.height
    reasons = _reasons(required, unset)
    kept: pl.Series | None = None
    if reasons is not None:
        kept = reasons.is_null()
        for reason, count in reasons.drop_nulls().value_counts(name="count").iter_rows():
            source.accounting.drop(reason, count)
        first = int((~kept).arg_max() or 0)
        source.problem(lines[first], reasons[first])
        frame = frame.filter(kept)
    for name, cells in optional.items():
        if cells.faults is not None:
            unreadable = cells.faulty
            source.unreadable_field(_said(name), unreadable if kept is None else unreadable & kept, lines)
    for name, cells in required.items():
        if cells.faults is not None:
            null_words = cells.faults == NULL_WORD
            without = null_words if kept is None else null_words & kept
            source.accounting.correct(f"no {_said(name)}", int(without.sum()))
    source.accounting.correct("end before start", int((frame["end"] < frame["start"]).sum()))
    source.accounting.used += frame.height
    return frame.with_columns(start=pl.min_horizontal("start", "end"), end=pl.max_horizontal("start", "end"))


def to_biflows(
    columns: Mapping[str, ParsedColumn | pl.Series],
    source: RecordReader,
    lines: Sequence[int],
    marks: NumberMarks = POINT,
) -> pl.DataFrame:
    """Convert loose columns, check them record by record, and give the records that are biflows.

    Parameters
    ----------
    columns
        Columns of the biflow table, and ``duration``, each of length N: loose cells of any type, or cells that the
        reader has converted. An unset counter is 0, an unset end is start plus duration, an unset duration is 0;
        other columns that are optional become null. An ``end`` before ``start`` changes places with it.
    source
        Where N records are counted as used, or dropped by a reason that names the field. An optional field that
        cannot be read becomes null and is counted as corrected.
    lines
        Line number of each record, length N.
    marks
        How numbers are written.
    """
    if not len(lines):
        return BIFLOW.empty()
    cells = {name: _converted(name, column, marks) for name, column in columns.items()}
    required = _required(cells, len(lines))
    optional = {name: one for name, one in cells.items() if name not in _REQUIRED}
    return BIFLOW.conform(_usable(required, optional, _UNSET_REASONS, source, lines), file=source.name)


def to_flows(columns: Mapping[str, pl.Series], source: RecordReader, lines: Sequence[int]) -> pl.DataFrame:
    """As :func:`to_biflows`, for the columns of a flow table (:data:`ethogram.schema.FLOW`)."""
    if not len(lines):
        return FLOW.empty()
    cells = {name: _flow_cells(name, column) for name, column in columns.items()}
    required = {column.name: cells[column.name] for column in FLOW.columns if not column.nullable}
    optional = {name: one for name, one in cells.items() if name not in required}
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
