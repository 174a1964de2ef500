"""Named columns and settings, as the compiled functions of the meters take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ethogram.schema import PacketBatch

__all__ = ["BiflowPackets", "CustomOutput", "CustomRules", "Ipv4Packets", "KeepRules", "OctetBlocks", "PacketBounds"]


class BiflowPackets(NamedTuple):
    """Columns of P packets for the biflow meter; ``time`` in ns, addresses in halves."""

    time: NDArray[np.int64]
    version: NDArray[np.uint8]
    protocol: NDArray[np.uint8]
    source_high: NDArray[np.uint64]
    source_low: NDArray[np.uint64]
    destination_high: NDArray[np.uint64]
    destination_low: NDArray[np.uint64]
    source_port: NDArray[np.uint16]
    destination_port: NDArray[np.uint16]
    tcp_flags: NDArray[np.uint8]
    octets: NDArray[np.uint32]
    vlan: NDArray[np.uint16]
    source_mac: NDArray[np.uint64]
    destination_mac: NDArray[np.uint64]

    @classmethod
    def of(cls, batch: PacketBatch, octets: NDArray[np.uint32]) -> BiflowPackets:
        """Columns of a batch, contiguous; ``octets`` are those to count."""
        return cls(*map(np.ascontiguousarray, (
            batch.time_ns, batch.version, batch.protocol, batch.source_high, batch.source_low, batch.destination_high,
            batch.destination_low, batch.source_port, batch.destination_port, batch.tcp_flags, octets, batch.vlan,
            batch.source_mac, batch.destination_mac,
        )))  # fmt: skip


class Ipv4Packets(NamedTuple):
    """Columns of P packets for the custom meter; ``time`` in ns.

    Addresses are valid for version 4 only. ``internet_offset`` and ``payload_offset`` are where the IP header and the
    payload begin in the batch's data, ``payload_octets`` how much of the payload was captured.
    """

    time: NDArray[np.int64]
    version: NDArray[np.uint8]
    protocol: NDArray[np.uint8]
    source: NDArray[np.uint32]
    destination: NDArray[np.uint32]
    source_port: NDArray[np.uint16]
    destination_port: NDArray[np.uint16]
    ip_octets: NDArray[np.uint32]
    source_mac: NDArray[np.uint64]
    destination_mac: NDArray[np.uint64]
    internet_offset: NDArray[np.int64]
    payload_offset: NDArray[np.int64]
    payload_octets: NDArray[np.int32]

    @classmethod
    def of(cls, batch: PacketBatch) -> Ipv4Packets:
        """Columns of a batch, contiguous."""
        return cls(*map(np.ascontiguousarray, (
            batch.time_ns, batch.version, batch.protocol, batch.source_low.astype(np.uint32),
            batch.destination_low.astype(np.uint32), batch.source_port, batch.destination_port, batch.ip_octets,
            batch.source_mac, batch.destination_mac, batch.internet_offset, batch.payload_offset, batch.payload_octets,
        )))  # fmt: skip


class CustomRules(NamedTuple):
    """Settings of the custom meter: times in ns, and the most live records."""

    interval: int
    lateness: int
    leap: int
    max_flows: int


class KeepRules(NamedTuple):
    """What the custom meter keeps of a record: packets, octets of payload of each, and first fragments for how long."""

    packets: int
    octets: int
    fragment_ns: int


class PacketBounds(NamedTuple):
    """Bounds on the packets kept beside a record.

    At most ``packets``, with ``payload_octets`` of each of the first ``payload_packets`` and ``later_octets`` of the
    others, and ``blocks`` for all live records together.
    """

    packets: int
    payload_packets: int
    payload_octets: int
    later_octets: int
    blocks: int


class OctetBlocks(NamedTuple):
    """Storage of octets in linked blocks of fixed length.

    ``octets`` is uint8 [B, block length], ``following`` the next block of the same record or -1, and ``free`` a stack
    of unused blocks.
    """

    octets: NDArray[np.uint8]
    following: NDArray[np.int32]
    free: NDArray[np.int32]

    @classmethod
    def empty(cls, blocks: int, length: int) -> OctetBlocks:
        """Unused blocks. The system assigns memory when it is first written: this costs what the busiest time needs."""
        return cls(np.zeros((blocks, length), np.uint8), np.zeros(blocks, np.int32), np.zeros(blocks, np.int32))


class CustomOutput(NamedTuple):
    """Output of the custom meter: ended records, columns of their packets, and octets of their payload."""

    records: NDArray[Any]
    packets: NDArray[np.uint32]
    payload: NDArray[np.uint8]
