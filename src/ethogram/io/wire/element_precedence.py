"""Which elements make which column of a biflow, the first choice first.

The reference page of fields is made from these tables, and :mod:`ethogram.io.wire.biflows` reads by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ethogram.io.wire.template import Template
from ethogram.io.wire.walk import V9

__all__ = [
    "ADDRESSES", "BIFLOW_COUNTS", "COUNTS", "COUNT_TIERS", "DIRECTION", "END_REASON", "FLAGS", "INITIAL_FLAGS", "MACS",
    "NAMES", "NAT_ADDRESSES", "NAT_PORTS", "PORTS", "PROTOCOL", "TENANT_ADDRESSES", "TENANT_PORTS",
    "TENANT_PROTOCOL", "UNION_FLAGS", "VLAN", "Key", "Tier", "every_field",
    "first_fields",
]  # fmt: skip

Key = tuple[int, int, bool]
"""An element: enterprise, id, and whether it is of the reverse direction."""


def iana(*numbers: int, reverse: bool = False) -> tuple[Key, ...]:
    """Registered elements."""
    return tuple((0, number, reverse) for number in numbers)


ADDRESSES = ((4, (0, 8, False), (0, 12, False)), (6, (0, 27, False), (0, 28, False)))
"""Version, source, destination. Where a template has both versions, a pair that is all zero is not there; of pairs
inside one another (tunnels) the innermost counts."""

TENANT_PROTOCOL: Key = (6876, 880, False)
TENANT_ADDRESSES = ((4, (6876, 881, False), (6876, 882, False)), (6, (6876, 883, False), (6876, 884, False)))
TENANT_PORTS: tuple[Key, Key] = ((6876, 886, False), (6876, 887, False))
"""VMware: the virtual machines' packets inside the VXLAN tunnel that the other fields are about, and so the innermost
pair; all zero where a packet was in no tunnel."""

NAT_ADDRESSES = ((4, (0, 226, False)), (4, (0, 40002, False)), (6, (0, 282, False)))
"""The destination behind an address translator, where it is not zero: so that both directions show the device's own
address. The source is the one before translation."""

PORTS = (iana(7, 180, 182), iana(11, 181, 183))
"""Of the source, of the destination: one element for all protocols, or one each for UDP and TCP."""

NAT_PORTS = iana(228, 40004)
"""The destination's port behind the translator, where it is not zero."""

PROTOCOL = iana(4, 193)


@dataclass(frozen=True, slots=True)
class Tier:
    """Counters that belong together.

    Parameters
    ----------
    octets, packets
        Of the source's direction.
    reverse_octets, reverse_packets
        Of the other.
    meaning
        What they are.
    total
        Whether they count from the flow's beginning, and not from its last record.
    """

    octets: Key
    packets: Key
    reverse_octets: Key | None
    reverse_packets: Key | None
    meaning: str
    total: bool = False


def tier(octets: int, packets: int, meaning: str, total: bool = False) -> Tier:
    """A tier whose other direction is told by reverse elements (RFC 5103)."""
    return Tier((0, octets, False), (0, packets, False), (0, octets, True), (0, packets, True), meaning, total)


NTOP = tuple((35632, number, False) for number in (80, 118, 119, 180, 187, 188, 205))
NTOP_V9 = tuple((0, 57472 + number, False) for _, number, _ in NTOP)

BIFLOW_COUNTS = Tier(
    (0, 231, False), (0, 298, False), (0, 232, False), (0, 299, False),
    "initiator and responder, both in one record",
)  # fmt: skip
"""Taken first, where a template has both octet elements: some exporters use one of them for something else."""

COUNT_TIERS = (
    tier(1, 2, "since the last record of the flow"),
    tier(85, 86, "from the beginning of the flow", total=True),
    tier(23, 24, "after the exporter (post)"),
    tier(171, 172, "from the beginning of the flow, after the exporter (post)", total=True),
    tier(352, 430, "of layer 2 frames, since the last record (last choice)"),
    tier(353, 431, "of layer 2 frames, from the beginning of the flow (last choice)", total=True),
)
"""The first of which the template has one counter; ``BIFLOW_COUNTS`` goes before."""

COUNTS: dict[str, tuple[Key, ...]] = {
    # Other direction, where a tier has none: reverse counters with names of their own.
    "reverse_octets": ((3054, 176, False),),
    "reverse_packets": ((3054, 177, False),),
}
NTOP_REVERSE = {"reverse_octets": (0, 23, False), "reverse_packets": (0, 24, False)}
"""ntop's meter counts the other direction in 23 and 24; it is known by elements of its own in the template."""

INITIAL_FLAGS = (((6871, 14, False),), ((6871, 14, True),))
UNION_FLAGS = (((6871, 15, False),), ((6871, 15, True),))
"""YAF: those of all packets but the first."""
FLAGS = (iana(6), iana(6, reverse=True))

END_REASON = iana(136)
DIRECTION = iana(61)
BIFLOW_DIRECTION = iana(239)
FIREWALL_EVENT = iana(233, 40005)
NAT_EVENT = iana(230)
IP_VERSION = iana(60)
FLOW_ID = iana(148)

MACS = (iana(56, 414, 81), iana(57, 80, 415))
"""Of the source as it arrived; of the destination as it left, which is the device and not the router itself."""

VLAN = iana(58, 243, 245, 59, 254)

NAMES: tuple[tuple[Key, str], ...] = (
    ((6871, 294, False), "TLS server name"),
    ((8057, 808, False), "TLS server name"),
    ((35632, 188, False), "TLS server name"),
    ((0, 57660, False), "TLS server name"),
    ((8057, 890, False), "QUIC server name"),
    ((6871, 117, False), "HTTP host"),
    ((0, 460, False), "HTTP host"),
    ((39499, 1, False), "HTTP host"),
    ((35632, 187, False), "HTTP host"),
    ((0, 57659, False), "HTTP host"),
    ((3054, 183, False), "HTTP host"),
    ((5951, 142, False), "HTTP host"),
    ((5951, 267, False), "queried domain"),
    ((0, 8256, False), "host"),
)
"""Elements that name the destination, and what the name is."""


def every_field(template: Template) -> dict[Key, list[int]]:
    """The fields of each element, in order; kinds of scope in NetFlow v9 are no elements."""
    found: dict[Key, list[int]] = {}
    for place, one in enumerate(template.fields):
        if not (one.scope and template.version == V9):
            found.setdefault((one.enterprise, one.id, one.reverse), []).append(place)
    return found


def first_fields(template: Template) -> dict[Key, int]:
    """The first field of each element."""
    return {key: places[0] for key, places in every_field(template).items()}


def places_of(fields: dict[Key, int], keys: Sequence[Key]) -> tuple[int, ...]:
    """Fields of those elements that a template has, the first choice first."""
    return tuple(fields[key] for key in keys if key in fields)
