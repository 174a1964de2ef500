"""MUD files (RFC 8520) of devices, from the services that they use."""

from __future__ import annotations

from collections.abc import Iterator

from ethogram._text import json_text, visible
from ethogram.export.names import kind_label, unique_slugs
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.fingerprint.mud_profile import learn_profile
from ethogram.io.mud import mud_document
from ethogram.schema import ExportedDevice

__all__ = ["write"]

_LONGEST_INFO = 60  # RFC 8520, section 3.6


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:
    """One MUD file for each device that used a service."""
    for device, name in zip(data.devices, unique_slugs(data.devices), strict=True):
        uses = data.uses_of(device)
        texts = {"system_info": visible(_info(device))[:_LONGEST_INFO], "manufacturer": visible(device.vendor),
                 "model": visible(device.model)}  # fmt: skip
        profile, left_out = learn_profile(uses, f"{options.mud_url}{name}.json", data.time, **texts)
        if not profile.rules:
            continue
        note = f"{device.name}: {left_out:,} rules of services that are used least are left out" if left_out else ""
        yield Written(f"{name}.json", json_text(mud_document(profile), indent=True), note)


def _info(device: ExportedDevice) -> str:
    """What the device is, in words."""
    words = " ".join(part for part in (device.vendor, kind_label(device.kind)) if part)
    return words or device.name
