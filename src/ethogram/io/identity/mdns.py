"""Multicast DNS and LLMNR: names, service types and models that a device announces.

Only responses are read: queries contain names of other devices. A message with A records, none of which is the
sender's, was repeated by a router or is answered for a sleeping device; it is about the address in the record.

Reference: RFC 6762 (multicast DNS), RFC 6763 (service discovery), RFC 4795 (LLMNR), RFC 1035 section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from typing import Literal, NamedTuple

from ethogram.io.identity.statement import MAX_FACTS, Statement, decoded

__all__ = ["LLMNR", "MDNS", "facts_of_record", "read_llmnr", "read_mdns"]

MDNS, LLMNR = 5353, 5355

_A, _PTR, _TXT, _AAAA, _SRV, _ANY = 1, 12, 16, 28, 33, 255
_MAX_RECORDS = 256
_MAX_LABELS = 128
_LISTS_SERVICES = ("_services", "_dns-sd", "_udp", "local")

_MODEL_KEYS = ("md", "model", "am", "ty", "product", "modelid", "modelname")
_VENDOR_KEYS = ("manufacturer", "usb_mfg", "mf", "vendor")
_NAME_KEYS = ("fn",)


class _Record(NamedTuple):
    owner: tuple[str, ...]
    kind: int
    start: int  # of the data in the message
    end: int


def _name(message: bytes, at: int) -> tuple[tuple[str, ...], int]:
    """Labels of a name, and the offset after it; -1 if it is malformed. A pointer must point backwards."""
    labels: list[str] = []
    after, limit, size = -1, at, 0
    while at < len(message):
        length = message[at]
        if length == 0:
            return tuple(labels), at + 1 if after < 0 else after
        if length >= 0xC0:
            target = int.from_bytes(message[at : at + 2]) & 0x3FFF
            if at + 2 > len(message) or target >= limit:
                return (), -1
            after = at + 2 if after < 0 else after
            at = limit = target
            continue
        size += length + 1
        if length >= 0x40 or at + 1 + length > len(message) or size > 255 or len(labels) == _MAX_LABELS:
            return (), -1
        labels.append(decoded(message[at + 1 : at + 1 + length]))
        at += 1 + length
    return (), -1


def _records(message: bytes) -> Iterator[_Record]:
    """Records of a response, up to the first malformed one."""
    counts = [int.from_bytes(message[at : at + 2]) for at in (4, 6, 8, 10)]
    at = 12
    for _ in range(min(counts[0], _MAX_RECORDS)):
        _, at = _name(message, at)
        if at < 0:
            return
        at += 4
    for _ in range(min(sum(counts[1:]), _MAX_RECORDS)):
        owner, at = _name(message, at)
        if at < 0 or at + 10 > len(message):
            return
        kind, size = int.from_bytes(message[at : at + 2]), int.from_bytes(message[at + 8 : at + 10])
        at += 10
        if at + size > len(message):
            return
        yield _Record(owner, kind, at, at + size)
        at += size


def read_mdns(message: bytes, sender: str | None = None) -> list[Statement]:
    """Read one multicast DNS message; empty if it is no response, or states nothing.

    Parameters
    ----------
    message
        Payload of the packet.
    sender
        The packet's source address.
    """
    if len(message) < 12 or not message[2] & 0x80:
        return []
    facts: dict[tuple[str, str], None] = {}
    addresses: list[str] = []
    for record in _records(message):
        if record.kind == _A and record.end - record.start == 4:
            addresses.append(str(IPv4Address(message[record.start : record.end])))
        for fact in _facts_of(record, message):
            if fact[1] and len(facts) < MAX_FACTS:
                facts[fact] = None
    if not facts:
        return []
    relayed = bool(addresses) and sender is not None and ":" not in sender and sender not in addresses
    if relayed:
        return [Statement(tuple(facts), address=addresses[0], by_sender=False)] if len(set(addresses)) == 1 else []
    return [Statement(tuple(facts))]


def _facts_of(record: _Record, message: bytes) -> Iterator[tuple[str, str]]:
    if record.kind == _PTR:
        target, _ = _name(message, record.start)
        if tuple(label.lower() for label in record.owner) == _LISTS_SERVICES:
            yield from _service(target)
        elif _service_at(record.owner) is not None:
            yield from _instance(target)
    elif record.kind == _SRV:
        yield from _instance(record.owner)
        target, _ = _name(message, record.start + 6)
        yield from _host(target)
    elif record.kind in {_A, _AAAA}:
        yield from _host(record.owner)
    elif record.kind == _TXT:
        yield from _instance(record.owner)
        yield from _texts(message[record.start : record.end], record.owner)


def facts_of_record(
    owner: Sequence[str], kind: Literal["host", "instance", "pointer", "text"], target: Sequence[str] = (),
    text: bytes = b"",
) -> Iterator[tuple[str, str]]:  # fmt: skip
    r"""Facts of a record that something else has decoded, such as a flow exporter.

    Parameters
    ----------
    owner, target
        Labels of the record's name and of the name in its data.
    kind
        Host (A, AAAA), instance (SRV), pointer (PTR) or text (TXT).
    text
        Data of a text record.

    Examples
    --------
    >>> list(facts_of_record(["_services", "_dns-sd", "_udp", "local"], "pointer", ["_hap", "_tcp", "local"]))
    [('mdns_service', '_hap._tcp')]
    """
    names = tuple(owner)
    if kind == "host":
        yield from _host(names)
    elif kind == "instance":
        yield from _instance(names)
    elif kind == "pointer":
        if tuple(label.lower() for label in names) == _LISTS_SERVICES:
            yield from _service(tuple(target))
        elif _service_at(names) is not None:
            yield from _instance(tuple(target))
    else:
        yield from _texts(text, names)


def _service_at(name: tuple[str, ...]) -> int | None:
    """Position of the service type's first label (``_ipp``) in a name; None if there is none."""
    for at in range(len(name) - 1):
        if name[at].startswith("_") and name[at + 1].lower() in {"_tcp", "_udp"}:
            return at
    return None


def _service(name: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    at = _service_at(name)
    if at is not None:
        yield "mdns_service", f"{name[at]}.{name[at + 1]}".lower()


def _instance(name: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Service type and name of a service instance: ``Living room._googlecast._tcp.local``."""
    at = _service_at(name)
    if at is None:
        return
    yield from _service(name)
    if at > 0 and not name[at - 1].startswith("_"):
        yield "mdns_name", ".".join(name[:at])


def _host(name: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if len(name) == 2 and name[1].lower() == "local":
        yield "mdns_name", name[0]


def _texts(data: bytes, owner: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Model, vendor, friendly name and HomeKit category of a TXT record (RFC 6763 section 6)."""
    at = 0
    while at < len(data):
        key, equals, value = data[at + 1 : at + 1 + data[at]].partition(b"=")
        at += 1 + data[at]
        if not equals:
            continue
        name, text = decoded(key).lower(), decoded(value)
        if name in _MODEL_KEYS:
            yield "mdns_model", text.strip("()")  # printers write product=(Name)
        elif name in _VENDOR_KEYS:
            yield "mdns_vendor", text
        elif name in _NAME_KEYS:
            yield "mdns_name", text
        elif name == "ci" and owner[1:2] == ("_hap",) and text.isdigit():
            yield "mdns_category", str(int(text[:4]))


def read_llmnr(message: bytes) -> list[Statement]:
    """Read one LLMNR message: names that the sender answers for, or asks for to see whether they are free."""
    if len(message) < 12:
        return []
    if message[2] & 0x80:
        names = [record.owner for record in _records(message) if record.kind in {_A, _AAAA}]
    else:
        # A host that begins to use a name asks for all records of it (RFC 4795 section 4.1).
        name, at = _name(message, 12)
        any_type = at >= 0 and int.from_bytes(message[at : at + 2]) == _ANY
        names = [name] if any_type else []
    facts = dict.fromkeys(("llmnr_name", ".".join(name)) for name in names if name)
    return [Statement(tuple(facts)[:MAX_FACTS])] if facts else []
