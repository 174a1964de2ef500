"""A batch of parsed packets: columns, and the octets they were parsed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PacketBatch"]


@dataclass(frozen=True)
class PacketBatch:
    """P IP packets, in the order of the capture.

    Addresses are 128-bit numbers in two halves; an IPv4 address is in the low 32 bits, with ``version`` 4.
    All arrays have length P, except ``data``.
    """

    time_ns: NDArray[np.int64]  # since 1970-01-01 UTC
    version: NDArray[np.uint8]  # 4 or 6
    protocol: NDArray[np.uint8]  # IANA protocol number, after IPv6 extension headers
    source_high: NDArray[np.uint64]
    source_low: NDArray[np.uint64]
    destination_high: NDArray[np.uint64]
    destination_low: NDArray[np.uint64]
    source_port: NDArray[np.uint16]  # 0 where the protocol has none
    destination_port: NDArray[np.uint16]
    tcp_flags: NDArray[np.uint8]  # 0 where not TCP
    ip_octets: NDArray[np.uint32]  # IP total length as stated by the header
    frame_octets: NDArray[np.uint32]  # original length of the frame on the wire
    vlan: NDArray[np.uint16]  # 0xFFFF where untagged
    source_mac: NDArray[np.uint64]  # 0 where the link type has none
    destination_mac: NDArray[np.uint64]
    internet_offset: NDArray[np.int64]  # of the IP header in ``data``
    payload_offset: NDArray[np.int64]  # of the transport payload in ``data``
    payload_octets: NDArray[np.int32]  # captured payload octets: may be fewer than were sent
    data: NDArray[np.uint8]  # the captured octets of this batch

    def __len__(self) -> int:
        return int(self.time_ns.shape[0])
