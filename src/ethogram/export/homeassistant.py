"""MQTT discovery of Home Assistant: each device of the network becomes a device there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from ethogram._text import json_text, visible
from ethogram._version import __version__
from ethogram.export.names import kind_label
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.schema import ExportedDevice

__all__ = ["STATUS", "discovery_document", "discovery_topic", "object_id", "state_document", "state_topic", "write"]

STATUS = "status"
"""Topic below the sink's, with ``online`` or ``offline``."""
_LONGEST_STATE = 255


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:
    """Two JSON lines for each device, its discovery and its state: ``topic``, ``payload`` and ``retain``."""
    for device in data.devices:
        for topic, payload in (
            (discovery_topic(device.id, options.prefix), discovery_document(device, "ethogram")),
            (state_topic(device.id, "ethogram"), state_document(device)),
        ):
            yield Written("", json_text({"topic": topic, "payload": payload, "retain": True}))


def object_id(device: str) -> str:
    """Id of a device in topics.

    >>> object_id("02:00:00:00:00:0a")
    'ethogram_02_00_00_00_00_0a'
    """
    return "ethogram_" + re.sub(r"[^A-Za-z0-9-]", "_", device)


def discovery_topic(device: str, prefix: str) -> str:
    """Where a device is announced."""
    return f"{prefix}/device/{object_id(device)}/config"


def state_topic(device: str, topic: str) -> str:
    """Where the state of a device is published."""
    return f"{topic}/device/{object_id(device)}/state"


def discovery_document(device: ExportedDevice, topic: str) -> dict[str, Any]:
    """Announcement of a device with its entities: presence, identity, kind, last flow, and whether it is unusual."""
    name = object_id(device.id)
    about: dict[str, Any] = {"identifiers": [name], "name": visible(device.name)}
    for key, value in (("manufacturer", device.vendor), ("model", device.model or kind_label(device.kind))):
        if value:
            about[key] = visible(value)
    if device.macs:
        about["connections"] = [["mac", mac] for mac in device.macs[:4]]

    def entity(key: str, platform: str, title: str, template: str, **more: str) -> dict[str, str]:
        return {"platform": platform, "unique_id": f"{name}_{key}", "name": title, "value_template": template} | more

    return {
        "device": about, "origin": {"name": "ethogram", "sw_version": __version__},
        "state_topic": state_topic(device.id, topic), "availability_topic": f"{topic}/{STATUS}",
        "components": {
            "presence": entity("presence", "binary_sensor", "Presence",
                               "{{ 'ON' if value_json.present else 'OFF' }}", device_class="connectivity"),
            "unusual": entity("unusual", "binary_sensor", "Unusual",
                              "{{ 'ON' if value_json.unusual else 'OFF' }}", device_class="problem"),
            "identity": entity("identity", "sensor", "Identity", "{{ value_json.statement }}", icon="mdi:fingerprint",
                               json_attributes_topic=state_topic(device.id, topic)),
            "kind": entity("kind", "sensor", "Kind", "{{ value_json.kind }}"),
            "last_seen": entity("last_seen", "sensor", "Last seen", "{{ value_json.last_seen }}",
                                device_class="timestamp"),
        },
    }  # fmt: skip


def state_document(device: ExportedDevice) -> dict[str, Any]:
    """What is known of a device now."""
    seen = device.last_seen
    return {
        "present": device.state != "silent", "unusual": device.unusual, "state": device.state,
        "statement": visible(device.statement)[:_LONGEST_STATE], "level": device.level,
        "score": round(device.score, 4), "kind": kind_label(device.kind) or "unknown", "vendor": visible(device.vendor),
        "model": visible(device.model), "address": device.addresses[0] if device.addresses else "",
        "last_seen": None if seen is None else seen.astimezone(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
