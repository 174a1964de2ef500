"""Host tables such as ``/etc/hosts``: an address, its name, and other names. Reference: hosts(5)."""

from __future__ import annotations

from collections.abc import Sequence

from ethogram._parse_address import parse_address
from ethogram.io.names.entries import Entries, NameEntry

__all__ = ["FORMAT", "read", "sniff"]

FORMAT = "hosts"

_OTHER_WORDS = {"dev", "at", "lladdr", "ether", "via"}


def sniff(lines: Sequence[str]) -> bool:
    """Whether these lines begin with an address and a name.

    >>> sniff(["127.0.0.1 localhost", "10.0.0.5\\tcam cam.home"]), sniff(["10.0.0.5 dev lan lladdr x"])
    (True, False)
    """
    fits = 0
    for line in lines:
        words = line.split("#")[0].split()
        fits += len(words) >= 2 and parse_address(words[0]) is not None and not _OTHER_WORDS & set(words[1:3])
    return fits > len(lines) // 2


def read(text: str, entries: Entries) -> None:
    """Read all lines; the first name is used."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) < 2:
            entries.drop(number, "an address without a name")
            continue
        entries.add(NameEntry(number, address=words[0], host_name=words[1]))
