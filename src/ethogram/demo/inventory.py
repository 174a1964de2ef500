"""The inventory of the demo: real devices from shipped counts, and a scripted home whose router exports IPFIX.

Its messages go over UDP on this machine's loopback; some are dropped on purpose, to show that the collector counts
each. Nothing else is sent anywhere.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl

from ethogram.errors import InputError, LibraryError
from ethogram.fingerprint.count import count
from ethogram.identify import library_file
from ethogram.identify.labels import Label
from ethogram.identify.library import Identity, Library, Source
from ethogram.identify.verdict import VerdictModel
from ethogram.io.receive.address import Listen
from ethogram.pipeline.flows import collect, read_flows
from ethogram.pipeline.inputs import COUNTING
from ethogram.pipeline.library import PACKAGED, enrol_windows
from ethogram.pipeline.verdicts import fit_verdict_model, identify_windows, settings_for
from ethogram.pipeline.windows import ObservedWindows, regroup
from ethogram.schema import UNKNOWN, Accounting, Verdict, Windows
from ethogram.serve.collector import Collector
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter, Sent
from ethogram.simulate.impairment import Impairment, Message
from ethogram.simulate.send import send

__all__ = [
    "LATER", "LOSS", "NETWORKS", "REORDER", "Change", "Export", "Home", "Sighting", "home_inventory", "labels_of",
    "packaged", "real_devices", "select_source", "simulated_home",
]  # fmt: skip

LATER = "later.jsonl.gz"
"""Later windows of enrolled devices, in ``ethogram/data``; their labels are the truth, and are shown with verdicts."""

NETWORKS = {
    "stevens_lsif_2019": "Stevens Institute 2019: 7 days known, the next 13 identified",
    "unsw_2016_kics_flows": "UNSW 2016: 8 hours known, the next 16 identified",
}
DAY_S = 86_400
LOSS, REORDER = 0.01, 0.01  # shares of the messages
AHEAD, WAIT_S = 64, 20.0  # messages the sender may be ahead of the collector, and how long it waits for progress
WATCHED_H = (1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 72, 96, 144, 192, 240, 312)


@dataclass(frozen=True)
class Sighting:
    """One device of the demo.

    Parameters
    ----------
    verdict
        Verdict on the device.
    truth
        Label of the device.
    decided_h
        Hours of watching after which the verdict no longer changed; None when it was never settled before the end.
    """

    verdict: Verdict
    truth: str
    decided_h: float | None

    @property
    def right(self) -> bool | None:
        """Whether the verdict is right; None for unknown."""
        return None if self.verdict.verdict == UNKNOWN else self.verdict.verdict == self.truth


@dataclass(frozen=True)
class Change:
    """A device that left its fingerprint: from this day on, verdicts state another device, or are unusual."""

    device: str
    day: int
    before: str
    after: Verdict


@dataclass(frozen=True)
class Export:
    """How the home's flows came over the network.

    Parameters
    ----------
    place
        Where the collector listened.
    sent
        By the exporter's own account.
    lost
        Messages that were dropped on purpose, and the flow records and sequence units in them.
    received, gaps
        Sequence units that came, and those that did not, as the collector knows from the sequence numbers alone.
    seconds
        How long it took to send.
    """

    place: str
    sent: Sent
    lost: dict[str, int]
    received: int
    gaps: int
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether what was received and what is known to be missing are what was sent."""
        return self.received + self.gaps == self.sent.units


@dataclass(frozen=True)
class Home:
    """The simulated home's inventory, who changed, how its flows came, and the accounting of its records."""

    sightings: list[Sighting]
    changes: list[Change]
    export: Export
    accounting: dict[str, Accounting]


def packaged(name: str) -> Library:
    """A library file of the package."""
    file = resources.files("ethogram") / "data" / name
    if not file.is_file():
        raise LibraryError(f"this installation brings no {name}")
    with resources.as_file(file) as path:
        return library_file.read(path)


def select_source(library: Library, source: str) -> Library:
    """The entries of one corpus."""
    entries = tuple(e for e in library.entries if e.observed[0].source == source)
    return replace(library, entries=entries)


def labels_of(library: Library) -> dict[str, str]:
    """The label of each device of a library."""
    return {entry.observed[0].device: entry.identity.label for entry in library.entries}


def real_devices(network: str) -> list[Sighting]:
    """Identify the later windows of one network's devices by their earlier ones.

    Parameters
    ----------
    network
        A key of :data:`NETWORKS`.
    """
    known, later = select_source(packaged(PACKAGED), network), select_source(packaged(LATER), network)
    windows = later.windows()
    truth = labels_of(later)
    seen = regroup(ObservedWindows(windows, ["open"] * len(windows)), "device")
    settings = settings_for("evidence")
    judge = fit_verdict_model(known, settings)
    inventory = identify_windows(seen, known, settings, judge=judge)
    decided = _decided(seen.windows, judge, [device.verdict for device in inventory.devices])
    pairs = zip(inventory.devices, decided, strict=True)
    return [Sighting(device, truth[device.device], hours) for device, hours in pairs]


def _decided(windows: Windows, judge: VerdictModel, final: Sequence[str]) -> list[float | None]:
    """Hours of watching from which on each item's verdict was the final one."""
    settled: list[float | None] = [None] * len(final)
    for hours in WATCHED_H:
        until = pl.min_horizontal("end", pl.col("start") + pl.duration(hours=hours))
        items = windows.items.with_columns(end=until)
        early = windows.counts.join(items.select("item", "end"), on="item").filter(pl.col("time") < pl.col("end"))
        part = Windows(items, early.drop("end"))
        for item, verdict in enumerate(judge.decide(part).verdicts):
            if verdict != final[item]:
                settled[item] = None
            elif settled[item] is None:
                settled[item] = float(hours)
    return settled


def _collected(home: SimulatedHome, folder: Path) -> tuple[pl.DataFrame, Export, dict[str, Accounting]]:
    """Send the home's flows to a collector in this process, and read its flow tables."""
    devices = folder / "devices.csv"
    with devices.open("w", newline="") as stream:
        csv.writer(stream).writerows([["device", "mac"], *home.device_file().iter_rows()])
    exporter = FlowExporter(ExportSettings(flush_s=600, template_s=86_400))
    network = Impairment(LOSS, REORDER, seed=home.seed)
    collector = Collector([Listen("udp", "127.0.0.1", 0)], folder / "collected", devices=devices, devices_only=True)
    collector.start()
    try:
        [place] = collector.listening
        delivery = send(_not_ahead(network(exporter.messages(home.batches())), collector), place)
    finally:
        collector.stop()
    known = collector.sequences.totals
    export = Export(str(place), exporter.sent, network.lost, known.received, known.gaps, delivery.seconds)
    stages = collector.counters.accountings()
    return collect(read_flows([folder / "collected" / "flows"])), export, stages


def _not_ahead(messages: Iterable[Message], collector: Collector) -> Iterator[Message]:
    """Messages no faster than they are received: on a busy machine a socket's buffer may be small."""
    arrived, since = 0, time.monotonic()
    for number, message in enumerate(messages):
        while arrived < number - AHEAD:
            now = collector.udp.accounting.read
            if now > arrived:
                arrived, since = now, time.monotonic()
            elif time.monotonic() - since > WAIT_S:
                raise InputError(f"nothing arrived for {WAIT_S:.0f} s", file=str(collector.listening[0]))
            else:
                time.sleep(0.002)
        yield message


def simulated_home(days: int = 10, known_days: int = 5, seed: int = 1) -> Home:
    """Collect the flows of a scripted home over UDP, enrol its first days and identify the rest.

    Parameters
    ----------
    days, known_days
        Days of the script, and how many of them are enrolled.
    seed
        Of the script.

    Raises
    ------
    InputError
        When no socket can be opened on the loopback.
    """
    home = SimulatedHome(days=days, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        flows, export, stages = _collected(home, Path(folder))
    return home_inventory(home, known_days, flows, export, stages)


def home_inventory(
    home: SimulatedHome, known_days: int, flows: pl.DataFrame, export: Export, stages: dict[str, Accounting]
) -> Home:
    """Enrol the first days of a simulated home, and identify the rest.

    Parameters
    ----------
    home
        The script.
    known_days
        Days that are enrolled.
    flows
        Form :data:`ethogram.schema.FLOW`; devices have their names in the script.
    export, stages
        How the flows came, and the accounting of the stages before.
    """
    counts, counted = count(flows, COUNTING)
    seen = ObservedWindows.of_counts(counts, DAY_S)
    day = (seen.windows.items["start"] - home.start).dt.total_days().to_numpy()
    never = {d.name for d in home.devices if d.note == "never enrolled"}
    labels = [Label(d.name, Identity(d.label, type=d.type)) for d in home.devices if d.name not in never]
    early = seen.take(np.flatnonzero(day < known_days).tolist())
    known, _ = enrol_windows(early, labels, source=Source("simulated"), name="simulated home")
    settings = settings_for("evidence")
    judge = fit_verdict_model(known, settings)
    truth = {d.name: UNKNOWN if d.name in never else d.label for d in home.devices}
    later = seen.take(np.flatnonzero(day >= known_days).tolist())
    by_day = identify_windows(later, known, settings, judge=judge, simulated=True).devices
    changes = _changes(by_day, home, truth)
    whole = regroup(later, "device")
    inventory = identify_windows(whole, known, settings, judge=judge, simulated=True).devices
    decided = _decided(whole.windows, judge, [device.verdict for device in inventory])
    pairs = zip(inventory, decided, strict=True)
    sightings = [Sighting(device, truth[device.device], hours) for device, hours in pairs]
    return Home(sightings, changes, export, {**stages, "counts": counted})


def _changes(by_day: Sequence[Verdict], home: SimulatedHome, truth: dict[str, str]) -> list[Change]:
    """Devices that were named rightly, and then, for two days or more and to the end, not, or behaved unusually."""
    changes = []
    for device in sorted({verdict.device for verdict in by_day}):
        of_device = [verdict for verdict in by_day if verdict.device == device]
        days = sorted(of_device, key=lambda verdict: verdict.window.start)
        gone = [verdict.verdict != truth[device] or verdict.unusual for verdict in days]
        left = next((i for i in range(len(days) - 1) if all(gone[i:])), None)
        if left and not gone[left - 1]:
            first = days[left]
            changes.append(Change(device, (first.window.start - home.start).days + 1, truth[device], first))
    return changes
