"""Views: named subsets of the 3,040 features of a custom flow.

A name is a base followed by options after slashes: ``meta+packets/no-address/no-ports``. Remote address and ports are
the best-known shortcut features of the field, so every result across networks includes their ablation.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import ConfigurationError

__all__ = ["BASES", "COLUMNS", "META", "OPTIONS", "PACKETS", "PAYLOAD", "WIDTH", "View", "view_of"]

META = slice(0, 10)
"""Columns of the ten features of the flow as a whole."""
PACKETS = slice(10, 40)
"""Columns of the first ten packets, three features each."""
PAYLOAD = slice(40, 3040)
"""Columns of the payload symbols."""
WIDTH = 3040

COLUMNS: tuple[str, ...] = (
    "relative_time", "remote_octet_1", "remote_octet_2", "remote_octet_3", "remote_octet_4", "remote_port",
    "device_port", "protocol", "octets", "packets",
    *(f"packet_{k}_{name}" for k in range(10) for name in ("offset", "octets", "out")),
    *(f"symbol_{i}" for i in range(3000)),
)  # fmt: skip
"""Names of the 3,040 features."""

ENDS = slice(0, 7)
"""Columns of time, address and ports: the endpoints alone, without traffic."""

BASES: dict[str, tuple[slice, ...]] = {
    "ends": (ENDS,),
    "meta": (META,),
    "packets": (PACKETS,),
    "meta+packets": (META, PACKETS),
    "payload": (PAYLOAD,),
    "full": (META, PACKETS, PAYLOAD),
}

OPTIONS: dict[str, tuple[int, ...]] = {
    "no-address": (1, 2, 3, 4),
    "no-ports": (5, 6),
    "time-of-day": (),
}
"""Options in canonical order with the columns that they drop.

``time-of-day`` drops none: the relative timestamp, otherwise 0, becomes the second of the day / 86,400."""


@dataclass(frozen=True)
class View:
    """A subset of the features.

    Parameters
    ----------
    name
        Canonical name: options in fixed order, without those that have no effect.
    places
        Columns, ascending; length W.
    time_of_day
        Whether the first feature is the second of the day.
    """

    name: str
    places: NDArray[np.int64]
    time_of_day: bool = False

    @property
    def width(self) -> int:
        """Number of features."""
        return int(self.places.size)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features in order."""
        return tuple(COLUMNS[place] for place in self.places)

    def blocks(self) -> dict[str, slice]:
        """Columns of the blocks *meta*, *packets* and *payload* in this view, if present."""
        blocks = {}
        for name, part in (("meta", META), ("packets", PACKETS), ("payload", PAYLOAD)):
            begin, end = np.searchsorted(self.places, (part.start, part.stop))
            if end > begin:
                blocks[name] = slice(int(begin), int(end))
        return blocks


@functools.cache
def view_of(name: str) -> View:
    """Look up a view by name.

    Options may have any order; those without effect (``payload/no-ports``) are dropped from the canonical name.

    Raises
    ------
    ConfigurationError
        When the name is invalid.

    Examples
    --------
    >>> view_of("meta/no-ports/no-address").name, view_of("meta/no-ports/no-address").width
    ('meta/no-address/no-ports', 4)
    >>> view_of("full").width
    3040
    """
    base, *options = name.split("/")
    if base not in BASES or not set(options) <= set(OPTIONS) or len(set(options)) < len(options):
        raise ConfigurationError(
            f"no view {name!r}: one of {', '.join(BASES)}, and behind it any of /{', /'.join(OPTIONS)}"
        )
    columns = [place for part in BASES[base] for place in range(part.start, part.stop)]
    has_meta = 0 in columns
    left_out = {place for option in options for place in OPTIONS[option]}
    places = np.array([place for place in columns if place not in left_out], np.int64)
    places.setflags(write=False)
    canonical = "/".join([base, *(option for option in OPTIONS if option in options and has_meta)])
    return View(canonical, places, has_meta and "time-of-day" in options)
