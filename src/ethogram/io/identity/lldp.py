"""LLDP: system name and description of switches, access points, telephones and other managed devices.

Manufacturer and model come from the inventory that telephones and cameras announce (LLDP-MED).

Reference: IEEE 802.1AB-2016 clause 8, ANSI/TIA-1057 clause 10.2.6.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from ethogram.io.identity.statement import Statement, decoded

__all__ = ["read_lldp"]

_END, _SYSTEM_NAME, _SYSTEM_DESCRIPTION, _MANAGEMENT_ADDRESS, _ORGANISATION = 0, 5, 6, 8, 127
_IPV4 = 1  # address family of a management address
_MED = b"\x00\x12\xbb"
_MED_FACTS = {9: "vendor", 10: "model"}
_MOST = 64


def read_lldp(frame: bytes) -> list[Statement]:
    r"""Read one LLDP frame, without its Ethernet header; empty if it states nothing.

    >>> read_lldp(b"\x02\x02\x07a" + b"\x0a\x04desk" + b"\0\0")[0].facts
    (('lldp_name', 'desk'),)
    """
    facts: dict[tuple[str, str], None] = {}
    address = None
    at = 0
    for _ in range(_MOST):
        if at + 2 > len(frame):
            break
        header = int.from_bytes(frame[at : at + 2])
        kind, value = header >> 9, frame[at + 2 : at + 2 + (header & 0x1FF)]
        if kind == _END or len(value) < header & 0x1FF:
            break
        at += 2 + len(value)
        fact, text = _fact(kind, value)
        if fact and text:
            facts[fact, text] = None
        if kind == _MANAGEMENT_ADDRESS and value[:2] == bytes([5, _IPV4]) and len(value) >= 6 and any(value[2:6]):
            address = str(IPv4Address(value[2:6]))
    return [Statement(tuple(facts), address=address)] if facts else []


def _fact(kind: int, value: bytes) -> tuple[str, str]:
    """Kind of fact and value of one element; empty for others."""
    if kind == _SYSTEM_NAME:
        return "lldp_name", decoded(value)
    if kind == _SYSTEM_DESCRIPTION:
        return "lldp_system", decoded(value)
    if kind == _ORGANISATION and value[:3] == _MED and len(value) > 4:
        return _MED_FACTS.get(value[3], ""), decoded(value[4:])
    return "", ""
