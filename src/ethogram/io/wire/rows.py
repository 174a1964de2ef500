"""Records as rows of values typed by their elements, for display and comparison rather than speed."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ethogram._address_text import MAC, AddressText
from ethogram.io.wire.elements import SCOPES, Element, element
from ethogram.io.wire.record_times import exported_us, ntp_us
from ethogram.io.wire.records import Records
from ethogram.io.wire.template import Field, Template
from ethogram.io.wire.text_fields import octets_of, texts
from ethogram.io.wire.walk import V9

__all__ = ["field_names", "rows_of"]

LATEST_US = 253_402_300_799_000_000
ElementOf = Callable[[int, int], Element]


def field_names(template: Template, element_of: ElementOf = element) -> list[str]:
    """A name for each field of a template; repeated ones are numbered.

    Parameters
    ----------
    template
        The template.
    element_of
        Looks up an element.

    Examples
    --------
    >>> from ethogram.io.wire.template import v5_template
    >>> field_names(v5_template(0))[:3]
    ['sourceIPv4Address', 'destinationIPv4Address', 'ipNextHopIPv4Address']
    """
    names: list[str] = []
    seen: dict[str, int] = {}
    for field in template.fields:
        name = name_of(field, template.version, element_of)
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return names


def name_of(field: Field, version: int, element_of: ElementOf) -> str:
    """Name of a field; scope types of NetFlow v9 are not elements."""
    if field.scope and version == V9:
        return f"scope {SCOPES.get(field.id, field.id)}"
    known = element_of(field.enterprise, field.id)
    return known.reverse_name if field.reverse else known.name


def rows_of(records: Records, most: int | None = None, element_of: ElementOf = element) -> Iterator[dict[str, Any]]:
    """Records as dictionaries from element name to value.

    Parameters
    ----------
    records
        N records.
    most
        Maximum number of rows.
    element_of
        Looks up an element.
    """
    template = records.template
    rows = len(records) if most is None else min(most, len(records))
    columns = [
        values_of(records, i, rows, element_of(field.enterprise, field.id), template.version)
        for i, field in enumerate(template.fields)
    ]
    names = field_names(template, element_of)
    for row in range(rows):
        yield dict(zip(names, (column[row] for column in columns), strict=True))


def values_of(records: Records, i: int, rows: int, known: Element, version: int) -> list[Any]:
    """The first values of one field; null if it has no octets."""
    field = records.template.fields[i]
    if field.length == 0:
        return [None] * rows
    kind = "unsigned32" if field.scope and version == V9 else known.type
    if kind.startswith("unsigned"):
        return _numbers(records, i, rows) if 0 < field.length <= 8 else _hex(records, i, rows)
    if kind.startswith("signed"):
        return list(records.signed(i)[:rows].tolist())
    if kind.startswith("float"):
        return [value if np.isfinite(value) else None for value in records.real(i)[:rows].tolist()]
    if kind == "boolean":  # RFC 7011 section 6.1.5
        return [{1: True, 2: False}.get(value) for value in records.unsigned(i)[:rows].tolist()]
    if kind in {"ipv4Address", "ipv6Address", "macAddress"}:
        return _addresses(records, i, rows, {"ipv4Address": 4, "ipv6Address": 6, "macAddress": MAC}[kind])
    if kind.startswith("dateTime"):
        return _times(records, i, rows, kind)
    if kind == "string":
        return texts(records, i).head(rows).fill_null("").to_list()
    return _hex(records, i, rows)


def _numbers(records: Records, i: int, rows: int) -> list[Any]:
    return list(records.unsigned(i)[:rows].tolist())


def _hex(records: Records, i: int, rows: int) -> list[Any]:
    return [octets.hex() for octets in octets_of(records, i).head(rows).to_list()]


def _addresses(records: Records, i: int, rows: int, version: int) -> list[Any]:
    expected = {4: 4, 6: 16, MAC: 6}[version]
    length = records.template.fields[i].length
    if length != expected and not (version == 4 and length < expected):
        return _hex(records, i, rows)
    high, low = records.address(i)
    text = AddressText(unmap=False)(np.full(rows, version, np.uint8), high[:rows].copy(), low[:rows].copy())
    return text.fill_null("00:00:00:00:00:00").to_list()


def _times(records: Records, i: int, rows: int, kind: str) -> list[Any]:
    values = records.unsigned(i)[:rows]
    if kind in {"dateTimeSeconds", "dateTimeMilliseconds"}:
        step = 1_000_000 if kind == "dateTimeSeconds" else 1000
        us = [value * step for value in values.tolist()]
    else:
        near = exported_us(records)[records.message][:rows]
        us = ntp_us(values, near, 1.0 if kind == "dateTimeMicroseconds" else 1e-3).tolist()
    return [
        _iso(value) if raw and 0 <= value <= LATEST_US else raw for raw, value in zip(values.tolist(), us, strict=True)
    ]


def _iso(us: int) -> str:
    time = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=us)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
