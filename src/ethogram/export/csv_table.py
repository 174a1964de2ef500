"""Devices as CSV, for spreadsheets and asset lists (RFC 4180)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ethogram._text import csv_text
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.schema import ExportedDevice

__all__ = ["COLUMNS", "write"]

COLUMNS = (
    "id", "name", "addresses", "macs", "host_names", "kind", "vendor", "model", "statement", "level", "score", "state",
    "first_seen", "last_seen", "octets_a_day", "flows", "named_by_user", "unusual", "reason",
)  # fmt: skip


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:  # noqa: ARG001 (one form for all exports)
    """One line for each device, below a line of column names; several addresses are separated by semicolons.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    yield Written("", csv_text(COLUMNS, map(_row, data.devices)))


def _row(device: ExportedDevice) -> tuple[object, ...]:
    return tuple(_cell(name, getattr(device, name)) for name in COLUMNS)


def _cell(name: str, value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ";".join(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:.4f}" if name == "score" else f"{value:.0f}" if name == "octets_a_day" else value
