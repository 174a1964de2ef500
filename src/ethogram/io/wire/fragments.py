"""Reassemble IP fragments of large datagrams in a capture (RFC 791 section 3.2, RFC 8200 section 4.5)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.io.wire.compiled import compiled, u8, u16, u32
from ethogram.schema import PacketBatch

__all__ = ["FRAGMENT", "Fragments", "find_fragments"]

FRAGMENT = np.dtype(
    [
        ("row", np.int64), ("id", np.int64), ("at", np.int64), ("more", np.bool_), ("begin", np.int64),
        ("octets", np.int64),
    ]
)  # fmt: skip
"""One fragment: packet row, identification, offset in the datagram, and position of its octets in the batch."""

MAX_DATAGRAMS = 256  # maximum incomplete datagrams; the oldest is evicted first
MAX_PIECES = 64
UDP_HEADER = 8


@compiled
def find_fragments(data: Any, version: Any, internet_offset: Any, fragments: Any) -> int:
    """Write the fragments among packets with valid IP headers; returns their number."""
    count = 0
    size = data.shape[0]
    for row in range(version.shape[0]):
        at = internet_offset[row]
        if version[row] == 4 and size - at >= 20:
            word = u16(data, at + 6)
            if word & 0x3FFF == 0:  # neither "more fragments" nor an offset
                continue
            header = (u8(data, at) & 15) * 4
            number, begin, end = u16(data, at + 4), at + header, at + u16(data, at + 2)
            place, more = (word & 0x1FFF) * 8, word & 0x2000 != 0
        elif version[row] == 6 and size - at >= 48 and data[at + 6] == 44:
            word = u16(data, at + 42)
            number, begin, end = u32(data, at + 44), at + 48, at + 40 + u16(data, at + 4)
            place, more = word & 0xFFF8, word & 1 != 0
        else:
            continue
        fragment = fragments[count]
        fragment["row"] = row
        fragment["id"] = number
        fragment["at"] = place
        fragment["more"] = more
        fragment["begin"] = begin
        fragment["octets"] = max(min(end, size) - begin, 0)
        count += 1
    return count


@dataclass
class PartialDatagram:
    """Fragments of one datagram by offset, and its length once the last fragment has arrived."""

    octets: int | None = None
    parts: dict[int, bytes] = field(default_factory=dict)

    def whole(self) -> bytes | None:
        """The datagram, if complete."""
        if self.octets is None or sum(map(len, self.parts.values())) < self.octets:
            return None
        joined = bytearray(self.octets)
        at = 0
        for place in sorted(self.parts):
            if place > at:
                return None
            part = self.parts[place]
            joined[place : place + len(part)] = part
            at = max(at, place + len(part))
        return bytes(joined[: self.octets]) if at >= self.octets else None


class Fragments:
    """Incomplete datagrams.

    Attributes
    ----------
    lost
        Fragments of datagrams that will never be complete.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[int, ...], PartialDatagram] = OrderedDict()
        self.lost = 0

    def add(self, packets: PacketBatch, fragment: NDArray[np.void]) -> tuple[bytes, int] | None:
        """Add a fragment; returns the UDP payload that it completes, and the number of its fragments."""
        row = int(fragment["row"])
        key = (
            int(packets.version[row]), int(fragment["id"]),
            int(packets.source_high[row]), int(packets.source_low[row]),
            int(packets.destination_high[row]), int(packets.destination_low[row]),
        )  # fmt: skip
        pieces = self._waiting.setdefault(key, PartialDatagram())
        begin, octets, place = int(fragment["begin"]), int(fragment["octets"]), int(fragment["at"])
        if place in pieces.parts or len(pieces.parts) >= MAX_PIECES:
            self.lost += 1
            return None
        pieces.parts[place] = packets.data[begin : begin + octets].tobytes()
        if not fragment["more"]:
            pieces.octets = place + octets
        datagram = pieces.whole()
        if datagram is not None:
            del self._waiting[key]
            return datagram[UDP_HEADER:], len(pieces.parts)
        if len(self._waiting) > MAX_DATAGRAMS:
            _, gone = self._waiting.popitem(last=False)
            self.lost += len(gone.parts)
        return None

    def end(self) -> int:
        """Discard incomplete datagrams; returns the total number of lost fragments."""
        lost = self.lost + sum(len(pieces.parts) for pieces in self._waiting.values())
        self._waiting.clear()
        self.lost = 0
        return lost
