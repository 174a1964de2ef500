"""Kinds of devices: one closed list, from camera to laptop, with names to show and the coarse class of each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "NETWORK_EQUIPMENT", "Kind"]


@dataclass(frozen=True)
class Kind:
    """One kind of device.

    Parameters
    ----------
    slug
        Identifier, in lower case.
    label, plural
        English names.
    iot
        Whether devices of this kind are IoT devices, rather than general-purpose computers or network equipment.
    coarse
        Coarse class: ``camera``, ``plug``, ``light``, ``hub``, ``speaker``, ``tv``, ``lock``, ``sensor``,
        ``appliance``, ``other`` or ``non-iot``.
    """

    slug: str
    label: str
    plural: str
    iot: bool
    coarse: str


def _iot(slug: str, label: str, coarse: str = "", plural: str = "") -> Kind:
    return Kind(slug, label, plural or f"{label}s", True, coarse or slug)


def _other(slug: str, label: str, plural: str = "") -> Kind:
    return Kind(slug, label, plural or f"{label}s", False, "non-iot")


KINDS: dict[str, Kind] = {
    kind.slug: kind
    for kind in (
        _iot("camera", "camera"),
        _iot("doorbell", "doorbell", "camera"),
        _iot("baby-monitor", "baby monitor", "other"),
        _iot("plug", "plug or switch", plural="plugs and switches"),
        _iot("light", "light"),
        _iot("hub", "hub"),
        _iot("speaker", "speaker"),
        _iot("tv", "TV or streaming player", plural="TVs and streaming players"),
        _iot("media", "AV receiver or media server", "other", "AV receivers and media servers"),
        _iot("lock", "lock"),
        _iot("garage", "garage or gate opener", "other", "garage and gate openers"),
        _iot("blind", "blind or curtain", "other", "blinds and curtains"),
        _iot("sensor", "sensor"),
        _iot("alarm", "alarm", "sensor"),
        _iot("thermostat", "thermostat", "sensor"),
        _iot("health", "health device", "sensor"),
        _iot("appliance", "household appliance", "appliance"),
        _iot("vacuum", "vacuum cleaner", "appliance"),
        _iot("garden", "garden or pool device", "other"),
        _iot("pet", "pet feeder or tracker", "other", "pet feeders and trackers"),
        _iot("energy", "energy device", "other"),
        _iot("printer", "printer or scanner", "other", "printers and scanners"),
        _iot("photo-frame", "photo frame", "other"),
        _iot("voip", "IP phone", "other"),
        _iot("intercom", "intercom", "other"),
        _iot("wearable", "wearable", "other"),
        _iot("toy", "toy", "other"),
        _iot("car", "car", "other"),
        _other("phone", "phone"),
        _other("tablet", "tablet or e-reader", "tablets and e-readers"),
        _other("laptop", "laptop"),
        _other("pc", "desktop computer"),
        _other("server", "server"),
        _other("virtual-machine", "virtual machine"),
        _other("board", "single-board computer"),
        _other("nas", "network storage", "network storage devices"),
        _other("console", "game console"),
        _other("router", "router"),
        _other("access-point", "access point"),
        _other("switch", "network switch", "network switches"),
    )
}
"""Every kind by its slug: IoT devices first, then computers and network equipment."""

NETWORK_EQUIPMENT = ("router", "access-point", "switch")
"""Kinds that vendors make but whose own traffic flow records seldom show: they carry what other devices send."""
