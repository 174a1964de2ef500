"""Custom flows of a user's folder, read from custom flows or captures of several devices, with their labels."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from ethogram._parse_address import parse_mac
from ethogram.config import CustomFlowSettings, FlowSettings, MeterSettings, PacketFlowSettings
from ethogram.corpora.card import Card, CardDevice
from ethogram.errors import InputError, UsageError
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.unused_options import same_for_all
from ethogram.pipeline.vectors import VectorRun, read_vectors
from ethogram.schema import Accounting, CustomFlows, PacketFlows

__all__ = ["FolderFlows", "folder_services", "read_folder"]

DAY_US = 86_400_000_000
UNLABELLED = "device without a label"


@dataclass(frozen=True)
class FolderFlows:
    """Flows of a folder.

    Parameters
    ----------
    flows
        N custom flows; devices are named ``corpus/device``.
    packets
        Packets of the same rows, if requested.
    truth
        N rows: labels of each flow's device, its day, and the ``device_day``.
    accounting
        Accounting of packets and of custom flows, by stage.
    """

    flows: CustomFlows
    packets: PacketFlows | None
    truth: pl.DataFrame
    accounting: dict[str, Accounting]


def read_folder(
    card: Card, files: Sequence[Path], *, settings: CustomFlowSettings | None = None,
    packets: PacketFlowSettings | None = None,
) -> FolderFlows:  # fmt: skip
    """Read all files of a network at once, and keep the flows of its labelled devices.

    Parameters
    ----------
    card
        Card of the network; devices are identified by MAC or address in captures, by name or MAC in custom flows.
    files
        Custom flows in our or the published layout, and captures.
    settings, packets
        How packets become flows, and what is kept of the packets (None: nothing).

    Raises
    ------
    InputError
        When a file cannot be used, no flow has a label, or a capture is damaged.
    UsageError
        When packets are requested and the files have none.
    """
    if packets is not None and any(file.suffix == ".parquet" for file in files):
        raise UsageError(f"corpus {card.name}: files of custom flows have no packets, which the encoder needs")
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "devices.csv"
        addressed = _device_file(named, card.used_devices)
        if addressed < len(card.used_devices) and any(file.suffix != ".parquet" for file in files):
            bare = next(device.id for device in card.used_devices if not device.mac and not device.addresses)
            raise InputError(f"device {bare} has neither mac nor ip; captures need one", file=files[0])
        with same_for_all():
            options = ReadOptions(named if addressed else None, devices_only=bool(addressed))
            run = read_vectors([*files], options, settings=settings, packets=packets)
        pairs = list(run.pairs()) if packets is not None else [(flows, None) for flows in run.batches()]
    if run.errors:
        raise InputError("; ".join(run.errors), file=files[0])
    flows = CustomFlows.concat([batch for batch, _ in pairs])
    beside = None if packets is None else PacketFlows.concat([batch for _, batch in pairs if batch is not None])
    return _labelled(card, flows, beside, run, files[0])


def folder_services(
    card: Card, files: Sequence[Path], settings: FlowSettings, meter: MeterSettings, accounting: dict[str, Accounting]
) -> pl.DataFrame:
    """Flow table of all labelled devices, for fingerprints, from all captures of a network at once.

    Parameters
    ----------
    card, files
        Card of the network, and its captures.
    settings, meter
        Settings of the pipeline.
    accounting
        Accounting by stage; entries are added.

    Raises
    ------
    UsageError
        When there are files of custom flows, which have no services.
    InputError
        When a capture cannot be used.
    """
    if any(file.suffix == ".parquet" for file in files):
        raise UsageError(f"corpus {card.name}: fingerprints need captures, not files of custom flows")
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "devices.csv"
        _device_file(named, card.used_devices)
        with same_for_all():
            options = ReadOptions(named, settings, devices_only=True, meter=meter, strict=True)
            run = read_flows([*files], options)
        table = collect(run)
    for report in run.reports:
        accounting.setdefault("read", Accounting(report.accounting.unit)).merge(report.accounting)
    accounting |= run.stages
    return table


def _device_file(path: Path, devices: Sequence[CardDevice]) -> int:
    """Write the devices that have a MAC or an address; return their number."""
    addressed = 0
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("device", "mac", "ip"))
        for device in devices:
            addressed += bool(device.mac or device.addresses)
            if device.mac:
                writer.writerow((device.id, device.mac, ""))
            for address in device.addresses:
                writer.writerow((device.id, "", address))
    return addressed


def _labelled(card: Card, flows: CustomFlows, packets: PacketFlows | None, run: VectorRun, file: Path) -> FolderFlows:
    """Keep flows of labelled devices and add their labels; all others are counted."""
    by_name: dict[str, CardDevice] = {}
    for device in card.used_devices:
        by_name[device.id.lower()] = device
        if device.mac:
            by_name[device.mac] = device
    names = flows.device.unique().to_list()
    known = {name: by_name.get(name.lower()) or by_name.get(parse_mac(name) or "") for name in names}
    use = flows.device.is_in([name for name, device in known.items() if device is not None]).to_numpy()
    labels = Accounting("custom flows", len(flows), int(use.sum()))
    labels.ignore(UNLABELLED, int((~use).sum()))
    labels.check()
    if not labels.used:
        seen = ", ".join(sorted(names)[:3])
        raise InputError(f"no flow of a labelled device; the flows are of {seen or 'no device'}", file=file)
    rows = np.flatnonzero(use)
    flows = flows.take(rows)
    truth = _truth(card, flows, {name: device for name, device in known.items() if device is not None})
    accounting: dict[str, Accounting] = {}
    for report in run.reports:
        stage = "read" if report.accounting.unit == "packets" else "read custom flows"
        accounting.setdefault(stage, Accounting(report.accounting.unit)).merge(report.accounting)
    accounting |= run.stages | {"labels": labels}
    names_full = pl.Series("device", f"{card.name}/" + truth["id"])
    flows = replace(flows, device=names_full)
    return FolderFlows(flows, None if packets is None else packets.take(rows), truth, accounting)


def _truth(card: Card, flows: CustomFlows, known: dict[str, CardDevice]) -> pl.DataFrame:
    table = pl.DataFrame(
        [
            {"device": name, "id": device.id, "unit": card.unit_of(device), "model": device.model,
             "vendor": device.vendor, "family": device.family, "type": device.type, "coarse": device.coarse}
            for name, device in known.items()
        ]
    )  # fmt: skip
    day = pl.Series("day", flows.start_us // DAY_US, dtype=pl.Int32)
    frame = pl.DataFrame({"device": flows.device, "day": day}).join(table, on="device", maintain_order="left")
    return frame.with_columns(
        device=pl.lit(f"{card.name}/") + pl.col("id"), network=pl.lit(card.network), run=pl.lit(""),
        corpus=pl.lit(card.name),
        device_day=pl.lit(f"{card.name}/") + pl.col("id") + pl.lit(" ") + pl.col("day").cast(pl.String),
    ).select("device", "id", "unit", "model", "vendor", "family", "type", "coarse", "network", "run", "corpus", "day",
             "device_day")  # fmt: skip
