"""nfdump CSV as frames of text. Outputs can be concatenated, so headers and summaries can occur at any line."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ethogram.io.delimited import delimited, distinct, split_header
from ethogram.io.open_text import TextInput
from ethogram.io.record_reader import RecordCounters

__all__ = ["SummaryFilter", "column_names", "csv_frames"]

_KNOWN = {
    "ts", "te", "td", "sa", "da", "sp", "dp", "pr", "flg", "ipkt", "ibyt", "opkt", "obyt", "firstseen", "lastseen",
    "duration", "proto", "srcaddr", "srcport", "dstaddr", "dstport", "packets", "bytes", "flows", "pkt", "byt",
    "flags", "t_first", "t_last", "src4_addr", "dst4_addr", "src6_addr", "dst6_addr", "src_port", "dst_port",
    "inpackets", "inbytes", "outpackets", "outbytes", "tcpflags", "in_packets", "in_bytes", "out_packets",
    "out_bytes", "tcp_flags",
}  # fmt: skip
_LEAST_KNOWN = 3
"""Column names that identify a line as a header."""
_SUMMARY = (
    b"Summary:", b"No matched flows", b"No matching flows", b"No matching records", b"Time window:", b"Total flows",
    b"Total records", b"Sys:", b"Blocks skipped", b"Bytes read", b"Ident", b"Command line", b"Aggregated flows",
    b"Top ", b"Skipped blocks",
)  # fmt: skip


def column_names(line: bytes) -> list[str] | None:
    """Column names in lower case if a line is a header, else None.

    >>> column_names(b"firstSeen,duration,proto")
    ['firstseen', 'duration', 'proto']
    >>> column_names(b"2024-05-01 00:00:00.250,0.500,TCP")
    """
    if line[:1].isdigit() or b"," not in line:
        return None
    names = [name.lower() for name in split_header(line)]
    return distinct(names) if sum(name in _KNOWN for name in names) >= _LEAST_KNOWN else None


class SummaryFilter:
    """Recognises the summary lines of one text, which are not records.

    nfdump 1.6 writes ``Summary``, a header and a line of totals; nfdump 1.7 writes ``Summary: ...`` on one line.
    """

    def __init__(self) -> None:
        self._expected: tuple[str, ...] = ()

    def take(self, line: bytes) -> bool:
        """Whether the next line of the text belongs to a summary."""
        if line == b"Summary":
            self._expected = ("header", "values")
            return True
        if self._expected:
            what, *rest = self._expected
            cells = line.split(b",")
            if line.startswith(b"flows,") if what == "header" else all(c.replace(b".", b"").isdigit() for c in cells):
                self._expected = tuple(rest)
                return True
            self._expected = ()
        return line.startswith(_SUMMARY)

    @property
    def open(self) -> bool:
        """Whether a summary has begun whose lines can look like records."""
        return bool(self._expected)


def csv_frames(text: TextInput, source: RecordCounters) -> Iterator[tuple[pl.DataFrame, list[int]]]:
    """Yield the records with their line numbers as string columns, one frame for each header of a batch."""
    header: tuple[str, ...] | None = None
    totals = SummaryFilter()
    for batch in text.batches():
        numbers, lines = batch.filled()
        sections: dict[tuple[str, ...], tuple[list[bytes], list[int]]] = {}
        early: list[int] = []
        for number, line in zip(numbers, lines, strict=True):
            # Most records begin with a time; only other lines are checked further.
            if totals.open or not line[:1].isdigit():
                bare = line.strip()
                if totals.take(bare):
                    continue
                names = column_names(bare)
                if names is not None:
                    header = tuple(names)
                    continue
            if header is None:
                early.append(number)
                continue
            section = sections.setdefault(header, ([], []))
            section[0].append(line)
            section[1].append(number)
        source.accounting.read += len(early)
        source.drop("no header before it", early)
        for names_, (rows, at) in sections.items():
            yield delimited(rows, at, list(names_), source, quoted=False)
