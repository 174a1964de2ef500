"""Messages of DHCP, multicast DNS, SSDP and NetBIOS, put together after the descriptions of their formats."""

from __future__ import annotations

import struct
from ipaddress import ip_address

__all__ = ["dhcp", "dns", "dns_name", "dnstap", "netbios_name", "option", "record"]


def option(code: int, value: bytes) -> bytes:
    return bytes([code, len(value)]) + value


def dhcp(mac: str, *options: bytes, reply: bool = False, ciaddr: str = "0.0.0.0", yiaddr: str = "0.0.0.0") -> bytes:
    head = struct.pack(">BBBBIHH", 2 if reply else 1, 1, 6, 0, 0x1234, 0, 0)
    addresses = ip_address(ciaddr).packed + ip_address(yiaddr).packed + bytes(8)
    hardware = bytes.fromhex(mac.replace(":", "")) + bytes(10)
    return head + addresses + hardware + bytes(192) + b"\x63\x82\x53\x63" + b"".join(options) + b"\xff"


def dns_name(*labels: str) -> bytes:
    return b"".join(bytes([len(label.encode())]) + label.encode() for label in labels) + b"\0"


def record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack(">HHIH", kind, 0x8001, 120, len(data)) + data


def dns(*records: bytes, flags: int = 0x8400, question: bytes = b"") -> bytes:
    return struct.pack(">HHHHHH", 0, flags, bool(question), len(records), 0, 0) + question + b"".join(records)


def netbios_name(text: str, kind: int = 0) -> bytes:
    name = text.encode().ljust(15) + bytes([kind])
    return b"\x20" + bytes(b for octet in name for b in (0x41 + (octet >> 4), 0x41 + (octet & 15))) + b"\0"


def dnstap(*messages: bytes) -> bytes:
    """A stream of frames: a control frame, and one data frame for each message."""

    def field(number: int, value: int | bytes) -> bytes:
        if isinstance(value, int):
            key, octets = number << 3, b""
            while value >= 0x80:
                octets += bytes([value & 0x7F | 0x80])
                value >>= 7
            return bytes([key]) + octets + bytes([value])
        assert len(value) < 128
        return bytes([number << 3 | 2, len(value)]) + value

    frames = b"\0\0\0\0" + (4).to_bytes(4) + (2).to_bytes(4)
    for message in messages:
        inner = (field(1, 6) + field(4, bytes([192, 168, 1, 5])) + field(5, bytes([192, 168, 1, 1])) + field(6, 53412)
                 + field(12, 1714564800) + bytes([13 << 3 | 5]) + (500_000_000).to_bytes(4, "little")
                 + field(14, message))  # fmt: skip
        record = field(15, 1) + field(14, inner)
        frames += len(record).to_bytes(4) + record
    return frames
