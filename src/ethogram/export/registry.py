"""The formats of ``ethogram export``: each is one module with a function ``write``, loaded when it is used."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import polars as pl

from ethogram.errors import ConfigurationError
from ethogram.schema import MUD_USE, ExportedDevice, MudProfile, SinkEvent

__all__ = ["EXPORTS", "ExportData", "ExportFormat", "ExportOptions", "NetBoxPlace", "Written", "load_export"]


@dataclass(frozen=True)
class NetBoxPlace:
    """A NetBox server.

    Parameters
    ----------
    url
        Where its page is.
    token
        Of its API.
    site
        Name or slug of the site of new devices; empty: the only one that there is.
    timeout_s
        Time that it has for an answer.
    """

    url: str
    token: str = field(repr=False)
    site: str = ""
    timeout_s: float = 30.0


@dataclass(frozen=True)
class ExportOptions:
    """What formats need beside the devices.

    Parameters
    ----------
    mud_url
        Start of the MUD URLs; the name of the file follows.
    port
        Port of the targets of Prometheus; 0: none.
    prefix
        Topic prefix of MQTT discovery.
    dry_run
        Say what would change (``netbox``) or be dropped (firewalls), and change nothing.
    netbox
        Where NetBox is.
    """

    mud_url: str = "https://mud.invalid/"
    port: int = 0
    prefix: str = "homeassistant"
    dry_run: bool = False
    netbox: NetBoxPlace | None = None


@dataclass(frozen=True)
class ExportData:
    """What is exported.

    Parameters
    ----------
    devices
        In order of name.
    events
        Alerts that are not closed; empty for inputs.
    uses
        Use of services (:data:`ethogram.schema.MUD_USE`), where the format reads it.
    time
        Time of the export.
    ends
        Host names and addresses of other ends (:data:`ethogram.pipeline.service_use.END`), where they are known.
    profiles
        MUD profiles of files by device; empty text: of every other device.
    local
        Prefixes of the local networks.
    flows
        Gives the flows of a dry run.
    """

    devices: tuple[ExportedDevice, ...]
    time: datetime
    events: tuple[SinkEvent, ...] = ()
    uses: pl.DataFrame | None = None
    ends: pl.DataFrame | None = None
    profiles: Mapping[str, MudProfile] = field(default_factory=dict)
    local: tuple[str, ...] = ()
    flows: Callable[[], Iterable[pl.DataFrame]] = field(default=tuple)

    def uses_of(self, device: ExportedDevice) -> pl.DataFrame:
        """Services that a device uses."""
        return self._uses_by_device.get(device.id, MUD_USE.empty())

    @functools.cached_property
    def _uses_by_device(self) -> dict[str, pl.DataFrame]:
        """Parts of the uses, cut once: a filter for each of many devices would read all rows each time."""
        if self.uses is None:
            return {}
        return {str(device): part for (device,), part in self.uses.partition_by("device", as_dict=True).items()}


class Written(NamedTuple):
    """A part of an export.

    Parameters
    ----------
    name
        Of the file, in formats with a file for each device; empty for the next part of the one file.
    text
        What is written.
    note
        What the user should know about it; empty if nothing.
    """

    name: str
    text: str
    note: str = ""


WriteExport = Callable[[ExportData, ExportOptions], Iterator[Written]]


class ExportFormat(NamedTuple):
    """One format.

    Parameters
    ----------
    summary
        What it is, for help.
    module
        With a function ``write``.
    suffixes
        Of files in this format.
    reads
        ``devices``, or ``services`` too.
    needs
        Library beside the package, and the extra that installs it; empty if none.
    """

    summary: str
    module: str
    suffixes: tuple[str, ...]
    reads: Literal["devices", "services"] = "devices"
    needs: tuple[str, str] = ("", "")


EXPORTS: dict[str, ExportFormat] = {
    "csv": ExportFormat("table for a spreadsheet", "csv_table", (".csv",)),
    "ecs": ExportFormat("JSON lines in the Elastic Common Schema", "ecs", (".jsonl", ".ndjson", ".json")),
    "homeassistant": ExportFormat("MQTT discovery of Home Assistant", "homeassistant", (".jsonl", ".ndjson", ".json")),
    "mud": ExportFormat("MUD files (RFC 8520), one for each device", "mud", (".json",), "services"),
    "netbox": ExportFormat("devices of a NetBox server", "netbox", (".txt", ".log"), needs=("pynetbox", "netbox")),
    "nftables": ExportFormat("rules of nftables", "nftables", (".nft", ".conf"), "services"),
    "ocsf": ExportFormat("JSON lines in the Open Cybersecurity Schema", "ocsf", (".jsonl", ".ndjson", ".json")),
    "opnsense": ExportFormat("aliases of OPNsense", "opnsense", (".json",), "services"),
    "prometheus-sd": ExportFormat("targets for the file discovery of Prometheus", "prometheus_sd", (".json",)),
    "stix": ExportFormat("a bundle of STIX 2.1", "stix", (".json",), needs=("stix2", "stix")),
}
"""All formats by their names."""


def load_export(name: str) -> WriteExport:
    """The function that writes a format.

    Raises
    ------
    ConfigurationError
        If a library that it needs is not installed.
    """
    form = EXPORTS[name]
    library, extra = form.needs
    if library and importlib.util.find_spec(library) is None:
        raise ConfigurationError(f"the export {name} needs {library}: pip install 'ethogram[{extra}]'")
    write: WriteExport = importlib.import_module(f"ethogram.export.{form.module}").write
    return write
