"""The pcapng format: sections of blocks, with a link type and clock resolution for each interface.

Reference: draft-ietf-opsawg-pcapng. Enhanced, simple and obsolete packet blocks are read; others are skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.io.ip_packet import BAD_LENGTH, BAD_TIME, NO_TIME, READ, UNKNOWN_INTERFACE, compiled, inner, u8
from ethogram.io.link_layer import parse_packet
from ethogram.io.pcap import FULL, MAX_RECORD, MORE, STOP, word

__all__ = ["MAGIC", "MAX_INTERFACES", "new_section", "scan_pcapng"]

MAGIC = b"\x0a\x0d\x0d\x0a"
MAX_INTERFACES = 4096
LINK, RESOLUTION, OFFSET, SNAPLEN = 0, 1, 2, 3  # columns of the interface table
LITTLE, INTERFACES, LAST_TIME = 0, 1, 2  # indices of the section state
LATEST_S = 9_000_000_000  # limit of 64-bit nanoseconds: the year 2255


def new_section() -> tuple[Any, Any]:
    """State that scans carry from block to block: the section and its interface table."""
    return np.zeros(3, np.int64), np.zeros((MAX_INTERFACES, 4), np.int64)


@inner
def half(data: Any, at: int, little: bool) -> int:
    """Two octets in the byte order of the section."""
    if little:
        return u8(data, at) | (u8(data, at + 1) << 8)
    return u8(data, at + 1) | (u8(data, at) << 8)


@inner
def nanoseconds(high: int, low: int, resolution: int, offset: int) -> Any:
    """Ticks of an interface clock as nanoseconds since 1970; -1 if out of range."""
    ticks = (np.uint64(high) << np.uint64(32)) | np.uint64(low)
    exponent = resolution & 0x7F
    if resolution & 0x80:
        if exponent > 63:
            return -1
        seconds = ticks >> np.uint64(exponent)
        part = ticks - (seconds << np.uint64(exponent))
        if exponent > 32:
            part >>= np.uint64(exponent - 32)
            exponent = 32
        fraction = (part * np.uint64(1_000_000_000)) >> np.uint64(exponent)
    else:
        if exponent > 19:
            return -1
        unit = np.uint64(1)
        for _ in range(exponent):
            unit *= np.uint64(10)
        seconds = ticks // unit
        fraction = ticks - seconds * unit
        for _ in range(exponent, 9):
            fraction *= np.uint64(10)
        for _ in range(9, exponent):
            fraction //= np.uint64(10)
    if seconds > np.uint64(LATEST_S) or offset > LATEST_S or offset < -LATEST_S:
        return -1
    whole = np.int64(seconds) + offset
    if whole < 0 or whole > LATEST_S:
        return -1
    return whole * 1_000_000_000 + np.int64(fraction)


@inner
def add_interface(data: Any, at: int, end: int, section: Any, interfaces: Any) -> None:
    """Parse an interface description block, with its body from ``at`` to ``end``, and its options."""
    little = section[LITTLE] != 0
    number = section[INTERFACES]
    section[INTERFACES] = number + 1
    if number >= MAX_INTERFACES or end - at < 8:
        return
    interfaces[number, LINK] = half(data, at, little)
    interfaces[number, RESOLUTION] = 6
    interfaces[number, OFFSET] = 0
    interfaces[number, SNAPLEN] = word(data, at + 4, little)
    at += 8
    while end - at >= 4:
        option, length = half(data, at, little), half(data, at + 2, little)
        at += 4
        if option == 0 or length > end - at:
            break
        if option == 9 and length >= 1:
            interfaces[number, RESOLUTION] = u8(data, at)
        elif option == 14 and length >= 8:
            first, second = word(data, at, little), word(data, at + 4, little)
            low, high = (first, second) if little else (second, first)
            interfaces[number, OFFSET] = (high << 32) | low
        at += (length + 3) & ~3


@inner
def packet_block(
    data: Any,
    at: int,
    end: int,
    kind: int,
    section: Any,
    interfaces: Any,
    tunnels: bool,
    packet: Any,
    counters: Any,
) -> int:
    """Parse the packet of a block with its body from ``at`` to ``end``; returns 1 if it is used, else 0."""
    little = section[LITTLE] != 0
    header = 4 if kind == 3 else 20
    if end - at < header:
        counters[READ] += 1
        counters[BAD_LENGTH] += 1
        return 0
    interface = 0 if kind == 3 else word(data, at, little) if kind == 6 else half(data, at, little)
    if interface >= min(section[INTERFACES], MAX_INTERFACES):
        counters[READ] += 1
        counters[UNKNOWN_INTERFACE] += 1
        return 0
    if kind == 3:
        wire = word(data, at, little)
        captured = min(wire, end - at - header)
        if interfaces[0, SNAPLEN] > 0:
            captured = min(captured, interfaces[0, SNAPLEN])
        time_ns = section[LAST_TIME]
        counters[NO_TIME] += 1
    else:
        captured, wire = word(data, at + 12, little), word(data, at + 16, little)
        time_ns = nanoseconds(
            word(data, at + 4, little),
            word(data, at + 8, little),
            interfaces[interface, RESOLUTION],
            interfaces[interface, OFFSET],
        )
    if captured > end - at - header or time_ns < 0:
        counters[READ] += 1
        counters[BAD_TIME if time_ns < 0 else BAD_LENGTH] += 1
        return 0
    section[LAST_TIME] = time_ns
    return parse_packet(
        data, at + header, captured, wire, interfaces[interface, LINK], tunnels, time_ns, packet, counters
    )


@compiled
def scan_pcapng(
    data: Any, at: int, end: int, section: Any, interfaces: Any, tunnels: bool, rows: Any, counters: Any
) -> tuple[int, int, int]:
    """Parse all complete blocks between ``at`` and ``end``.

    Returns
    -------
    at, rows, why
        The first unread octet, the number of rows written, and ``MORE``, ``FULL`` or ``STOP``.
    """
    row, capacity = 0, rows.shape[0]
    while end - at >= 12:
        if row == capacity:
            return at, row, FULL
        # A section header reads the same in both byte orders, and sets the order.
        starts_section = data[at] == 10 and data[at + 1] == 13 and data[at + 2] == 13 and data[at + 3] == 10
        if starts_section:
            order = word(data, at + 8, True)
            if order != 0x1A2B3C4D and order != 0x4D3C2B1A:  # noqa: PLR1714 (compiled)
                counters[READ] += 1
                counters[BAD_LENGTH] += 1
                return at, row, STOP
            section[LITTLE] = 1 if order == 0x1A2B3C4D else 0
            section[INTERFACES] = 0
        little = section[LITTLE] != 0
        kind, length = word(data, at, little), word(data, at + 4, little)
        if length < 12 or length % 4 != 0 or length > MAX_RECORD:
            counters[READ] += 1
            counters[BAD_LENGTH] += 1
            return at, row, STOP
        if end - at < length:
            break
        if kind == 1:
            add_interface(data, at + 8, at + length - 4, section, interfaces)
        elif kind == 6 or kind == 3 or kind == 2:  # noqa: PLR1714
            row += packet_block(data, at + 8, at + length - 4, kind, section, interfaces, tunnels, rows[row], counters)
        at += length
    return at, row, MORE
