"""Neighbour tables: the output of ``ip neigh``, ``arp -a``, ``arp -n`` on Linux, BSD, macOS and Windows.

They give addresses their MACs, and ``arp -a`` also host names. Entries without a MAC are incomplete.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ethogram._parse_address import parse_address, parse_mac
from ethogram.io.names.entries import Entries, NameEntry

__all__ = ["FORMAT", "read", "sniff"]

FORMAT = "neighbour table"

_IP_NEIGH = re.compile(r"^(?P<address>[0-9a-fA-F.:]+) dev \S+( lladdr (?P<mac>\S+))?")
_ARP_A = re.compile(r"^(?P<name>\S+) \((?P<address>[0-9a-fA-F.:%]+)\) (at|auf) (?P<mac>\S+)")
_HEADERS = re.compile(r"^(Address\s+HWtype|IP address\s+HW type|Interface:|\s*(Internet|Internet-?\w+)\s+\S+)", re.I)
_HEX_TYPE = re.compile(r"^0x[0-9a-f]+$")


def _of_line(line: str) -> tuple[str, str, str] | None:
    """Address, MAC and host name of a line; the MAC is empty in an incomplete entry. None: it is of another form."""
    for form in (_IP_NEIGH, _ARP_A):
        fits = form.match(line)
        if fits is not None and parse_address(fits["address"]) is not None:
            mac = fits["mac"] or ""
            return fits["address"], mac if parse_mac(mac) else "", fits.groupdict().get("name") or ""
    words = line.split()
    if len(words) >= 2 and parse_address(words[0]) is not None:
        # A table: of Windows, of ``arp -n``, or of the kernel.
        mac = next((word for word in words[1:5] if parse_mac(word) and not _HEX_TYPE.match(word)), "")
        if mac or "(incomplete)" in line:
            return words[0], mac, ""
    return None


def sniff(lines: Sequence[str]) -> bool:
    """Whether these lines are of such a table.

    >>> sniff(["192.168.1.5 dev lan lladdr aa:bb:cc:00:00:01 REACHABLE"]), sniff(["10.0.0.5 cam"])
    (True, False)
    """
    fits = sum(_of_line(line) is not None for line in lines)
    return fits > 0 and fits >= sum(_HEADERS.match(line) is None for line in lines) / 2


def read(text: str, entries: Entries) -> None:
    """Read all lines."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or _HEADERS.match(line):
            continue
        neighbour = _of_line(line)
        if neighbour is None:
            entries.ignore("other line")
        elif not neighbour[1]:
            entries.ignore("no MAC yet")
        else:
            entries.add(NameEntry(number, mac=neighbour[1], address=neighbour[0], host_name=neighbour[2]))
