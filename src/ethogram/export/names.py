"""Names of devices as file names and identifiers of other tools."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ethogram.schema import KINDS, ExportedDevice

__all__ = ["kind_label", "slug", "unique_slugs"]

_LONGEST = 60


def slug(text: str) -> str:
    """Lower-case letters, digits and hyphens; ``device`` if nothing else is left.

    >>> slug("Küche: Cam #2"), slug("../../etc"), slug("!")
    ('kuche-cam-2', 'etc', 'device')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST].rstrip("-") or "device"


def unique_slugs(devices: Iterable[ExportedDevice]) -> list[str]:
    """A name for each device, none twice.

    >>> unique_slugs([ExportedDevice("1", "Cam"), ExportedDevice("2", "cam"), ExportedDevice("3", "cam-2")])
    ['cam', 'cam-2', 'cam-2-2']
    """
    used: set[str] = set()
    latest: dict[str, int] = {}
    names: list[str] = []
    for device in devices:
        name = base = slug(device.name)
        number = latest.get(base, 2)
        while name in used:
            name, number = f"{base}-{number}", number + 1
        used.add(name)
        latest[base] = number
        names.append(name)
    return names


def kind_label(kind: str) -> str:
    """English name of a kind; the key itself where it is none.

    >>> kind_label("nas"), kind_label("camera or doorbell")
    ('network storage', 'camera or doorbell')
    """
    return KINDS[kind].label if kind in KINDS else kind
