"""Input of netFound: bursts of packets, with each packet as numbers of 16 bits, and four properties of each burst.

A burst consists of packets of one direction with no gap above 10 ms between them; packets of the other direction may
fall in between. Bursts are ordered by their first packets. The fields of a packet are: header length, type of service,
total length, flags and time to live of IP; flags, window, urgent pointer, and sequence and acknowledgement numbers of
TCP (two numbers each, relative to the first ones of the flow), or the length of UDP; and twelve octets of payload.
Addresses and ports are left out.

Only the first 72 packets of a flow are available (:data:`~ethogram.schema.packet_flows.MOST_PACKETS`), so a flow with
bursts of more than six packets may have fewer bursts than in its capture.

Reference: S. Guthula et al., "netFound: Foundation Model for Network Security", arXiv 2310.17025.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.schema.packet_flows import PacketFlows
from ethogram.third_party_encoders.interface import Rows, asked_rows

__all__ = ["CLS", "META", "MOST_BURSTS", "PACKETS", "TOKENS", "Bursts", "bursts_of"]

MOST_BURSTS = 12
PACKETS = 6
"""Maximum number of packets of a burst that are read."""
GAP_US = 10_000
"""A longer gap between packets of a direction ends a burst."""

TCP_TOKENS, UDP_TOKENS = 18, 12
TOKENS = 1 + PACKETS * TCP_TOKENS
"""Maximum number of tokens of a burst, including the token before it."""
CLS = 65_537
"""Token before each burst. A number n of 16 bits is token n + 1, and 0 is padding."""

META = ("direction", "octets/1000", "packets", "gap, ms")
"""Properties of a burst: 1 or -1, sums over the packets read, and the time since the last burst of its direction."""


@dataclass(frozen=True)
class Bursts:
    """B bursts of K flows, in the order of the flows.

    Parameters
    ----------
    flow
        int64 [B]: flow of each burst.
    tokens
        int32 [B, L]: tokens, padded with 0; L is the length of the longest burst.
    lengths
        int64 [B]: number of tokens of each burst.
    meta
        float32 [B, 4]: the properties of :data:`META`.
    protocol
        int64 [K]: 6 or 17; 0 for a flow without packets.
    """

    flow: NDArray[np.int64]
    tokens: NDArray[np.int32]
    lengths: NDArray[np.int64]
    meta: NDArray[np.float32]
    protocol: NDArray[np.int64]

    def of_flows(self, rows: NDArray[np.int64]) -> Bursts:
        """Bursts of some of the flows, renumbered; ``rows`` ascend."""
        new = np.full(len(self.protocol), -1)
        new[rows] = np.arange(len(rows))
        some = np.flatnonzero(new[self.flow] >= 0)
        longest = int(self.lengths[some].max(initial=1))
        return Bursts(
            new[self.flow[some]], self.tokens[some, :longest], self.lengths[some], self.meta[some], self.protocol[rows]
        )

    def alike(self) -> NDArray[np.int64]:
        """The first flow with the same input, for each flow (itself if there is none before it), length K."""
        edges = np.searchsorted(self.flow, np.arange(len(self.protocol) + 1))
        known: dict[tuple[bytes, bytes, int], int] = {}
        first = np.empty(len(self.protocol), np.int64)
        for i, (begin, end) in enumerate(itertools.pairwise(edges.tolist())):
            key = (self.tokens[begin:end].tobytes(), self.meta[begin:end].tobytes(), int(self.protocol[i]))
            first[i] = known.setdefault(key, i)
        return first


_compiled: Any = Compiler.of(__file__).checked


@_compiled
def _u8(data: Any, at: Any, length: Any, place: int) -> Any:
    """An octet of a header of this length; 0 beyond its end."""
    return np.int64(data[at + place]) if place < length else np.int64(0)


@_compiled
def _u16(data: Any, at: Any, length: Any, place: int) -> Any:
    return (_u8(data, at, length, place) << 8) | _u8(data, at, length, place + 1)


@_compiled
def _u32(data: Any, at: Any, length: Any, place: int) -> Any:
    return (_u16(data, at, length, place) << 16) | _u16(data, at, length, place + 2)


@_compiled
def _fields(
    data: Any, at: Any, ip: Any, transport: Any, payload: Any, protocol: int, relative: Any, sent: bool, first: bool,
    out: Any, to: int,
) -> int:  # fmt: skip
    """Write the tokens of one packet at position ``to``; return the position after them."""
    values = np.zeros(TCP_TOKENS, np.int64)
    values[0] = (_u8(data, at, ip, 0) & 15) * 4
    values[1] = _u8(data, at, ip, 1)
    values[2] = _u16(data, at, ip, 2)
    values[3] = _u8(data, at, ip, 6) >> 5
    values[4] = _u8(data, at, ip, 8)
    head = at + ip
    n = 5
    if protocol == 6:
        if transport >= 12:
            begin, begin_back = relative
            # Numbers of the device are relative to its first one, those of the remote to the first one acknowledged.
            sequence = _u32(data, head, transport, 4) - (begin if sent else begin_back)
            acknowledgement = _u32(data, head, transport, 8) - (begin_back if sent else begin)
            if first or (sent and begin_back == 0):
                acknowledgement = np.int64(0)
            values[7], values[8] = (sequence >> 16) & 0xFFFF, sequence & 0xFFFF
            values[9], values[10] = (acknowledgement >> 16) & 0xFFFF, acknowledgement & 0xFFFF
        values[5] = _u8(data, head, transport, 13)
        values[6] = _u16(data, head, transport, 14)
        values[11] = _u16(data, head, transport, 18)
        n = 12
    else:
        values[5] = _u16(data, head, transport, 4)
        n = 6
    for i in range(6):
        values[n + i] = _u16(data, head + transport, payload, 2 * i)
    n += 6
    for i in range(n):
        out[to + i] = values[i] + 1
    return to + n


@_compiled
def _ordered(times: Any, after: Any) -> Any:
    """Indices sorted by time, then by the second key; the sort is stable."""
    order = np.arange(times.shape[0])
    for i in range(1, order.shape[0]):
        current, j = order[i], i
        while j > 0 and (
            times[order[j - 1]] > times[current]
            or (times[order[j - 1]] == times[current] and after[order[j - 1]] > after[current])
        ):
            order[j] = order[j - 1]
            j -= 1
        order[j] = current
    return order


@_compiled
def _read(
    first_packet: Any, offset_us: Any, sent: Any, octets: Any, ip: Any, transport: Any, payload: Any, first_octet: Any,
    data: Any, rows: Any, flow: Any, tokens: Any, lengths: Any, meta: Any, protocols: Any,
) -> int:  # fmt: skip
    """Write the bursts of flows one after the other; return their number."""
    filled = 0
    for i in range(rows.shape[0]):
        begin, end = first_packet[rows[i]], first_packet[rows[i] + 1]
        if begin == end:
            continue
        n = end - begin
        at = first_octet[begin]
        protocol = _u8(data, at, ip[begin], 9)
        protocols[i] = protocol
        start, start_back = np.int64(0), np.int64(0)
        if protocol == 6:
            start = _u32(data, at + ip[begin], transport[begin], 4)
            start_back = _u32(data, at + ip[begin], transport[begin], 8)
            if start_back == 0 and n > 1:
                start_back = _u32(data, first_octet[begin + 1] + ip[begin + 1], transport[begin + 1], 4)
        times = offset_us[begin:end].astype(np.int64)
        order = _ordered(times, np.zeros(n, np.int64))
        current, last = np.full(2, -1), np.zeros(2, np.int64)
        of = np.empty(n, np.int64)
        starts, gaps, back = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
        count = 0
        for j in order:
            way = 1 if sent[begin + j] > 0 else 0
            if current[way] < 0 or times[j] - last[way] > GAP_US:
                if current[way] >= 0:
                    gaps[count] = times[j] - starts[current[way]]
                starts[count] = times[j]
                back[count] = 1 - way
                current[way] = count
                count += 1
            of[j] = current[way]
            last[way] = times[j]
        for burst in _ordered(starts[:count], back[:count])[:MOST_BURSTS]:
            flow[filled] = i
            tokens[filled, 0] = CLS
            to, read, total = 1, 0, np.int64(0)
            for j in order:
                if of[j] != burst or read == PACKETS:
                    continue
                k = begin + j
                to = _fields(
                    data, first_octet[k], ip[k], transport[k], payload[k], protocol, (start, start_back),
                    sent[k] > 0, j == 0, tokens[filled], to,
                )  # fmt: skip
                total += octets[k]
                read += 1
            lengths[filled] = to
            meta[filled, 0] = -1.0 if back[burst] > 0 else 1.0
            meta[filled, 1] = total / 1000
            meta[filled, 2] = read
            meta[filled, 3] = gaps[burst] / 1000
            filled += 1
    return filled


def bursts_of(flows: PacketFlows, rows: Rows | None = None) -> Bursts:
    """Bursts of some flows.

    Parameters
    ----------
    flows
        Packets of N flows.
    rows
        K flows to read; None: all.

    Examples
    --------
    >>> bursts_of(PacketFlows.empty(3)).tokens.shape
    (0, 1)
    """
    asked = asked_rows(flows, rows)
    most = int(np.minimum(flows.packets[asked], MOST_BURSTS).sum())
    flow, lengths = np.zeros(most, np.int64), np.zeros(most, np.int64)
    tokens, meta = np.zeros((most, TOKENS), np.int32), np.zeros((most, len(META)), np.float32)
    protocol = np.zeros(len(asked), np.int64)
    count = _read(
        flows.first_packet, flows.packet_offset_us, flows.packet_out, flows.packet_octets,
        *(getattr(flows, name).astype(np.int64) for name in ("ip_octets", "transport_octets", "payload_octets")),
        flows.first_octet, flows.data, asked, flow, tokens, lengths, meta, protocol,
    )  # fmt: skip
    longest = int(lengths[:count].max(initial=1))
    return Bursts(flow[:count], tokens[:count, :longest], lengths[:count], meta[:count], protocol)
