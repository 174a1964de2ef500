"""Messages in which devices state what they are: DHCP, multicast DNS, LLMNR, SSDP, NetBIOS."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ethogram.io.identity.dhcp import read_dhcp, read_dhcpv6
from ethogram.io.identity.lldp import read_lldp
from ethogram.io.identity.mdns import read_llmnr, read_mdns
from ethogram.io.identity.nbns import read_nbns, read_netbios_datagram
from ethogram.io.identity.ssdp import read_ssdp
from ethogram.io.identity.statement import MAX_FACTS, Statement
from ethogram.schema import FACT, MAX_VALUE
from tests.io.identity.messages import dhcp, dns, dns_name, netbios_name, option, record

from .harness import Target

KINDS = set(FACT.categories)


def check(read: Callable[[bytes], list[Statement]]) -> Callable[[bytes], None]:
    """The facts of a message are of known kinds, not empty, and bounded."""

    def checked(octets: bytes) -> None:
        for statement in read(octets):
            assert 0 < len(statement.facts) <= MAX_FACTS
            assert all(kind in KINDS and 0 < len(value) <= MAX_VALUE for kind, value in statement.facts)

    return checked


def dhcp_messages() -> list[bytes]:
    options = (option(53, b"\3"), option(12, b"lamp"), option(60, b"udhcp"), option(55, b"\1\3\6"),
               option(81, b"\4\0\0" + dns_name("lamp", "home")))  # fmt: skip
    return [dhcp("aa:bb:cc:00:00:01", *options), dhcp("aa:bb:cc:00:00:01", option(53, b"\5"), reply=True,
                                                     yiaddr="10.0.0.5")]  # fmt: skip


def mdns_messages() -> list[bytes]:
    instance = dns_name("Den", "_hap", "_tcp", "local")
    return [dns(
        record(dns_name("_hap", "_tcp", "local"), 12, instance), record(instance, 16, b"\5md=L1\4ci=5"),
        record(instance, 33, struct.pack(">HHH", 0, 0, 80) + b"\3Den\xc0\x15"),
        record(dns_name("den", "local"), 1, bytes([10, 0, 0, 5])),
    )]  # fmt: skip


def netbios_messages() -> list[bytes]:
    data = struct.pack(">HHIH", 0x20, 1, 300, 6) + struct.pack(">H4s", 0, bytes([10, 0, 0, 5]))
    names = b"\2" + b"DESK".ljust(15) + b"\0\x04\0" + b"WORKGROUP".ljust(15) + b"\0\x84\0"
    status = struct.pack(">HHIH", 0x21, 1, 0, len(names)) + names
    return [
        struct.pack(">HHHHHH", 1, 0x2910, 1, 0, 0, 1) + netbios_name("DESK") + b"\0\x20\0\1\xc0\x0c" + data,
        struct.pack(">HHHHHH", 1, 0x8500, 0, 1, 0, 0) + netbios_name("DESK") + data,
        struct.pack(">HHHHHH", 1, 0x8400, 0, 1, 0, 0) + netbios_name("*") + status,
        b"\x11\x02" + bytes(12) + netbios_name("DESK") + netbios_name("WORKGROUP", 0x1E),
    ]  # fmt: skip


SIX = b"\1\0\0\1" + b"\0\x27\0\7\0\4lamp\0" + b"\0\x10\0\x0a" + bytes(4) + b"\0\4MSFT"

TARGETS = [
    Target("dhcp", dhcp_messages, check(read_dhcp), words=(b"\x51\4", b"\0", b"\xff", b"\x0c\0")),
    Target("dhcpv6", lambda: [SIX], check(read_dhcpv6), words=(b"\0\x27", b"\0\x10", b"\xff\xff")),
    Target("mdns", mdns_messages, check(read_mdns), words=(b"\xc0\x0c", b"\0\x10", b"\0\x0c", b"\xff\xff")),
    Target("llmnr", mdns_messages, check(read_llmnr), words=(b"\xc0\x0c", b"\0\xff")),
    Target("lldp", lambda: [b"\x0a\x04desk\x0c\x04Acme\x10\x0c\5\1\x0a\0\0\5\2\0\0\0\1\0\xfe\x06\0\x12\xbb\x0aT1\0\0"],
           check(read_lldp), words=(b"\x0a", b"\xfe", b"\0\x12\xbb", b"\xff")),
    Target("nbns", netbios_messages, check(read_nbns), words=(b"\x20", b"\xc0\x0c", b"\0\x21")),
    Target("netbios-datagram", netbios_messages, check(read_netbios_datagram), words=(b"\x11", b"\x20")),
    Target("ssdp", lambda: [b"NOTIFY * HTTP/1.1\r\nServer: Hub\r\nNT: upnp:rootdevice\r\n\r\n"], check(read_ssdp),
           words=(b"\r\n", b":", b"ST: ")),
]  # fmt: skip
