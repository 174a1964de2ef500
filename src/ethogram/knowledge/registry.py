"""MAC prefixes and the organisations that they are registered to (IEEE MA-L, MA-M and MA-S), in a compact form.

``macs.tsv.gz`` has one line per organisation: its name, then its prefixes of 6, 7 or 9 hexadecimal digits.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.resources import files

__all__ = ["organisation_of", "registered_prefixes"]

_LENGTHS = (9, 7, 6)  # MA-S, MA-M, MA-L


@cache
def registered_prefixes() -> dict[str, str]:
    """Organisation of each registered prefix, read on first use."""
    content = files("ethogram").joinpath("data/knowledge/macs.tsv.gz").read_bytes()
    prefixes = {}
    for line in gzip.decompress(content).decode().splitlines():
        name, _, assigned = line.partition("\t")
        prefixes.update(dict.fromkeys(assigned.split(" "), name))
    return prefixes


def organisation_of(mac: str) -> tuple[str, str] | None:
    """The longest registered prefix of a MAC in 12 hexadecimal digits, and its organisation; None if unregistered."""
    prefixes = registered_prefixes()
    for length in _LENGTHS:
        name = prefixes.get(mac[:length])
        if name is not None:
            return mac[:length], name
    return None
