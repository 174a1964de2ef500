"""Messages of DHCP, multicast DNS, SSDP and NetBIOS, put together after the descriptions of their formats."""

from __future__ import annotations

import struct
from ipaddress import ip_address

__all__ = ["dhcp", "dns", "dns_name", "netbios_name", "option", "record"]


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
