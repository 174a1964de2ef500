"""Find the IP header in a frame of any supported link type.

Ethernet with VLAN tags, MPLS and PPPoE; Linux cooked 1 and 2; raw IP; BSD loopback; PPP and Cisco HDLC;
802.11 with and without radiotap. IP tunnels are decapsulated on request.
Numbers: https://www.tcpdump.org/linktypes.html
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.io.ip_packet import (
    ARP,
    BAD_LENGTH,
    CUT_SHORT,
    EAPOL,
    ENCRYPTED,
    ETHERTYPE,
    LINK_TYPE,
    LINK_TYPES,
    LLC,
    LLDP,
    LLDP_FIELDS,
    LLDP_FRAMES,
    MOST_LLDP,
    NO_VLAN,
    READ,
    TRUNCATED_HEADER,
    TUNNEL,
    USED,
    WIRELESS_CONTROL,
    inner,
    parse_internet,
    u8,
    u16,
    u32,
)
from ethogram.io.link_types import MOST

__all__ = ["parse_packet"]

MAX_TAGS = 8  # VLAN tags or MPLS labels in one frame
IPV4, IPV6 = 0x0800, 0x86DD


@inner
def mac(data: Any, at: int) -> Any:
    """Six octets as a number."""
    return (np.uint64(u16(data, at)) << np.uint64(32)) | np.uint64(u32(data, at + 2))


@inner
def version_type(data: Any, at: int, end: int) -> int:
    """The ethertype of an IP version number; 0 if it is neither 4 nor 6."""
    if at >= end:
        return 0
    version = u8(data, at) >> 4
    return IPV4 if version == 4 else IPV6 if version == 6 else 0


@inner
def ppp_type(number: Any) -> int:
    """The ethertype of a PPP protocol number (RFC 1661)."""
    return IPV4 if number == 0x21 else IPV6 if number == 0x57 else 0


@inner
def after_ethertype(data: Any, at: int, end: int, kind: int) -> tuple[int, int, int]:
    """Skip VLAN tags, LLC/SNAP, MPLS labels and PPPoE up to the network header.

    Returns
    -------
    code, at, vlan
        ``code`` is 0 if ``at`` is an IP header; ``vlan`` is that of the innermost tag.
    """
    vlan = NO_VLAN
    for _ in range(MAX_TAGS):
        if kind in (IPV4, IPV6):
            return 0, at, vlan
        if kind == 0x8100 or kind == 0x88A8 or kind == 0x9100 or kind == 0x9200:  # noqa: PLR1714
            if end - at < 4:
                return TRUNCATED_HEADER, at, vlan
            vlan = u16(data, at) & 0x0FFF
            kind = u16(data, at + 2)
            at += 4
        elif kind <= 1500:  # a length: LLC follows, with IP only after SNAP
            if end - at < 8 or u16(data, at) != 0xAAAA or data[at + 2] != 3 or u16(data, at + 3) != 0 or data[at + 5]:
                return LLC, at, vlan
            kind = u16(data, at + 6)
            at += 8
            if kind <= 1500:
                return LLC, at, vlan
        elif kind == 0x8864:
            if end - at < 8:
                return TRUNCATED_HEADER, at, vlan
            kind = ppp_type(u16(data, at + 6))
            at += 8
            if kind == 0:
                return ETHERTYPE, at, vlan
        elif kind == 0x8847 or kind == 0x8848:  # noqa: PLR1714
            for _ in range(MAX_TAGS):
                if end - at < 4:
                    return TRUNCATED_HEADER, at, vlan
                bottom = data[at + 2] & 1
                at += 4
                if bottom:
                    break
            kind = version_type(data, at, end)
            if kind == 0:
                return ETHERTYPE, at, vlan
        elif kind == 0x0806:
            return ARP, at, vlan
        elif kind == 0x888E:
            return EAPOL, at, vlan
        elif kind == 0x88CC:
            return LLDP, at, vlan
        else:
            return ETHERTYPE, at, vlan
    return BAD_LENGTH, at, vlan


@inner
def wireless(data: Any, at: int, end: int, swapped: bool) -> tuple[int, int, Any, Any]:
    """Parse an 802.11 header; only plain data frames carry IP.

    Some controllers swap the two octets of frame control inside CAPWAP; ``swapped`` accepts them.

    Returns
    -------
    code, at, source, destination
        ``at`` is the LLC header after the 802.11 header.
    """
    none = np.uint64(0)
    if end - at < 24:
        return WIRELESS_CONTROL, at, none, none
    control, flags = u8(data, at), u8(data, at + 1)
    if swapped and flags & 0x0C == 8 and control & 0x0C != 8:
        control, flags = flags, control
    if (control >> 2) & 3 != 2 or control & 0x40:  # not data, or data without a body
        return WIRELESS_CONTROL, at, none, none
    if flags & 0x40:
        return ENCRYPTED, at, none, none
    first, second, third = mac(data, at + 4), mac(data, at + 10), mac(data, at + 16)
    to_system, from_system = (flags & 1) != 0, (flags & 2) != 0
    destination = third if to_system else first
    source = third if from_system and not to_system else second
    length = 24
    if to_system and from_system:
        if end - at < 30:
            return TRUNCATED_HEADER, at, none, none
        source = mac(data, at + 24)
        length = 30
    if control & 0x80:  # quality of service
        length += 2
        if flags & 0x80:
            length += 4
    if end - at < length:
        return TRUNCATED_HEADER, at, none, none
    return 0, at + length, source, destination


@inner
def find_internet(data: Any, at: int, end: int, link: int) -> tuple[int, int, int, Any, Any]:
    """Find the IP header of a frame.

    Returns
    -------
    code, at, vlan, source_mac, destination_mac
        ``code`` is 0 if ``at`` is an IP header, else the counter of the reason.
    """
    none = np.uint64(0)
    size = end - at
    if link == 1:
        if size < 14:
            return TRUNCATED_HEADER, at, NO_VLAN, none, none
        destination, source = mac(data, at), mac(data, at + 6)
        code, at, vlan = after_ethertype(data, at + 14, end, u16(data, at + 12))
        return code, at, vlan, source, destination
    if link == 113:
        if size < 16:
            return TRUNCATED_HEADER, at, NO_VLAN, none, none
        source = mac(data, at + 6) if u16(data, at + 4) == 6 else none
        code, at, vlan = after_ethertype(data, at + 16, end, u16(data, at + 14))
        return code, at, vlan, source, none
    if link == 276:
        if size < 20:
            return TRUNCATED_HEADER, at, NO_VLAN, none, none
        source = mac(data, at + 12) if data[at + 11] == 6 else none
        code, at, vlan = after_ethertype(data, at + 20, end, u16(data, at))
        return code, at, vlan, source, none
    if link == 12 or link == 14 or link == 101 or link == 228 or link == 229:  # noqa: PLR1714 (compiled)
        return 0, at, NO_VLAN, none, none
    if link == 0 or link == 108:  # noqa: PLR1714
        if size < 4:
            return TRUNCATED_HEADER, at, NO_VLAN, none, none
        # The family has the byte order of the capturing host; 2 is IPv4, and IPv6 differs by system.
        family = max(u8(data, at), u8(data, at + 3))
        if family == 2 or family == 10 or family == 24 or family == 28 or family == 30:  # noqa: PLR1714
            return 0, at + 4, NO_VLAN, none, none
        return ETHERTYPE, at, NO_VLAN, none, none
    if link == 127 or link == 105:  # noqa: PLR1714
        if link == 127:
            if size < 8:
                return TRUNCATED_HEADER, at, NO_VLAN, none, none
            length = u8(data, at + 2) | (u8(data, at + 3) << 8)
            if length < 8:
                return BAD_LENGTH, at, NO_VLAN, none, none
            at += length
        code, at, source, destination = wireless(data, at, end, False)
        if code != 0:
            return code, at, NO_VLAN, none, none
        code, at, vlan = after_ethertype(data, at, end, 0)
        return code, at, vlan, source, destination
    code, at = point_to_point(data, at, end, link)
    return code, at, NO_VLAN, none, none


@inner
def point_to_point(data: Any, at: int, end: int, link: int) -> tuple[int, int]:
    """PPP (9), PPP in HDLC framing (50), PPPoE (51), Cisco HDLC (104): code and offset of the IP header."""
    size = end - at
    if link == 51:
        if size < 8:
            return TRUNCATED_HEADER, at
        return (0 if ppp_type(u16(data, at + 6)) else ETHERTYPE), at + 8
    if link != 9 and link != 50 and link != 104:  # noqa: PLR1714 (compiled)
        return LINK_TYPE, at
    if size < 4:
        return TRUNCATED_HEADER, at
    if link == 104 or data[at] == 0x0F or data[at] == 0x8F:
        code, at, _ = after_ethertype(data, at + 4, end, max(u16(data, at + 2), 1501))
        return code, at
    if data[at] == 0xFF and data[at + 1] == 0x03:
        at += 2
    if data[at] & 1:  # a protocol number in one octet
        return (0 if ppp_type(u8(data, at)) else ETHERTYPE), at + 1
    if end - at < 2:
        return TRUNCATED_HEADER, at
    return (0 if ppp_type(u16(data, at)) else ETHERTYPE), at + 2


@inner
def inner_packet(data: Any, at: int, end: int, protocol: int, source_port: int, destination_port: int) -> int:
    """Offset of the IP packet inside a tunnel payload; -1 if the payload is not a known tunnel.

    IP in IP, GRE (RFC 2784, 2890, 2637), GTP-U (3GPP TS 29.281) and CAPWAP data (RFC 5415).
    """
    size = end - at
    if protocol == 4 or protocol == 41:  # noqa: PLR1714 (compiled)
        return at
    if protocol == 47 and size >= 4:
        flags, kind = u16(data, at), u16(data, at + 2)
        at += 4 + 4 * ((flags >> 15) & 1) + 4 * ((flags >> 13) & 1) + 4 * ((flags >> 12) & 1)
        if kind == 0x880B:  # PPTP (RFC 2637): PPP after an optional acknowledgement
            code, at = point_to_point(data, at + 4 * ((flags >> 7) & 1), end, 9)
            return at if code == 0 else -1
        if kind == 0x6558:
            if end - at < 14:
                return -1
            kind = u16(data, at + 12)
            at += 14
        code, at, _ = after_ethertype(data, at, end, max(kind, 1501))
        return at if code == 0 else -1
    if protocol == 17 and (source_port == 2152 or destination_port == 2152):
        if size < 12 or data[at] >> 4 != 3 or data[at + 1] != 0xFF:
            return -1
        options = u8(data, at) & 7
        more = u8(data, at + 11) if options & 4 else 0
        at += 12 if options else 8
        for _ in range(MAX_TAGS):
            if more == 0:
                return at
            if at >= end or data[at] == 0 or end - at < 4 * u8(data, at):
                return -1
            at += 4 * u8(data, at)
            more = u8(data, at - 1)
        return -1
    if protocol == 17 and (source_port == 5247 or destination_port == 5247):
        if size < 8 or data[at] != 0:
            return -1
        header = (u8(data, at + 1) >> 3) * 4
        if header < 8 or size < header:
            return -1
        code, at, _, _ = wireless(data, at + header, end, True)
        if code != 0:
            return -1
        code, at, _ = after_ethertype(data, at, end, 0)
        return at if code == 0 else -1
    return -1


@inner
def enter_tunnels(data: Any, packet: Any, counters: Any) -> None:
    """Replace a packet by its inner packet while that can be parsed."""
    for _ in range(MAX_TAGS):
        at = packet.payload_offset
        limit = at + np.int64(packet.payload_octets)
        inner = inner_packet(data, at, limit, packet.protocol, packet.source_port, packet.destination_port)
        if inner < 0 or inner >= limit:
            return
        if parse_internet(data, inner, limit, limit - inner, packet, counters) != 0:
            return
        counters[TUNNEL] += 1


@inner
def parse_packet(
    data: Any,
    at: int,
    captured: int,
    wire: int,
    link: int,
    tunnels: bool,
    time_ns: int,
    packet: Any,
    counters: Any,
) -> int:
    """Parse one frame to a record and count it as used, ignored or dropped.

    Parameters
    ----------
    data
        Octets; ``captured`` octets from ``at`` are the frame.
    wire
        Length of the frame on the wire.
    tunnels
        Whether to record the innermost packet.

    Returns
    -------
    1 if the packet was used, else 0.
    """
    counters[READ] += 1
    wire = max(wire, captured)
    end = at + captured
    code, internet, vlan, source, destination = find_internet(data, at, end, link)
    if code == 0:
        code = parse_internet(data, internet, end, wire - (internet - at), packet, counters)
    if code != 0:
        counters[code] += 1
        if code == LINK_TYPE:
            counters[LINK_TYPES + min(link, MOST)] += 1
        elif code == LLDP and counters[LLDP] <= MOST_LLDP:
            place = LLDP_FRAMES + (counters[LLDP] - 1) * LLDP_FIELDS
            counters[place] = time_ns
            counters[place + 1] = np.int64(source)
            counters[place + 2] = internet
            counters[place + 3] = end
        return 0
    if tunnels:
        enter_tunnels(data, packet, counters)
    if captured < wire:
        counters[CUT_SHORT] += 1
    counters[USED] += 1
    packet.time_ns = time_ns
    packet.frame_octets = wire
    packet.vlan = vlan
    packet.source_mac = source
    packet.destination_mac = destination
    return 1
