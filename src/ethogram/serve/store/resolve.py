"""Which device a name in the flow table means, over changes of addresses.

A device is recognised by its MAC where there is one, else by its host name, else by its address as long as that is not
silent for too long. What a user assigned by merging or splitting comes first.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ethogram._parse_address import parse_mac
from ethogram.pipeline.device_facts import GENERIC_NAMES
from ethogram.schema import DeviceSighting

__all__ = ["KnownDevice", "KnownKey", "Resolver", "keys_of"]


@dataclass(frozen=True)
class KnownKey:
    """A stored key of a device."""

    device: str
    last: datetime
    by_user: bool = False


@dataclass
class KnownDevice:
    """What resolving needs to know of a device."""

    id: str
    mac: str
    address: str
    last: datetime
    host_names: set[str] = field(default_factory=set)


def keys_of(sighting: DeviceSighting) -> list[tuple[str, str]]:
    """Kind and value of everything by which a sighting is recognised."""
    keys = [("flow", sighting.name)]
    keys += [("mac", sighting.mac)] if sighting.mac else []
    keys += [("hostname", name.lower()) for name in sighting.host_names if name]
    return keys + [("address", address) for address in sighting.addresses if address]


@dataclass
class Resolver:
    """Resolves the sightings of one round.

    Parameters
    ----------
    gap
        An address is another device after this long without traffic.
    keys
        Stored keys, by kind and value.
    devices
        Devices of these keys.
    renamed
        Devices that have another address, MAC or host name since.
    """

    gap: timedelta
    keys: dict[tuple[str, str], list[KnownKey]]
    devices: dict[str, KnownDevice]
    renamed: set[str] = field(default_factory=set)

    def resolve(self, sighting: DeviceSighting) -> tuple[str, bool]:
        """Id of the device, and whether it is new; later sightings of the round know the device."""
        known = self._known(sighting)
        new = known is None
        if known is None:
            known = KnownDevice(secrets.token_hex(8), sighting.mac, "", sighting.last)
            self.devices[known.id] = known
        before = (known.mac, known.address, len(known.host_names))
        known.mac = known.mac or sighting.mac
        if sighting.addresses and (sighting.last >= known.last or not known.address):
            known.address = sighting.addresses[0]
        known.last = max(known.last, sighting.last)
        known.host_names |= {name.lower() for name in sighting.host_names}
        if not new and before != (known.mac, known.address, len(known.host_names)):
            self.renamed.add(known.id)
        for key in keys_of(sighting):
            others = [each for each in self.keys.get(key, []) if each.device != known.id]
            self.keys[key] = [*others, KnownKey(known.id, sighting.last)]
        return known.id, new

    def _known(self, sighting: DeviceSighting) -> KnownDevice | None:
        assigned = [key for key in self._of("flow", sighting.name) if key.by_user]
        if assigned:
            return self.devices[assigned[0].device]
        is_mac = parse_mac(sighting.name) is not None
        for key in self._of("flow", sighting.name):
            device = self.devices[key.device]
            if is_mac or (self._within_gap(key, sighting) and not self._other_name(device, sighting)):
                return device
        if sighting.mac:
            for key in self._of("mac", sighting.mac):
                return self.devices[key.device]
        return self._by_host_name(sighting) or self._by_address(sighting)

    def _of(self, kind: str, value: str) -> list[KnownKey]:
        """Keys of a kind and value, the latest first."""
        return sorted(self.keys.get((kind, value), []), key=lambda key: key.last, reverse=True)

    def _within_gap(self, key: KnownKey, sighting: DeviceSighting) -> bool:
        return sighting.first - key.last <= self.gap

    @staticmethod
    def _other_name(device: KnownDevice, sighting: DeviceSighting) -> bool:
        """Whether the address now belongs to a device with other host names."""
        names = {name.lower() for name in sighting.host_names}
        return bool(names and device.host_names and not names & device.host_names)

    def _by_host_name(self, sighting: DeviceSighting) -> KnownDevice | None:
        """A device with the same host name that is the same by everything else that is known."""
        for name in sighting.host_names:
            if not name or name.lower() in GENERIC_NAMES:
                continue
            for key in self._of("hostname", name.lower()):
                device = self.devices[key.device]
                if sighting.mac and device.mac and sighting.mac != device.mac and not _random(sighting.mac, device.mac):
                    continue
                if sighting.first >= device.last or _other_family(device, sighting):
                    return device
        return None

    def _by_address(self, sighting: DeviceSighting) -> KnownDevice | None:
        """A device that had the same address before its exporter told MACs."""
        if not sighting.mac:
            return None
        for address in sighting.addresses:
            for key in self._of("flow", address):
                device = self.devices[key.device]
                if not device.mac and self._within_gap(key, sighting) and not self._other_name(device, sighting):
                    return device
        return None


def _random(*macs: str) -> bool:
    """Whether one of the MACs is locally administered, as private MACs of phones are (IEEE 802, section 8.4)."""
    return any(int(mac[:2], 16) & 2 for mac in macs)


def _other_family(device: KnownDevice, sighting: DeviceSighting) -> bool:
    """Whether one has an IPv4 address and the other an IPv6 address, so that they can be in use at the same time."""
    if not device.address or not sighting.addresses:
        return False
    return (":" in device.address) != (":" in sighting.addresses[0])
