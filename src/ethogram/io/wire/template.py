"""Templates, and parsing of template sets.

Reference: RFC 7011 sections 3.4 and 7, RFC 5103 section 6.1 (reverse elements), RFC 3954 sections 5.2 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ethogram.io.wire.walk import IPFIX, V5, V9

__all__ = ["V5_FIELDS", "VARIABLE", "Definition", "Field", "Template", "parse_definitions", "v5_template"]

VARIABLE = 65535
"""Length of a variable-length field (RFC 7011 section 7)."""

REVERSE_PEN = 29305
YAF_PEN, YAF_REVERSE = 6871, 0x4000
ENTERPRISE_BIT = 0x8000


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a template.

    Parameters
    ----------
    enterprise
        Private enterprise number; 0 for IANA elements and all of v9.
    id
        Information element; for scope fields of v9 the scope type (1 system, 2 interface, 3 line card, 4 cache,
        5 template).
    length
        Octets in a record, or :data:`VARIABLE`.
    scope
        Whether it is a scope field of an options template.
    reverse
        Whether it describes the reverse direction of a biflow (RFC 5103).
    """

    enterprise: int
    id: int
    length: int
    scope: bool = False
    reverse: bool = False


@dataclass(frozen=True)
class Template:
    """The fields of a type of record, and their positions.

    Parameters
    ----------
    version
        5, 9 or 10.
    domain
        Observation domain (v9: source).
    id
        Template id, 256 or more; 0 for NetFlow v5.
    fields
        In order; elements can repeat.
    options
        Whether its records are options, which describe the exporter and not flows.
    generation
        Number that is unique in the template store.
    """

    version: int
    domain: int
    id: int
    fields: tuple[Field, ...]
    options: bool = False
    generation: int = field(default=0, compare=False)

    @cached_property
    def variable(self) -> tuple[int, ...]:
        """Indices of variable-length fields."""
        return tuple(i for i, field in enumerate(self.fields) if field.length == VARIABLE)

    @cached_property
    def shortest(self) -> int:
        """Octets of the shortest possible record."""
        return sum(1 if field.length == VARIABLE else field.length for field in self.fields)

    @cached_property
    def places(self) -> NDArray[np.int32]:
        """For each field: the number of variable fields before it, and its distance from the last of them."""
        positions = np.empty((len(self.fields), 2), np.int32)
        passed, distance = 0, 0
        for i, spec in enumerate(self.fields):
            positions[i] = passed, distance
            if spec.length == VARIABLE:
                passed, distance = passed + 1, 0
            else:
                distance += spec.length
        return positions

    @cached_property
    def runs(self) -> NDArray[np.int64]:
        """Octets of fixed length before each variable field, and after the last."""
        runs = [0]
        for spec in self.fields:
            if spec.length == VARIABLE:
                runs.append(0)
            else:
                runs[-1] += spec.length
        return np.array(runs, np.int64)

    @property
    def weight(self) -> int:
        """Weight towards the limit of templates: one for every 64 fields or part of them."""
        return 1 + (len(self.fields) - 1) // 64


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition in a template set.

    Parameters
    ----------
    id
        Template id; 2 or 3 without fields: all templates, or all options templates (RFC 7011 section 8.1).
    fields
        None if the template is withdrawn or invalid.
    options
        Whether it is an options template.
    problem
        Why it is invalid; it then replaces and voids the previous one.
    """

    id: int
    fields: tuple[Field, ...] | None
    options: bool
    problem: str | None = None


def parse_definitions(octets: bytes, version: int, options: bool, max_fields: int) -> list[Definition]:
    """Parse a template set or options template set without its header.

    Parameters
    ----------
    octets
        Body of the set.
    version
        9 or 10.
    options
        Whether it is an options template set.
    max_fields
        Templates with more fields are invalid.

    Returns
    -------
    One definition per template. An unreadable part ends the set; the last definition then states the problem.

    Examples
    --------
    >>> [source] = parse_definitions(bytes.fromhex("0100000100080004"), 9, False, 512)
    >>> source.id, source.fields
    (256, (Field(enterprise=0, id=8, length=4, scope=False, reverse=False),))
    """
    definitions: list[Definition] = []
    at, end = 0, len(octets)
    while end - at >= 4:
        number = int.from_bytes(octets[at : at + 2])
        count = int.from_bytes(octets[at + 2 : at + 4])
        at += 4
        if number < 256:
            if version == IPFIX and count == 0 and number in (2, 3):
                definitions.append(Definition(number, None, options))
                continue
            if any(octets[at - 4 :]):
                definitions.append(Definition(number, None, options, "template number below 256"))
            break
        scopes = 0
        if version == IPFIX and count == 0:
            definitions.append(Definition(number, None, options))
            continue
        if options:
            if end - at < 2:
                definitions.append(Definition(number, None, options, "cut short"))
                break
            second = int.from_bytes(octets[at : at + 2])
            at += 2
            # v9 states octets of scope and option fields, IPFIX the number of all fields and of scope fields.
            scopes, count = (count // 4, count // 4 + second // 4) if version == V9 else (second, count)
        fields, at, problem = parse_fields(octets, at, count, scopes, version, max_fields)
        definitions.append(Definition(number, None if problem else fields, options, problem))
        if at > end:
            break
    return definitions


def parse_fields(
    octets: bytes, at: int, count: int, scopes: int, version: int, max_fields: int
) -> tuple[tuple[Field, ...], int, str | None]:
    """Fields of one template, the position after them (beyond the end if truncated), and the problem if any."""
    fields: list[Field] = []
    end = len(octets)
    for i in range(count):
        if end - at < 4:
            return (), end + 1, "cut short"
        element = int.from_bytes(octets[at : at + 2])
        length = int.from_bytes(octets[at + 2 : at + 4])
        at += 4
        enterprise, reverse = 0, False
        if version == IPFIX and element & ENTERPRISE_BIT:
            if end - at < 4:
                return (), end + 1, "cut short"
            element &= ~ENTERPRISE_BIT
            enterprise = int.from_bytes(octets[at : at + 4])
            at += 4
            if enterprise == REVERSE_PEN:
                enterprise, reverse = 0, True
            elif enterprise == YAF_PEN and element & YAF_REVERSE:
                element, reverse = element & ~YAF_REVERSE, True
        if len(fields) < max_fields:
            fields.append(field_of(enterprise, element, length, i < scopes, reverse))
    return same(tuple(fields)), at, problem_of(fields, count, scopes, max_fields)


@lru_cache(1 << 12)
def same(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    """Intern the fields of a template; templates with the same object are decoded together."""
    return fields


@lru_cache(1 << 14)
def field_of(enterprise: int, element: int, length: int, scope: bool, reverse: bool) -> Field:
    """Intern a field, so that ten thousand templates need little memory."""
    return Field(enterprise, element, length, scope, reverse)


def problem_of(fields: list[Field], count: int, scopes: int, max_fields: int) -> str | None:
    """Why a completely read template is invalid."""
    if count > max_fields:
        return "too many fields"
    if not any(field.length for field in fields):
        return "records of no length"
    if scopes > count:
        return "more scope fields than fields"
    return None


def v5_fields(lengths: Iterable[tuple[int, int]]) -> tuple[Field, ...]:
    """Fields of IANA elements."""
    return tuple(Field(0, element, length) for element, length in lengths)


V5_FIELDS = v5_fields((
    (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2), (210, 1), (6, 1),
    (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (210, 2),
))  # fmt: skip


def v5_template(generation: int) -> Template:
    """The fixed record of NetFlow v5 as a template of IANA elements."""
    return Template(V5, 0, 0, V5_FIELDS, False, generation)
