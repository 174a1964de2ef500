"""Open a file that names devices, in a format detected by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ethogram._tables import TextFileError, utf8_text
from ethogram.errors import ConfigurationError
from ethogram.io.names import dnsmasq, hosts, isc_dhcpd, kea, neighbours, table
from ethogram.io.names.entries import Entries

__all__ = ["FORMATS", "read_names"]

MAX_OCTETS = 1 << 26
_HEAD_LINES = 64

_Reader = tuple[str, Callable[[Sequence[str]], bool], Callable[[str, Entries], None]]
_LINES: tuple[_Reader, ...] = (
    (kea.FORMAT, kea.sniff, kea.read),
    (isc_dhcpd.FORMAT, isc_dhcpd.sniff, isc_dhcpd.read),
    (dnsmasq.FORMAT, dnsmasq.sniff, dnsmasq.read),
    (neighbours.FORMAT, neighbours.sniff, neighbours.read),
    (hosts.FORMAT, hosts.sniff, hosts.read),
)

FORMATS = (*(form for form, _, _ in _LINES), table.CSV_FORMAT, table.JSON_FORMAT)
"""Formats that are recognised."""


def read_names(path: Path, columns: Mapping[str, str] | None = None) -> tuple[str, Entries]:
    """Read one file.

    Parameters
    ----------
    path
        The file.
    columns
        Column of each field, for CSV and JSON (:func:`ethogram.io.names.table.load_mapping`); None: by usual names.

    Returns
    -------
    format, entries
        The format, and what the file holds; what cannot be used of it is counted.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or is of no known format.
    """

    def wrong(reason: str, line: int | None = None) -> ConfigurationError:
        return ConfigurationError(f"names file {path}{'' if line is None else f':{line}'}: {reason}")

    try:
        with path.open("rb") as file:
            content = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise wrong(error.strerror or str(error)) from None
    if len(content) > MAX_OCTETS:
        raise wrong(f"larger than {MAX_OCTETS >> 20} MiB")
    try:
        text = utf8_text(content)
    except TextFileError as error:
        if b"\0" in content[:4096] or error.line is None:
            raise wrong(error.reason, error.line) from None
        text = content.decode("utf-8", "replace")  # host names in other encodings: the rest is sound
    if not text.strip():
        raise wrong("the file is empty")
    return _read(path, text, columns, wrong)


def _read(
    path: Path, text: str, columns: Mapping[str, str] | None, wrong: Callable[[str], ConfigurationError]
) -> tuple[str, Entries]:
    if table.sniff_json(text):
        entries = Entries(f"{path.name} ({table.JSON_FORMAT})")
        if table.read_json(text, entries, columns):
            return table.JSON_FORMAT, entries
        raise wrong("JSON, but no list of objects with a MAC or an address in it")
    lines = [line for line in text.splitlines()[: 4 * _HEAD_LINES] if line.strip() and not line.startswith("#")]
    lines = lines[:_HEAD_LINES]
    if columns is None:
        for form, sniff, read in _LINES:
            if sniff(lines):
                entries = Entries(f"{path.name} ({form})")
                read(text, entries)
                return form, entries
    if table.sniff_csv(lines, columns):
        entries = Entries(f"{path.name} ({table.CSV_FORMAT})")
        table.read_csv(text, entries, columns)
        return table.CSV_FORMAT, entries
    if columns is not None:
        raise wrong(f"no columns {', '.join(sorted(columns.values()))}")
    raise wrong(f"names no devices in a known form; expected one of {', '.join(FORMATS)}")
