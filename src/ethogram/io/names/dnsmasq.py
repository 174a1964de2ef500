"""Leases of dnsmasq, which OpenWrt, Pi-hole and many routers use: ``/tmp/dhcp.leases``, ``dnsmasq.leases``.

A line has the expiry, MAC, address, host name (``*`` for none) and client id. After a line ``duid`` follow leases of
IPv6, which have an association id in place of the MAC.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ethogram._parse_address import parse_address
from ethogram.io.names.entries import Entries, NameEntry

__all__ = ["FORMAT", "read", "sniff"]

FORMAT = "dnsmasq leases"

_LEASE = re.compile(r"^\d{1,12} \S+ [0-9a-fA-F.:]+ \S+( \S+)?$")
_HARDWARE_TYPE = re.compile(r"^[0-9a-fA-F]{2}-(?=[0-9a-fA-F]{2}:)")


def sniff(lines: Sequence[str]) -> bool:
    """Whether these lines are leases.

    >>> sniff(["1714600000 aa:bb:cc:00:00:01 192.168.1.5 cam 01:aa:bb:cc:00:00:01"])
    True
    """
    fits = [line for line in lines if _LEASE.match(line) and parse_address(line.split()[2])]
    others = [line for line in lines if line not in fits and not line.startswith("duid ")]
    return len(fits) > len(others)


def read(text: str, entries: Entries) -> None:
    """Read all leases."""
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith("#") or fields[0] == "duid":
            continue
        if len(fields) < 4 or not fields[0].isdigit():
            entries.drop(number, "not a lease of dnsmasq: expiry, MAC, address and name expected")
            continue
        mac = _HARDWARE_TYPE.sub("", fields[1])  # written where it is not Ethernet's
        six = ":" in fields[2]
        entries.add(NameEntry(number, mac="" if six else mac, address=fields[2], host_name=fields[3]))
