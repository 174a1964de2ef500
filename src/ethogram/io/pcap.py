"""The pcap format: a file header of 24 octets, then records with a header of 16 (or 24) octets and a frame.

Reference: draft-ietf-opsawg-pcap. Both byte orders, microseconds and nanoseconds, and the modified format with
eight more octets per record header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ethogram.io.ip_packet import BAD_LENGTH, READ, compiled, inner, u8
from ethogram.io.link_layer import parse_packet

__all__ = ["FULL", "MAGICS", "MAX_RECORD", "MORE", "STOP", "PcapHeader", "parse_header", "scan_pcap"]

MAX_RECORD = 1 << 24
"""Maximum record length; longer ones indicate damage (the limit of libpcap is 256 KiB, for USB 128 MiB)."""

MORE, FULL, STOP = 0, 1, 2
"""Why a scan returned: more octets are needed, the columns are full, or the rest is unreadable."""

MAGICS = {  # octets -> (little-endian, nanoseconds, octets of a record header)
    b"\xa1\xb2\xc3\xd4": (False, False, 16),
    b"\xd4\xc3\xb2\xa1": (True, False, 16),
    b"\xa1\xb2\x3c\x4d": (False, True, 16),
    b"\x4d\x3c\xb2\xa1": (True, True, 16),
    b"\xa1\xb2\xcd\x34": (False, False, 24),
    b"\x34\xcd\xb2\xa1": (True, False, 24),
}


@dataclass(frozen=True)
class PcapHeader:
    """Contents of the file header."""

    little: bool
    nanoseconds: bool
    record_header: int
    link: int


def parse_header(octets: bytes) -> PcapHeader:
    """Parse the first 24 octets of a file that begins with one of :data:`MAGICS`."""
    little, nanoseconds, record_header = MAGICS[bytes(octets[:4])]
    # The upper bits of the link type state whether a frame check sequence follows.
    link = int.from_bytes(octets[20:24], "little" if little else "big") & 0xFFFF
    return PcapHeader(little, nanoseconds, record_header, link)


@inner
def word(data: Any, at: int, little: bool) -> int:
    """Four octets in the byte order of the file."""
    a, b, c, d = u8(data, at), u8(data, at + 1), u8(data, at + 2), u8(data, at + 3)
    if little:
        return a | (b << 8) | (c << 16) | (d << 24)
    return d | (c << 8) | (b << 16) | (a << 24)


@compiled
def scan_pcap(
    data: Any,
    at: int,
    end: int,
    little: bool,
    unit_ns: int,
    record_header: int,
    link: int,
    tunnels: bool,
    rows: Any,
    counters: Any,
) -> tuple[int, int, int]:
    """Parse all complete records between ``at`` and ``end``.

    Returns
    -------
    at, rows, why
        The first unread octet, the number of rows written, and :data:`MORE`, :data:`FULL` or :data:`STOP`.
    """
    row, capacity = 0, rows.shape[0]
    while end - at >= record_header:
        if row == capacity:
            return at, row, FULL
        captured = word(data, at + 8, little)
        if captured > MAX_RECORD:
            counters[READ] += 1
            counters[BAD_LENGTH] += 1
            return at, row, STOP
        if end - at - record_header < captured:
            break
        time_ns = word(data, at, little) * 1_000_000_000 + word(data, at + 4, little) * unit_ns
        row += parse_packet(
            data, at + record_header, captured, word(data, at + 12, little), link, tunnels, time_ns, rows[row], counters
        )
        at += record_header + captured
    return at, row, MORE
