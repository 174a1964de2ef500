"""Packets of both directions beside custom flows: complete headers, as on the wire, and some payload.

Rows correspond to those of :class:`~ethogram.schema.CustomFlows`: the packets of a flow's five-tuple within the minute
that begins with its first packet. Encoders that read packets use it. It holds no names and labels; headers contain
addresses and ports, which each encoder masks as its paper does.

Reference: RFC 791 section 3.1, RFC 9293 section 3.1, RFC 768 (the headers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.errors import InputError
from ethogram.schema.custom import CustomFlows, copy_runs
from ethogram.schema.table import Column, Table

__all__ = [
    "LATER_OCTETS", "MOST_PACKETS", "PACKET_COLUMNS", "PACKET_FLOW", "PACKET_FORMAT", "PAYLOAD_OCTETS",
    "PAYLOAD_PACKETS", "PacketFlows",
]  # fmt: skip

COMPILER = Compiler.of(__file__)

PACKET_FORMAT = "ethogram.packet-flows/1"
"""Name of the file format, stored in the file's metadata."""

MOST_PACKETS = 72
"""Packets kept of a flow: twelve bursts of six."""
PAYLOAD_PACKETS = 5
"""Number of first packets of which more payload is kept."""
PAYLOAD_OCTETS = 240
"""Octets of transport payload kept of each of them."""
LATER_OCTETS = 12
"""Octets of transport payload kept of later packets."""
MOST_HEADER = 60
"""Octets of the longest IPv4 header, and of the longest TCP header."""

PACKET_FLOW = Table(
    "packet_flow",
    "One row per custom flow, in the same order: the packets of both directions of its five-tuple within its minute. "
    "The lists have one entry for each of the first packets.",
    (
        Column("packet_offset_us", pl.List(pl.UInt32()), "µs", "time of each packet since the flow's first"),
        Column("packet_out", pl.List(pl.UInt8()), "", "1: the device sent it, 0: it received it"),
        Column("packet_octets", pl.List(pl.UInt32()), "octets", "IP total length of each packet"),
        Column("ip_octets", pl.List(pl.UInt8()), "octets", "kept octets of each packet's IP header"),
        Column("transport_octets", pl.List(pl.UInt8()), "octets", "of its TCP header with options, or UDP header"),
        Column("payload_octets", pl.List(pl.UInt16()), "octets", "of its transport payload"),
        Column("data", pl.Binary(), "", "IP header, transport header, payload of all packets, one after the other"),
    ),
)

PACKET_COLUMNS = {
    "packet_offset_us": np.uint32, "packet_out": np.uint8, "packet_octets": np.uint32, "ip_octets": np.uint8,
    "transport_octets": np.uint8, "payload_octets": np.uint16,
}  # fmt: skip
"""Columns of packets and their types, in the order of the table."""
_MOST_CHUNK = 1 << 30


@COMPILER.checked
def _cells(
    first_packet: Any, first_octet: Any, skipped: Any, lengths: Any, data: Any, rows: Any, out: Any, there: Any
) -> None:
    """Copy the first octets of the first packets of some flows into cells of zeros."""
    for i in range(rows.shape[0]):
        begin = first_packet[rows[i]]
        for k in range(min(out.shape[1], first_packet[rows[i] + 1] - begin)):
            packet = begin + k
            at = first_octet[packet] + skipped[packet]
            count = min(out.shape[2], lengths[packet])
            there[i, k] = count
            for j in range(count):
                out[i, k, j] = data[at + j]


@dataclass(frozen=True)
class PacketFlows:
    """N flows with M packets and B octets, as packed columns.

    Examples
    --------
    >>> len(PacketFlows.empty())
    0
    """

    first_packet: NDArray[np.int64]  # [N + 1] flow i has the packets first_packet[i] to first_packet[i + 1]
    packet_offset_us: NDArray[np.uint32]  # [M]
    packet_out: NDArray[np.uint8]  # [M] 1 = the device sent it
    packet_octets: NDArray[np.uint32]  # [M] IP total length on the wire
    ip_octets: NDArray[np.uint8]  # [M] kept
    transport_octets: NDArray[np.uint8]  # [M] kept; 0 of fragments after the first
    payload_octets: NDArray[np.uint16]  # [M] kept
    first_octet: NDArray[np.int64]  # [M + 1] packet j has the octets first_octet[j] to first_octet[j + 1]
    data: NDArray[np.uint8]  # [B]

    def __len__(self) -> int:
        return int(self.first_packet.shape[0]) - 1

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(value.nbytes for value in vars(self).values())

    @property
    def packets(self) -> NDArray[np.int64]:
        """Packets kept of each flow, length N."""
        return np.diff(self.first_packet)

    @classmethod
    def of_columns(cls, first_packet: NDArray[np.int64], columns: dict[str, NDArray[Any]], data: Any) -> PacketFlows:
        """Create from the first packet of each flow, the columns of packets by name, and the octets of all packets."""
        lengths = [columns[name].astype(np.int64) for name in ("ip_octets", "transport_octets", "payload_octets")]
        return cls(first_packet=first_packet, **columns, first_octet=_offsets(sum(lengths)), data=data)

    @classmethod
    def empty(cls, flows: int = 0) -> PacketFlows:
        """Flows without packets."""
        columns: dict[str, NDArray[Any]] = {name: np.zeros(0, kind) for name, kind in PACKET_COLUMNS.items()}
        return cls.of_columns(np.zeros(flows + 1, np.int64), columns, np.zeros(0, np.uint8))

    def take(self, rows: NDArray[np.integer[Any]] | slice) -> PacketFlows:
        """Select rows, in the given order; a row may occur more than once.

        Parameters
        ----------
        rows
            Row numbers, length K, or a slice.
        """
        indices = np.arange(len(self))[rows] if isinstance(rows, slice) else np.ascontiguousarray(rows, np.int64)
        first = np.zeros(len(indices) + 1, np.int64)
        columns: dict[str, NDArray[Any]] = {}
        for name in PACKET_COLUMNS:
            values = getattr(self, name)
            columns[name] = np.empty(int(self.packets[indices].sum()), values.dtype)
            copy_runs(self.first_packet, indices, values, first, columns[name])
        octets = self.first_octet[self.first_packet]
        data = np.empty(int((octets[indices + 1] - octets[indices]).sum()), np.uint8)
        copy_runs(octets, indices, self.data, np.zeros(len(indices) + 1, np.int64), data)
        return PacketFlows.of_columns(first, columns, data)

    @classmethod
    def concat(cls, parts: Sequence[PacketFlows]) -> PacketFlows:
        """Concatenate batches."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.empty()
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in PACKET_COLUMNS}
        first = _offsets(np.concatenate([part.packets for part in parts]))
        return cls.of_columns(first, columns, np.concatenate([part.data for part in parts]))

    def cells(
        self, packets: int, octets: int, *, part: str = "all", rows: NDArray[np.integer[Any]] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """First octets of the first packets of each flow, in one cell per packet, padded with zeros.

        Parameters
        ----------
        packets, octets
            Packets of a flow, and octets of a packet.
        part
            ``all`` (from the IP header on), ``ip``, ``transport`` (its header), ``segment`` (from the transport header
            on), ``headers`` (both headers) or ``payload``.
        rows
            Row numbers, length K; None for all rows.

        Returns
        -------
        cells, lengths
            Octets, shape K x packets x octets, and the number of octets in each cell, shape K x packets.

        Examples
        --------
        >>> cells, lengths = PacketFlows.empty(3).cells(5, 64)
        >>> cells.shape, int(lengths.sum())
        ((3, 5, 64), 0)
        """
        indices = np.arange(len(self)) if rows is None else np.ascontiguousarray(rows, np.int64)
        ip, transport, payload = (
            getattr(self, name).astype(np.int64) for name in ("ip_octets", "transport_octets", "payload_octets")
        )
        skipped, lengths = {
            "all": (ip * 0, ip + transport + payload),
            "ip": (ip * 0, ip),
            "headers": (ip * 0, ip + transport),
            "transport": (ip, transport),
            "segment": (ip, transport + payload),
            "payload": (ip + transport, payload),
        }[part]
        out = np.zeros((len(indices), packets, octets), np.uint8)
        there = np.zeros((len(indices), packets), np.int64)
        _cells(self.first_packet, self.first_octet, skipped, lengths, self.data, indices, out, there)
        return out, there

    def check_beside(self, flows: CustomFlows, *, file: str | Path | None = None) -> None:
        """Check that these are the packets of outgoing custom flows, row by row.

        Raises
        ------
        InputError
            If the numbers of rows differ, or the packets sent in some row are not those of the custom flow.
        """
        if len(flows) != len(self):
            raise InputError(f"packets of {len(self):,} flows beside {len(flows):,} custom flows", file=file)
        out = np.flatnonzero(self.packet_out)
        first = np.searchsorted(out, self.first_packet)
        described = np.diff(flows.first_packet)
        compared = np.minimum(np.diff(first), described)
        wrong = (compared == 0) & (described > 0) & (self.packets > 0)  # there may have been no room for any
        nth = _nth(compared)
        theirs = np.repeat(flows.first_packet[:-1], compared) + nth
        ours = out[np.repeat(first[:-1], compared) + nth]
        for name in ("packet_octets", "packet_offset_us"):
            differs = getattr(flows, name)[theirs] != getattr(self, name)[ours]
            wrong[np.repeat(np.arange(len(self)), compared)[differs]] = True
        if wrong.any():
            raise InputError(f"the packets of row {int(np.flatnonzero(wrong)[0])} are of another flow", file=file)

    def arrow(self) -> pa.Table:
        """Convert to an Arrow table of the form :data:`PACKET_FLOW`."""
        if len(self) > 1 and self.data.shape[0] >= _MOST_CHUNK:
            half = len(self) // 2
            return pa.concat_tables([self.take(slice(0, half)).arrow(), self.take(slice(half, None)).arrow()])
        first = pa.array(self.first_packet.astype(np.int32))
        octets = pa.py_buffer(self.first_octet[self.first_packet].astype(np.int32))
        data = [None, octets, pa.py_buffer(np.ascontiguousarray(self.data))]
        columns = [pa.ListArray.from_arrays(first, pa.array(getattr(self, name))) for name in PACKET_COLUMNS]
        return pa.table([*columns, pa.BinaryArray.from_buffers(pa.binary(), len(self), data)], names=PACKET_FLOW.names)

    @classmethod
    def of_arrow(cls, table: pa.Table, *, file: str | Path | None = None) -> PacketFlows:
        """Create from an Arrow table with the columns of :data:`PACKET_FLOW`.

        Raises
        ------
        InputError
            If a column is missing or has the wrong type, a value is null, the lists of a row differ in length, or the
            lengths do not add up; with the name of ``file``.
        """
        missing = [name for name in PACKET_FLOW.names if name not in table.column_names]
        if missing:
            raise InputError(f"not a packet_flow table: no column {', '.join(missing)}", file=file)
        try:
            table = table.select(PACKET_FLOW.names).cast(_WIDE).combine_chunks()
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"not a packet_flow table: {str(error).splitlines()[0]}", file=file) from None
        first: NDArray[np.int64] | None = None
        columns: dict[str, NDArray[Any]] = {}
        for name in PACKET_COLUMNS:
            at, columns[name] = _list(table[name], name, file)
            if first is not None and not np.array_equal(at, first):
                raise InputError(f"not a packet_flow table: {name} is not as long as the other lists", file=file)
            first = at
        assert first is not None
        ends, data = _octets(table["data"], file)
        flows = cls.of_columns(first, columns, data)
        if not np.array_equal(flows.first_octet[flows.first_packet], ends):
            raise InputError("not a packet_flow table: lengths do not add up to the octets", file=file)
        if max(int(columns[name].max(initial=0)) for name in ("ip_octets", "transport_octets")) > MOST_HEADER:
            raise InputError(f"not a packet_flow table: a header longer than {MOST_HEADER} octets", file=file)
        if columns["packet_out"].max(initial=0) > 1:
            raise InputError("not a packet_flow table: packet_out is neither 0 nor 1", file=file)
        return flows


def _offsets(lengths: Any) -> NDArray[np.int64]:
    """Offsets of consecutive runs of these lengths, and the end of the last."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _nth(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position within its run, for each element of consecutive runs of these lengths."""
    first = _offsets(lengths)
    return np.asarray(np.arange(first[-1]) - np.repeat(first[:-1], lengths), np.int64)


_WIDE = pa.schema(
    [
        (column.name, pl.Series(dtype=column.dtype).to_arrow(compat_level=pl.CompatLevel.oldest()).type)
        for column in PACKET_FLOW.columns
    ]
)
"""Arrow types for reading the columns, with 64-bit offsets for any number of rows."""


def _chunk(column: Any) -> Any:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _list(column: Any, name: str, file: str | Path | None) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Offsets from 0, and the values of all lists."""
    lists = _chunk(column)
    if lists.null_count or lists.values.null_count:
        raise InputError(f"not a packet_flow table: an empty {name}", file=file)
    first = lists.offsets.to_numpy(zero_copy_only=False) if len(lists) else np.zeros(1, np.int64)
    values = np.asarray(lists.values.to_numpy(zero_copy_only=False), PACKET_COLUMNS[name])
    return first.astype(np.int64) - first[0], values[first[0] : first[-1]]


def _octets(column: Any, file: str | Path | None) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets from 0, and the octets of all rows."""
    rows = _chunk(column)
    if rows.null_count:
        raise InputError("not a packet_flow table: an empty data", file=file)
    if not len(rows):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    ends = np.frombuffer(rows.buffers()[1], np.int64)[rows.offset :][: len(rows) + 1]
    if ends[-1] == ends[0]:
        return ends - ends[0], np.zeros(0, np.uint8)
    return ends - ends[0], np.frombuffer(rows.buffers()[2], np.uint8)[ends[0] : ends[-1]]
