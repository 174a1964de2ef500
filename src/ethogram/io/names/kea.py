"""Leases of Kea's memfile backend (``kea-leases4.csv``, ``kea-leases6.csv``).

The file is a journal: a later lease of an address replaces an earlier one. Commas in values are written ``&#x2c``.
Reference: Kea Administrator Reference Manual, "Memfile - Basic Storage for Leases".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ethogram.io.names.entries import Entries, NameEntry

__all__ = ["FORMAT", "read", "sniff"]

FORMAT = "Kea leases"

_DECLINED = "1"


def sniff(lines: Sequence[str]) -> bool:
    """Whether the first line is the header of such a file."""
    return bool(lines) and lines[0].startswith(("address,hwaddr,", "address,duid,"))


def read(text: str, entries: Entries) -> None:
    """Read all leases."""
    lines = text.splitlines()
    header = lines[0].strip().split(",")
    leases: dict[tuple[str, str], NameEntry] = {}
    for number, line in enumerate(lines[1:], 2):
        fields = line.split(",")
        if not line.strip() or fields == header:  # files are concatenated when the server cleans up
            continue
        row = dict(zip(header, (field.replace("&#x2c", ",") for field in fields), strict=False))
        if len(row) < len(fields) or "address" not in row or "expire" not in row:
            entries.drop(number, f"{len(fields)} fields, but {len(header)} columns")
            continue
        if row.get("state") == _DECLINED:
            entries.ignore("lease of nobody")
            continue
        key = row["address"], row.get("hwaddr", "")
        leases.pop(key, None)
        name, begin = row.get("hostname", ""), _begin(row)
        leases[key] = NameEntry(number, mac=key[1], address=key[0], host_name=name, begin=begin)
    for lease in leases.values():
        entries.add(lease)


def _begin(row: dict[str, str]) -> datetime | None:
    """When the lease was last renewed: its end without its lifetime."""
    try:
        return datetime.fromtimestamp(int(row["expire"]) - int(row.get("valid_lifetime", "")), UTC)
    except (ValueError, OverflowError, OSError):
        return None
