"""Lists of devices as CSV or JSON: of routers, controllers, inventories (NetBox), and of other programs.

Columns are found by their usual names, or named by a mapping file (TOML)::

    [columns]
    mac = "Hardware"
    address = "Last IP"
    name = "Client"

In JSON, a column may be a path such as ``network.mac``; the entries are the first list of objects.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ethogram._parse_address import parse_mac
from ethogram._tables import TextFileError, utf8_text
from ethogram.errors import ConfigurationError
from ethogram.io.names.entries import Entries, NameEntry

__all__ = ["CSV_FORMAT", "JSON_FORMAT", "columns_of", "load_mapping", "read_csv", "read_json", "sniff_csv",
           "sniff_json"]  # fmt: skip

CSV_FORMAT, JSON_FORMAT = "CSV", "JSON"

_FIELDS = ("mac", "address", "name", "host_name", "vendor", "model", "kind", "begin")
_KNOWN = {
    "mac": ("mac", "macaddress", "macaddr", "hwaddr", "hwaddress", "hardwareaddress", "physicaladdress", "lladdr",
            "clientmac", "primarymacaddress", "ethernetaddress"),
    "address": ("ip", "ipaddress", "address", "ipv4", "ipv4address", "ipaddr", "dst", "primaryip", "primaryip4",
                "lastip", "fixedip", "clientip", "ipaddressv4"),
    "name": ("device", "name", "devicename", "displayname", "alias", "friendlyname", "clientname", "nickname", "label"),
    "host_name": ("hostname", "host", "dnsname", "fqdn", "clienthostname"),
    "vendor": ("vendor", "manufacturer", "oui", "maker", "brand"),
    "model": ("model", "devicetype", "devicemodel", "productname"),
    "kind": ("kind", "role", "devicerole", "category", "devicecategory"),
    "begin": ("from",),
}  # fmt: skip
"""Usual names of columns, in lower case without other signs than letters and digits; the first that fits is used."""
_MAX_DEPTH = 4


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def columns_of(header: Sequence[str]) -> dict[str, str]:
    """Column of each field, by its usual name; empty without a column for MACs or addresses.

    >>> columns_of(["Name", "Status", "Role", "Manufacturer", "Type", "IP Address"])
    {'address': 'IP Address', 'name': 'Name', 'vendor': 'Manufacturer', 'model': 'Type', 'kind': 'Role'}
    """
    plain = {_plain(name): name for name in reversed(header)}
    columns = {
        field: next(plain[name] for name in names if name in plain)
        for field, names in _KNOWN.items()
        if any(name in plain for name in names)
    }
    if "model" not in columns and "type" in plain and {"vendor", "kind"} <= columns.keys():  # NetBox's device type
        columns["model"] = plain["type"]
    if not columns.keys() & {"mac", "address"}:
        return {}
    return {field: columns[field] for field in _FIELDS if field in columns}


def load_mapping(file: Path) -> dict[str, str]:
    """Read a mapping file: the column of each field.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, is not TOML, or has an unknown field, or no column for MACs or addresses.
    """

    def wrong(reason: str) -> ConfigurationError:
        return ConfigurationError(f"mapping of names {file}: {reason}")

    try:
        raw = tomllib.loads(utf8_text(file.read_bytes()))
    except OSError as error:
        raise wrong(error.strerror or str(error)) from None
    except TextFileError as error:
        raise wrong(error.reason if error.line is None else f"line {error.line}: {error.reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise wrong(f"not TOML: {error}") from None
    columns = raw.pop("columns", None)
    if raw or not isinstance(columns, dict) or not columns:
        raise wrong("expected a section [columns] and nothing else")
    for field, column in columns.items():
        if field not in _FIELDS:
            raise wrong(f"unknown field {field!r}; expected one of {', '.join(_FIELDS)}")
        if not isinstance(column, str) or not column:
            raise wrong(f"field {field!r} has no column name")
    if not columns.keys() & {"mac", "address"}:
        raise wrong("no column for mac or address")
    return columns


def sniff_csv(lines: Sequence[str], columns: Mapping[str, str] | None = None) -> bool:
    """Whether the first line is a header with the columns of a mapping, or with usual ones."""
    if not lines:
        return False
    header = _header(lines[0])
    if columns is not None:
        return set(columns.values()) <= set(header)
    return len(header) > 1 and bool(columns_of(header))


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _header(line: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line], delimiter=_delimiter(line)), [])]


def read_csv(text: str, entries: Entries, columns: Mapping[str, str] | None = None) -> None:
    """Read all rows; separated by comma, semicolon or tab."""
    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    if start == len(lines):
        return
    delimiter = _delimiter(lines[start])
    header = _header(lines[start])
    columns = columns or columns_of(header)
    reader = csv.reader(lines[start + 1 :], delimiter=delimiter, skipinitialspace=True)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            entries.drop(start + 1 + reader.line_num, str(error))
            continue
        if any(field.strip() for field in fields):
            row = dict(zip(header, fields, strict=False))
            _add(entries, start + 1 + reader.line_num, {field: row.get(name, "") for field, name in columns.items()})


def _add(entries: Entries, line: int, values: Mapping[str, str]) -> None:
    """Add a row, whose cell may list several addresses."""
    values = {field: value.strip() for field, value in values.items()}
    begin = _time(values.pop("begin", ""))
    addresses = [part for part in re.split(r"[,;\s]+", values.pop("address", "")) if part] or [""]
    for address in addresses[:16]:
        entries.add(NameEntry(line, address=address, begin=begin, **values))


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def sniff_json(text: str) -> bool:
    """Whether the text begins as JSON."""
    return text.lstrip()[:1] in {"{", "["}


def read_json(text: str, entries: Entries, columns: Mapping[str, str] | None = None) -> bool:
    """Read the first list of objects that have a MAC or an address; False if there is none."""
    try:
        objects = _objects(orjson.loads(text), 0)
    except orjson.JSONDecodeError:
        objects = iter(_lines(text, entries))
    for number, entry in enumerate(objects, 1):
        used = columns or columns_of(list(entry))
        if not used:
            entries.ignore("neither MAC nor address of a device")
            continue
        _add(entries, number, {field: _value(entry, path) for field, path in used.items()})
    return entries.accounting.used > 0


def _lines(text: str, entries: Entries) -> list[dict[str, Any]]:
    """Objects of JSON lines."""
    objects = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            entries.drop(number, "not JSON")
            continue
        if isinstance(value, dict):
            objects.append(value)
    return objects


def _objects(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """The first list of objects in a value; an object whose keys are MACs counts as one."""
    if isinstance(value, list):
        if value and all(isinstance(entry, dict) for entry in value):
            yield from value
        return
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        return
    if value and all(parse_mac(key) and isinstance(entry, dict) for key, entry in value.items()):
        yield from ({"mac": key} | entry for key, entry in value.items())
        return
    for entry in value.values():
        objects = list(_objects(entry, depth + 1))
        if objects:
            yield from objects
            return
    if columns_of(list(value)):
        yield value


def _value(entry: Mapping[str, Any], path: str) -> str:
    """Text at a path such as ``network.mac``; empty if there is none."""
    value: Any = entry.get(path)
    if value is None and "." in path:
        value = entry
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, dict):  # NetBox and others nest objects that have a name
        value = next((value[key] for key in ("display", "name", "address", "label", "model") if key in value), "")
    if isinstance(value, list):
        return ",".join(str(part) for part in value if isinstance(part, str))
    return "" if value is None or isinstance(value, bool) else str(value)
