"""Synthetic export messages of every kind that a collector decodes, used by :mod:`ethogram.serve.warm_up`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethogram.io.wire.build import MessageBuilder, Values, data, template_set
from ethogram.io.wire.template import V5_FIELDS, VARIABLE, Field, Template

__all__ = ["WarmUpHosts", "synthetic_messages"]

ACTIVE_TIMEOUT, IDLE = 2, 1  # flowEndReason
CERT = 6871
_SERVER_NAME = Field(0, 371, VARIABLE)  # httpRequestHost, as an example of a variable-length element
_COMMON = ((7, 2), (11, 2), (4, 1), (1, 8), (2, 4), (6, 1), (56, 6), (80, 6), (61, 1))
_MILLISECONDS, _UPTIME = ((152, 8), (153, 8), (136, 1)), ((22, 4), (21, 4))
_IPV4, _IPV6 = ((8, 4), (12, 4)), ((27, 16), (28, 16))
_REVERSE = (Field(0, 1, 8, reverse=True), Field(0, 2, 8, reverse=True), Field(0, 6, 2, reverse=True),
            Field(CERT, 14, 1), Field(CERT, 14, 1, reverse=True), Field(0, 239, 1))  # fmt: skip
_SAMPLER_IPFIX = (Field(0, 302, 8, scope=True), Field(0, 304, 2), Field(0, 305, 4), Field(0, 306, 4))
_SAMPLER_V9 = (Field(0, 1, 4, scope=True), Field(0, 34, 4), Field(0, 35, 1))
_UPTIME_MS = 3_600_000


@dataclass(frozen=True)
class WarmUpHosts:
    """Addresses of the messages: two internal ones and an external one, for each IP version."""

    inside: tuple[str, str]
    inside6: tuple[str, str]
    outside: str = "192.0.2.1"
    outside6: str = "2001:db8::1"

    @classmethod
    def of(cls, local: Sequence[str]) -> WarmUpHosts:
        """Addresses inside the first prefix of each IP version; without a prefix, none is internal."""
        outside = {4: ("198.51.100.1", "198.51.100.2"), 6: ("2001:db8:1::1", "2001:db8:1::2")}
        for prefix in reversed(local):
            network = ipaddress.ip_network(prefix, strict=False)
            first = int(network.network_address) + (1 if network.num_addresses > 2 else 0)
            last = min(first + 1, int(network.broadcast_address))
            kind = type(network.network_address)
            outside[network.version] = (str(kind(first)), str(kind(last)))
        return cls(outside[4], outside[6])


@dataclass(frozen=True)
class _Flow:
    source: str
    destination: str
    source_port: int
    destination_port: int
    protocol: int
    reason: int
    seconds: tuple[int, int]


def _flows(hosts: WarmUpHosts, version: int) -> list[_Flow]:
    """One-way records: a connection split at the active timeout, responses, DNS, equal ports, multicast, ICMP."""
    device, resolver = hosts.inside if version == 4 else hosts.inside6
    other = hosts.outside if version == 4 else hosts.outside6
    group = "239.255.255.250" if version == 4 else "ff02::fb"
    return [
        _Flow(device, other, 50_000, 8_883, 6, ACTIVE_TIMEOUT, (0, 60)),
        _Flow(other, device, 8_883, 50_000, 6, ACTIVE_TIMEOUT, (0, 60)),
        _Flow(device, other, 50_000, 8_883, 6, IDLE, (60, 90)),
        _Flow(other, device, 8_883, 50_000, 6, IDLE, (60, 90)),
        _Flow(device, resolver, 40_001, 53, 17, IDLE, (1, 2)),
        _Flow(resolver, device, 53, 40_001, 17, IDLE, (1, 2)),
        _Flow(device, other, 40_002, 40_003, 17, IDLE, (2, 3)),
        _Flow(device, group, 1_900, 1_900, 17, IDLE, (3, 4)),
        _Flow(device, other, 0, 0, 1, IDLE, (4, 5)),
    ]


def _columns(flows: Sequence[_Flow], fields: Sequence[Field], start_ms: int, boot_ms: int) -> list[Values]:
    """Field values of flows, by element number."""

    def packed(addresses: list[str]) -> NDArray[np.generic]:
        octets = [ipaddress.ip_address(text).packed for text in addresses]
        if len(octets[0]) == 4:
            return np.array([int.from_bytes(each) for each in octets])
        return np.frombuffer(b"".join(octets), np.uint8).reshape(-1, 16)

    def each(value: Callable[[_Flow], int]) -> NDArray[np.generic]:
        return np.array([value(flow) for flow in flows])

    begin, end = (each(lambda flow, i=i: start_ms + 1000 * flow.seconds[i]) for i in (0, 1))  # type: ignore[misc]
    values: dict[int, Values] = {
        4: each(lambda flow: flow.protocol), 7: each(lambda flow: flow.source_port),
        11: each(lambda flow: flow.destination_port), 1: each(lambda _: 900), 2: each(lambda _: 9),
        6: each(lambda _: 2), 14: each(lambda _: 2), 56: each(lambda flow: 0x02005E000000 + flow.source_port),
        80: each(lambda flow: 0x02005E000000 + flow.destination_port), 239: each(lambda _: 1),
        136: each(lambda flow: flow.reason), 152: begin, 153: end, 22: begin - boot_ms, 21: end - boot_ms,
        371: [b"a.example.com"] * len(flows),
    }  # fmt: skip
    hosts = packed([flow.source for flow in flows]), packed([flow.destination for flow in flows])
    values |= {8: hosts[0], 27: hosts[0], 12: hosts[1], 28: hosts[1]}
    return [values.get(field.id, each(lambda _: 0)) for field in fields]


def synthetic_messages(hosts: WarmUpHosts, start_ms: int) -> list[bytes]:
    """Messages of IPFIX, NetFlow v9 and v5 with every kind of record, for flows that begin at ``start_ms``.

    The first message precedes its template, as after a restart.
    """
    sent_ms, boot_ms = start_ms + 90_000, start_ms + 90_000 - _UPTIME_MS
    messages: list[bytes] = []
    for version, times, sampler in ((10, _MILLISECONDS, _SAMPLER_IPFIX), (9, _UPTIME, _SAMPLER_V9)):
        build = MessageBuilder(version, boot_ms=boot_ms)
        four, six = (
            tuple(Field(0, number, octets) for number, octets in (*addresses, *times, *_COMMON))
            for addresses in (_IPV4, _IPV6)
        )
        options = Template(version, 0, 300, sampler, options=True)
        templates = [Template(version, 0, 256, four), Template(version, 0, 257, six)]
        flows = [_flows(hosts, 4), _flows(hosts, 6)]
        if version == 10:
            # With direction or name, as biflows, and with addresses of the other version.
            templates += [Template(10, 0, 258, (*four, _SERVER_NAME)), Template(10, 0, 259, (*four, *_REVERSE))]
            flows += [flows[0][:1], flows[0][4:5]]
        records = [
            data(template, _columns(some, template.fields, start_ms, boot_ms))
            for template, some in zip(templates, flows, strict=True)
        ]
        rate: list[Values] = [np.array([value]) for value in ((0, 3, 1, 9) if version == 10 else (0, 10, 2))]
        for parts in (records[:1], [template_set(*templates), template_set(options)], [data(options, rate)], records):
            messages += build.messages(parts, sent_ms)
    v5 = Template(5, 0, 0, V5_FIELDS)
    # Two at once: the array layout of several records differs from that of one.
    messages += MessageBuilder(5, boot_ms=boot_ms).messages(
        [data(v5, _columns(_flows(hosts, 4), V5_FIELDS, start_ms, boot_ms))], sent_ms
    )
    return messages
