"""Information elements: names and abstract data types of template fields.

The table ``data/elements.tsv`` contains the IANA registry (RFC 7012), which NetFlow v9 shares; field types that only
exist in v9 (ids from 8192 on, and from 32768 on ids that IPFIX reserves for enterprise elements); and elements of
common enterprises. Other elements are kept by number, as octets.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Literal

__all__ = ["ENTERPRISES", "SCOPES", "VARIABLE", "Element", "Type", "element", "elements"]

NTOP, NTOP_V9, NTOP_COUNT = 35632, 57472, 2048

ENTERPRISES = {
    0: "IANA", 9: "Cisco", 637: "Nokia", 2011: "Huawei", 2636: "Juniper", 3054: "Ixia", 3375: "F5", 5951: "Citrix",
    6871: "CERT", 6876: "VMware", 8057: "CESNET", 8741: "SonicWall", 10704: "Barracuda", 12356: "Fortinet",
    14988: "MikroTik", 15397: "Procera", 16982: "Masaryk University", 25461: "Palo Alto", 25506: "H3C",
    29305: "reverse", 35632: "ntop", 39499: "Flowmon", 41112: "Ubiquiti", 41916: "Viptela",
}  # fmt: skip
"""Names of private enterprise numbers; only the number identifies an element."""

SCOPES = {1: "system", 2: "interface", 3: "line card", 4: "cache", 5: "template"}
"""Scope field types of NetFlow v9 (RFC 3954 section 6.1), with their own numbering."""

Type = Literal[
    "unsigned8", "unsigned16", "unsigned32", "unsigned64", "signed8", "signed16", "signed32", "signed64",
    "float32", "float64", "boolean", "macAddress", "octetArray", "string", "dateTimeSeconds", "dateTimeMilliseconds",
    "dateTimeMicroseconds", "dateTimeNanoseconds", "ipv4Address", "ipv6Address", "basicList", "subTemplateList",
    "subTemplateMultiList",
]  # fmt: skip
"""Abstract data types, RFC 7012 section 3.1 and RFC 6313 section 4.5."""

_LENGTHS: dict[str, int] = {
    "unsigned8": 1, "unsigned16": 2, "unsigned32": 4, "unsigned64": 8, "signed8": 1, "signed16": 2, "signed32": 4,
    "signed64": 8, "float32": 4, "float64": 8, "boolean": 1, "macAddress": 6, "dateTimeSeconds": 4,
    "dateTimeMilliseconds": 8, "dateTimeMicroseconds": 8, "dateTimeNanoseconds": 8, "ipv4Address": 4,
    "ipv6Address": 16,
}  # fmt: skip
VARIABLE = 65535
"""Length of a variable-length field (RFC 7011 section 7)."""


@dataclass(frozen=True, slots=True)
class Element:
    """One information element.

    Parameters
    ----------
    enterprise
        Private enterprise number; 0 for the IANA registry.
    id
        Element number.
    name
        Registered name; ``enterprise.id`` if the element is unknown.
    type
        Abstract data type.
    unit
        Unit of the value, ``""`` if it has none.
    known
        Whether the element is in the table.
    """

    enterprise: int
    id: int
    name: str
    type: Type
    unit: str = ""
    known: bool = True

    @property
    def length(self) -> int:
        """Octets of the type without reduced-size encoding; 65535 if variable."""
        return _LENGTHS.get(self.type, VARIABLE)

    @property
    def reverse_name(self) -> str:
        """Name of the element in the reverse direction (RFC 5103 section 6.1).

        >>> element(0, 1).reverse_name
        'reverseOctetDeltaCount'
        """
        return f"reverse{self.name[0].upper()}{self.name[1:]}"


@functools.cache
def elements() -> dict[tuple[int, int], Element]:
    """The whole table by enterprise and id, sorted."""
    text = resources.files("ethogram.io.wire").joinpath("data/elements.tsv").read_text("utf-8")
    table: dict[tuple[int, int], Element] = {}
    for line in text.splitlines()[1:]:
        enterprise, number, name, kind, unit = line.split("\t")
        key = (int(enterprise), int(number))
        table[key] = Element(*key, name, kind, unit)  # type: ignore[arg-type]
    return table


def element(enterprise: int, id: int) -> Element:  # noqa: A002 (the word of RFC 7011)
    """Look up an element; an unknown one is named by its number and has the type of octets.

    Parameters
    ----------
    enterprise, id
        As in a template. NetFlow v9 has no enterprise numbers; ntop's elements are field types from 57472 on.

    Examples
    --------
    >>> element(0, 152).name, element(0, 152).type
    ('flowStartMilliseconds', 'dateTimeMilliseconds')
    >>> element(0, 57660).name
    'ntopTlsServerName'
    >>> element(4242, 7).name, element(4242, 7).type
    ('4242.7', 'octetArray')
    """
    if enterprise == 0 and NTOP_V9 <= id < NTOP_V9 + NTOP_COUNT:
        enterprise, id = NTOP, id - NTOP_V9  # noqa: A001
    known = elements().get((enterprise, id))
    return known or Element(enterprise, id, f"{enterprise}.{id}", "octetArray", "", known=False)
