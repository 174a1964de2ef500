"""IPFIX messages as YAF and ipfixprobe send them, with what devices state in DHCP, multicast DNS and SSDP."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from ipaddress import IPv4Address

import numpy as np

from ethogram.io.wire.build import MessageBuilder, data, template_set
from ethogram.io.wire.template import Field, Template

CERT, CESNET = 6871, 8057
FLOW_FIELDS = (
    Field(0, 8, 4), Field(0, 12, 4), Field(0, 7, 2), Field(0, 11, 2), Field(0, 4, 1), Field(0, 85, 8), Field(0, 86, 8),
    Field(0, 85, 8, reverse=True), Field(0, 86, 8, reverse=True), Field(0, 152, 8), Field(0, 153, 8),
)  # fmt: skip
FLOW = Template(10, 1, 0xB311, (*FLOW_FIELDS, Field(0, 293, 65535)))
PLAIN = Template(10, 1, 0xB310, FLOW_FIELDS)
PROBE = Template(10, 1, 300, (
    *FLOW_FIELDS, Field(0, 56, 6), Field(0, 80, 6), Field(CESNET, 822, 65535), Field(CESNET, 824, 65535),
))  # fmt: skip
MACS = Template(10, 1, 0xC014, (Field(0, 56, 6), Field(0, 80, 6)))
DHCP = Template(10, 1, 0xC208, (
    Field(0, 291, 65535), Field(CERT, 243, 65535), Field(0, 291, 65535), Field(CERT, 243, 65535, reverse=True),
))  # fmt: skip
PAYLOAD = Template(10, 1, 0xC018, (Field(CERT, 18, 65535), Field(CERT, 18, 65535, reverse=True)))
DNS = Template(10, 1, 0xCE00, (Field(0, 292, 65535),))
DNS_RECORD = Template(10, 1, 0xCF00, (
    Field(0, 292, 65535), Field(CERT, 179, 65535), Field(CERT, 199, 4), Field(CERT, 175, 2), Field(CERT, 174, 1),
    Field(CERT, 176, 1), Field(CERT, 177, 1), Field(CERT, 178, 1), Field(CERT, 226, 2), Field(0, 210, 4),
))  # fmt: skip
POINTER = Template(10, 1, 0xCE04, (Field(CERT, 184, 65535),))
TEMPLATES = (FLOW, PLAIN, PROBE, MACS, DHCP, PAYLOAD, DNS, DNS_RECORD, POINTER)


def variable(octets: bytes) -> bytes:
    """A value of variable length."""
    return (bytes([len(octets)]) if len(octets) < 255 else b"\xff" + struct.pack(">H", len(octets))) + octets


def options_list(options: Sequence[int]) -> bytes:
    """A basic list of DHCP options."""
    return variable(struct.pack(">BHHI", 3, 297 | 0x8000, 1, CERT) + bytes(options))


def multi_list(*parts: tuple[Template, bytes]) -> bytes:
    """A sub-template multi-list of one record for each template."""
    return b"\x03" + b"".join(struct.pack(">HH", t.id, len(octets) + 4) + octets for t, octets in parts)


def mac_part(mac: str, other: str = "02:00:00:00:00:01") -> tuple[Template, bytes]:
    return MACS, bytes.fromhex((mac + other).replace(":", ""))


def dhcp_part(options: Sequence[int], vendor: str) -> tuple[Template, bytes]:
    empty = options_list([])
    return DHCP, options_list(options) + variable(vendor.encode()) + empty + variable(b"")


def dhcp_request(mac: str, name: str, address: str = "0.0.0.0") -> bytes:
    """A DHCP request with host name and parameter list."""
    head = bytes([1, 1, 6, 0]) + bytes(8) + IPv4Address(address).packed + bytes(12)
    message = head + bytes.fromhex(mac.replace(":", "")) + bytes(10) + bytes(192) + b"\x63\x82\x53\x63"
    return message + b"\x35\x01\x03\x0c" + variable(name.encode()) + b"\x37\x03\x01\x03\x06\xff"


def payload_part(octets: bytes) -> tuple[Template, bytes]:
    return PAYLOAD, variable(octets) + variable(b"")


def service_part(owner: str, target: str) -> tuple[Template, bytes]:
    """A multicast DNS answer with one PTR record."""
    target_list = variable(b"\x03" + struct.pack(">H", POINTER.id) + variable(target.encode()))
    record = target_list + variable(owner.encode()) + struct.pack(">IHBBBBHI", 120, 12, 1, 1, 0, 1, 0, 0)
    return DNS, variable(b"\x03" + struct.pack(">H", DNS_RECORD.id) + record)


class YafExporter:
    """One exporter: messages of templates and of flows."""

    def __init__(self, clock_ms: int | None = None) -> None:
        self.build = MessageBuilder(10, domain=1)
        self._clock_ms = clock_ms

    def now_ms(self) -> int:
        return int(time.time() * 1000) if self._clock_ms is None else self._clock_ms

    def announce(self, *templates: Template) -> bytes:
        return self.build.message([template_set(*(templates or TEMPLATES))], self.now_ms())

    def flow(
        self, source: str, destination: str, ports: tuple[int, int], *parts: tuple[Template, bytes], protocol: int = 17,
        octets: int = 400, macs: tuple[str, str] | None = None, texts: tuple[str, str] = ("", ""),
    ) -> bytes:  # fmt: skip
        """A message of one biflow."""
        now = self.now_ms()
        columns: list[object] = [
            np.array([value]) for value in (
                int(IPv4Address(source)), int(IPv4Address(destination)), *ports, protocol, octets, 2, octets, 2,
                now - 200, now - 100,
            )
        ]  # fmt: skip
        template = FLOW if parts else PLAIN
        if macs is not None:
            template = PROBE
            columns += [np.array([int(mac.replace(":", ""), 16)], np.uint64) for mac in macs]
            columns += [[text.encode()] for text in texts]
        elif parts:
            columns.append([multi_list(*parts)])
        [message] = self.build.messages([data(template, columns)], now)
        return message
