"""Devices and alerts as JSON lines in the Open Cybersecurity Schema Framework, for security data lakes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ethogram._text import json_text
from ethogram._version import __version__
from ethogram.export.names import kind_label
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.schema import KINDS, ExportedDevice, SinkEvent

__all__ = ["VERSION", "device_document", "event_document", "write"]

VERSION = "1.7.0"
"""Version of the schema whose classes are used."""
_INVENTORY, _FINDING = 5001, 2004  # classes Device Inventory Info and Detection Finding
_COLLECT, _CREATE = 2, 1  # their activities
_SEVERITY = {"info": 1, "warning": 3, "critical": 5}
_TYPES = {"server": 1, "pc": 2, "laptop": 3, "tablet": 4, "phone": 5, "virtual-machine": 6, "switch": 10, "router": 12}
_UNKNOWN, _IOT, _OTHER = 0, 7, 99


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:  # noqa: ARG001 (one form for all exports)
    """One *Device Inventory Info* for each device, then one *Detection Finding* for each alert."""
    for device in data.devices:
        yield Written("", json_text(device_document(device, data.time)))
    for event in data.events:
        yield Written("", json_text(event_document(event)))


def device_document(device: ExportedDevice, time: datetime) -> dict[str, Any]:
    """A device as an event of class 5001.

    >>> from datetime import UTC
    >>> made = device_document(ExportedDevice("1", "cam", kind="camera"), datetime(2026, 1, 1, tzinfo=UTC))
    >>> made["type_uid"], made["device"]["type_id"], made["time"]
    (500102, 7, 1767225600000)
    """
    about: dict[str, Any] = {"uid": device.id, "name": device.name, "type_id": _type(device.kind)}
    if device.kind:
        about["type"] = kind_label(device.kind)
    for key, value in (
        ("hostname", device.host_names[:1]), ("ip", device.addresses[:1]), ("mac", device.macs[:1])
    ):
        if value:
            about[key] = value[0]
    if device.vendor:
        about["vendor_name"] = device.vendor
    if device.model:
        about["model"] = device.model
    for key, moment in (("first_seen_time", device.first_seen), ("last_seen_time", device.last_seen)):
        if moment is not None:
            about[key] = _ms(moment)
    about["desc"] = f"{device.statement} ({device.score:.2f})"
    return _base(_INVENTORY, 5, _COLLECT, time, "info") | {
        "message": f"{device.name}: {device.statement}", "device": about
    }


def event_document(event: SinkEvent) -> dict[str, Any]:
    """An alert as an event of class 2004."""
    finding: dict[str, Any] = {"uid": str(event.id), "title": event.title, "desc": event.text,
                               "types": [str(event.data.get("kind") or event.kind)],
                               "created_time": _ms(event.time)}  # fmt: skip
    document = _base(_FINDING, 2, _CREATE, event.time, event.severity) | {
        "message": event.text, "finding_info": finding
    }
    if event.device is not None:
        document["resources"] = [{"uid": event.device.id, "name": event.device.name, "type": "device"}]
    return document


def _base(class_: int, category: int, activity: int, time: datetime, severity: str) -> dict[str, Any]:
    return {
        "class_uid": class_, "category_uid": category, "activity_id": activity, "type_uid": class_ * 100 + activity,
        "severity_id": _SEVERITY[severity], "time": _ms(time),
        "metadata": {"version": VERSION, "product": {"name": "Ethogram", "vendor_name": "Ethogram",
                                                     "version": __version__}},
    }  # fmt: skip


def _type(kind: str) -> int:
    """Number of the type of a device."""
    if kind not in KINDS:
        return _UNKNOWN
    return _TYPES.get(kind, _IOT if KINDS[kind].iot else _OTHER)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
