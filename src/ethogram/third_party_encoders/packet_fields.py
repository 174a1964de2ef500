"""Fields of packets as a table with rows (the flow, then its first packets) and columns (fields).

A field reflects a decision of the device or its peer, and not the place of capture. Left out, because they identify the
network or carry no information:

- addresses, and checksums, from which the sum of the addresses follows;
- the number of hops: only the initial value of the time to live is a field (32, 64, 128, 255);
- absolute times, and times below a third of a second, which depend on the path;
- TCP sequence and acknowledgement numbers, ephemeral ports, TCP timestamps and the IP identification, which are random
  or have arbitrary origins. The change of the identification between packets is a field, since the system decides it;
- of received packets: type of service and maximum segment size, which routers rewrite;
- IP total length, which follows from payload, header length and protocol, and would reveal each of them.

A field that a packet does not have is 0, and is not a token. Numbers are interpolated between two classes.

Reference: RFC 791 section 3.1, RFC 9293 sections 3.1 and 3.2 (options), RFC 7323 section 2 (window scale).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.interface import Rows, asked_rows

__all__ = ["FLOW_FIELDS", "PACKET_FIELDS", "FieldTable", "Named"]

COMPILER = Compiler.of(__file__)


@dataclass(frozen=True)
class Named:
    """A field: its name, and its number of classes or grid points."""

    name: str
    classes: int


PACKET_FIELDS = (
    Named("way", 2),  # received, sent
    Named("payload", 73),  # octets of transport payload
    Named("gap", 14),  # since the packet before: below a third of a second, then its logarithm up to a minute
    Named("ttl", 4),  # initial value
    Named("keep_whole", 2),  # don't fragment
    Named("service", 5),  # type of service, of what was sent: none, low delay, expedited, other, with ECN
    Named("identification", 8),  # change between packets that were sent
    Named("flags", 11),
    Named("window", 33),
    Named("header", 11),  # words of the TCP header, less 5
    Named("options", 32),  # kinds of TCP options in their order
    Named("segment", 7),  # maximum segment size of packets that were sent
    Named("scale", 15),  # of the window
)
WAY, SIZE, GAP, TTL, WHOLE, SERVICE, IDENTIFICATION, FLAGS, WINDOW, HEADER, OPTIONS, SEGMENT, SCALE = range(13)

KNOWN_PORTS = (
    20, 21, 22, 23, 25, 53, 67, 68, 80, 81, 88, 110, 123, 137, 138, 139, 143, 161, 389, 443, 445, 500, 514, 515, 554,
    587, 631, 853, 993, 995, 1400, 1883, 1900, 1935, 3074, 3478, 3702, 4070, 4500, 5000, 5001, 5060, 5222, 5223, 5228,
    5353, 5355, 5540, 5555, 5671, 5683, 5684, 6667, 7000, 7547, 8000, 8008, 8009, 8080, 8081, 8086, 8088, 8123, 8443,
    8554, 8883, 8888, 9000, 9100, 9200, 9999, 10000, 19302,
)  # fmt: skip
"""Ports with their own class: common services."""

_PORT = np.zeros(65_536, np.float32)
for _begin, _end in ((0, 1024), (1024, 32_768), (32_768, 49_152), (49_152, 65_536)):
    _PORT[_begin:_end] = 1 + len(KNOWN_PORTS) + (_begin > 0) + (_begin > 1024) + (_begin > 32_768)
_PORT[list(KNOWN_PORTS)] = np.arange(1, len(KNOWN_PORTS) + 1)
PORTS = len(KNOWN_PORTS) + 4

FLOW_FIELDS = (
    Named("protocol", 3),
    Named("packets", 13),
    Named("sent", 9),  # share of packets
    Named("lasts", 14),
    Named("octets_sent", 34),
    Named("octets_received", 34),
    Named("remote_port", PORTS),
    Named("device_port", PORTS),
)
PROTOCOL, COUNT, SENT, LASTS, OCTETS_SENT, OCTETS_RECEIVED, REMOTE_PORT, DEVICE_PORT = range(8)

_FLAGS = np.full(64, 9, np.int64)
for _class, _bits in enumerate((0x02, 0x12, 0x10, 0x18, 0x11, 0x19, 0x04, 0x14, 0x01)):
    _FLAGS[_bits] = _class
ECN_SYN = 10  # a SYN that asks for explicit congestion notification
_SEGMENTS = np.array([536, 1299, 1399, 1439, 1459, 1460])  # the last places of all classes but the highest
PATH_US = 300_000.0  # shorter times depend on the path


@COMPILER.checked
def _size(octets: Any) -> Any:
    """Grid position of a number of octets: steps of 4 up to 128, of 16 up to 512, then of 64."""
    if octets < 128:
        return octets / 4
    if octets < 512:
        return 32 + (octets - 128) / 16
    return min(56 + (octets - 512) / 64, 72.0)


@COMPILER.checked
def _time(us: Any) -> Any:
    """Grid position of a time: 0 where the path may explain it, then its logarithm up to a minute."""
    if us < PATH_US:
        return 0.0
    return min(1 + 12 * np.log(us / PATH_US) / np.log(200.0), 13.0)


@COMPILER.checked
def _doubled(value: Any, most: Any) -> Any:
    """Two grid points per doubling."""
    return min(2 * np.log2(value + 1), most)


@COMPILER.checked
def _service(tos: Any) -> Any:
    if tos & 3:
        return 4
    if tos == 0:
        return 0
    if tos == 0x10:
        return 1
    return 2 if tos >> 2 == 46 else 3


@COMPILER.checked
def _moved(now: Any, before: Any) -> Any:
    """Class of the change of the identification since the last packet sent; ``before`` is -1 if there was none."""
    if before < 0:
        return 0 if now == 0 else 1
    if now == 0:
        return 2
    if now == before:
        return 3
    step = (now - before) & 0xFFFF
    if step == 1:
        return 4
    if step <= 64:
        return 5
    return 6 if step & 0xFF == 0 and step >> 8 <= 64 else 7


@COMPILER.checked
def _options(data: Any, begin: Any, end: Any, sent: bool, row: Any) -> None:
    """Order of options, maximum segment size and window scale."""
    order = np.uint32(2166136261)
    at: Any = begin
    while at < end and data[at] != 0:
        kind = data[at]
        order = np.uint32((order ^ np.uint32(kind)) * np.uint32(16777619))
        if kind == 1:
            at += 1
            continue
        if at + 1 >= end or data[at + 1] < 2:
            break
        length = np.int64(data[at + 1])
        if kind == 2 and length == 4 and at + 4 <= end and sent:
            size = (np.int64(data[at + 2]) << 8) | np.int64(data[at + 3])
            row[SEGMENT] = 1 + np.searchsorted(_SEGMENTS, size)
        if kind == 3 and length == 3 and at + 3 <= end:
            row[SCALE] = min(1 + np.int64(data[at + 2]), 15)
        at += length
    row[OPTIONS] = 1 + np.int64(order % np.uint32(32))


@COMPILER.checked
def _packet(data: Any, at: Any, ip: Any, transport: Any, payload: Any, sent: bool, before: Any, row: Any) -> Any:
    """Write the fields of one packet except its gap; return the last identification sent."""
    row[WAY] = 1 + sent
    row[SIZE] = 1 + _size(payload)
    ttl = data[at + 8]
    row[TTL] = 1 + (ttl > 32) + (ttl > 64) + (ttl > 128)
    row[WHOLE] = 1 + ((data[at + 6] >> 6) & 1)
    if sent:
        row[SERVICE] = 1 + _service(np.int64(data[at + 1]))
        now = (np.int64(data[at + 4]) << 8) | np.int64(data[at + 5])
        row[IDENTIFICATION] = 1 + _moved(now, before)
        before = now
    if data[at + 9] == 6 and transport >= 20:
        head = at + ip
        flags = np.int64(data[head + 13])
        asks = flags & 0xC0 == 0xC0 and flags & 0x12 == 2
        row[FLAGS] = 1 + (ECN_SYN if asks else _FLAGS[flags & 63])
        row[WINDOW] = 1 + _doubled((np.int64(data[head + 14]) << 8) | np.int64(data[head + 15]), 32.0)
        row[HEADER] = max(np.int64(data[head + 12] >> 4) - 4, 1)
        if transport > 20:
            _options(data, head + 20, head + transport, sent, row)
    return before


@COMPILER.checked
def _describe(
    first_packet: Any, offset_us: Any, out: Any, octets: Any, ip_octets: Any, transport_octets: Any,
    payload_octets: Any, first_octet: Any, data: Any, rows: Any, ports: bool, most_octets: int, table: Any,
) -> None:  # fmt: skip
    for i in range(rows.shape[0]):
        begin, end = first_packet[rows[i]], first_packet[rows[i] + 1]
        if begin == end:
            continue
        flow = table[i, 0]
        sent, volume_out, volume_in = 0, 0.0, 0.0
        before = np.int64(-1)
        for packet in range(begin, end):
            at, ip, transport = first_octet[packet], np.int64(ip_octets[packet]), np.int64(transport_octets[packet])
            payload: Any = max(np.int64(octets[packet]) - ip - transport, 0)
            sent += out[packet]
            if out[packet]:
                volume_out += payload
            else:
                volume_in += payload
            k = packet - begin + 1
            if k >= table.shape[1] or ip < 20:
                continue
            row = table[i, k]
            before = _packet(data, at, ip, transport, payload, out[packet] == 1, before, row)
            if packet > begin:
                row[GAP] = 1 + _time(float(offset_us[packet]) - float(offset_us[packet - 1]))
            head = at + ip + transport
            read_octets: Any = min(most_octets, np.int64(payload_octets[packet]))
            for j in range(read_octets):
                row[SCALE + 1 + j] = 1 + data[head + j]
        first, ip = first_octet[begin], np.int64(ip_octets[begin])
        count = end - begin
        if ip >= 20:
            protocol = data[first + 9]
            flow[PROTOCOL] = 1 if protocol == 6 else (2 if protocol == 17 else 3)
            if ports and transport_octets[begin] >= 4:
                head = first + ip
                source = (np.int64(data[head]) << 8) | np.int64(data[head + 1])
                destination = (np.int64(data[head + 2]) << 8) | np.int64(data[head + 3])
                flow[REMOTE_PORT] = _PORT[destination if out[begin] else source]
                flow[DEVICE_PORT] = _PORT[source if out[begin] else destination]
        flow[COUNT] = 1 + _doubled(count - 1.0, 12.0)
        flow[SENT] = 1 + 8.0 * sent / count
        flow[LASTS] = 1 + _time(float(offset_us[end - 1]))
        flow[OCTETS_SENT] = 1 + _doubled(volume_out, 33.0)
        flow[OCTETS_RECEIVED] = 1 + _doubled(volume_in, 33.0)


@dataclass(frozen=True)
class FieldTable:
    """The fields of a table, and the offset of the classes of each field.

    Parameters
    ----------
    packets
        Number of rows after that of the flow.
    ports
        Whether ports are fields.
    octets
        Number of first payload octets that are fields; at most twelve.

    Examples
    --------
    >>> FieldTable(packets=10).columns
    13
    """

    packets: int = 10
    ports: bool = False
    octets: int = 0

    @cached_property
    def packet_fields(self) -> tuple[Named, ...]:
        """Fields of a packet, column by column."""
        return (*PACKET_FIELDS, *(Named(f"octet_{k}", 256) for k in range(self.octets)))

    @property
    def flow_fields(self) -> tuple[Named, ...]:
        """Fields of the flow, column by column."""
        return FLOW_FIELDS if self.ports else FLOW_FIELDS[:REMOTE_PORT]

    @property
    def columns(self) -> int:
        """Number of columns."""
        return len(self.packet_fields)

    @cached_property
    def fields(self) -> tuple[Named, ...]:
        """All fields, those of the flow first."""
        return (*self.flow_fields, *self.packet_fields)

    @cached_property
    def begins(self) -> NDArray[np.int64]:
        """Offset of the classes of each field; the last number is the number of all classes."""
        return np.concatenate([[0], np.cumsum([field.classes for field in self.fields])]).astype(np.int64)

    def describe(self, flows: PacketFlows, rows: Rows | None = None) -> NDArray[np.float32]:
        """The table of each flow.

        Parameters
        ----------
        flows
            Packets of N flows.
        rows
            K flows to describe; None: all.

        Returns
        -------
        numpy.ndarray
            float32 [K, 1 + packets, columns]: 0 where a field is absent, else 1 + its class or grid position.
        """
        asked = asked_rows(flows, rows)
        table = np.zeros((len(asked), 1 + self.packets, self.columns), np.float32)
        _describe(
            flows.first_packet, flows.packet_offset_us, flows.packet_out, flows.packet_octets, flows.ip_octets,
            flows.transport_octets, flows.payload_octets, flows.first_octet, flows.data, asked, self.ports,
            self.octets, table,
        )  # fmt: skip
        return table
