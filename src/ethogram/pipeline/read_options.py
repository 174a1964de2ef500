"""Options for reading inputs that every verb shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ethogram.config import FlowSettings
from ethogram.schema import ALWAYS, TimeSpan

__all__ = ["OnProgress", "ReadOptions"]

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
    """

    devices: Path | None = None
    flow: FlowSettings | None = None
    span: TimeSpan = ALWAYS
