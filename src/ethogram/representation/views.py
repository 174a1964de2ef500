"""Views: which of the 3,040 numbers of a custom flow a model sees, by name.

A name is a base and, behind slashes, what is changed about it: ``meta+packets/no-address/no-ports``.
Remote address and ports are the field's best-known shortcut, so every result across networks shows the ablation.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import ConfigurationError

__all__ = ["BASES", "COLUMNS", "META", "OPTIONS", "PACKETS", "PAYLOAD", "WIDTH", "View", "view_of"]

META = slice(0, 10)
"""Places of the ten numbers of the whole flow."""
PACKETS = slice(10, 40)
"""Places of the first ten packets, three numbers each."""
PAYLOAD = slice(40, 3040)
"""Places of the payload symbols."""
WIDTH = 3040

COLUMNS: tuple[str, ...] = (
    "relative_time", "remote_octet_1", "remote_octet_2", "remote_octet_3", "remote_octet_4", "remote_port",
    "device_port", "protocol", "octets", "packets",
    *(f"packet_{k}_{name}" for k in range(10) for name in ("offset", "octets", "out")),
    *(f"symbol_{i}" for i in range(3000)),
)  # fmt: skip
"""Name of each of the 3,040 numbers."""

ENDS = slice(0, 7)
"""Places of time, address and ports: who is spoken to and when, nothing of what is said."""

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
"""What may follow a base, in the order of the canonical name, and the places it leaves out.

``time-of-day`` leaves nothing out: the relative timestamp, 0 otherwise, becomes the second of the day / 86,400."""


@dataclass(frozen=True)
class View:
    """A choice of numbers.

    Parameters
    ----------
    name
        The canonical name: options in fixed order, and only those that change something.
    places
        Which of the 3,040, ascending; length W.
    time_of_day
        Whether the first number is the second of the day.
    """

    name: str
    places: NDArray[np.int64]
    time_of_day: bool = False

    @property
    def width(self) -> int:
        """How many numbers."""
        return int(self.places.size)

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(COLUMNS[place] for place in self.places)

    def blocks(self) -> dict[str, slice]:
        """Where the parts *meta*, *packets* and *payload* lie in this view, as far as it has them."""
        found = {}
        for name, part in (("meta", META), ("packets", PACKETS), ("payload", PAYLOAD)):
            begin, end = np.searchsorted(self.places, (part.start, part.stop))
            if end > begin:
                found[name] = slice(int(begin), int(end))
        return found


@functools.cache
def view_of(name: str) -> View:
    """The view of a name.

    Options may come in any order; one that changes nothing (``payload/no-ports``) is left out of the canonical name.

    Raises
    ------
    ConfigurationError
        When there is no such view.

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
    chosen = [place for part in BASES[base] for place in range(part.start, part.stop)]
    has_meta = 0 in chosen
    left_out = {place for option in options for place in OPTIONS[option]}
    places = np.array([place for place in chosen if place not in left_out], np.int64)
    places.setflags(write=False)
    canonical = "/".join([base, *(option for option in OPTIONS if option in options and has_meta)])
    return View(canonical, places, has_meta and "time-of-day" in options)
