"""Options for reading inputs that every verb shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ethogram.config import FlowSettings, MeterSettings
from ethogram.pipeline.device_names import DeviceNames
from ethogram.pipeline.pseudonymise import Pseudonymiser
from ethogram.pipeline.unused_options import given_options
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
    devices_only
        Only the devices that the device file names are devices.
    names
        Files that name devices, in order of precedence (:mod:`ethogram.io.names`).
    names_mapping
        Columns of those files that are CSV or JSON; None: by usual names.
    dns_logs
        Logs of resolvers that name remote ends (:mod:`ethogram.io.resolver`).
    span
        Only flows that start in this span.
    identity
        Collect identity facts: MACs, addresses, and what devices announce.
    meter
        Settings of the meter for captures; None: the defaults.
    strict
        Stop at the first record that cannot be used, or whose optional fields cannot all be read.
    pseudonymiser
        Replaces addresses, MACs and names in everything that is read; None: they stay.
    """

    devices: Path | None = None
    flow: FlowSettings | None = None
    span: TimeSpan = ALWAYS
    identity: bool = True
    devices_only: bool = False
    names: tuple[Path, ...] = ()
    names_mapping: Path | None = None
    dns_logs: tuple[Path, ...] = ()
    meter: MeterSettings | None = None
    strict: bool = False
    pseudonymiser: Pseudonymiser | None = None

    def device_names(self) -> DeviceNames:
        """Read the files that name devices."""
        return DeviceNames.load(self.devices, self.devices_only, self.names, self.names_mapping)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are read beside the inputs."""
        single = (file for file in (self.devices, self.names_mapping) if file is not None)
        return (*single, *self.names, *self.dns_logs)

    @property
    def given(self) -> list[str]:
        """Options that differ from their defaults, as they are spelt on the command line."""
        values = {"--names-mapping": self.names_mapping, "--no-identity": not self.identity,
                  "--from": self.span.begin, "--to": self.span.end, "--pseudonymise": self.pseudonymiser}  # fmt: skip
        return given_options(self.name_options, self.flow) + [option for option, value in values.items() if value]

    @property
    def name_options(self) -> list[str]:
        """Options that name devices, as they are spelt on the command line."""
        values = {"--devices": self.devices, "--devices-only": self.devices_only, "--names": self.names,
                  "--dns-log": self.dns_logs}  # fmt: skip
        return [option for option, value in values.items() if value]


def flow_settings(local: Sequence[str] | None, **values: object) -> FlowSettings:
    """Settings of the flow stages, with the local prefixes if any are given."""
    return FlowSettings.of(**({"local": tuple(local)} if local else {}), **values)


def read_options(
    devices: Path | None, local: Sequence[str] | None, time_from: datetime | None, time_to: datetime | None,
    *, time_zone: str = "UTC", pseudonymise: Path | None = None, **more: Any,
) -> ReadOptions:  # fmt: skip
    """Collect the options that commands and functions of the API share; ``more`` are fields of the options.

    Raises
    ------
    ConfigurationError
        If the key file of ``pseudonymise`` cannot be used.
    """
    pseudonymiser = None if pseudonymise is None else Pseudonymiser.load(pseudonymise)
    return ReadOptions(
        devices, flow_settings(local, time_zone=time_zone), TimeSpan(time_from, time_to), pseudonymiser=pseudonymiser,
        **more,
    )  # fmt: skip
