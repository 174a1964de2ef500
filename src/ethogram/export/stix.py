"""Devices and alerts as a bundle of STIX 2.1, for platforms of threat intelligence."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterator
from typing import Any

from ethogram.export.names import kind_label
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.schema import ExportedDevice, SinkEvent

__all__ = ["write"]

_NAMESPACE = uuid.UUID("4b1f6f0e-6a0c-5b52-9d3e-2f4f0c1c8a77")
"""Of the ids, so that a device has the same id in every export."""
_IDENTITY = f"identity--{uuid.uuid5(_NAMESPACE, 'ethogram')}"


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:  # noqa: ARG001 (one form for all exports)
    """One bundle: each device as infrastructure with its addresses and MACs, each alert as a note about it."""
    import stix2

    common: dict[str, Any] = {"created": data.time, "modified": data.time, "created_by_ref": _IDENTITY}
    objects: dict[str, Any] = {_IDENTITY: stix2.Identity(
        id=_IDENTITY, name="Ethogram", identity_class="system", created=data.time, modified=data.time
    )}  # fmt: skip
    for device in data.devices:
        for made in _of_device(device, common):
            objects[made["id"]] = made
    for event in data.events:
        note = _note(event, common)
        objects[note["id"]] = note
    bundle = stix2.Bundle(*objects.values(), id=f"bundle--{uuid.uuid5(_NAMESPACE, data.time.isoformat())}")
    yield Written("", bundle.serialize(pretty=True) + "\n")


def _id(kind: str, name: str) -> str:
    return f"{kind}--{uuid.uuid5(_NAMESPACE, f'{kind} {name}')}"


def _of_device(device: ExportedDevice, common: dict[str, Any]) -> Iterator[Any]:
    """Infrastructure, observables, and what relates them."""
    import stix2

    words = " ".join(part for part in (device.vendor, kind_label(device.kind), device.model) if part)
    seen = {"first_seen": device.first_seen, "last_seen": device.last_seen}
    infrastructure = stix2.Infrastructure(
        id=_id("infrastructure", device.id), name=device.name, infrastructure_types=["unknown"],
        description=f"{device.statement} ({device.score:.2f}){f'; {words}' if words else ''}",
        labels=[f"ethogram:{key}={value}" for key, value in (("kind", device.kind), ("state", device.state)) if value],
        **{key: moment for key, moment in seen.items() if moment is not None}, **common,
    )  # fmt: skip
    yield infrastructure
    for observable in _observables(device):
        yield observable
        yield stix2.Relationship(
            id=_id("relationship", f"{infrastructure['id']} {observable['id']}"), relationship_type="consists-of",
            source_ref=infrastructure["id"], target_ref=observable["id"], **common,
        )  # fmt: skip


def _observables(device: ExportedDevice) -> Iterator[Any]:
    import stix2

    for mac in device.macs:
        yield stix2.MACAddress(value=mac.lower())
    for address in device.addresses:
        try:
            version = ipaddress.ip_address(address).version
        except ValueError:
            continue
        yield stix2.IPv4Address(value=address) if version == 4 else stix2.IPv6Address(value=address)


def _note(event: SinkEvent, common: dict[str, Any]) -> Any:
    import stix2

    about = _IDENTITY if event.device is None else _id("infrastructure", event.device.id)
    return stix2.Note(
        id=_id("note", str(event.id)), abstract=f"{event.severity}: {event.title}", content=event.text,
        object_refs=[about], **common | {"created": event.time},
    )  # fmt: skip
