"""Parse addresses, prefixes and MACs in any usual spelling to one canonical form.

All addresses in text input are parsed here, so that a host has a single spelling. IPv4-mapped IPv6 addresses
(``::ffff:a.b.c.d``, RFC 4291 section 2.5.5.2) become IPv4 addresses.
"""

from __future__ import annotations

import ipaddress
import re
import socket

__all__ = ["canonical_device", "parse_address", "parse_mac", "parse_prefix"]

MAPPED = bytes(10) + b"\xff\xff"
MAPPED_BITS = 96
_PADDED = re.compile(r"[0-9]{3}(?:\.[0-9]{3}){3}")
_DOTTED_MAC = re.compile(r"[0-9a-fA-F]{4}(?:\.[0-9a-fA-F]{4}){2}")
_HEX = frozenset("0123456789abcdef")


def parse_address(text: str) -> str | None:
    """Canonical text of an address (RFC 5952 for IPv6); None if the text is not an address.

    A zone (``%eth0``), brackets, and a prefix length of the full address are removed. IPv4 numbers with leading zeros
    are accepted only if all four are padded to three digits, a decimal spelling; other leading zeros may mean octal. A
    bare integer is not accepted, because its byte order is unknown.

    >>> [parse_address(text) for text in ("2001:DB8:0::1", "[fe80::1%eth0]", "::ffff:192.0.2.5", "192.0.2.5/32")]
    ['2001:db8::1', 'fe80::1', '192.0.2.5', '192.0.2.5']
    >>> [parse_address(text) for text in ("192.168.001.005", "192.168.01.5", "192.0.2.0/24", "3221225989", "10.0.0")]
    ['192.168.1.5', None, None, None, None]
    """
    bare = text.strip()
    if bare[:1] == "[" and bare[-1:] == "]":
        bare = bare[1:-1]
    bare, slash, bits = bare.partition("/")
    six = ":" in bare
    if slash and bits != ("128" if six else "32"):
        return None
    if six:
        bare = bare.partition("%")[0]
    elif _PADDED.fullmatch(bare):
        bare = ".".join(str(int(part)) for part in bare.split("."))
    try:
        packed = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, bare)
    except (OSError, ValueError):  # ValueError: a NUL, or text outside ASCII
        return None
    if six and packed[:12] == MAPPED:
        packed, six = packed[12:], False
    return socket.inet_ntop(socket.AF_INET6 if six else socket.AF_INET, packed)


def parse_prefix(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Parse a prefix in CIDR notation and clear its host bits; an IPv4-mapped prefix becomes an IPv4 prefix.

    Raises
    ------
    ValueError
        If the text is not a prefix.

    Examples
    --------
    >>> parse_prefix("::ffff:192.168.0.0/112"), parse_prefix("10.1.2.3/8")
    (IPv4Network('192.168.0.0/16'), IPv4Network('10.0.0.0/8'))
    """
    network = ipaddress.ip_network(text.strip(), strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((int(mapped), network.prefixlen - MAPPED_BITS))
    return network


def parse_mac(text: str) -> str | None:
    """A MAC in any usual spelling as ``aa:bb:cc:dd:ee:ff``; None if the text is not a MAC.

    >>> parse_mac("0:17:88:A:B:C"), parse_mac("0017.880a.0b0c"), parse_mac("00-17-88-0A-0B-0C:"), parse_mac("x")
    ('00:17:88:0a:0b:0c', '00:17:88:0a:0b:0c', '00:17:88:0a:0b:0c', None)
    """
    parts = text.strip().lower().replace("-", ":").strip(":").split(":")
    if len(parts) == 1:
        digits = parts[0].replace(".", "")
        parts = [digits[i : i + 2] for i in range(0, 12, 2)] if len(digits) == 12 else []
    if len(parts) != 6 or any(not 1 <= len(part) <= 2 or set(part) - _HEX for part in parts):
        return None
    return ":".join(part.zfill(2) for part in parts)


def canonical_device(name: str) -> str:
    """Name of a device; addresses, and MACs with separators, are converted to their canonical spelling.

    >>> canonical_device("::FFFF:192.0.2.5"), canonical_device("00-17-88-0A-0B-0C"), canonical_device("Den camera")
    ('192.0.2.5', '00:17:88:0a:0b:0c', 'Den camera')
    """
    name = name.strip()
    separated = name.count(":") >= 5 or name.count("-") >= 5 or _DOTTED_MAC.fullmatch(name)
    return (parse_mac(name) if separated else None) or parse_address(name) or name
