"""Joy flow records: one JSON object per line, both directions in one record.

Joy counts payload octets, not IP octets: ``bytes_out`` excludes headers. The numbers are used as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from ethogram.config import FlowSettings
from ethogram.io.json_records import cells_of, field, loose, objects
from ethogram.io.open_text import TextInput, first_line
from ethogram.io.parse_columns import parse_addresses
from ethogram.io.parse_times import parse_times_or_null
from ethogram.io.record_reader import RecordReader, to_biflows
from ethogram.schema import NAME_ANSWER

__all__ = ["JoyReader", "sniff"]

_END_REASONS = {"i": 1, "a": 2}
_MAX_ANSWERS = 1 << 20


def sniff(head: bytes) -> bool:
    """Whether the head contains Joy's short field names."""
    line = first_line(head)
    if not line.startswith(b"{"):
        return False
    return (b'"sa"' in head and b'"da"' in head) or (b'"version"' in line and b'"bidir"' in line)


def _inside(record: dict[str, Any], *path: str | int) -> Any:
    value: Any = record
    for step in path:
        if isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and len(value) > step:
            value = value[step]
        else:
            return None
    return value


def _cells_inside(records: list[dict[str, Any]], *path: str | int) -> pl.Series:
    return loose([_inside(record, *path) for record in records])


def _name(record: dict[str, Any]) -> str | None:
    name = _inside(record, "tls", "SNI")
    if isinstance(name, list) and name:
        name = name[0]
    if not isinstance(name, str):
        for header in _inside(record, "http", 0, "out") or ():
            if isinstance(header, dict) and isinstance(header.get("Host"), str):
                name = header["Host"]
    return name if isinstance(name, str) and name else None


class JoyReader(RecordReader):
    """Reader of Joy JSON. ``dns`` answers become names with their TTL."""

    def __init__(self, text: TextInput, settings: FlowSettings) -> None:
        super().__init__(text.name)
        self._text = text
        self._names = settings.names.enabled
        self._answers: list[tuple[float, str, str, str, int]] = []

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield biflow tables, one for each block of lines."""
        for batch in self._text.batches():
            lines, records = objects(batch, self, lambda record: None if "sa" in record else "not a flow")
            if records:
                yield to_biflows(self._columns(records), self, lines)

    def _columns(self, records: list[dict[str, Any]]) -> dict[str, pl.Series]:
        if self._names:
            for record in records:
                if "dns" in record:
                    self._take_answers(record)
        return {
            "start": cells_of(records, "time_start", "ts"),
            "end": cells_of(records, "time_end", "te"),
            "protocol": cells_of(records, "pr"),
            "source_address": cells_of(records, "sa"),
            "destination_address": cells_of(records, "da"),
            "source_port": cells_of(records, "sp"),
            "destination_port": cells_of(records, "dp"),
            "octets": cells_of(records, "bytes_out", "ob"),
            "packets": cells_of(records, "num_pkts_out", "op"),
            "reverse_octets": cells_of(records, "bytes_in", "ib"),
            "reverse_packets": cells_of(records, "num_pkts_in", *(() if "num_pkts_out" in records[0] else ("ip",))),
            "initial_tcp_flags": _cells_inside(records, "tcp", "out", "flags"),
            "reverse_initial_tcp_flags": _cells_inside(records, "tcp", "in", "flags"),
            "end_reason": pl.Series(
                [_END_REASONS.get(v) if isinstance(v, str) else None for v in field(records, "expire_type")],
                dtype=pl.UInt8,
            ),
            "destination_name": pl.Series([_name(r) if self._names else None for r in records], dtype=pl.String),
        }  # fmt: skip

    def _take_answers(self, record: dict[str, Any]) -> None:
        client = record["sa"] if record.get("sp") != 53 else record.get("da")
        when = record.get("time_end")
        for query in record["dns"] if isinstance(record["dns"], list) else ():
            name, answers = _inside(query, "qn") or _inside(query, "rn"), _inside(query, "rr")
            if not isinstance(name, str) or not isinstance(answers, list) or not isinstance(client, str):
                continue
            for answer in answers:
                address, ttl = _inside(answer, "a") or _inside(answer, "aaaa"), _inside(answer, "ttl")
                if isinstance(address, str) and isinstance(when, int | float) and len(self._answers) < _MAX_ANSWERS:
                    lifetime = ttl if isinstance(ttl, int) and 0 <= ttl < 1 << 32 else 0
                    self._answers.append((float(when), client, address, name.lower().rstrip("."), lifetime))

    def name_answers(self) -> pl.DataFrame:
        """DNS answers of the records read so far."""
        frame = pl.DataFrame(
            self._answers, orient="row",
            schema={"time": pl.Float64, "client": pl.String, "address": pl.String, "name": pl.String,
                    "ttl_s": pl.Int64},
        )  # fmt: skip
        frame = frame.with_columns(
            parse_times_or_null(frame["time"]).alias("time"),
            parse_addresses(frame["client"]).values.alias("client"),
            parse_addresses(frame["address"]).values.alias("address"),
        )
        return NAME_ANSWER.conform(frame.drop_nulls())
