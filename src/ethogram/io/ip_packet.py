"""Parse the network and transport headers of one packet: IPv4, IPv6, TCP, UDP and the other protocols with ports.

All functions are compiled. Every read is preceded by a comparison with ``end``, the first octet that was not captured,
so no header can cause a read outside its record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ethogram._numba import Compiler
from ethogram.io.link_types import MOST

__all__ = [
    "CORRECTED",
    "COUNTERS",
    "DROPPED",
    "IGNORED",
    "LINK_TYPES",
    "LLDP",
    "LLDP_FIELDS",
    "LLDP_FRAMES",
    "MOST_LLDP",
    "NO_VLAN",
    "PACKET",
    "READ",
    "USED",
    "parse_internet",
    "u8",
    "u16",
    "u32",
]

# Indices of the counter array that all compiled functions share.
READ, USED = 0, 1
ARP, EAPOL, LLDP, ETHERTYPE, LLC, LINK_TYPE, WIRELESS_CONTROL, ENCRYPTED = 2, 3, 4, 5, 6, 7, 8, 9
TRUNCATED_HEADER, BAD_LENGTH, BAD_VERSION, BAD_TIME, TRUNCATED_RECORD, UNKNOWN_INTERFACE = 10, 11, 12, 13, 14, 15
CUT_SHORT, NO_LENGTH, FRAGMENT, NO_TIME, TUNNEL = 16, 17, 18, 19, 20
LLDP_FRAMES, MOST_LLDP, LLDP_FIELDS = 21, 16, 4  # time, source MAC, begin and end of the first LLDP frames
LINK_TYPES = LLDP_FRAMES + MOST_LLDP * LLDP_FIELDS  # packets of unsupported link types, one counter per number
COUNTERS = LINK_TYPES + MOST + 1

IGNORED = {
    ARP: "arp",
    EAPOL: "eapol",
    LLDP: "lldp",
    ETHERTYPE: "ethertype",
    LLC: "llc",
    WIRELESS_CONTROL: "wireless control",
    ENCRYPTED: "encrypted",
}
DROPPED = {
    TRUNCATED_HEADER: "truncated header",
    BAD_LENGTH: "bad length",
    BAD_VERSION: "bad version",
    BAD_TIME: "bad time",
    TRUNCATED_RECORD: "truncated record",
    UNKNOWN_INTERFACE: "unknown interface",
}
CORRECTED = {
    CUT_SHORT: "cut short",
    NO_LENGTH: "length not stated",
    FRAGMENT: "fragment without ports",
    NO_TIME: "time not stated",
    TUNNEL: "tunnel entered",
}

PACKET = np.dtype(
    [
        ("time_ns", np.int64),
        ("version", np.uint8),
        ("protocol", np.uint8),
        ("source_high", np.uint64),
        ("source_low", np.uint64),
        ("destination_high", np.uint64),
        ("destination_low", np.uint64),
        ("source_port", np.uint16),
        ("destination_port", np.uint16),
        ("tcp_flags", np.uint8),
        ("ip_octets", np.uint32),
        ("frame_octets", np.uint32),
        ("vlan", np.uint16),
        ("source_mac", np.uint64),
        ("destination_mac", np.uint64),
        ("internet_offset", np.int64),
        ("payload_offset", np.int64),
        ("payload_octets", np.int32),
    ],
    align=True,
)
"""The columns of :class:`~ethogram.schema.PacketBatch` as a record, so that compiled functions pass one pointer instead
of reference-counted arrays.
"""

NO_VLAN = 0xFFFF
MAX_EXTENSIONS = 32  # more than any sender uses; each step advances by at least 8 octets

COMPILER = Compiler(Path(__file__).parent, ("ip_packet", "link_layer", "pcap", "pcapng", "dns"))
compiled, inner = COMPILER.compiled, COMPILER.inner


@inner
def u8(data: Any, at: int) -> int:
    """One octet, signed like all lengths and offsets here: mixing signed and unsigned integers would give floats."""
    return np.int64(data[at])  # type: ignore[return-value]


@inner
def u16(data: Any, at: int) -> int:
    """Two octets, big-endian."""
    return (u8(data, at) << 8) | u8(data, at + 1)


@inner
def u32(data: Any, at: int) -> int:
    """Four octets, big-endian."""
    return (u8(data, at) << 24) | (u8(data, at + 1) << 16) | (u8(data, at + 2) << 8) | u8(data, at + 3)


@inner
def u64(data: Any, at: int) -> Any:
    """Eight octets, big-endian, unsigned."""
    return (np.uint64(u32(data, at)) << np.uint64(32)) | np.uint64(u32(data, at + 4))


@inner
def parse_transport(data: Any, at: int, limit: int, cut: bool, protocol: int) -> tuple[int, int, int, int, int]:
    """Read ports and flags at ``at``; ``limit`` is the first octet outside the packet or the captured part.

    Returns
    -------
    code, source_port, destination_port, tcp_flags, payload
        ``code`` is 0 if the ports were read; ``payload`` is the offset of the transport payload.
    """
    if protocol == 6:
        if limit - at < 20 and not (cut and limit - at >= 4):
            return TRUNCATED_HEADER, 0, 0, 0, at
        flags = u8(data, at + 13) if limit - at >= 14 else 0
        header = (u8(data, at + 12) >> 4) * 4 if limit - at >= 13 else 20
        return 0, u16(data, at), u16(data, at + 2), flags, at + max(header, 20)
    if protocol == 17 or protocol == 132 or protocol == 136 or protocol == 33:  # noqa: PLR1714 (compiled)
        if limit - at < 8 and not (cut and limit - at >= 4):
            return TRUNCATED_HEADER, 0, 0, 0, at
        header = 8 if protocol == 17 or protocol == 136 else 12  # noqa: PLR1714
        return 0, u16(data, at), u16(data, at + 2), 0, at + header
    return 0, 0, 0, 0, at


@inner
def skip_extensions(data: Any, at: int, end: int, protocol: int) -> tuple[int, int, int, bool]:
    """Walk IPv6 extension headers (RFC 8200 section 4).

    Returns
    -------
    code, protocol, at, fragment
        ``fragment`` is true except for the first fragment, the only one with ports.
    """
    for _ in range(MAX_EXTENSIONS):
        if protocol == 0 or protocol == 43 or protocol == 60 or protocol == 135:  # noqa: PLR1714
            if end - at < 8:
                return TRUNCATED_HEADER, protocol, at, False
            length = (u8(data, at + 1) + 1) * 8
        elif protocol == 51:
            if end - at < 8:
                return TRUNCATED_HEADER, protocol, at, False
            length = (u8(data, at + 1) + 2) * 4
        elif protocol == 44:
            if end - at < 8:
                return TRUNCATED_HEADER, protocol, at, False
            if u16(data, at + 2) & 0xFFF8:
                return 0, u8(data, at), at + 8, True
            length = 8
        else:
            return 0, protocol, at, False
        protocol = u8(data, at)
        at += length
        if at > end:
            return TRUNCATED_HEADER, protocol, end, False
    return BAD_LENGTH, protocol, at, False


@inner
def parse_internet(data: Any, at: int, end: int, wire: int, packet: Any, counters: Any) -> int:
    """Write the IP packet at ``at`` to a record.

    Parameters
    ----------
    data
        Octets; ``end`` is the first one that was not captured.
    wire
        Octets from ``at`` on the wire (``end - at`` unless the capture truncated the frame).
    packet
        A record of type :data:`PACKET`.

    Returns
    -------
    0, or the counter of the reason why the packet was rejected.
    """
    if end - at < 1:
        return TRUNCATED_HEADER
    version = u8(data, at) >> 4
    fragment = False
    if version == 4:
        if end - at < 20:
            return TRUNCATED_HEADER
        header = (u8(data, at) & 15) * 4
        total = u16(data, at + 2)
        if total == 0:  # set by the network card (segmentation offload)
            counters[NO_LENGTH] += 1
            total = wire
        if header < 20 or total < header:
            return BAD_LENGTH
        if end - at < header:
            return TRUNCATED_HEADER
        fragment = (u16(data, at + 6) & 0x1FFF) != 0
        protocol = u8(data, at + 9)
        source_high, source_low = np.uint64(0), np.uint64(u32(data, at + 12))
        destination_high, destination_low = np.uint64(0), np.uint64(u32(data, at + 16))
        transport = at + header
    elif version == 6:
        if end - at < 40:
            return TRUNCATED_HEADER
        total = u16(data, at + 4) + 40
        if total == 40 and data[at + 6] != 59 and wire > 40:  # jumbogram or segmentation offload
            counters[NO_LENGTH] += 1
            total = wire
        source_high, source_low = u64(data, at + 8), u64(data, at + 16)
        destination_high, destination_low = u64(data, at + 24), u64(data, at + 32)
        code, protocol, transport, fragment = skip_extensions(data, at + 40, min(end, at + total), u8(data, at + 6))
        if code != 0:
            return code
    else:
        return BAD_VERSION

    limit = min(end, at + total)
    source_port, destination_port, flags, payload = 0, 0, 0, limit
    if fragment:
        counters[FRAGMENT] += 1
    else:
        code, source_port, destination_port, flags, payload = parse_transport(
            data, transport, limit, end < at + min(total, wire), protocol
        )
        if code != 0:
            return code
    payload = min(payload, limit)
    packet.version = version
    packet.protocol = protocol
    packet.source_high = source_high
    packet.source_low = source_low
    packet.destination_high = destination_high
    packet.destination_low = destination_low
    packet.source_port = source_port
    packet.destination_port = destination_port
    packet.tcp_flags = flags
    packet.ip_octets = total
    packet.internet_offset = at
    packet.payload_offset = payload
    packet.payload_octets = limit - payload
    return 0
