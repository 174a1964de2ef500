"""Packet flows from lists of packets, with headers that this file builds octet by octet, for tests of encoders.

A flow is a list of :class:`Packet`; :func:`packet_flows` makes :class:`~ethogram.schema.PacketFlows` of some flows, and
:func:`drawn` draws any number of them. The octets are plain Python, so that tests can say what they expect.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

import numpy as np

from ethogram.schema.packet_flows import LATER_OCTETS, MOST_PACKETS, PAYLOAD_OCTETS, PAYLOAD_PACKETS, PacketFlows


@dataclass(frozen=True)
class Packet:
    """One packet: when (µs since the flow's first), whether the device sent it, and what its headers say."""

    offset_us: int = 0
    out: bool = True
    payload: bytes = b""
    protocol: int = 6
    device: str = "192.168.1.7"
    remote: str = "198.51.100.9"
    device_port: int = 50_000
    remote_port: int = 443
    tos: int = 0
    identification: int = 1
    flags: int = 2  # of the IP header: 4 reserved, 2 don't fragment, 1 more fragments
    fragment: int = 0  # offset in units of 8 octets; when it is not 0 there is no transport header
    ttl: int = 64
    ip_checksum: int = 0xBEEF
    ip_options: bytes = b""  # a multiple of four octets
    sequence: int = 1
    acknowledgement: int = 2
    tcp_flags: int = 0x18
    window: int = 8192
    checksum: int = 0xCAFE
    urgent: int = 0
    tcp_options: bytes = b""  # a multiple of four octets

    @property
    def transport(self) -> bytes:
        """The TCP or UDP header."""
        if self.fragment:
            return b""
        ports = (self.device_port, self.remote_port) if self.out else (self.remote_port, self.device_port)
        if self.protocol == 17:
            return struct.pack(">HHHH", *ports, 8 + len(self.payload), self.checksum)
        words = 5 + len(self.tcp_options) // 4
        head = struct.pack(
            ">HHIIBBHHH", *ports, self.sequence, self.acknowledgement, words << 4, self.tcp_flags, self.window,
            self.checksum, self.urgent,
        )  # fmt: skip
        return head + self.tcp_options

    @property
    def octets(self) -> int:
        """IP total length."""
        return 20 + len(self.ip_options) + len(self.transport) + len(self.payload)

    @property
    def internet(self) -> bytes:
        """The IP header."""
        ends = [ip_address(address).packed for address in (self.device, self.remote)]
        source, destination = ends if self.out else ends[::-1]
        words = 5 + len(self.ip_options) // 4
        head = struct.pack(
            ">BBHHHBBH", 0x40 | words, self.tos, self.octets, self.identification, self.flags << 13 | self.fragment,
            self.ttl, self.protocol, self.ip_checksum,
        )  # fmt: skip
        return head + source + destination + self.ip_options


def packet_flows(flows: list[list[Packet]]) -> PacketFlows:
    """Packet flows with what would be kept of these packets, as the meter keeps it."""
    stored = [flow[:MOST_PACKETS] for flow in flows]
    packets = [packet for flow in stored for packet in flow]
    most = [PAYLOAD_OCTETS if k < PAYLOAD_PACKETS else LATER_OCTETS for flow in stored for k in range(len(flow))]
    payload = [p.payload[:octets] for p, octets in zip(packets, most, strict=True)]
    data = b"".join(p.internet + p.transport + part for p, part in zip(packets, payload, strict=True))
    return PacketFlows.of_columns(
        np.concatenate([[0], np.cumsum([len(flow) for flow in stored])]).astype(np.int64),
        {
            "packet_offset_us": np.array([p.offset_us for p in packets], np.uint32),
            "packet_out": np.array([p.out for p in packets], np.uint8),
            "packet_octets": np.array([p.octets for p in packets], np.uint32),
            "ip_octets": np.array([len(p.internet) for p in packets], np.uint8),
            "transport_octets": np.array([len(p.transport) for p in packets], np.uint8),
            "payload_octets": np.array([len(part) for part in payload], np.uint16),
        },
        np.frombuffer(data, np.uint8),
    )


def drawn_packets(n: int, seed: int = 0, most: int = 12) -> list[list[Packet]]:
    """``n`` flows of 1 to ``most`` packets, TCP or UDP, with and without payload and options; the first is sent."""
    random = np.random.default_rng(seed)
    flows = []
    for _ in range(n):
        protocol = int(random.choice([6, 17]))
        ports = random.integers(1, 65_536, 2)
        time, flow = 0, []
        for k in range(random.integers(1, most + 1)):
            time += int(random.choice([0, 500, 9_999, 10_000, 2_000_000])) if k else 0
            options = random.bytes(12) if protocol == 6 and random.random() < 0.4 else b""
            flow.append(
                Packet(
                    time, k == 0 or random.random() < 0.5, random.bytes(int(random.choice([0, 0, 1, 37, 240, 900]))),
                    protocol, device_port=int(ports[0]), remote_port=int(ports[1]), ttl=int(random.integers(30, 255)),
                    identification=int(random.integers(0, 65_536)), tcp_flags=int(random.choice([2, 16, 18, 24, 17])),
                    sequence=int(random.integers(0, 1 << 32)), acknowledgement=int(random.integers(0, 1 << 32)),
                    window=int(random.integers(0, 65_536)), checksum=int(random.integers(0, 65_536)),
                    tcp_options=options,
                )
            )  # fmt: skip
        flows.append(flow)
    return flows


def drawn(n: int, seed: int = 0, most: int = 12) -> PacketFlows:
    """Packet flows of :func:`drawn_packets`; the same seed gives the same ones."""
    return packet_flows(drawn_packets(n, seed, most))
