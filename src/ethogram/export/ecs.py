"""Devices and alerts as JSON lines in the Elastic Common Schema, for Elasticsearch, Logstash and Beats."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ethogram._text import json_text
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.schema import ExportedDevice, SinkEvent

__all__ = ["VERSION", "device_document", "event_document", "write"]

VERSION = "9.4.0"
"""Version of the schema whose fields are used."""
_SEVERITY = {"info": 1, "warning": 2, "critical": 3}
_LONGEST = 1024


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:  # noqa: ARG001 (one form for all exports)
    """One document for each device (``event.kind: asset``), then one for each alert (``event.kind: alert``)."""
    for device in data.devices:
        yield Written("", json_text(device_document(device, data.time)))
    for event in data.events:
        yield Written("", json_text(event_document(event)))


def device_document(device: ExportedDevice, time: datetime) -> dict[str, Any]:
    """A device as an asset.

    >>> camera = ExportedDevice("1", "cam", macs=("02:00:00:00:00:0a",))
    >>> made = device_document(camera, datetime(2026, 1, 1, tzinfo=UTC))
    >>> made["host"]["mac"], made["event"]["kind"]
    (['02-00-00-00-00-0A'], 'asset')
    """
    event: dict[str, Any] = {"kind": "asset", "category": ["host"], "type": ["info"], "module": "ethogram",
                             "dataset": "ethogram.device"}  # fmt: skip
    for key, moment in (("start", device.first_seen), ("end", device.last_seen)):
        if moment is not None:
            event[key] = _time(moment)
    return {"@timestamp": _time(time), "ecs": {"version": VERSION}, "event": event,
            "message": f"{device.name}: {device.statement}"[:_LONGEST], **_of_device(device)}  # fmt: skip


def event_document(event: SinkEvent) -> dict[str, Any]:
    """An alert, or another event of the live service."""
    alert = event.kind == "alert"
    fields: dict[str, Any] = {
        "kind": "alert" if alert else "event", "category": ["network" if alert else "host"],
        "type": ["info" if alert or event.kind != "device new" else "creation"], "module": "ethogram",
        "dataset": "ethogram.alert" if alert else "ethogram.event", "id": str(event.id),
        "action": str(event.data.get("kind") or event.kind).replace(" ", "-"), "severity": _SEVERITY[event.severity],
    }  # fmt: skip
    document = {"@timestamp": _time(event.time), "ecs": {"version": VERSION}, "event": fields,
                "message": event.text[:_LONGEST]}  # fmt: skip
    if alert:
        document["rule"] = {"name": event.title[:_LONGEST]}
    return document | ({} if event.device is None else _of_device(event.device))


def _of_device(device: ExportedDevice) -> dict[str, Any]:
    host: dict[str, Any] = {"id": device.id, "name": device.name[:_LONGEST]}
    if device.host_names:
        host["hostname"] = device.host_names[0][:_LONGEST]
    if addresses := [address for address in device.addresses if _is_address(address)]:
        host["ip"] = addresses
    if macs := [mac.replace(":", "-").upper() for mac in device.macs]:
        host["mac"] = macs
    if device.kind:
        host["type"] = device.kind
    about: dict[str, Any] = {"id": device.id}
    if device.vendor:
        about["manufacturer"] = device.vendor
    if device.model:
        about["model"] = {"name": device.model}
    labels = {"statement": device.statement[:_LONGEST], "level": device.level, "score": f"{device.score:.4f}",
              "state": device.state}  # fmt: skip
    return {"host": host, "device": about, "labels": labels, "tags": ["ethogram"]}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
