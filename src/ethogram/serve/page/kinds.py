"""How a kind of device looks: the group that gives its colour, and its icon."""

from __future__ import annotations

from ethogram.schema.kind import KINDS

__all__ = ["GROUPS", "UNKNOWN_ICON", "group_of", "icon_of"]

GROUPS: dict[str, tuple[str, ...]] = {
    "watch": ("camera", "doorbell", "baby-monitor", "intercom"),
    "light": ("light", "plug", "energy"),
    "screen": ("tv", "media", "speaker", "photo-frame", "console", "toy", "voip"),
    "home": ("hub", "sensor", "alarm", "thermostat", "lock", "garage", "blind", "health", "wearable"),
    "chore": ("appliance", "vacuum", "garden", "pet", "printer", "car"),
    "computer": ("phone", "tablet", "laptop", "pc", "server", "virtual-machine", "board", "nas"),
    "network": ("router", "access-point", "switch"),
}
"""Groups of kinds; each has one colour in the stylesheet (``--kind-watch`` ...), in this order in charts."""

UNKNOWN_ICON = "unknown"
_GROUP = {kind: group for group, kinds in GROUPS.items() for kind in kinds}


def group_of(kind: str) -> str:
    """Group of a kind; two kinds that cannot be told apart have the group of the first.

    >>> group_of("camera"), group_of("plug or light"), group_of("")
    ('watch', 'light', 'none')
    """
    return _GROUP.get(icon_of(kind), "none")


def icon_of(kind: str) -> str:
    """Name of the icon of a kind: its slug, of its slug or label; ``unknown`` where no kind is stated.

    >>> icon_of("baby monitor"), icon_of("camera or doorbell"), icon_of("")
    ('baby-monitor', 'camera', 'unknown')
    """
    name = kind.strip().lower()
    if name in KINDS:
        return name
    if name in _SLUGS:
        return _SLUGS[name]
    first = name.partition(" or ")[0]
    return first if first in KINDS else _SLUGS.get(first, UNKNOWN_ICON)


_SLUGS = {kind.label.lower(): slug for slug, kind in KINDS.items()}
