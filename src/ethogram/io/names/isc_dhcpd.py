"""Leases of ISC dhcpd (``dhcpd.leases``), and hosts in its configuration (``dhcpd.conf``).

The file is a journal: a later lease of an address replaces an earlier one. Times are UTC, unless the server was told to
write local ones, and then it writes seconds since 1970. Reference: dhcpd.leases(5), dhcpd.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from ethogram.io.names.entries import Entries, NameEntry

__all__ = ["FORMAT", "read", "sniff"]

FORMAT = "ISC dhcpd leases"

_BEGIN = re.compile(r"^\s*(lease|host)\s+(\S+)\s*\{")
_NAMES = ("client-hostname", "option host-name", "ddns-hostname", "option dhcp.host-name")


def sniff(lines: Sequence[str]) -> bool:
    """Whether these lines are of such a file."""
    return any(_BEGIN.match(line) for line in lines)


def read(text: str, entries: Entries) -> None:
    """Read all leases and hosts."""
    leases: dict[tuple[str, str], NameEntry] = {}
    for number, kind, key, body in _blocks(text, entries):
        values = dict(_statements(body))
        mac = values.get("hardware", "").removeprefix("ethernet").strip()
        name = next((values[name] for name in _NAMES if values.get(name)), "")
        if kind == "host":
            entries.add(NameEntry(number, mac=mac, address=values.get("fixed-address", "").split(",")[0],
                              name=values.get("option host-name", key)))  # fmt: skip
            continue
        if values.get("binding state", "active") in {"abandoned", "backup", "reset"}:
            entries.ignore("lease of nobody")
            continue
        lease = NameEntry(number, mac=mac, address=key, host_name=name, begin=_time(values.get("starts", "")))
        leases.pop((key, mac), None)
        leases[key, mac] = lease
    for lease in leases.values():
        entries.add(lease)


def _blocks(text: str, entries: Entries) -> list[tuple[int, str, str, str]]:
    """Line, kind, key and body of each block."""
    blocks = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        begin = _BEGIN.match(lines[at])
        at += 1
        if begin is None:
            continue
        number, body = at, [lines[at - 1][begin.end() :]]
        while at < len(lines) and "}" not in body[-1] and not _BEGIN.match(lines[at]):
            body.append(lines[at])
            at += 1
        if "}" not in body[-1]:
            entries.drop(number, f"{begin[1]} {begin[2]} does not end with }}")
            continue
        blocks.append((number, begin[1], begin[2], "\n".join(body).partition("}")[0]))
    return blocks


def _statements(body: str) -> list[tuple[str, str]]:
    """Name and value of each statement of a block; a name may have two words."""
    pairs = []
    for statement in re.sub(r"#.*", "", body).split(";"):
        words = statement.split(None, 2)
        if len(words) >= 2:
            two = words[0] in {"option", "binding", "set"} and len(words) == 3
            name, value = (" ".join(words[:2]), words[2]) if two else (words[0], statement.split(None, 1)[1])
            pairs.append((name, value.strip().strip('"')))
    return pairs


def _time(text: str) -> datetime | None:
    """Time of ``starts``: a day of the week, date and time in UTC; or ``epoch`` and a number."""
    words = text.split()
    try:
        if words[:1] == ["epoch"]:
            return datetime.fromtimestamp(int(words[1]), UTC)
        return datetime.strptime(" ".join(words[1:3]), "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
    except (ValueError, IndexError, OverflowError, OSError):
        return None
