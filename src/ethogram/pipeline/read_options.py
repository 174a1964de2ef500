"""Options for reading inputs that every verb shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ethogram.config import FlowSettings
from ethogram.schema import ALWAYS, TimeSpan

__all__ = ["OnProgress", "ReadOptions", "flow_settings", "read_options"]

OnProgress = Callable[[int], None]
"""Called with the number of records of each batch read."""


@dataclass(frozen=True)
class ReadOptions:
    """How inputs become flows of devices.

    Parameters
    ----------
    devices
        Device file; None: every local address is a device.
    flow
        Settings of the flow stages; None: the defaults.
    span
        Only flows that start in this span.
    identity
        Collect identity facts: MACs, addresses, and what devices say of themselves.
    """

    devices: Path | None = None
    flow: FlowSettings | None = None
    span: TimeSpan = ALWAYS
    identity: bool = True


def flow_settings(local: Sequence[str] | None, **values: object) -> FlowSettings:
    """Settings of the flow stages, with the local prefixes if any are given."""
    return FlowSettings.of(**({"local": tuple(local)} if local else {}), **values)


def read_options(
    devices: Path | None, local: Sequence[str] | None, time_from: datetime | None, time_to: datetime | None
) -> ReadOptions:
    """Collect the options that commands and functions of the API share."""
    return ReadOptions(devices, flow_settings(local), TimeSpan(time_from, time_to))
