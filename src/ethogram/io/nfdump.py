"""nfdump text output: ``-o csv`` with its old and new columns, ``-o json`` and ``-o ndjson``. One-way records.

nfdump prints times in the time zone of its host; the setting ``time_zone`` states it. The duration takes precedence
over the end time, which can be truncated to seconds or ambiguous when clocks are set back. Large counters can be
rounded (``2.3 M``, powers of 1,000); they are used and counted as corrected.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ethogram.config import FlowSettings
from ethogram.io.json_records import cells_of, objects
from ethogram.io.nfdump_csv import SummaryFilter, column_names, csv_frames
from ethogram.io.nfdump_json import json_lines
from ethogram.io.open_text import TextInput, first_line
from ethogram.io.parse_columns import ParsedColumn, as_text, parse_durations, parse_tcp_flags
from ethogram.io.parse_times import parse_times
from ethogram.io.record_reader import RecordReader, first_of, to_biflows
from ethogram.schema import TCP_ACK, TCP_SYN

__all__ = ["NfdumpReader", "sniff"]

_HEADERS = (
    {"ts", "sa", "da", "pr"},
    {"firstseen", "srcaddr", "dstaddr", "proto"},
    {"t_first", "src4_addr", "dst4_addr", "proto"},
)
# Field -> its names in nfdump's formats, older names first; CSV headers are compared in lower case.
_FIELDS: dict[str, tuple[str, ...]] = {
    "start": ("ts", "firstseen", "t_first", "first"),
    "end": ("te", "lastseen", "t_last", "last"),
    "duration": ("td", "duration"),
    "protocol": ("pr", "proto"),
    "source_address": ("sa", "srcaddr", "src4_addr", "src6_addr", "src_addr"),
    "destination_address": ("da", "dstaddr", "dst4_addr", "dst6_addr", "dst_addr"),
    "source_port": ("sp", "srcport", "src_port"),
    "destination_port": ("dp", "dstport", "dst_port"),
    "octets": ("ibyt", "byt", "bytes", "inbytes", "in_bytes"),
    "packets": ("ipkt", "pkt", "packets", "inpackets", "in_packets"),
    "reverse_octets": ("obyt", "outbytes", "out_bytes"),
    "reverse_packets": ("opkt", "outpackets", "out_packets"),
    "union_tcp_flags": ("flg", "flags", "tcpflags", "tcp_flags"),
    "source_mac": ("ismc", "insrcmac", "in_src_mac"),
    "destination_mac": ("odmc", "outdstmac", "out_dst_mac"),
    "vlan": ("svln", "srcvlan", "src_vlan"),
}
_COUNTERS = ("octets", "packets", "reverse_octets", "reverse_packets")
_ROUNDED = r"^ *([0-9]{1,4}(?:\.[0-9]{1,3})?) *([KMGT]) *$"
_POWERS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_CLOCK_CHANGES_S = (0, 1800, 3600)
"""Accepted differences between end time minus start time and the duration, each within one second."""


def sniff(head: bytes) -> bool:
    """Whether the head has a CSV header of nfdump, or a JSON object with its field names.

    A summary of an empty query can precede the header.
    """
    line = first_line(head)
    if line[:1] in {b"[", b"{"}:
        return b'"in_packets"' in head and (b'"src4_addr"' in head or b'"src6_addr"' in head or b'"src_addr"' in head)
    totals = SummaryFilter()
    for line in filter(None, map(bytes.strip, head.splitlines())):
        if not totals.take(line):
            names = set(column_names(line) or ())
            return any(names >= wanted for wanted in _HEADERS)
    return False


class NfdumpReader(RecordReader):
    """Reader of nfdump text output.

    The TCP flags of a record are those of all its packets. If they contain SYN without ACK, the first packet was a SYN;
    otherwise the flags of the first packet are unknown.
    """

    unidirectional = True

    def __init__(self, text: TextInput, settings: FlowSettings) -> None:
        super().__init__(text.name)
        self._text = text
        self._zone = settings.time_zone

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield biflow tables, one for each block of lines."""
        frames = self._json() if first_line(self._text.head())[:1] in {b"[", b"{"} else csv_frames(self._text, self)
        for frame, lines in frames:
            yield to_biflows(self._columns(frame), self, lines)

    def _json(self) -> Iterator[tuple[pl.DataFrame, list[int]]]:
        names = [name for aliases in _FIELDS.values() for name in aliases]
        for batch in json_lines(self._text):
            lines, records = objects(
                batch, self, lambda record: None if "proto" in record or "in_packets" in record else "not a flow"
            )
            if records:
                present = {name for record in records for name in record}
                yield pl.DataFrame({n: cells_of(records, n) for n in dict.fromkeys(names) if n in present}), lines

    def _columns(self, frame: pl.DataFrame) -> dict[str, ParsedColumn | pl.Series]:
        columns: dict[str, ParsedColumn | pl.Series] = {
            name: first_of(frame, *names) for name, names in _FIELDS.items()
        }
        union = parse_tcp_flags(first_of(frame, *_FIELDS["union_tcp_flags"]))
        opened = union.values.to_frame("union").select(
            pl.when(pl.col("union").and_(pl.lit(TCP_SYN | TCP_ACK, dtype=pl.UInt8)) == TCP_SYN).then("union")
        )["union"]
        return {
            **columns,
            **self._times(frame),
            **self._counters(frame),
            "union_tcp_flags": union,
            "initial_tcp_flags": ParsedColumn(opened),
        }

    def _times(self, frame: pl.DataFrame) -> dict[str, ParsedColumn]:
        start = parse_times(first_of(frame, *_FIELDS["start"]), self._zone)
        end = parse_times(first_of(frame, *_FIELDS["end"]), self._zone)
        duration = parse_durations(first_of(frame, *_FIELDS["duration"]))
        lasts = (duration.values.to_physical() > 0).fill_null(False)
        if lasts.any():
            apart = (end.values - start.values - duration.values).dt.total_microseconds().abs() / 1e6
            agree = pl.Series([False]).new_from_index(0, len(lasts))
            for change_s in _CLOCK_CHANGES_S:
                agree = agree | (apart - change_s).abs().is_between(0, 1)
            self.accounting.correct("inconsistent end time replaced by duration", int((lasts & ~agree).sum()))
            end = ParsedColumn(end.values.set(lasts, None), end.faults)
        return {"start": start, "end": end, "duration": duration}

    def _counters(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        """Counters with rounded values expanded."""
        counters, rounded = {}, pl.Series([False]).new_from_index(0, frame.height)
        for name in _COUNTERS:
            column = first_of(frame, *_FIELDS[name])
            text, _ = as_text(column)
            here = text.str.contains_any(list(_POWERS)).fill_null(False)  # quick test before the pattern
            if here.any():
                here = text.str.contains(_ROUNDED).fill_null(False)
                parts = text.str.extract_groups(_ROUNDED).struct.rename_fields(["number", "power"]).struct.unnest()
                scale = parts["power"].replace_strict(_POWERS, default=None, return_dtype=pl.Float64)
                number = parts["number"].cast(pl.Float64, strict=False) * scale
                column = text.zip_with(~here, number.round().cast(pl.UInt64).cast(pl.String))
                rounded = rounded | here
            counters[name] = column
        self.accounting.correct("counters rounded by nfdump", int(rounded.sum()))
        return counters
