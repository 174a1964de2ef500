"""Build captures octet by octet, following the format descriptions."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ethogram.config import CaptureSettings
from ethogram.io.capture import CaptureSource, open_capture
from ethogram.schema import PacketBatch

SOURCE_MAC, DESTINATION_MAC = bytes.fromhex("02a1b2c3d4e5"), bytes.fromhex("0217273747ff")


@dataclass(frozen=True)
class Packet:
    source: str = "192.168.1.7"
    destination: str = "198.51.100.9"
    protocol: int = 6
    source_port: int = 50000
    destination_port: int = 443
    flags: int = 0x18
    payload: bytes = b""

    def transport(self) -> bytes:
        ports = struct.pack(">HH", self.source_port, self.destination_port)
        if self.protocol == 6:
            return ports + struct.pack(">IIBBHHH", 1, 2, 0x50, self.flags, 8192, 0, 0) + self.payload
        if self.protocol == 17:
            return ports + struct.pack(">HH", 8 + len(self.payload), 0) + self.payload
        return self.payload

    def internet(self, *, options: bytes = b"", extensions: bytes = b"", next_header: int | None = None,
                 fragment: int = 0, total: int | None = None) -> bytes:  # fmt: skip
        source, destination = ip_address(self.source), ip_address(self.destination)
        body = self.transport()
        if source.version == 4:
            length = 20 + len(options) + len(body) if total is None else total
            return (
                struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, length, 1, fragment, 64, self.protocol, 0)
                + source.packed + destination.packed + options + body
            )  # fmt: skip
        length = len(extensions) + len(body) if total is None else total
        first = self.protocol if next_header is None else next_header
        return struct.pack(">IHBB", 6 << 28, length, first, 64) + source.packed + destination.packed + extensions + body

    @property
    def ethertype(self) -> int:
        return 0x0800 if ip_address(self.source).version == 4 else 0x86DD


def ethernet(internet: bytes, kind: int = 0x0800, vlans: tuple[int, ...] = ()) -> bytes:
    tags = b"".join(struct.pack(">HH", 0x8100, vlan) for vlan in vlans)
    return DESTINATION_MAC + SOURCE_MAC + tags + struct.pack(">H", kind) + internet


def framed(link: int, internet: bytes, kind: int) -> bytes:
    """A frame of any supported link type."""
    version = 4 if kind == 0x0800 else 6
    ppp = b"\x00\x21" if version == 4 else b"\x00\x57"
    heads = {
        1: DESTINATION_MAC + SOURCE_MAC + struct.pack(">H", kind),
        113: struct.pack(">HHH", 0, 1, 6) + SOURCE_MAC + b"\0\0" + struct.pack(">H", kind),
        276: struct.pack(">HHIHBB", kind, 0, 3, 1, 0, 6) + SOURCE_MAC + b"\0\0",
        0: struct.pack("<I", 2 if version == 4 else 30),
        108: struct.pack(">I", 2 if version == 4 else 24),
        9: b"\xff\x03" + ppp,
        50: b"\xff\x03" + ppp,
        51: b"\x11\x00\x00\x01" + struct.pack(">H", len(internet) + 2) + ppp,
        104: b"\x0f\x00" + struct.pack(">H", kind),
        105: b"\x08\x01\0\0" + b"\2" * 6 + SOURCE_MAC + DESTINATION_MAC + b"\0\0" + b"\xaa\xaa\3\0\0\0"
             + struct.pack(">H", kind),
    }  # fmt: skip
    heads[127] = struct.pack("<BBHI", 0, 0, 8, 0) + heads[105]
    return heads.get(link, b"") + internet


def pcap(frames: list[tuple[int, bytes]], *, link: int = 1, order: str = "<", nano: bool = False,
         wire: int | None = None, modified: bool = False) -> bytes:  # fmt: skip
    """A pcap file of (time in ns, frame) pairs."""
    magic = 0xA1B23C4D if nano else 0xA1B2CD34 if modified else 0xA1B2C3D4
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for time, frame in frames:
        part = time % 1_000_000_000 // (1 if nano else 1000)
        out += struct.pack(order + "IIII", time // 1_000_000_000, part, len(frame), wire or len(frame))
        out += (b"\0" * 8 if modified else b"") + frame
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += b"\0" * (-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, order: str = "<", *, resolution: int | None = None, offset: int | None = None,
              snaplen: int = 0) -> bytes:  # fmt: skip
    options = b""
    if resolution is not None:
        options += struct.pack(order + "HHB3x", 9, 1, resolution)
    if offset is not None:
        options += struct.pack(order + "HHq", 14, 8, offset)
    if options:
        options += struct.pack(order + "HH", 0, 0)
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options, order)


def enhanced(frame: bytes, ticks: int, number: int = 0, order: str = "<") -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)


def read(path: Path, octets: bytes, **settings: object) -> tuple[CaptureSource, list[PacketBatch]]:
    """Write a capture, read it, and check that the accounting balances."""
    path.write_bytes(octets)
    source = open_capture(path, CaptureSettings.of(**settings))
    batches = list(source.batches())
    source.accounting.check()
    assert sum(map(len, batches)) == source.accounting.used
    return source, batches
