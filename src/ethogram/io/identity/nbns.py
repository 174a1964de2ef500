"""NetBIOS names: those that a host registers, answers for, lists, or sends datagrams under.

Only names of one host are read, of the types workstation (00) and server (20); groups such as WORKGROUP are not.

Reference: RFC 1001 section 14.1 (encoding), RFC 1002 sections 4.2 and 4.4.
"""

from __future__ import annotations

from ethogram.io.identity.statement import MAX_FACTS, Statement, decoded

__all__ = ["NBDGM", "NBNS", "read_nbns", "read_netbios_datagram"]

NBNS, NBDGM = 137, 138

_NAME_OCTETS, _ENCODED = 16, 32
_HOST_TYPES = (0x00, 0x20)
_GROUP = 0x8000
_NB, _NBSTAT = 0x20, 0x21
_QUERY, _REGISTRATION, _REFRESH = 0, 5, 8
_HEADER = 12


def _name(message: bytes, at: int) -> tuple[bytes, int]:
    """The 16 octets of an encoded name, and the offset after it; -1 if it is malformed or a pointer."""
    end = at + 1 + _ENCODED
    if end > len(message) or message[at] != _ENCODED:
        return b"", -1
    halves = [octet - 0x41 for octet in message[at + 1 : end]]
    if any(not 0 <= half < 16 for half in halves):
        return b"", -1
    while end < len(message) and 0 < message[end] < 64:  # the scope, which is nearly always empty
        end += 1 + message[end]
    return bytes(16 * a + b for a, b in zip(halves[::2], halves[1::2], strict=True)), end + 1


def _host_name(name: bytes) -> str:
    """Text of a host's name; empty for names of other types."""
    if len(name) != _NAME_OCTETS or name[15] not in _HOST_TYPES or name[0] < 0x20 or name.startswith(b"*"):
        return ""
    return decoded(name[:15])


def _stated(names: list[str]) -> list[Statement]:
    facts = tuple(dict.fromkeys(("nbns_name", name) for name in names if name))
    return [Statement(facts[:MAX_FACTS])] if facts else []


def read_nbns(message: bytes) -> list[Statement]:
    """Read one message of the name service; empty if it states no name of its sender."""
    if len(message) < _HEADER:
        return []
    response, operation = bool(message[2] & 0x80), (message[2] >> 3) & 0x0F
    if not response:
        if operation in {_REGISTRATION, _REFRESH}:
            return _registered(message)
        return []
    if operation != _QUERY or message[3] & 0x0F:
        return []
    name, at = _name(message, _HEADER)
    if at < 0 or at + 12 > len(message):
        return []
    kind, data = int.from_bytes(message[at : at + 2]), message[at + 10 :]
    if kind == _NB:
        return [] if int.from_bytes(data[:2]) & _GROUP else _stated([_host_name(name)])
    return _stated(_listed(data)) if kind == _NBSTAT else []


def _registered(message: bytes) -> list[Statement]:
    """Name in a registration: the question has it, and the record after it whether it is a group's."""
    name, at = _name(message, _HEADER)
    if at < 0 or len(message) < at + 4:
        return []
    at += 4
    # The record's own name is usually a pointer of two octets.
    at = at + 2 if message[at : at + 1] >= b"\xc0" else _name(message, at)[1]
    flags = message[at + 10 : at + 12]
    if at < 0 or len(flags) < 2 or int.from_bytes(flags) & _GROUP:
        return []
    return _stated([_host_name(name)])


def _listed(data: bytes) -> list[str]:
    """Names in an answer to a node status request (RFC 1002 section 4.2.18)."""
    names = []
    for i in range(min(data[0] if data else 0, MAX_FACTS)):
        entry = data[1 + 18 * i : 1 + 18 * (i + 1)]
        if len(entry) == 18 and not int.from_bytes(entry[16:18]) & _GROUP:
            names.append(_host_name(entry[:16]))
    return names


def read_netbios_datagram(message: bytes) -> list[Statement]:
    """Read the source name of one NetBIOS datagram (RFC 1002 section 4.4.1)."""
    if len(message) < 14 or message[0] not in {0x10, 0x11, 0x12}:
        return []
    name, at = _name(message, 14)
    return _stated([_host_name(name)]) if at >= 0 else []
