"""Targets for the file-based service discovery of Prometheus (``file_sd_config``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ethogram._text import json_text, visible
from ethogram.export.registry import ExportData, ExportOptions, Written
from ethogram.schema import ExportedDevice

__all__ = ["write"]


def write(data: ExportData, options: ExportOptions) -> Iterator[Written]:
    """A JSON list with one group for each device that has an address; its labels say what the device is.

    The labels are ``device``, ``device_id``, ``kind``, ``vendor``, ``model`` and ``state``; empty ones are left out.
    """
    groups = [
        {"targets": [_target(device.addresses[0], options.port)], "labels": _labels(device)}
        for device in data.devices if device.addresses
    ]  # fmt: skip
    yield Written("", json_text(groups, indent=True))


def _target(address: str, port: int) -> str:
    """Address and port as Prometheus writes them.

    >>> _target("192.0.2.1", 9100), _target("2001:db8::1", 9100), _target("2001:db8::1", 0)
    ('192.0.2.1:9100', '[2001:db8::1]:9100', '2001:db8::1')
    """
    if not port:
        return address
    try:
        host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    except ValueError:
        host = address
    return f"{host}:{port}"


def _labels(device: ExportedDevice) -> dict[str, str]:
    labels = {"device": device.name, "device_id": device.id, "kind": device.kind, "vendor": device.vendor,
              "model": device.model, "state": device.state}  # fmt: skip
    return {name: visible(value) for name, value in labels.items() if value}
