"""Which fields of a template are read to make biflows, computed once for each set of fields."""

from __future__ import annotations

from dataclasses import dataclass

from ethogram.io.wire import element_precedence as precedence
from ethogram.io.wire.element_precedence import Key, every_field, places_of
from ethogram.io.wire.record_times import TimePlan
from ethogram.io.wire.template import Template
from ethogram.io.wire.walk import V9

__all__ = ["Pair", "Plan"]

FLOW_FLAGS = 65  # a field type of FortiOS in NetFlow v9
ASA = ((0, 33002, False), (0, 40005, False))


@dataclass(frozen=True, slots=True)
class Pair:
    """Source and destination address of one version, and their tunnel depth."""

    version: int
    source: int
    destination: int
    level: int


class Plan:
    """The fields that make a biflow.

    Attributes
    ----------
    ignored
        Why records of this template are not flows; None if they are.
    pairs
        Address pairs, outer before inner.
    protocol, ports
        Fields by tunnel level: of the protocol, of source and destination port.
    octets, packets, reverse_octets, reverse_packets
        Field of each counter, or None.
    initiator
        Fields of initiator octets, responder octets, initiator packets, responder packets; None without both octets.
    totals
        Whether counters are cumulative.
    octet_tier
        What the octets count, if unusual.
    one_way
        Whether a record describes one direction only.
    """

    def __init__(self, template: Template) -> None:
        every = every_field(template)
        first = {key: places[0] for key, places in every.items()}
        protocols = every.get((0, 4, False)) or [first[key] for key in precedence.PROTOCOL if key in first]
        self.pairs = pairs_of(every, len(protocols))
        self.protocol = protocols
        self.ports = tuple(ports_of(every, keys) for keys in precedence.PORTS)
        self._add_tenants(first)
        translated = not (template.version == V9 and (0, FLOW_FLAGS, False) in first)
        self.nat = [(version, first[key]) for version, key in precedence.NAT_ADDRESSES if key in first and translated]
        self.nat_port = places_of(first, precedence.NAT_PORTS)[:1] if translated else ()
        self._counts(first)
        self.times = TimePlan(template)
        self.flags = [places_of(first, keys)[:1] for keys in precedence.FLAGS]
        self.inner_flags = every.get((0, 6, False), [])
        self.initial_flags = [places_of(first, keys) for keys in precedence.INITIAL_FLAGS]
        self.union_flags = [places_of(first, keys) for keys in precedence.UNION_FLAGS]
        self.macs = [places_of(first, keys) for keys in precedence.MACS]
        self.vlan = places_of(first, precedence.VLAN)
        self.names = places_of(first, tuple(key for key, _ in precedence.NAMES))
        self.end_reason = places_of(first, precedence.END_REASON)
        self.direction = places_of(first, precedence.DIRECTION)
        self.biflow_direction = places_of(first, precedence.BIFLOW_DIRECTION)
        self.ip_version = places_of(first, precedence.IP_VERSION)
        self.firewall = places_of(first, precedence.FIREWALL_EVENT)
        self.nat_event = places_of(first, precedence.NAT_EVENT)
        self.flow_id = places_of(first, precedence.FLOW_ID)
        self.ignored = self._ignored()

    def _add_tenants(self, first: dict[Key, int]) -> None:
        """Add the packets of virtual machines, one level deeper than those that carry them."""
        pairs = [(v, first[a], first[b]) for v, a, b in precedence.TENANT_ADDRESSES if a in first and b in first]
        if not pairs or precedence.TENANT_PROTOCOL not in first or not self.pairs or not self.protocol:
            return
        level = max(len(self.protocol), max(pair.level for pair in self.pairs) + 1)
        # Fields are indexed by level; a level without fields repeats those of the previous one.
        fill = [self.protocol[-1]] * (level - len(self.protocol))
        self.protocol = [*self.protocol, *fill, first[precedence.TENANT_PROTOCOL]]
        self.pairs += [Pair(version, here, there, level) for version, here, there in pairs]
        self.ports = tuple(
            [*fields, *([fields[-1]] * (level - len(fields))), [first[key]]] if fields and key in first else fields
            for fields, key in zip(self.ports, precedence.TENANT_PORTS, strict=True)
        )

    def _counts(self, first: dict[Key, int]) -> None:
        def field(name: str) -> int | None:
            keys = [getattr(tier, name) for tier in precedence.COUNT_TIERS] + list(precedence.COUNTS.get(name, ()))
            return next((first[key] for key in keys if key in first), None)

        self.octets, self.packets = field("octets"), field("packets")
        self.octet_tier = next((t.meaning for t in precedence.COUNT_TIERS if t.octets in first), None)
        if self.octet_tier == precedence.COUNT_TIERS[0].meaning:
            self.octet_tier = None  # usual
        self.reverse_octets, self.reverse_packets = field("reverse_octets"), field("reverse_packets")
        if any(key in first for key in (*precedence.NTOP, *precedence.NTOP_V9)) and (0, 1, False) in first:
            self.reverse_octets = first.get(precedence.NTOP_REVERSE["reverse_octets"], self.reverse_octets)
            self.reverse_packets = first.get(precedence.NTOP_REVERSE["reverse_packets"], self.reverse_packets)
        self.totals = next((t.total for t in precedence.COUNT_TIERS if t.octets in first or t.packets in first), False)
        both = precedence.BIFLOW_COUNTS
        names = ("octets", "reverse_octets", "packets", "reverse_packets")
        initiator = [first.get(key) if (key := getattr(both, name)) is not None else None for name in names]
        self.initiator = initiator if initiator[0] is not None and initiator[1] is not None else None
        self.totals = self.totals and self.initiator is None
        reverse = self.reverse_octets is not None or self.reverse_packets is not None
        self.one_way = not (reverse or self.initiator or any(key in first for key in ASA))

    def _ignored(self) -> str | None:
        if not self.pairs:
            return "no source and destination address"
        if self.octets is None and self.packets is None and self.initiator is None:
            event = "NAT event" if self.nat_event else "firewall event" if self.firewall else "record"
            return f"{event} without octets and packets"
        return None if self.protocol else "no protocol"

    def sources(self) -> dict[str, tuple[int, ...]]:
        """The fields of each biflow column, first choice first."""
        both = self.initiator or [None] * 4
        columns: dict[str, tuple[int | None, ...]] = {
            "start": self.times.start_fields, "end": self.times.end_fields, "protocol": tuple(self.protocol),
            "source_address": tuple(pair.source for pair in self.pairs),
            "destination_address": (
                *(place for _, place in self.nat), *(pair.destination for pair in self.pairs)
            ),
            "source_port": tuple(place for level in self.ports[0] for place in level),
            "destination_port": (*self.nat_port, *(place for level in self.ports[1] for place in level)),
            "octets": (both[0], self.octets), "packets": (both[2], self.packets),
            "reverse_octets": (both[1], self.reverse_octets), "reverse_packets": (both[3], self.reverse_packets),
            "initial_tcp_flags": self.initial_flags[0], "reverse_initial_tcp_flags": self.initial_flags[1],
            "union_tcp_flags": self.flags[0] or (*self.union_flags[0], *self.initial_flags[0]),
            "reverse_union_tcp_flags": self.flags[1] or (*self.union_flags[1], *self.initial_flags[1]),
            "end_reason": self.end_reason, "source_mac": self.macs[0], "destination_mac": self.macs[1],
            "vlan": self.vlan, "direction": self.direction, "destination_name": self.names,
        }  # fmt: skip
        present = {name: tuple(place for place in places if place is not None) for name, places in columns.items()}
        return {name: places for name, places in present.items() if places}

    def missing(self) -> list[str]:
        """Limitations of records of this template, for the user."""
        limitations = []
        sources = self.sources()
        if "start" not in sources and "end" not in sources:
            limitations.append("no times: the export time is used")
        elif "start" not in sources:
            limitations.append("no start time: the end time is used")
        if self.times.ipfix and self.times.uses_uptime and self.times.init is None:
            limitations.append(
                "no system start time in the record: taken from options, or derived from the export time"
            )
        if self.octets is None and self.initiator is None:
            limitations.append("no octets")
        elif self.octet_tier is not None and self.initiator is None:
            limitations.append(f"octets counted {self.octet_tier}")
        if "packets" not in sources:
            limitations.append("no packets")
        if not self.ports[0] or not self.ports[1]:
            limitations.append("no ports")
        if self.one_way:
            limitations.append("one direction only: records are paired with the reverse direction")
        if "union_tcp_flags" not in sources:
            limitations.append("no TCP flags: the initiator is inferred from ports")
        return limitations


def pairs_of(every: dict[Key, list[int]], protocols: int) -> list[Pair]:
    """Address pairs in template order; each repetition of the protocol is one level deeper."""
    positions = []
    for version, source, destination in precedence.ADDRESSES:
        positions += [
            (source, destination, version)
            for source, destination in zip(every.get(source, ()), every.get(destination, ()), strict=False)
        ]
    levels = max(protocols, 1)
    return [
        Pair(version, source, destination, min(level, levels - 1))
        for level, (source, destination, version) in enumerate(sorted(positions))
    ]


def ports_of(every: dict[Key, list[int]], keys: tuple[Key, ...]) -> list[list[int]]:
    """Fields that can contain the port, for each level."""
    general = every.get(keys[0])
    if general is not None:
        return [[place] for place in general]
    others = [every[key][0] for key in keys[1:] if key in every]
    return [others] if others else []
