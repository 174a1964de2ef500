"""A running page for tests: real devices in a store, and a fake service that returns given values."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
from fastapi import FastAPI

from ethogram.config.web import WebSettings
from ethogram.identify import library_file
from ethogram.identify.library import Library
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.ladder import LadderJudge, add_ladder
from ethogram.pipeline.learnt import identify_by_library
from ethogram.pipeline.library import open_library
from ethogram.pipeline.own_similarity import EpochSimilarity
from ethogram.pipeline.verdicts import settings_for
from ethogram.pipeline.windows import ObservedWindows, regroup
from ethogram.schema import (
    COUNTS,
    AlertPass,
    AlertSighting,
    ChangedSpan,
    DeviceBehaviour,
    DeviceDetail,
    DeviceFact,
    DevicePeer,
    DeviceRow,
    DeviceSighting,
    DueDevice,
    Inventory,
    Judgement,
    NetworkChange,
    RoundResult,
    ServiceHealth,
)
from ethogram.serve import device_past
from ethogram.serve.api.app import create_app
from ethogram.serve.api.secrets import first_token
from ethogram.serve.api.server import WebServer
from ethogram.serve.api.service_view import HourlyOctets
from ethogram.serve.changes import DeviceChange, StoredChanges
from ethogram.serve.store import Store
from tests.io.capture_builder import Packet, ethernet, pcap

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)
SCRIPT = "<script>alert(1)</script>\u202e"


def days_of_counts(device: str, until: datetime, days: int) -> pl.DataFrame:
    """HTTPS and NTP in every hour of some days; Telnet to other networks on the last whole day."""
    first = until.replace(hour=0) - timedelta(days=days)
    rows = []
    for hour in range(days * 24):
        ports = [(6, 443, "example.com", 900), (17, 123, "ntp.org", 76)]
        if hour // 24 == days - 1:
            ports.append((6, 23, None, 40_000))
        rows += [
            {"device": device, "time": first + timedelta(hours=hour), "protocol": protocol, "port": port,
             "role": "client", "scope": "wan", "answered": True, "name": name, "flows": 2, "octets_out": octets,
             "octets_in": octets, "packets_out": 2, "packets_in": 2, "duration_ms": 5}
            for protocol, port, name, octets in ports
        ]  # fmt: skip
    return COUNTS.conform(pl.DataFrame(rows, infer_schema_length=None)).sort("device", "time", "protocol", "port")


@cache
def real_inventory() -> Inventory:
    """Later windows of enrolled devices, of the package, identified by the bundled library."""
    with resources.as_file(resources.files("ethogram") / "data" / "later.jsonl.gz") as path:
        windows = library_file.read(path).windows()
    observed = regroup(ObservedWindows(windows, ["open"] * len(windows)), "device")
    known = open_library()
    inventory, _ = identify_by_library(observed, known, settings_for("evidence"))
    return add_ladder(inventory, observed.windows, LadderJudge.of_library(known, Knowledge.bundled()))


def fill(store: Store, count: int, *, source: str = "test", name: str = "") -> list[str]:
    """Store this many devices: verdicts of real ones, again and again under other addresses; returns their ids."""
    verdicts = [verdict.model_dump(mode="json") for verdict in real_inventory().devices]
    sightings = []
    for i in range(count):
        address = f"192.168.{1 + i // 250}.{1 + i % 250}"
        mac = f"02:00:00:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}"
        seen = NOW - HOUR * (i % 7 if i % 11 else 80)
        names = (name,) if name and i == 0 else (f"device-{i}",) if i % 3 else ()
        facts = (
            DeviceFact("mac", mac, "flows", seen - 40 * HOUR, seen),
            DeviceFact("address", address, "flows", seen, seen),
            *(DeviceFact("host_name", each, "DHCP", seen, seen) for each in names),
        )  # fmt: skip
        sightings.append(DeviceSighting(
            mac, mac, (address,), names, seen - HOUR * (300 if i % 5 else 3), seen, 100 + i, 4000 * (i + 1), seen,
            facts,
        ))  # fmt: skip
    after = store.position(source)
    store.record_round(RoundResult(source, after, after + 1, NOW, "library.jsonl.gz d6c1", tuple(sightings)))
    due = sorted(store.due(NOW, limit=count + 1), key=lambda each: each.names)
    judgements = tuple(
        Judgement(each.id, verdicts[i % len(verdicts)] | _identity(each), i % 6 == 5, None)
        for i, each in enumerate(due)
    )
    store.record_round(RoundResult(source, after + 1, after + 1, NOW, "library.jsonl.gz d6c1", judgements=judgements))
    return [each.id for each in due]


def raise_alerts(store: Store, ids: Sequence[str], *more: AlertSighting) -> None:
    """Alerts of three severities about the first devices and a part of the service."""
    after, _ = store.alert_state()
    store.record_alerts(AlertPass(datetime.now(UTC), after, after, raised=(
        AlertSighting("new device", ids[0], "first seen 2026-03-03 00:00 UTC at 192.168.1.1", (), ids[0]),
        AlertSighting("changed verdict", ids[1], "Belkin plug → TP-Link plug",
                      ("three judgements in a row say so", "DNS name n-deventry.tplinkcloud.com"), ids[1]),
        AlertSighting("service trouble", "judge", "judge: home.jsonl.gz: cannot be read: not a library"), *more,
    )))  # fmt: skip


def _identity(device: DueDevice) -> dict[str, Any]:
    """What a verdict says of names and addresses."""
    named = [fact.value for fact in device.facts if fact.fact == "host_name"]
    facts = [{"fact": each.fact, "value": each.value, "source": each.source} for each in device.facts]
    return {"identity": facts, "name": named[0] if named else device.facts[1].value}


@dataclass
class FakeService:
    """A service with given states, counters and settings."""

    parts: tuple[ServiceHealth, ...] = (
        ServiceHealth("collector", "running", "", NOW, {"records_s": 1240.0}),
        ServiceHealth("judge", "running", "", NOW, {"lag_s": 4.0}), ServiceHealth("store", "running", "", NOW),
    )  # fmt: skip
    places: tuple[str, ...] = ("udp://127.0.0.1:4739",)
    counters: dict[str, Any] | None = None
    opened: Library | None = field(default_factory=open_library)
    known: Knowledge | None = field(default_factory=Knowledge.bundled)
    hours: int = 72
    with_files: tuple[tuple[str, ...], str] = ((), "")
    stored: Store | None = None

    def health(self) -> tuple[ServiceHealth, ...]:
        return self.parts

    def listening(self) -> tuple[str, ...]:
        return self.places

    def collector_counters(self) -> dict[str, Any] | None:
        return self.counters

    def settings(self) -> dict[str, Any]:
        return {"data": "ethogram-data", "web": {"host": "127.0.0.1", "port": 8470}, "judge": {"epoch_s": 86_400}}

    def libraries(self) -> Sequence[Library]:
        return () if self.opened is None else (self.opened,)

    def knowledge(self) -> Knowledge | None:
        return self.known

    def judged_with(self) -> tuple[Sequence[str], str]:
        return self.with_files

    def activity(self, device: str) -> Sequence[HourlyOctets]:
        names = ("TCP/443", "UDP/53", "UDP/123", "TCP/8883", "UDP/5353 multicast")
        return self._hours(names, 3.0 + len(device) % 3)

    def peers(self, device: str) -> Sequence[DevicePeer]:
        hour = (NOW - HOUR, NOW)
        return [
            DevicePeer("tplinkcloud.com", "", "wan", ("TCP/443",), 31, 40_211, 123_456, *hour),
            DevicePeer(SCRIPT, "", "wan", ("UDP/53", "TCP/443"), 12, 912, 4_512, *hour),
            DevicePeer("ff02::fb", "", "multicast", ("UDP/5353",), 120, 31_120, 0, *hour),
            DevicePeer("", "", "lan", ("UDP/67",), 2, 600, 600, *hour),
            DevicePeer("", "203.0.113.0/24", "wan", ("UDP/123",), 24, 1_824, 1_824, *hour),
        ]

    def similarity(self, device: str) -> tuple[int, Sequence[EpochSimilarity]]:
        return 86_400, [
            EpochSimilarity(NOW - HOUR * 24 * day, 0.9 - 0.3 * (day == 4), min(7, 12 - day),
                            ("UDP/123 client wan",) if day == 4 else ())
            for day in range(12, 0, -1)
        ]  # fmt: skip

    def behaviour(self, device: str) -> DeviceBehaviour:
        assert self.stored is not None
        detail = self.stored.device(device)
        counts = days_of_counts(device, NOW, 12) if detail and detail.row.name == "device-2" else COUNTS.empty()
        return device_past.behaviour(counts, device, "", NOW)

    def changes(self, since: timedelta, end: datetime, *, every: bool = False) -> StoredChanges:
        assert self.stored is not None
        rows = list(self.stored.devices(sort="name", limit=1000).rows)
        changes = [(rows[0], "new device", ""), (rows[1], "silent device", ""), (rows[2], "service appeared", "TCP/23"),
                   (rows[3], "service appeared", "TCP/23"), (rows[2], "peer grew", ""), (rows[4], "peer vanished", "")]
        return _stored_changes(since, end, [row for row in changes if every or row[1] != "peer vanished"])

    def device_changes(self, detail: DeviceDetail, since: timedelta, *, every: bool = False) -> StoredChanges:
        return _stored_changes(since, NOW, [(detail.row, "service appeared", "TCP/23"), (detail.row, "peer grew", "")])

    def traffic(self) -> Sequence[HourlyOctets]:
        return self._hours(("camera", "plug", "tv", "hub", ""), 6.0)

    def _hours(self, names: Sequence[str], power: float) -> list[HourlyOctets]:
        return [
            HourlyOctets(NOW - HOUR * hour, name, 10 ** (power - i) * (1 + (hour * (i + 3)) % 7))
            for hour in range(self.hours)
            for i, name in enumerate(names)
            if (hour + i) % (i + 2) == 0 or i == 0
        ]


def _stored_changes(since: timedelta, end: datetime, changes: Sequence[tuple[DeviceRow, Any, str]]) -> StoredChanges:
    """Changes of given kinds, each with the same figures."""
    subjects = {"service appeared": "Telnet", "peer grew": SCRIPT, "peer vanished": "maker.example"}
    rows = tuple(
        DeviceChange(row.id, row.name, row.kind, NetworkChange(
            device=row.name, change=change, subject=subjects.get(change, row.statement), service=service, before=0.0,
            after=1630.0, hours_before=0, hours_after=23, first=end - HOUR * 20, probability=0.0004,
            reason="in 0 of 169 hours with traffic before, in 23 of 24 after",
        ))
        for row, change, service in changes
    )  # fmt: skip
    hours = int(since / HOUR)
    before = ChangedSpan(start=end - since - HOUR * 168, end=end - since, hours=168, devices=20, flows=70_000)
    after = ChangedSpan(start=end - since, end=end, hours=hours, devices=20, flows=10_000)
    return StoredChanges(before, after, 16, 212, rows)


@dataclass
class RunningPage:
    """A page that answers, its store and the token of the first user."""

    url: str
    token: str
    store: Store
    service: FakeService
    ids: list[str]
    folder: Path
    app: FastAPI


@contextmanager
def running_page(
    count: int = 0, service: FakeService | None = None, name: str = "", **settings: Any
) -> Iterator[RunningPage]:
    """A page with this many devices at a free port of the loopback interface."""
    fake = service or FakeService()
    values: dict[str, Any] = {"port": 0, "rate_limit": 10_000.0, "burst": 100_000} | settings
    web = WebSettings.of(**values)
    with tempfile.TemporaryDirectory(prefix="ethogram-page-") as place, Store.open(Path(place) / "store.db") as store:
        path = first_token(store, Path(place))
        assert path is not None
        ids = fill(store, count, name=name) if count else []
        fake.stored = store
        app = create_app(store, fake, web, folder=Path(place))
        server = WebServer(app, web)
        server.start()
        try:
            yield RunningPage(server.url, path.read_text().strip(), store, fake, ids, Path(place), app)
        finally:
            server.stop()


def changed(service: FakeService, **values: Any) -> FakeService:
    return replace(service, **values)


def small_capture(path: Path) -> Path:
    """A capture of one device that asks for a name and opens a few connections in an hour."""
    frames = []
    for minute in range(0, 60, 5):
        at = (1_700_000_000 + 60 * minute) * 1_000_000_000
        port = 50_000 + minute
        out = Packet(source_port=port, flags=2)
        back = Packet(source=out.destination, destination=out.source, source_port=443, destination_port=port, flags=18)
        frames += [(at, ethernet(out.internet())), (at + 10_000_000, ethernet(back.internet()))]
        frames.append((at + 20_000_000, ethernet(replace(out, flags=24, payload=b"x" * 200).internet())))
    path.write_bytes(pcap(frames))
    return path
