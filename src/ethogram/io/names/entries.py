"""Entries of a file that names devices, with the accounting of its lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from ethogram._parse_address import parse_address, parse_mac
from ethogram.schema import MAX_VALUE, NAMED_DEVICE, Accounting

__all__ = ["Entries", "NameEntry"]

_NOTHING = {"", "*", "?", "-", "--", "unknown", "none", "null", "n/a", "(unknown)", "localhost"}
_NO_MAC = {"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"}
_NOBODY = ("0.", "127.", "255.255.255.255")


@dataclass(frozen=True)
class NameEntry:
    """One entry as it is written in the file.

    Parameters
    ----------
    line
        Line number, or number of the entry.
    mac, address
        Text of the MAC and of the address, empty if there is none; an address may have a prefix length.
    name, host_name, vendor, model, kind
        See :data:`ethogram.schema.NAMED_DEVICE`.
    begin
        From when the MAC has the address.
    """

    line: int
    mac: str = ""
    address: str = ""
    name: str = ""
    host_name: str = ""
    vendor: str = ""
    model: str = ""
    kind: str = ""
    begin: datetime | None = None


@dataclass
class Entries:
    """Collects entries of one file; what cannot be used is counted with its reason.

    Parameters
    ----------
    source
        File name and format.
    accounting
        Over the unit ``names``.
    first_problem
        Line and reason of the first entry that was dropped.

    Examples
    --------
    >>> entries = Entries("leases")
    >>> entries.add(NameEntry(1, "aa-bb-cc-00-00-01", "10.0.0.5/24", host_name="cam."))
    >>> entries.add(NameEntry(2, "x"))
    >>> entries.table().select("mac", "address", "host_name").rows(), entries.first_problem
    ([('aa:bb:cc:00:00:01', '10.0.0.5', 'cam')], (2, "'x' is no MAC"))
    """

    source: str
    accounting: Accounting = field(default_factory=lambda: Accounting("names"))
    first_problem: tuple[int, str] | None = None
    _rows: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, entry: NameEntry) -> None:
        """Check an entry and keep it, or count it."""
        self.accounting.read += 1
        mac, address = parse_mac(entry.mac) if entry.mac else None, None
        if entry.mac and mac is None:
            self._drop(entry.line, "no MAC", f"{entry.mac!r} is no MAC")
            return
        if entry.address:
            address = parse_address(entry.address.partition("/")[0])
            if address is None:
                self._drop(entry.line, "no IP address", f"{entry.address!r} is no IP address")
                return
        if mac in _NO_MAC:
            mac = None
        if address is not None and (address.startswith(_NOBODY) or address in {"::", "::1"}):
            address = None
        texts = [_text(value) for value in (entry.name, entry.host_name, entry.vendor, entry.model, entry.kind)]
        if mac is None and address is None:
            self.accounting.ignore("neither MAC nor address of a device")
        elif not any(texts) and (mac is None or address is None):
            self.accounting.ignore("no name")
        else:
            self.accounting.used += 1
            self._rows.append((mac, address, *texts, entry.begin, self.source, entry.line))

    def drop(self, line: int, reason: str) -> None:
        """Count a line that cannot be read at all."""
        self.accounting.read += 1
        self._drop(line, "unreadable entry", reason)

    def ignore(self, reason: str) -> None:
        """Count an entry without information about a device."""
        self.accounting.read += 1
        self.accounting.ignore(reason)

    def _drop(self, line: int, reason: str, detail: str) -> None:
        self.accounting.drop(reason)
        if self.first_problem is None:
            self.first_problem = (line, detail)

    def table(self) -> pl.DataFrame:
        """The entries (:data:`ethogram.schema.NAMED_DEVICE`), in order of the file."""
        return pl.DataFrame(self._rows, schema=NAMED_DEVICE.schema, orient="row")


def _text(value: str) -> str | None:
    text = value.strip().strip('"').rstrip(".")[:MAX_VALUE]
    return None if text.lower() in _NOTHING else text
