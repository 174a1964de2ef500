"""Names of devices by files of the user: how a run names devices, and what the files say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from ethogram.config import FlowSettings
from ethogram.errors import InputError, UsageError
from ethogram.flow.devices import LocalDevices, Namer
from ethogram.flow.devices_file import DeviceFile
from ethogram.flow.named_devices import NamedDevices, named_facts
from ethogram.io.names.open import read_names
from ethogram.io.names.table import load_mapping
from ethogram.pipeline.input_report import InputReport
from ethogram.schema import IDENTITY, NAMED_DEVICE

__all__ = ["DeviceNames"]


@dataclass(frozen=True)
class DeviceNames:
    """Files that name devices, read once for all passes of a run.

    Parameters
    ----------
    file
        Device file; None: none.
    only
        Only the devices that the device file names are devices.
    entries
        Entries of other files (:data:`ethogram.schema.NAMED_DEVICE`).
    reports
        Accounting of those files.

    Examples
    --------
    >>> DeviceNames().namer(FlowSettings()).by_time
    False
    """

    file: DeviceFile | None = None
    only: bool = False
    entries: pl.DataFrame = field(default_factory=NAMED_DEVICE.empty)
    reports: tuple[InputReport, ...] = ()

    @classmethod
    def load(
        cls, devices: Path | None = None, only: bool = False, names: Sequence[Path] = (), mapping: Path | None = None
    ) -> DeviceNames:
        """Read the files.

        Parameters
        ----------
        devices
            Device file.
        only
            Only the devices that it names are devices.
        names
            Files that name devices, in order of precedence: leases, neighbour tables, lists as CSV or JSON.
        mapping
            Columns of the lists.

        Raises
        ------
        ConfigurationError
            If a file cannot be read, or is of no known format.
        UsageError
            If the options contradict each other.
        """
        if only and devices is None:
            raise UsageError("--devices-only needs --devices: it leaves out every device that the file does not name")
        if mapping is not None and not names:
            raise UsageError(f"--names-mapping {mapping}: there is no --names to read through it")
        file = DeviceFile.load(devices) if devices is not None else None
        columns = None if mapping is None else load_mapping(mapping)
        tables, reports = [NAMED_DEVICE.empty()], []
        for path in names:
            form, entries = read_names(path, columns)
            report = InputReport(str(path), form, entries.accounting)
            if entries.first_problem is not None:
                line, reason = entries.first_problem
                report.first_problem = str(InputError(reason, file=path, line=line))
            reports.append(report)
            tables.append(entries.table())
        return cls(file, only, pl.concat(tables), tuple(reports))

    def namer(self, flow: FlowSettings) -> Namer:
        """A new namer for one pass over flows."""
        if self.only and self.file is not None:
            return self.file
        base = LocalDevices(flow.device_by, flow.router_addresses)
        if self.file is None and not self.entries.height:
            return base
        return NamedDevices(base, self.file, self.entries, by_mac=flow.device_by == "mac")

    def facts(self) -> pl.DataFrame:
        """What the files say, as identity facts without devices (:data:`ethogram.schema.IDENTITY`)."""
        return named_facts(self.entries) if self.entries.height else IDENTITY.empty()

    @property
    def outside(self) -> tuple[str, ...]:
        """Addresses of the device file, which may be outside the local prefixes."""
        if self.file is None:
            return ()
        return tuple(self.file.entries.filter(pl.col("kind") == "ip")["key"].unique().sort())

    @property
    def notices(self) -> list[str]:
        """Lines for the user: what could not be used of each file."""
        lines = [line for report in self.reports for line in _notices(report)]
        conflicts = [] if self.file is None else list(self.file.conflicts)
        if self.entries.height:
            conflicts += NamedDevices(LocalDevices(), self.file, self.entries).conflicts
        more = [f"{len(conflicts) - 1:,} more names contradict earlier ones"] if len(conflicts) > 1 else []
        return lines + conflicts[:1] + more


def _notices(report: InputReport) -> list[str]:
    counted = report.accounting
    if not counted.dropped and counted.used:
        return []
    line = f"{report.name}: {counted.used:,} of {counted.read:,} names used"
    return [line + (f"; the first that cannot be: {report.first_problem}" if report.first_problem else "")]
