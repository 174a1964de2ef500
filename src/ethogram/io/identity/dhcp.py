"""DHCP: host name, vendor class and parameter list of clients, and the address that a server gives them.

Options 12 (host name), 55 (parameter request list), 60 (vendor class) and 81 (FQDN) of IPv4; options 16 (vendor class)
and 39 (FQDN) of IPv6. A client is known by its hardware address, since it often has no IP address yet.

Reference: RFC 2131, RFC 2132, RFC 3396 (options in pieces), RFC 4702 (option 81); RFC 8415, RFC 4704 for IPv6.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from ethogram.io.identity.statement import Statement, decoded

__all__ = ["DHCPV6_CLIENT", "DHCPV6_SERVER", "DHCP_CLIENT", "DHCP_SERVER", "read_dhcp", "read_dhcpv6"]

DHCP_SERVER, DHCP_CLIENT = 67, 68
DHCPV6_CLIENT, DHCPV6_SERVER = 546, 547

_COOKIE = b"\x63\x82\x53\x63"
_OPTIONS = 240  # offset of the first option
_PAD, _HOST_NAME, _MESSAGE_TYPE, _PARAMETERS, _VENDOR_CLASS, _FQDN, _END = 0, 12, 53, 55, 60, 81, 255
_REQUEST, _REPLY, _ETHERNET = 1, 2, 1
_ACK = 5
_ENCODED = 0x04  # flag E of option 81: the name is in DNS form

_SIX_VENDOR_CLASS, _SIX_FQDN = 16, 39
_SIX_CLIENT = {1, 3, 4, 5, 6, 8, 9, 11}  # SOLICIT, REQUEST, CONFIRM, RENEW, REBIND, RELEASE, DECLINE, INFORMATION


def read_dhcp(octets: bytes) -> list[Statement]:
    """Read one DHCP message; empty if it is none, or states nothing.

    >>> head = bytes.fromhex("010106") + bytes(25) + bytes.fromhex("aabbcc000001") + bytes(202)
    >>> read_dhcp(head + bytes.fromhex("63825363 0c0363616d 37020103 ff"))[0].facts
    (('host_name', 'cam'), ('dhcp_parameters', '1,3'))
    """
    if len(octets) < _OPTIONS or octets[236:240] != _COOKIE or octets[1] != _ETHERNET or octets[2] != 6:
        return []
    mac = octets[28:34].hex(":")
    options = _options(octets)
    if octets[0] == _REQUEST:
        facts = _client_facts(options)
        # A client that renews its lease has an address (ciaddr).
        return [Statement(facts, mac=mac, address=_address(octets[12:16]))] if facts else []
    if octets[0] == _REPLY and options.get(_MESSAGE_TYPE) == bytes([_ACK]):
        address = _address(octets[16:20])
        if address is not None:
            return [Statement((("address", address),), mac=mac, address=address, by_sender=False)]
    return []


def _options(octets: bytes) -> dict[int, bytes]:
    """Options by code; the pieces of a long one are joined (RFC 3396)."""
    options: dict[int, bytes] = {}
    at = _OPTIONS
    while at < len(octets) and octets[at] != _END:
        code = octets[at]
        if code == _PAD:
            at += 1
            continue
        if at + 1 >= len(octets) or at + 2 + octets[at + 1] > len(octets):
            break
        end = at + 2 + octets[at + 1]
        options[code] = options.get(code, b"") + octets[at + 2 : end]
        at = end
    return options


def _client_facts(options: dict[int, bytes]) -> tuple[tuple[str, str], ...]:
    facts = []
    names = [decoded(options.get(_HOST_NAME, b"")), _full_name(options.get(_FQDN, b""))]
    facts += [("host_name", name) for name in dict.fromkeys(names) if name]
    if vendor := decoded(options.get(_VENDOR_CLASS, b"")):
        facts.append(("dhcp_vendor_class", vendor))
    if parameters := options.get(_PARAMETERS, b""):
        facts.append(("dhcp_parameters", ",".join(map(str, parameters[:64]))))
    return tuple(facts)


def _full_name(option: bytes) -> str:
    """Name in option 81, in DNS form or as text; empty if there is none."""
    if len(option) < 4:
        return ""
    return _labels(option[3:]) if option[0] & _ENCODED else decoded(option[3:])


def _labels(octets: bytes) -> str:
    """Name in DNS form without compression, which may end without its root label (RFC 4702 section 2.3.1)."""
    labels, at = [], 0
    while at < len(octets) and 0 < octets[at] < 64 and at + 1 + octets[at] <= len(octets):
        labels.append(decoded(octets[at + 1 : at + 1 + octets[at]]))
        at += 1 + octets[at]
    return ".".join(labels)


def _address(octets: bytes) -> str | None:
    return str(IPv4Address(octets)) if any(octets) else None


def read_dhcpv6(octets: bytes) -> list[Statement]:
    """Read one DHCPv6 message of a client; empty if it is none, or states nothing."""
    if len(octets) < 4 or octets[0] not in _SIX_CLIENT:
        return []
    facts: list[tuple[str, str]] = []
    at = 4
    while at + 4 <= len(octets):
        code, size = int.from_bytes(octets[at : at + 2]), int.from_bytes(octets[at + 2 : at + 4])
        value = octets[at + 4 : at + 4 + size]
        if len(value) < size:
            break
        if code == _SIX_FQDN and (name := _labels(value[1:])):
            facts.append(("host_name", name))
        # Enterprise number, then texts with a length of two octets each.
        elif code == _SIX_VENDOR_CLASS and (text := decoded(value[6 : 6 + int.from_bytes(value[4:6])])):
            facts.append(("dhcp_vendor_class", text))
        at += 4 + size
    return [Statement(tuple(dict.fromkeys(facts)))] if facts else []
