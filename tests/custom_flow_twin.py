"""Custom flows again, in the plainest way: a list, a dictionary and one pass; and vectors number by number.

Packets of both directions beside them, too. Also builds the packets: octet by octet, with all that the edge rules
speak of.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from ethogram.config import CustomFlowSettings, PacketFlowSettings

MINUTE = 60_000_000_000


@dataclass(frozen=True)
class P:
    """A packet as it was sent; ``captured`` is how many octets of its payload the capture has (None: all)."""

    time_ns: int
    source: str = "192.168.1.7"
    destination: str = "198.51.100.9"
    source_port: int = 50000
    destination_port: int = 443
    protocol: int = 6
    payload: bytes = b""
    captured: int | None = None
    flags: int = 0x18
    version: int = 4
    identification: int = 1
    offset: int = 0  # of a fragment, in units of 8 octets
    more: bool = False
    padding: bytes = b""
    source_mac: str = "02:00:00:00:00:07"
    destination_mac: str = "02:00:00:00:00:01"

    def back(self, time_ns: int, **changes: object) -> P:
        """An answer to this packet."""
        turned = {
            "source": self.destination, "destination": self.source, "source_port": self.destination_port,
            "destination_port": self.source_port, "source_mac": self.destination_mac,
            "destination_mac": self.source_mac, "protocol": self.protocol,
        }  # fmt: skip
        return P(time_ns, **(turned | changes))  # type: ignore[arg-type]

    @property
    def transport(self) -> bytes:
        """The transport header."""
        ports = struct.pack(">HH", self.source_port, self.destination_port)
        if self.offset or self.protocol not in {6, 17}:
            return b""
        if self.protocol == 6:
            return ports + struct.pack(">IIBBHHH", 1, 2, 0x50, self.flags, 8192, 0, 0)
        return ports + struct.pack(">HH", 8 + len(self.payload), 0)

    @property
    def total(self) -> int:
        """IP total length."""
        return 20 + len(self.transport) + len(self.payload)

    @property
    def there(self) -> bytes:
        """The payload as far as it was captured."""
        return self.payload if self.captured is None else self.payload[: self.captured]

    def internet(self) -> bytes:
        """The IP packet, as far as it was captured."""
        body = self.transport + self.there
        source, destination = ip_address(self.source), ip_address(self.destination)
        if self.version == 6:
            six = [b"\xfd" + bytes(11) + address.packed for address in (source, destination)]
            return struct.pack(">IHBB", 6 << 28, len(body), self.protocol, 64) + six[0] + six[1] + body
        flags = (0x2000 if self.more else 0) | self.offset
        head = struct.pack(">BBHHHBBH", 0x45, 0, self.total, self.identification, flags, 64, self.protocol, 0)
        return head + source.packed + destination.packed + body

    def frame(self, link: int = 1, vlan: int | None = None) -> bytes:
        """The frame, as far as it was captured."""
        kind = 0x0800 if self.version == 4 else 0x86DD
        here, there = (bytes.fromhex(mac.replace(":", "")) for mac in (self.source_mac, self.destination_mac))
        heads = {
            1: there + here + (b"" if vlan is None else struct.pack(">HH", 0x8100, vlan)) + struct.pack(">H", kind),
            113: struct.pack(">HHH", 0, 1, 6) + here + b"\0\0" + struct.pack(">H", kind),
            276: struct.pack(">HHIHBB", kind, 0, 3, 1, 0, 6) + here + b"\0\0",
        }
        return heads[link] + self.internet() + self.padding


def capture(packets: list[P], *, link: int = 1, vlan: int | None = None) -> bytes:
    """A pcap file with times in ns; where a payload was not captured whole, the record says so."""
    out = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, link)
    for packet in packets:
        frame = packet.frame(link, vlan)
        wire = len(frame) + len(packet.payload) - len(packet.there)
        out += struct.pack("<IIII", packet.time_ns // 10**9, packet.time_ns % 10**9, len(frame), wire) + frame
    return out


@dataclass(frozen=True)
class Kept:
    """A packet beside a custom flow: what is kept of its headers and payload."""

    offset_us: int
    out: bool
    octets: int
    internet: bytes
    transport: bytes
    payload: bytes


@dataclass
class Record:
    """One custom flow: who began, and its packets as (time, size, forward, payload)."""

    start: int
    source: str
    destination: str
    source_port: int
    destination_port: int
    protocol: int
    packets: list[tuple[int, int, bool, bytes]] = field(default_factory=list)
    beside: list[Kept] = field(default_factory=list)
    cut: bool = False  # there was no room for one packet: none behind it is kept

    @property
    def blocks(self) -> int:
        """Blocks of 128 octets that what is beside it takes, with 13 octets before each packet."""
        return -(-sum(13 + len(k.internet) + len(k.transport) + len(k.payload) for k in self.beside) // 128)

    def keep(self, p: P, out: bool, bounds: PacketFlowSettings, free: int) -> str:
        """Keep a packet of either direction beside it; whether it was kept, or why not."""
        if len(self.beside) == bounds.packets:
            return "beyond the packets kept of a flow"
        payload = p.there[: bounds.payload_octets if len(self.beside) < bounds.payload_packets else bounds.later_octets]
        offset_us = max(p.time_ns - self.start, 0) // 1000
        before = self.blocks
        self.beside.append(Kept(offset_us, out, p.total, p.internet()[:20], p.transport, payload))
        if self.cut or self.blocks - before > free:
            self.beside.pop()
            self.cut = True
            return "no room"
        return "kept"

    def belongs(self, time: int, clock: int, settings: CustomFlowSettings) -> bool:
        """Whether a packet of the same key is part of it."""
        end, late = round(settings.interval_s * 1e9), round(settings.lateness_s * 1e9)
        return -late <= time - self.start < end and self.start + end + late > clock


def meter(
    packets: list[P], settings: CustomFlowSettings, senders: Sequence[str] = (),
    bounds: PacketFlowSettings | None = None,
) -> tuple[list[Record], Counter[str]]:  # fmt: skip
    """Custom flows in the order in which they began, and what became of packets that are part of none.

    With ``bounds``, the packets of both directions beside outgoing flows, too; their counters begin with "beside".
    """
    end = round((settings.interval_s + settings.lateness_s) * 1e9)
    done: list[Record] = []
    live: list[Record] = []
    current: dict[object, Record] = {}
    first_fragments: dict[object, P] = {}
    counts: Counter[str] = Counter()
    clock = -(1 << 62)

    def leave() -> None:
        record = live.pop(0)
        done.append(record)
        for key in [key for key, value in current.items() if value is record]:
            del current[key]

    first_from_outside: dict[object, P] = {}

    def ports_of(p: P, firsts: dict[object, P]) -> tuple[int, int] | None:
        """Ports of a packet, or of the first fragment that it continues."""
        name = (p.source, p.destination, p.protocol, p.identification)
        if p.more and p.offset == 0 and settings.fragment_s > 0:
            if name not in firsts and len(firsts) == settings.max_fragments:
                del firsts[next(iter(firsts))]
            firsts[name] = p
        if not p.offset:
            return p.source_port, p.destination_port
        first = firsts.get(name)
        if first is None or abs(p.time_ns - first.time_ns) > settings.fragment_s * 1e9:
            return None
        return first.source_port, first.destination_port

    def is_device(address: str) -> bool:
        return not senders or any(ip_address(address) in ip_network(prefix) for prefix in senders)

    def beside(p: P, record: Record | None, out: bool) -> None:
        """Keep a packet with the flow it is part of, or say why not."""
        if bounds is None or (record is None and not is_device(p.destination)):
            return
        free = bounds.max_octets // 128 - sum(item.blocks for item in live)
        counts["beside: " + (record.keep(p, out, bounds, free) if record else "received before the device sent")] += 1

    def answered(p: P, ports: tuple[int, int]) -> Record | None:
        """The flow that is open the other way, when the packet comes within its minute."""
        record = current.get((p.protocol, (p.destination, ports[1]), (p.source, ports[0])))
        return record if record is not None and record.belongs(p.time_ns, clock, settings) else None

    for p in packets:
        if p.time_ns < clock - round(settings.leap_s * 1e9):
            while live:
                leave()
            clock = p.time_ns
        clock = max(clock, p.time_ns)
        while live and (live[0].start + end <= clock or len(live) >= settings.max_flows):
            leave()
        if p.version != 4:
            counts["ipv6"] += 1
            continue
        if p.protocol not in settings.protocols:
            counts["other protocol"] += 1
            continue
        if settings.direction == "outgoing" and not is_device(p.source):
            counts["sent from outside"] += 1
            if bounds is not None:
                known = ports_of(p, first_from_outside)
                if known is None:
                    counts["beside: fragment without its first"] += 1
                else:
                    beside(p, answered(p, known), False)
            continue
        result = ports_of(p, first_fragments)
        if result is None:
            counts["fragment without its first"] += 1
            continue
        ports = result
        counts["metered"] += 1
        here, there = (p.source, ports[0]), (p.destination, ports[1])
        both = settings.direction == "bidirectional"
        key = (p.protocol, *(sorted([here, there]) if both else [here, there]))
        record = current.get(key)
        if record is None or not record.belongs(p.time_ns, clock, settings):
            record = Record(p.time_ns, p.source, p.destination, *ports, p.protocol)
            live.append(record)
            current[key] = record
        forward = here == (record.source, record.source_port) and there == (record.destination, record.destination_port)
        record.packets.append((p.time_ns, p.total, forward, p.there))
        beside(p, record, True)
        if here != there:
            beside(p, answered(p, ports), False)
    return done + live, counts


def symbols(record: Record, settings: CustomFlowSettings) -> list[int]:
    """Payload symbols before padding: start 1, end 2, octet b as b + 3."""
    collected: list[int] = []
    for _, _, _, payload in record.packets[: settings.packets]:
        collected += [1, *(octet + 3 for octet in payload[: settings.packet_octets]), 2]
    return collected[:3000]


def vector(record: Record, settings: CustomFlowSettings, *, reverse: bool = False) -> list[float]:
    """The 3,040 numbers of a record, seen from its source, or from its destination."""
    remote = ip_address(record.source if reverse else record.destination)
    if any(remote in ip_network(prefix) for prefix in settings.private):
        remote = ip_address("0.0.0.0")
    ports = (record.destination_port, record.source_port)
    total = sum(size for _, size, _, _ in record.packets)
    small = [
        0.0,
        *(octet / 255 for octet in remote.packed),
        *(port / 65535 for port in (ports[::-1] if reverse else ports)),
        record.protocol / 255,
        min(1.0, math.log1p(total) / math.log1p(1e7)),
        min(1.0, math.log1p(len(record.packets)) / math.log1p(1e5)),
    ]
    for k in range(10):
        if k < min(len(record.packets), settings.packets):
            time, size, forward, _ = record.packets[k]
            offset_us = max(time - record.start, 0) // 1000
            small += [min(1.0, offset_us / 60e6), min(1.0, size / 1500), float(forward != reverse)]
        else:
            small += [0.0, 0.0, 0.0]
    payload = [code / 258 for code in symbols(record, settings)]
    return small + payload + [0.0] * (3000 - len(payload))
