"""Readers of public sources for the knowledge pack: each gives rows, and copies no text beyond the facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ethogram.knowledge.rows import Row

__all__ = ["READERS", "ieee_prefixes"]

Reader = Callable[[Path, Path, Sequence[Row], Sequence[Row]], Iterator[Row]]

READERS: dict[str, Reader] = {}

_ASSIGNED = re.compile(r"^([0-9A-F]{6})(?:-([0-9A-F]{6}))?\s+\(base 16\)\s+(.*)$")
_HEX = re.compile(r"^([0-9A-F]{2}-[0-9A-F]{2}-[0-9A-F]{2})\s+\(hex\)")
_MAX_NAME = 60


def ieee_prefixes(folder: Path) -> dict[str, str]:
    """Organisation of each prefix in the IEEE's lists (``oui.txt``, ``mam.txt``, ``oui36.txt``).

    A block of 28 or 36 bits is written as its 24 bits, then the range of the rest: ``B00000-BFFFFF``. The registry's
    own entries, which are split into such blocks, are left out.
    """
    prefixes: dict[str, str] = {}
    for name, digits in (("oui.txt", 6), ("mam.txt", 7), ("oui36.txt", 9)):
        path = folder / name
        if not path.exists():
            continue
        block = ""
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            begin = _HEX.match(line)
            if begin:
                block = begin[1].replace("-", "")
            match = _ASSIGNED.match(line)
            if match is None:
                continue
            organisation = " ".join(match[3].split())[:_MAX_NAME].strip()
            prefix = (block + match[1])[:digits] if match[2] else match[1]
            if organisation not in {"", "IEEE Registration Authority", "Private"}:
                prefixes.setdefault(prefix.lower(), organisation)
    return prefixes
