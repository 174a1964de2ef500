"""Labels that a user gives for devices: the device is called that, and its traffic is still compared with the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from ethogram.identify.labels import Label, device_key, match_labels
from ethogram.identify.library import Identity
from ethogram.pipeline.inputs import WindowsRead
from ethogram.pipeline.text import join_names, plural
from ethogram.schema import Inventory, Verdict, Windows

__all__ = ["labels_of_devices", "pin_labels"]

LEAST = 0.25
"""Smallest score at which a device still behaves like its label, although another label is nearer."""


def labels_of_devices(labels: Sequence[Label], read: WindowsRead) -> list[Label]:
    """Labels with the names of devices as they were read.

    A label may name a device by its MAC, by one of its addresses or by its host name, though a file of the user gave it
    another name.
    """
    named = read.identity.filter(pl.col("fact").is_in(["mac", "address", "name", "host_name"]))
    single = named.select("device", "value").unique().filter(pl.len().over("value") == 1)
    by_value = {device_key(value): device for device, value in single.iter_rows()}
    devices = {device_key(device) for device in read.seen.windows.items["device"].unique()}
    return [
        label if device_key(label.device) in devices
        else replace(label, device=by_value.get(device_key(label.device), label.device))
        for label in labels
    ]  # fmt: skip


def pin_labels(inventory: Inventory, windows: Windows, labels: Sequence[Label]) -> tuple[Inventory, list[str]]:
    """Call devices what a label file says, and report those that do not behave so.

    Parameters
    ----------
    inventory
        Verdicts by traffic, one per item.
    windows
        The items, in the same order.
    labels
        Rows of a label file; a row counts if it is valid for the whole window.

    Returns
    -------
    tuple
        The inventory, and lines for the user: what does not behave like its label, and labels without a device.
    """
    matched = match_labels(windows, labels)
    devices, changed = [], []
    for verdict, identity in zip(inventory.devices, matched.identities, strict=True):
        name = "" if identity is None else _name(identity, verdict.level)
        if not name:
            devices.append(verdict)
            continue
        pinned = _pinned(verdict, name)
        devices.append(pinned)
        if pinned.unusual:
            changed.append(f"{verdict.device} no longer behaves like {name}: {_instead(verdict, name)}")
    lines = changed
    if matched.labels_without_device:
        names = matched.labels_without_device
        lines.append(f"labelled, but not seen: {plural(len(names), 'device')}: {join_names(names)}")
    return inventory.model_copy(update={"devices": devices}), lines


def _name(identity: Identity, level: str) -> str:
    """Label of the device at a level; '' if the file has none."""
    return identity.at(level)


def _pinned(verdict: Verdict, name: str) -> Verdict:
    """The verdict with a given label, compared with the traffic as far as the library knows the label."""
    if not verdict.flows:
        return _with(verdict, name, unusual=False, reason=f"you said so; {verdict.reason}")
    if name not in verdict.known_types:
        reason = f"you said so; {name} is not in the library, so its traffic is not compared"
        return _with(verdict, name, unusual=False, reason=reason)
    if _like(verdict, name):
        return _with(verdict, name, unusual=False, reason=f"you said so; {verdict.reason}")
    reason = f"you said so, but it no longer behaves like {name}: {_instead(verdict, name)}; {verdict.reason}"
    return _with(verdict, name, unusual=True, reason=reason)


def _like(verdict: Verdict, name: str) -> bool:
    """Whether the traffic is that of the label."""
    near = name == verdict.nearest or name in verdict.tied_with
    return not verdict.unusual if near else verdict.known_types[name] >= LEAST


def _instead(verdict: Verdict, name: str) -> str:
    """Deviations of a device that does not behave like its label."""
    if verdict.nearest != name and verdict.verdict == verdict.nearest:
        return f"it is like {verdict.nearest} ({verdict.score:.2f})"
    if verdict.strangeness > 1.0:
        return "it is unlike every known device"
    if verdict.nearest != name:
        return f"it is more like {verdict.nearest}"
    return f"{verdict.new_share:.0%} of its flows use services that {name} never used"


def _with(verdict: Verdict, name: str, *, unusual: bool, reason: str) -> Verdict:
    return verdict.model_copy(
        update={"verdict": name, "pinned": True, "score": 1.0, "unusual": unusual, "reason": reason, "fallback": None}
    )
