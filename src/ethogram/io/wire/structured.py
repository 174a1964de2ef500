"""Structured data in IPFIX records: basic lists, sub-template lists and sub-template multi-lists.

Reference: RFC 6313, sections 4.5.1 to 4.5.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ethogram.io.wire.element_precedence import Key
from ethogram.io.wire.template import REVERSE_PEN, VARIABLE, YAF_PEN, YAF_REVERSE, Template

__all__ = ["LISTS", "StructuredField", "read_list"]

BASIC_LIST, SUB_TEMPLATE_LIST, SUB_TEMPLATE_MULTI_LIST = 291, 292, 293
LISTS = ((0, BASIC_LIST, False), (0, SUB_TEMPLATE_LIST, False), (0, SUB_TEMPLATE_MULTI_LIST, False))
MAX_DEPTH = 4
MAX_FIELDS = 512
"""Fields read of one list, those of nested lists included."""

Lookup = Callable[[int], Template | None]


@dataclass
class StructuredField:
    """One field of a record in a list.

    Parameters
    ----------
    key
        Enterprise, element, and whether it is of the reverse direction; of a basic list, those of its element.
    values
        Octets of the value; those of a basic list, in order.
    records
        Records of a nested list of records.
    """

    key: Key
    values: tuple[bytes, ...] = ()
    records: tuple[tuple[StructuredField, ...], ...] = field(default_factory=tuple)


class _Reader:
    """Reads one list with a bound on its fields."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._left = MAX_FIELDS
        self.unknown = False

    def field(self, key: Key, octets: bytes, depth: int) -> StructuredField:
        if key not in LISTS or depth > MAX_DEPTH:
            return StructuredField(key, (octets,))
        if key[1] == BASIC_LIST:
            return self._basic(octets)
        if key[1] == SUB_TEMPLATE_LIST:
            number = int.from_bytes(octets[1:3])
            return StructuredField(key, (), tuple(self._records(number, octets[3:], depth)) if octets[3:] else ())
        return StructuredField(key, (), tuple(self._multi(octets, depth)))

    def _basic(self, octets: bytes) -> StructuredField:
        """A semantic, a field specifier, and the values."""
        element, length, at = int.from_bytes(octets[1:3]), int.from_bytes(octets[3:5]), 5
        enterprise, reverse = 0, False
        if element & 0x8000:
            element, enterprise, at = element & 0x7FFF, int.from_bytes(octets[5:9]), 9
            if enterprise == REVERSE_PEN:
                enterprise, reverse = 0, True
            elif enterprise == YAF_PEN and element & YAF_REVERSE:
                element, reverse = element & ~YAF_REVERSE, True
        values = []
        while at < len(octets) and self._left > 0:
            begin, end = _span(octets, at, length)
            if end <= at or end > len(octets):
                break
            values.append(octets[begin:end])
            self._left -= 1
            at = end
        return StructuredField((enterprise, element, reverse), tuple(values))

    def _multi(self, octets: bytes, depth: int) -> Iterator[tuple[StructuredField, ...]]:
        """A semantic, then for each template its id, the octets with this head, and its records."""
        at = 1
        while at + 4 <= len(octets) and self._left > 0:
            number, length = int.from_bytes(octets[at : at + 2]), int.from_bytes(octets[at + 2 : at + 4])
            if length < 4 or at + length > len(octets):
                return
            yield from self._records(number, octets[at + 4 : at + length], depth)
            at += length

    def _records(self, number: int, octets: bytes, depth: int) -> Iterator[tuple[StructuredField, ...]]:
        template = self._lookup(number)
        if template is None:
            self.unknown = True
            return
        at = 0
        while at + template.shortest <= len(octets) and self._left > 0:
            fields = []
            for spec in template.fields:
                begin, end = _span(octets, at, spec.length)
                if end > len(octets):
                    return
                self._left -= 1
                fields.append(self.field((spec.enterprise, spec.id, spec.reverse), octets[begin:end], depth + 1))
                at = end
            yield tuple(fields)


def _span(octets: bytes, at: int, length: int) -> tuple[int, int]:
    """Begin and end of a value; of variable length, after its length (RFC 7011 section 7)."""
    if length != VARIABLE:
        return at, at + length
    short = octets[at] if at < len(octets) else 0
    if short < 255:
        return at + 1, at + 1 + short
    return at + 3, at + 3 + int.from_bytes(octets[at + 1 : at + 3])


def read_list(key: Key, octets: bytes, lookup: Lookup) -> tuple[StructuredField, bool]:
    r"""Read the value of a list element, up to where it is malformed.

    Parameters
    ----------
    key
        One of :data:`LISTS`.
    octets
        Its value, at most 65,535 octets.
    lookup
        Gives the template of an id, None if it is not known.

    Returns
    -------
    field, unknown
        The list; whether a template was not known, so that records are missing.

    Examples
    --------
    >>> options = bytes([3, 0x81, 0x29, 0, 1]) + (6871).to_bytes(4) + bytes([1, 3, 6])
    >>> read_list((0, 291, False), options, lambda _: None)[0]
    StructuredField(key=(6871, 297, False), values=(b'\x01', b'\x03', b'\x06'), records=())
    """
    reader = _Reader(lookup)
    return reader.field(key, octets, 0), reader.unknown
