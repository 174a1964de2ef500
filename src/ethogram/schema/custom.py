"""The custom flow: packets of one five-tuple within a minute, seen from the device, with their payload.

On disk and in memory records are ragged: each holds up to ten packets and the raw payload octets kept of them. Scaling
to numbers in [0, 1] is a later step with a version of its own. Custom flows carry no labels.

Reference: A. Sivanathan et al., "Generalizable IoT Traffic Representations for Cross-Network Device Identification",
arXiv 2601.19315.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram._parse_address import parse_prefix
from ethogram.errors import ConfigurationError, InputError
from ethogram.schema.biflow import TIME
from ethogram.schema.table import Column, Table

__all__ = ["CUSTOM_FLOW", "CUSTOM_FORMAT", "CustomFlows", "ipv4_networks", "private_mask"]

COMPILER = Compiler.of(__file__)

CUSTOM_FORMAT = "ethogram.custom-flows/1"
"""Name of the file format, stored in the file's metadata."""

CUSTOM_FLOW = Table(
    "custom_flow",
    "One row per custom flow: the packets of one five-tuple within a minute of the first, seen from the device. "
    "The lists have one entry for each of the first packets, ten at most.",
    (
        Column("device", pl.String(), "", "the device's name: from the device file, else its MAC, else its address"),
        Column("start", TIME, "", "first packet"),
        Column("remote", pl.UInt32(), "", "the other end's IPv4 address as a number; 0 where it is private"),
        Column("remote_port", pl.UInt16(), "", "port on the other end"),
        Column("device_port", pl.UInt16(), "", "port on the device"),
        Column("protocol", pl.UInt8(), "", "protocolIdentifier: 6 or 17"),
        Column("octets", pl.UInt64(), "octets", "IP total lengths of all packets"),
        Column("packets", pl.UInt64(), "packets", "all packets"),
        Column("packet_offset_us", pl.List(pl.UInt32()), "µs", "time of each packet since the first"),
        Column("packet_octets", pl.List(pl.UInt32()), "octets", "IP total length of each packet"),
        Column("packet_out", pl.List(pl.UInt8()), "", "1: the device sent it, 0: it received it"),
        Column("payload_octets", pl.List(pl.UInt16()), "octets", "kept octets of each packet's transport payload"),
        Column("payload", pl.Binary(), "", "the kept octets of all packets, one packet after the other"),
    ),
)


@COMPILER.checked
def copy_runs(first: Any, rows: Any, values: Any, new_first: Any, out: Any) -> None:
    """Copy the runs of some rows, one after the other."""
    at = 0
    for i in range(rows.shape[0]):
        for j in range(first[rows[i]], first[rows[i] + 1]):
            out[at] = values[j]
            at += 1
        new_first[i + 1] = at


@dataclass(frozen=True)
class CustomFlows:
    """N custom flows as packed columns, so that millions fit into memory and rows can be selected.

    M is the number of packets of all flows, B the number of payload octets.

    Examples
    --------
    >>> CustomFlows.empty().frame().height
    0
    """

    device: pl.Series  # [N] text
    start_us: NDArray[np.int64]  # [N] since 1970-01-01 UTC
    remote: NDArray[np.uint32]  # [N]
    remote_port: NDArray[np.uint16]  # [N]
    device_port: NDArray[np.uint16]  # [N]
    protocol: NDArray[np.uint8]  # [N]
    octets: NDArray[np.uint64]  # [N]
    packets: NDArray[np.uint64]  # [N]
    first_packet: NDArray[np.int64]  # [N + 1] flow i has the packets first_packet[i] to first_packet[i + 1]
    packet_offset_us: NDArray[np.uint32]  # [M]
    packet_octets: NDArray[np.uint32]  # [M]
    packet_out: NDArray[np.uint8]  # [M]
    payload_octets: NDArray[np.uint16]  # [M]
    first_octet: NDArray[np.int64]  # [N + 1] likewise
    payload: NDArray[np.uint8]  # [B]

    def __len__(self) -> int:
        return int(self.start_us.shape[0])

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    @classmethod
    def empty(cls) -> CustomFlows:
        """No flows."""
        return cls.of_arrow(pa.table(CUSTOM_FLOW.empty().to_arrow(compat_level=pl.CompatLevel.oldest())))

    def take(self, rows: NDArray[np.integer[Any]] | slice) -> CustomFlows:
        """Select rows, in the given order; a row may occur more than once.

        Parameters
        ----------
        rows
            Row numbers, length K, or a slice.
        """
        row = np.arange(len(self))[rows] if isinstance(rows, slice) else np.ascontiguousarray(rows, np.int64)
        per_flow = {name: getattr(self, name)[row] for name in _PER_FLOW}
        ragged: dict[str, NDArray[Any]] = {}
        for first_name, names in _RAGGED.items():
            first: NDArray[np.int64] = getattr(self, first_name)
            size = int((first[row + 1] - first[row]).sum())
            ragged[first_name] = np.zeros(len(row) + 1, np.int64)
            for name in names:
                values = getattr(self, name)
                ragged[name] = np.empty(size, values.dtype)
                copy_runs(first, row, values, ragged[first_name], ragged[name])
        return CustomFlows(device=self.device.gather(pl.Series(row)), **per_flow, **ragged)

    @classmethod
    def concat(cls, parts: Sequence[CustomFlows]) -> CustomFlows:
        """Concatenate batches."""
        if not parts:
            return cls.empty()
        if len(parts) == 1:
            return parts[0]
        joined: dict[str, Any] = {"device": pl.concat([part.device for part in parts])}
        for name in (f.name for f in fields(cls) if f.name not in {"device", *_RAGGED}):
            joined[name] = np.concatenate([getattr(part, name) for part in parts])
        for name in _RAGGED:
            lengths = [np.diff(getattr(part, name)) for part in parts]
            joined[name] = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
        return cls(**joined)

    def arrow(self) -> pa.Table:
        """Convert to an Arrow table of the form :data:`CUSTOM_FLOW`."""
        if len(self) > 1 and self.payload.shape[0] >= MAX_CHUNK_OCTETS:
            half = len(self) // 2
            return pa.concat_tables([self.take(slice(0, half)).arrow(), self.take(slice(half, None)).arrow()])
        offsets = pa.array(self.first_packet.astype(np.int32))
        payload = [
            None,
            pa.py_buffer(self.first_octet.astype(np.int32)),
            pa.py_buffer(np.ascontiguousarray(self.payload)),
        ]
        columns: list[Any] = [
            pa.array(self.device.to_arrow(compat_level=pl.CompatLevel.oldest())).cast(pa.string()),
            pa.array(self.start_us).cast(pa.timestamp("us", "UTC")),
            *(pa.array(getattr(self, name)) for name in _PER_FLOW if name != "start_us"),
            *(pa.ListArray.from_arrays(offsets, pa.array(getattr(self, name))) for name in _PER_PACKET),
            pa.BinaryArray.from_buffers(pa.binary(), len(self), payload),
        ]
        return pa.table(columns, names=CUSTOM_FLOW.names)

    @classmethod
    def of_arrow(cls, table: pa.Table, *, file: str | Path | None = None) -> CustomFlows:
        """Create from an Arrow table with the columns of :data:`CUSTOM_FLOW`.

        Raises
        ------
        InputError
            If a column is missing or has the wrong type, a value is null, or the lists of a row differ in length; with
            the name of ``file``.
        """
        missing = [name for name in CUSTOM_FLOW.names if name not in table.column_names]
        if missing:
            raise InputError(f"not a custom_flow table: no column {', '.join(missing)}", file=file)
        table = table.select(CUSTOM_FLOW.names)
        try:
            table = table.cast(_WIDE).combine_chunks()
        except (pa.ArrowException, ValueError) as error:
            raise InputError(f"not a custom_flow table: {str(error).splitlines()[0]}", file=file) from None
        first_packet, packed = _lists(table, file)
        per_flow = {name: _numbers(_chunk(table[name]), name, file) for name in _PER_FLOW if name != "start_us"}
        payload = _chunk(table["payload"])
        first_octet = np.zeros(1, np.int64)
        data = np.zeros(0, np.uint8)
        if len(payload):
            first_octet = np.frombuffer(payload.buffers()[1], np.int64)[payload.offset :][: len(payload) + 1]
        if payload.null_count or table["device"].null_count:
            raise InputError("not a custom_flow table: an empty device or payload", file=file)
        if first_octet[-1] > first_octet[0]:
            data = np.frombuffer(payload.buffers()[2], np.uint8)[first_octet[0] : first_octet[-1]]
        first_octet = first_octet - first_octet[0]
        octets = np.concatenate([np.zeros(1, np.int64), np.cumsum(packed["payload_octets"], dtype=np.int64)])
        if not np.array_equal(octets[first_packet], first_octet):
            raise InputError("not a custom_flow table: payload_octets do not add up to the payload", file=file)
        device = (
            pl.Series(pl.from_arrow(table["device"])).alias("device") if len(payload) else pl.Series(dtype=pl.String)
        )
        start_us = _numbers(_chunk(table["start"]).cast(pa.int64()), "start", file)
        return cls(
            device=device, start_us=start_us, **per_flow, first_packet=first_packet, **packed,
            first_octet=first_octet, payload=data,
        )  # fmt: skip

    def frame(self) -> pl.DataFrame:
        """Convert to a table of the form :data:`CUSTOM_FLOW`."""
        return CUSTOM_FLOW.conform(pl.DataFrame(pl.from_arrow(self.arrow())))

    @classmethod
    def of_frame(cls, frame: pl.DataFrame) -> CustomFlows:
        """Create from a table of the form :data:`CUSTOM_FLOW`.

        Raises
        ------
        InputError
            If it has another form.
        """
        return cls.of_arrow(CUSTOM_FLOW.conform(frame).to_arrow(compat_level=pl.CompatLevel.oldest()))


def ipv4_networks(prefixes: Sequence[str], setting: str) -> NDArray[np.uint32]:
    """Network and mask of IPv4 prefixes, shape K x 2; errors name the ``setting``.

    Raises
    ------
    ConfigurationError
        If one is not an IPv4 prefix.
    """
    networks = np.zeros((len(prefixes), 2), np.uint32)
    for row, prefix in enumerate(prefixes):
        try:
            network = parse_prefix(prefix)
            if not isinstance(network, ipaddress.IPv4Network):
                raise ValueError
        except ValueError:
            raise ConfigurationError(f"setting {setting}: {prefix!r} is no prefix such as 192.168.0.0/16") from None
        networks[row] = int(network.network_address), int(network.netmask)
    return networks


def private_mask(addresses: NDArray[np.uint32], prefixes: Sequence[str]) -> NDArray[np.bool_]:
    """Mark the IPv4 addresses that lie in one of the prefixes.

    Raises
    ------
    ConfigurationError
        If one is not an IPv4 prefix.

    Examples
    --------
    >>> private_mask(np.array([0x0A000001, 0x08080808], np.uint32), ["10.0.0.0/8"]).tolist()
    [True, False]
    """
    inside = np.zeros(addresses.shape, np.bool_)
    for network, mask in ipv4_networks(prefixes, "private"):
        inside |= (addresses & mask) == network
    return inside


MAX_CHUNK_OCTETS = 1 << 30
"""Octets of a chunk on disk at most, whose offsets have 31 bits."""

_PER_FLOW = ("start_us", "remote", "remote_port", "device_port", "protocol", "octets", "packets")
_PER_PACKET = ("packet_offset_us", "packet_octets", "packet_out", "payload_octets")
_RAGGED = {"first_packet": _PER_PACKET, "first_octet": ("payload",)}


def _wide(column: Column) -> Any:
    """Arrow type for reading a column, with 64-bit offsets for any number of rows."""
    return pl.Series(dtype=column.dtype).to_arrow(compat_level=pl.CompatLevel.oldest()).type


_WIDE = pa.schema([(column.name, _wide(column)) for column in CUSTOM_FLOW.columns])


def _chunk(column: Any) -> Any:
    """The array of a column with at most one chunk."""
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _numbers(array: Any, name: str, file: str | Path | None) -> NDArray[Any]:
    if array.null_count:
        raise InputError(f"not a custom_flow table: an empty {name}", file=file)
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _lists(table: pa.Table, file: str | Path | None) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Offsets shared by all list columns, and the values of each."""
    values: dict[str, NDArray[Any]] = {}
    shared: NDArray[np.int64] | None = None
    for name in _PER_PACKET:
        lists = _chunk(table[name])
        if lists.null_count:
            raise InputError(f"not a custom_flow table: an empty {name}", file=file)
        first = lists.offsets.to_numpy(zero_copy_only=False) if len(lists) else np.zeros(1, np.int64)
        values[name] = _numbers(lists.values, name, file)[first[0] : first[-1]]
        first = first - first[0]
        if shared is not None and not np.array_equal(first, shared):
            raise InputError(f"not a custom_flow table: {name} is not as long as the other lists", file=file)
        shared = first
    assert shared is not None
    return shared, values
