"""What is exported of inputs: their devices, and in one reading the services that they use."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ethogram.config import FlowSettings
from ethogram.errors import EthogramWarning, InputError
from ethogram.export.registry import ExportData, ExportFormat
from ethogram.pipeline.flows import read_flows
from ethogram.pipeline.identify import IdentifyOptions, identify
from ethogram.pipeline.inputs import is_fingerprints
from ethogram.pipeline.library import OpenLibrary
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog
from ethogram.pipeline.service_use import ServiceUse
from ethogram.schema import ExportedDevice, MudProfile

__all__ = ["data_of_inputs", "select_devices", "with_profiles"]


def data_of_inputs(
    inputs: Sequence[str | Path],
    known: Sequence[OpenLibrary],
    export: ExportFormat,
    reading: ReadOptions,
    *,
    wanted: Sequence[str] = (),
    knowledge: Path | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[ExportData, RunLog]:
    """Identify the devices of inputs as ``ethogram identify --no-flows`` does.

    Parameters
    ----------
    inputs
        Anything that ``ethogram identify`` reads; fingerprints only for formats that need no services.
    known
        Libraries of known devices.
    export
        The format: whether it needs the services of devices.
    reading
        How inputs become flows of devices.
    wanted
        Names, addresses, MACs or ids of the devices to export; empty: all.
    knowledge
        File of rows that add to the knowledge pack.
    on_progress
        Called with the number of records of each batch.

    Raises
    ------
    InputError
        If an input cannot be read, has no flows where the format needs them, or there is no such device.
    """
    services = export.reads == "services"
    if services and (prints := next((path for path in inputs if is_fingerprints(path)), None)) is not None:
        raise InputError("fingerprints do not say with whom a device speaks: name what they are made from",
                         file=prints)  # fmt: skip
    use = ServiceUse()
    run = identify(
        inputs, known, IdentifyOptions(flows=False, knowledge=knowledge), reading, on_progress=on_progress,
        on_flows=use.add if services else None,
    )  # fmt: skip
    devices = select_devices(map(ExportedDevice.of_verdict, run.inventory.devices), wanted)
    data = ExportData(devices, datetime.now(tz=UTC), uses=use.uses if services else None, ends=use.ends,
                      local=(reading.flow or FlowSettings()).local)  # fmt: skip
    return data, run.log


def with_profiles(
    data: ExportData, profiles: Mapping[str, MudProfile], traffic: Sequence[str | Path], reading: ReadOptions
) -> ExportData:
    """The same with profiles of files, and with the flows on which a dry run tries rules.

    Raises
    ------
    InputError
        If a profile is for a device that there is not.
    """
    if profiles:
        known = {text for device in data.devices
                 for text in (device.id, device.name, *device.addresses, *device.macs, *device.host_names)}  # fmt: skip
        for device in profiles:
            if device and device not in known:
                raise InputError(f"--profile: there is no device {device!r}")

    def flows() -> Iterator[pl.DataFrame]:
        run = read_flows(list(traffic), reading)
        yield from run.batches()
        for line in run.errors:
            warnings.warn(line, EthogramWarning, stacklevel=2)

    return replace(data, profiles=profiles, flows=flows if traffic else data.flows)


def select_devices(devices: Iterable[ExportedDevice], wanted: Sequence[str]) -> tuple[ExportedDevice, ...]:
    """Devices in order of name; with names, only those, and each must be one.

    Raises
    ------
    InputError
        If a name is that of no device.
    """
    ordered = sorted(devices, key=lambda each: (each.name.lower(), each.id))
    if not wanted:
        return tuple(ordered)
    names = {text for given in wanted for text in (given, given.lower())}
    matches = [(device, {device.id, device.name, *device.addresses, *device.macs, *device.host_names})
               for device in ordered]  # fmt: skip
    selected = [(device, texts) for device, texts in matches if texts & names]
    for text in wanted:
        if not any({text, text.lower()} & texts for _, texts in selected):
            raise InputError(f"--device: there is no device {text!r}")
    return tuple(device for device, _ in selected)
