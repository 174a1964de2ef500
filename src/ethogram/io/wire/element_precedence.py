"""Precedence of information elements: which elements give which biflow column, first choice first.

:mod:`ethogram.io.wire.plan` applies these tables, and the reference page of fields is generated from them.
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
    """Elements of the IANA registry."""
    return tuple((0, number, reverse) for number in numbers)


ADDRESSES = ((4, (0, 8, False), (0, 12, False)), (6, (0, 27, False), (0, 28, False)))
"""Version, source, destination. If a template has both versions, an all-zero pair is ignored; of nested pairs
(tunnels), the innermost is used.
"""

TENANT_PROTOCOL: Key = (6876, 880, False)
TENANT_ADDRESSES = ((4, (6876, 881, False), (6876, 882, False)), (6, (6876, 883, False), (6876, 884, False)))
TENANT_PORTS: tuple[Key, Key] = ((6876, 886, False), (6876, 887, False))
"""VMware: packets of virtual machines inside the VXLAN tunnel that the other fields describe, and thus the innermost
pair; all zero for packets outside a tunnel.
"""

NAT_ADDRESSES = ((4, (0, 226, False)), (4, (0, 40002, False)), (6, (0, 282, False)))
"""Destination after address translation, if not zero, so that both directions show the device's own address. The source
is the address before translation.
"""

PORTS = (iana(7, 180, 182), iana(11, 181, 183))
"""Ports of source and destination: one element for all protocols, or one each for UDP and TCP."""

NAT_PORTS = iana(228, 40004)
"""Destination port after translation, if not zero."""

PROTOCOL = iana(4, 193)


@dataclass(frozen=True, slots=True)
class Tier:
    """A group of related counters.

    Parameters
    ----------
    octets, packets
        In the direction of the source.
    reverse_octets, reverse_packets
        In the reverse direction.
    meaning
        Description.
    total
        Whether they count from the beginning of the flow instead of since its last record.
    """

    octets: Key
    packets: Key
    reverse_octets: Key | None
    reverse_packets: Key | None
    meaning: str
    total: bool = False


def tier(octets: int, packets: int, meaning: str, total: bool = False) -> Tier:
    """A tier whose reverse direction uses reverse elements (RFC 5103)."""
    return Tier((0, octets, False), (0, packets, False), (0, octets, True), (0, packets, True), meaning, total)


NTOP = tuple((35632, number, False) for number in (80, 118, 119, 180, 187, 188, 205))
NTOP_V9 = tuple((0, 57472 + number, False) for _, number, _ in NTOP)

BIFLOW_COUNTS = Tier(
    (0, 231, False), (0, 298, False), (0, 232, False), (0, 299, False),
    "initiator and responder, both in one record",
)  # fmt: skip
"""Used first if a template has both octet elements: some exporters use one of them for other purposes."""

COUNT_TIERS = (
    tier(1, 2, "since the last record of the flow"),
    tier(85, 86, "from the beginning of the flow", total=True),
    tier(23, 24, "after the exporter (post)"),
    tier(171, 172, "from the beginning of the flow, after the exporter (post)", total=True),
    tier(352, 430, "of layer 2 frames, since the last record (last choice)"),
    tier(353, 431, "of layer 2 frames, from the beginning of the flow (last choice)", total=True),
)
"""The first tier with a counter in the template is used; ``BIFLOW_COUNTS`` takes precedence."""

COUNTS: dict[str, tuple[Key, ...]] = {
    # Reverse direction, if a tier has none: separate elements for reverse counters.
    "reverse_octets": ((3054, 176, False),),
    "reverse_packets": ((3054, 177, False),),
}
NTOP_REVERSE = {"reverse_octets": (0, 23, False), "reverse_packets": (0, 24, False)}
"""ntop counts the reverse direction in 23 and 24; it is recognised by its own elements in the template."""

INITIAL_FLAGS = (((6871, 14, False),), ((6871, 14, True),))
UNION_FLAGS = (((6871, 15, False),), ((6871, 15, True),))
"""YAF: flags of all packets except the first."""
FLAGS = (iana(6), iana(6, reverse=True))

END_REASON = iana(136)
DIRECTION = iana(61)
BIFLOW_DIRECTION = iana(239)
FIREWALL_EVENT = iana(233, 40005)
NAT_EVENT = iana(230)
IP_VERSION = iana(60)
FLOW_ID = iana(148)

MACS = (iana(56, 414, 81), iana(57, 80, 415))
"""MAC addresses of the source on ingress, and of the destination on egress: the device, not the router itself."""

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
"""Elements that name the destination, and the kind of name."""


def every_field(template: Template) -> dict[Key, list[int]]:
    """Indices of the fields of each element, in order; scope types of NetFlow v9 are not elements."""
    places_by_key: dict[Key, list[int]] = {}
    for place, field in enumerate(template.fields):
        if not (field.scope and template.version == V9):
            places_by_key.setdefault((field.enterprise, field.id, field.reverse), []).append(place)
    return places_by_key


def first_fields(template: Template) -> dict[Key, int]:
    """The first field of each element."""
    return {key: places[0] for key, places in every_field(template).items()}


def places_of(fields: dict[Key, int], keys: Sequence[Key]) -> tuple[int, ...]:
    """Indices of the elements present in a template, first choice first."""
    return tuple(fields[key] for key in keys if key in fields)
