"""Packets that a capture holds twice, as a mirror port gives them that copies a packet at two ports of a switch."""

from __future__ import annotations

from typing import Any

from ethogram.meter.compiled import compiled
from ethogram.schema import PacketBatch

__all__ = ["mirrored"]

_WITHIN_NS = 1_000_000  # copies leave the switch one after the other
_BACK = 8  # packets looked back at
_OCTETS = 64  # compared: the headers, and some of what they carry


def mirrored(batch: PacketBatch) -> int:
    """Count the packets that equal one shortly before, but for what a router changes on the way.

    A retransmission differs in its IP identification or TCP options. Copies on both sides of the border of two batches
    are not found.
    """
    return int(
        copies(
            batch.time_ns, batch.version, batch.ip_octets, batch.internet_offset, batch.payload_offset,
            batch.payload_octets, batch.data,
        )
    )  # fmt: skip


@compiled
def copies(
    time: Any, version: Any, size: Any, begin: Any, payload: Any, payload_octets: Any, data: Any
) -> int:  # fmt: skip
    """Count packets whose first octets are those of one of the packets just before."""
    found = 0
    for i in range(1, len(time)):
        for j in range(i - 1, max(i - 1 - _BACK, -1), -1):
            if not 0 <= time[i] - time[j] <= _WITHIN_NS:
                break
            if size[i] != size[j] or version[i] != version[j]:
                continue
            length = min(payload[i] + payload_octets[i] - begin[i], payload[j] + payload_octets[j] - begin[j], _OCTETS)
            same = length > 0 and begin[i] + length <= len(data) and begin[j] + length <= len(data)
            k = 0
            while same and k < length:
                # Time to live and checksum, or hop limit.
                passing = k in (8, 10, 11) if version[i] == 4 else k == 7
                same = passing or data[begin[i] + k] == data[begin[j] + k]
                k += 1
            if same:
                found += 1
                break
    return found
