"""Count packets that a capture holds twice, as from a mirror port that copies packets at two ports of a switch."""

from __future__ import annotations

from typing import Any

from ethogram.meter.compiled import compiled
from ethogram.schema import PacketBatch

__all__ = ["mirrored"]

_WITHIN_NS = 1_000_000  # the switch sends copies in succession
_BACK = 8  # earlier packets compared
_OCTETS = 64  # octets compared: headers and some payload


def mirrored(batch: PacketBatch) -> int:
    """Count packets that equal one shortly before, except for fields that a router changes.

    Retransmissions differ in IP identification or TCP options. Copies in different batches are not found.
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
    """Count packets whose first octets equal those of one of the packets just before."""
    count = 0
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
                # Skip time to live and header checksum (IPv4), or hop limit (IPv6).
                passing = k in (8, 10, 11) if version[i] == 4 else k == 7
                same = passing or data[begin[i] + k] == data[begin[j] + k]
                k += 1
            if same:
                count += 1
                break
    return count
