"""Semantic fields of a custom flow, read back from its vector: what a packet is like, and which words it carries.

Positions in the payload mean little across networks; names asked for, greetings and packet sizes do. Of an address
nothing is read but its kind (private, multicast, broadcast, public), of ports their class and well-known number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.config import FieldSettings
from ethogram.representation.payload_length import header_width
from ethogram.representation.views import PAYLOAD, View

__all__ = ["CLASSES", "GAPS", "KINDS", "KNOWN_PORTS", "OCTETS", "PORTS", "SIZES", "FieldPlan", "describe"]

COMPILER = Compiler.of(__file__)

KNOWN_PORTS = (
    20, 21, 22, 23, 25, 53, 67, 68, 69, 80, 81, 88, 110, 111, 119, 123, 135, 137, 138, 139, 143, 161, 162, 179, 389,
    443, 445, 465, 500, 514, 515, 520, 546, 547, 548, 554, 587, 623, 631, 636, 853, 873, 989, 990, 993, 995, 1080, 1194,
    1400, 1723, 1883, 1900, 1935, 2049, 3074, 3306, 3389, 3478, 3479, 3702, 4070, 4500, 5000, 5001, 5004, 5005, 5060,
    5061, 5222, 5223, 5228, 5353, 5355, 5432, 5540, 5555, 5671, 5672, 5683, 5684, 5900, 6379, 6667, 6668, 7000, 7547,
    8000, 8008, 8009, 8080, 8081, 8086, 8088, 8123, 8443, 8554, 8883, 8888, 9000, 9100, 9200, 9443, 9999, 10000, 19302,
)  # fmt: skip
"""Ports with their own embedding: common services."""

PORTS = len(KNOWN_PORTS) + 4
"""Port fields: 0 masked, then the known ports, then other system, registered and dynamic ports."""

OCTETS = 258
"""Octet fields: 0 none, 1 to 256 the octet + 1, 257 masked."""

CLASSES = 8
"""Classes of octets: zero, control, digit, lower case, upper case, other printable, high, 255."""

FLOW = 6  # fields of the whole flow: protocol, remote port, device port, octets, packets, kind of the remote address
KINDS = 5
"""Kinds of remote addresses: masked, private, multicast, broadcast, public."""

PACKET = 5  # fields of a packet before its classes and octets: present, out, size, gap, payload
PRESENT, OUT, SIZE, GAP, KEPT = range(PACKET)
PACKETS = 10
SIZES = 72  # bins of a packet's size: every 4 octets up to 128, every 16 up to 512, then every 64
SCALE, HALF, ONE = np.float32(258.0), np.float32(0.5), np.float32(1.0)
GAPS = 24  # bins of the logarithm of the time between packets
FULL_GAP = float(np.log1p(60_000.0))  # ms

_PORT_FIELD = np.zeros(65_536, np.int16)
_PORT_FIELD[:1024], _PORT_FIELD[1024:49_152], _PORT_FIELD[49_152:] = PORTS - 3, PORTS - 2, PORTS - 1
_PORT_FIELD[list(KNOWN_PORTS)] = np.arange(1, len(KNOWN_PORTS) + 1)

_CLASS = np.full(256, 5, np.int64)
_CLASS[0], _CLASS[1:32], _CLASS[127:255], _CLASS[255] = 0, 1, 6, 7
_CLASS[48:58], _CLASS[97:123], _CLASS[65:91] = 2, 3, 4


@dataclass(frozen=True)
class FieldPlan:
    """Column layout of :func:`describe`.

    >>> FieldPlan(FieldSettings(octets=2, grams=3)).width
    159
    """

    settings: FieldSettings

    @property
    def packet(self) -> int:
        """Number of columns per packet."""
        return PACKET + CLASSES + self.settings.octets

    @property
    def width(self) -> int:
        """Total number of columns."""
        return FLOW + PACKETS * self.packet + self.settings.grams

    @cached_property
    def grams(self) -> slice:
        """Columns of the text fragments."""
        return slice(FLOW + PACKETS * self.packet, self.width)


@COMPILER.checked
def add_gram(value: Any, buckets: int, out: Any, count: int) -> Any:
    """Add a text fragment unless it is present; return the number of fragments."""
    bucket = 1 + value % buckets
    if count < out.shape[0]:
        for i in range(count):
            if out[i] == bucket:
                return count
        out[count] = bucket
        return count + 1
    return count


@COMPILER.checked
def add_word(word: Any, length: int, letters: int, buckets: int, out: Any, count: int) -> Any:
    """Add a word of at least four characters with a letter, and the character trigrams of longer words."""
    if length < 4 or letters == 0:
        return count
    value = np.uint32(2166136261)
    for i in range(length):
        value = np.uint32((value ^ np.uint32(word[i])) * np.uint32(16777619))
    count = add_gram(value, buckets, out, count)
    if length >= 6:
        for begin in range(length - 2):
            value = np.uint32(2166136261)
            for i in range(begin, begin + 3):
                value = np.uint32((value ^ np.uint32(word[i])) * np.uint32(16777619))
            # Trigrams must not collide with words of three characters, should these ever be used.
            count = add_gram(np.uint32(value ^ np.uint32(0x9E3779B9)), buckets, out, count)
    return count


@COMPILER.checked
def read_packets(symbols: Any, octets: int, packet: int, classes: Any, buckets: int, out: Any, grams: Any) -> None:
    """Packet fields and words of one flow from its (scaled) payload symbols."""
    k = -1
    count: Any = 0
    length: Any = 0
    letters: Any = 0
    word = np.empty(24, np.int64)
    i: Any = 0
    end = symbols.shape[0]
    while i < end and symbols[i] > 0:
        code = np.int64(symbols[i] * SCALE + HALF)
        i += 1
        if code < 3:
            if length >= 4:
                count = add_word(word, min(length, 24), letters, buckets, grams, count)
            length, letters = 0, 0
            k += code == 1
            continue
        if k < 0 or k >= PACKETS:
            continue
        # The octets of one packet.
        base = FLOW + k * packet
        seen = 0
        while code >= 3:
            octet = code - 3
            out[base + PACKET + classes[octet]] += ONE
            if seen < octets:
                out[base + PACKET + CLASSES + seen] = octet + 1
            seen += 1
            kind = classes[octet]
            # A word ends at the first non-word character; an upper-case letter starts a new one.
            if kind < 2 or kind > 3:
                if length >= 4:
                    count = add_word(word, min(length, 24), letters, buckets, grams, count)
                length, letters = 0, 0
                octet += 32
            if 2 <= kind <= 4:
                if length < 24:
                    word[length] = octet
                length += 1
                letters += kind > 2
            if i >= end:
                break
            code = np.int64(symbols[i] * SCALE + HALF)
            i += code >= 3
        out[base + KEPT] = seen
    if length >= 4:
        add_word(word, min(length, 24), letters, buckets, grams, count)


@COMPILER.checked
def kind_of(numbers: Any) -> Any:
    """Kind of a remote address, from its octets (scaled)."""
    first, last = np.rint(numbers[1] * 255.0), np.rint(numbers[4] * 255.0)
    if first == 0.0 and last == 0.0 and numbers[2] == 0.0 and numbers[3] == 0.0:
        return 1.0
    if 224.0 <= first < 240.0:
        return 2.0
    return 3.0 if first == 255.0 and last == 255.0 else 4.0


@COMPILER.compiled
def read_flow(numbers: Any, ports: Any, with_ports: bool, with_kind: bool, packet: int, out: Any) -> None:
    """Fields of one flow and its packets from its features."""
    protocol = np.int64(np.rint(numbers[7] * 255.0))
    out[0] = 1.0 if protocol == 6 else (2.0 if protocol == 17 else 3.0)
    if with_ports:
        out[1] = ports[np.int64(np.rint(numbers[5] * 65535.0))]
        out[2] = ports[np.int64(np.rint(numbers[6] * 65535.0))]
    out[3] = numbers[8]
    out[4] = numbers[9]
    if with_kind:
        out[5] = kind_of(numbers)
    before = 0.0
    for k in range(PACKETS):
        base = FLOW + k * packet
        if numbers[11 + 3 * k] > 0.0:
            out[base + PRESENT] = 1.0
            out[base + OUT] = numbers[12 + 3 * k]
            out[base + SIZE] = np.rint(numbers[11 + 3 * k] * 1500.0)
            gap_ms = max(0.0, (numbers[10 + 3 * k] - before) * 60_000.0)
            out[base + GAP] = np.log1p(gap_ms) / FULL_GAP
            before = numbers[10 + 3 * k]


@COMPILER.checked
def describe_all(
    numbers: Any, symbols: Any, ports: Any, with_ports: bool, with_kind: bool, classes: Any, octets: int, packet: int,
    buckets: int, first_gram: int, out: Any
) -> None:  # fmt: skip
    """Fill each row of ``out`` from a row of features and a row of payload symbols."""
    out[:] = 0.0
    for i in range(out.shape[0]):
        read_flow(numbers[i], ports, with_ports, with_kind, packet, out[i])
        read_packets(symbols[i], octets, packet, classes, buckets, out[i], out[i, first_gram:])
        for k in range(PACKETS):
            base = FLOW + k * packet
            kept = out[i, base + KEPT]
            if kept > 0:
                for j in range(CLASSES):
                    out[i, base + PACKET + j] /= kept
            out[i, base + KEPT] = np.log1p(kept) / np.log1p(1000.0)


def describe(x: NDArray[np.float32], view: View, settings: FieldSettings) -> NDArray[np.float32]:
    """Fields of vectors; features that the view lacks count as masked.

    Parameters
    ----------
    x
        float32 [N, K]: vectors of the view, or their first K columns when the rest is padding.
    view
        View of the columns.
    settings
        Number of octets and text fragments.

    Returns
    -------
    numpy.ndarray
        float32 [N, F], in the columns of :class:`FieldPlan`; identifiers as integers.
    """
    plan = FieldPlan(settings)
    before = header_width(view)
    numbers = np.zeros((len(x), PAYLOAD.start), np.float32)
    numbers[:, view.places[:before]] = x[:, :before]
    out = np.empty((len(x), plan.width), np.float32)
    with_ports = settings.ports and 5 in view.places
    describe_all(
        numbers, x[:, before:], _PORT_FIELD, with_ports, 1 in view.places, _CLASS, settings.octets, plan.packet,
        settings.buckets, plan.grams.start, out,
    )  # fmt: skip
    return out
