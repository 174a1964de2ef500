"""nfdump's text output: ``-o csv`` in its old and new columns, ``-o json`` and ``-o ndjson``. One-way records.

nfdump prints times in the zone of the machine it ran on: the setting ``time_zone`` says which that was.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ethogram.config import FlowSettings
from ethogram.io.nfdump_csv import Totals, column_names, csv_frames
from ethogram.io.nfdump_json import json_lines
from ethogram.io.open_text import TextInput, first_line
from ethogram.io.table import RecordSource, as_time, first_of, flags, numbers, protocols, to_biflows
from ethogram.io.table_json import objects, text_field
from ethogram.schema import TCP_ACK, TCP_SYN

__all__ = ["Source", "recognises"]

_HEADERS = (
    {"ts", "sa", "da", "pr"},
    {"firstseen", "srcaddr", "dstaddr", "proto"},
    {"t_first", "src4_addr", "dst4_addr", "proto"},
)
# Field of ours -> its names in nfdump's formats, older ones first; CSV headers are compared in lower case.
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


def recognises(head: bytes) -> bool:
    """Whether the head is one of nfdump's CSV headers, or a JSON object with its field names.

    The summary of a query that matched nothing may stand before the header.
    """
    line = first_line(head)
    if line[:1] in {b"[", b"{"}:
        return b'"in_packets"' in head and (b'"src4_addr"' in head or b'"src6_addr"' in head or b'"src_addr"' in head)
    totals = Totals()
    for line in filter(None, map(bytes.strip, head.splitlines())):
        if not totals.take(line):
            names = set(column_names(line) or ())
            return any(names >= wanted for wanted in _HEADERS)
    return False


class Source(RecordSource):
    """Reader of nfdump's text output.

    TCP flags of a record are those of all its packets. Where they hold a SYN and no ACK, the first packet was the
    SYN; otherwise the first packet's flags are not known.
    """

    unidirectional = True

    def __init__(self, text: TextInput, settings: FlowSettings) -> None:
        super().__init__(text.name)
        self._text = text
        self._zone = settings.time_zone

    def batches(self) -> Iterator[pl.DataFrame]:
        """Give biflow tables, one for each block of lines."""
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
                yield pl.DataFrame({n: text_field(records, n) for n in dict.fromkeys(names) if n in present}), lines

    def _columns(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        found = {name: first_of(frame, *aliases).str.strip_chars() for name, aliases in _FIELDS.items()}
        duration = (found.pop("duration").cast(pl.Float64, strict=False).fill_null(0.0).clip(0, 1e9) * 1e6).cast(
            pl.Int64
        )
        start = self._time(found["start"])
        end = self._time(found["end"])
        end = end.zip_with(end.is_not_null(), start + duration.cast(pl.Duration("us")))
        union = flags(found["union_tcp_flags"])
        opened = union.to_frame("union").select(
            pl.when(pl.col("union").and_(pl.lit(TCP_SYN | TCP_ACK, dtype=pl.UInt8)) == TCP_SYN).then("union")
        )["union"]
        whole = ("octets", "packets", "reverse_octets", "reverse_packets", "source_port", "destination_port", "vlan")
        # The destination port of ICMP is written as type.code; ports of protocols that have none are left out later.
        ports = {name: found[name].str.replace(r"\..*$", "") for name in ("source_port", "destination_port")}
        return {
            **found,
            **{name: numbers(ports.get(name, found[name])) for name in whole},
            "start": start,
            "end": end,
            "protocol": protocols(found["protocol"]),
            "union_tcp_flags": union,
            "initial_tcp_flags": opened,
        }

    def _time(self, series: pl.Series) -> pl.Series:
        """Text, or milliseconds since 1970 as the fast CSV has them."""
        digits = series.str.contains(r"^\d{12,14}$").fill_null(False)
        times = as_time(series.zip_with(~digits, pl.Series([None], dtype=pl.String)), self._zone)
        if not digits.any():
            return times
        epoch = as_time(series.zip_with(digits, pl.Series([None], dtype=pl.String)), form="epoch_ms")
        return epoch.zip_with(digits, times)
