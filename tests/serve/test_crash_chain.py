"""From datagram to verdict with a crash at any file or database operation: nothing is lost that was committed."""

from __future__ import annotations

import os
import random
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ethogram.config import CollectSettings, CountSettings, ExporterSettings, FlowSettings, JudgeSettings, WireSettings
from ethogram.errors import EthogramError
from ethogram.io.receive.address import Listen
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.schema import COUNTS, FLOW
from ethogram.serve.collector import Collector, CollectorSettings
from ethogram.serve.judge import Judge
from ethogram.serve.segments import segments_in
from ethogram.serve.sources import CollectorSegments
from ethogram.serve.store import Store
from sending import send_all
from serve.crash_points import Crash, CrashPoints
from yaf_records import YafExporter, dhcp_part

SETTINGS = CollectorSettings(
    wire=WireSettings.of(segment_s=3600), collect=CollectSettings.of(), flow=FlowSettings.of(local=("10.0.0.0/8",)),
    exporter=ExporterSettings.of(epoch_s=86_400, lateness_s=0, min_flows=1, min_epochs=1),
    counting=CountSettings.of(sub_epoch_s=3600),
)  # fmt: skip
SAMPLED = 8


class Ungrouped(DeviceIdentifier):
    """Groups of unknown devices take a second each time, and are made again from the rest."""

    def groups(self, counts: pl.DataFrame) -> None:
        return None


def messages(address: str, number: int) -> list[bytes]:
    """A template, flows to outside, and what the device states in DHCP."""
    exporter = YafExporter()
    renewal = exporter.flow(address, "192.0.2.53", (68, 67), dhcp_part([1, 3], f"os {address}"))
    web = [exporter.flow(address, "192.0.2.1", (50_000 + i, 443), protocol=6) for i in range(number - 1)]
    return [exporter.announce(), renewal, *web]


def collect(folder: Path, sent: list[bytes]) -> None:
    collector = Collector([Listen.parse("udp://127.0.0.1:0")], folder, SETTINGS)
    try:
        collector.start()
        send_all(sent, collector.listening[0].port)
        end = time.monotonic() + 10
        while collector.udp.accounting.read < len(sent) and time.monotonic() < end and collector.failure is None:
            time.sleep(0.005)
    finally:
        try:
            collector.stop()
        finally:
            if collector.output._lock >= 0:  # a process that dies releases its locks
                os.close(collector.output._lock)


def judge(folder: Path, identifier: Any) -> None:
    later = datetime.now(tz=UTC) + timedelta(minutes=30)
    with Store.open(folder / "store.db", JudgeSettings()) as store:
        source = CollectorSegments(folder, 0.0, now=lambda: later)
        rounds = Judge(store, folder / "facts", [source], identifier)
        while rounds.round().more:
            pass


def survived(points: CrashPoints, step: Any) -> bool:
    """Whether a step was completed; a crash ends all operations of the process."""
    try:
        step()
    except Crash:
        pass
    except EthogramError as error:
        assert isinstance(error.__cause__, Crash), error
    else:
        if not points.dead:
            return True
    points.dead, points.at = False, -1
    return False


def play(folder: Path, points: CrashPoints, at: int, identifier: Any) -> tuple[int, ...]:
    """Two devices, each collected and judged, with a crash at one operation; flows at the end by device."""
    points.at, points.count, points.dead = at, 0, False
    for address, number in (("10.0.0.2", 4), ("10.0.0.3", 6)):
        sent = messages(address, number)
        if not survived(points, lambda sent=sent: collect(folder, sent)):
            collect(folder, [])
        if not survived(points, lambda: judge(folder, identifier)):
            judge(folder, identifier)
    points.at = -1  # threads make the number of operations vary a little
    return check(folder)


def check(folder: Path) -> tuple[int, ...]:
    """What is on disk, counted and stored is the same, and complete for each committed segment."""
    tables = [FLOW.conform(pl.read_parquet(path)) for path in segments_in(folder / "flows").values()]
    on_disk = dict(pl.concat(tables).group_by("device").len().iter_rows()) if tables else {}
    with Store.open(folder / "store.db") as store:
        rows = store.devices(sort="address").rows
        assert {row.address: row.flows for row in rows} == on_disk
        assert all(row.judged for row in rows)
        position = store.position("collector")
        assert position == max(segments_in(folder / "flows"), default=0)
        for row in rows:
            detail = store.device(row.id)
            assert detail is not None
            assert ("dhcp_vendor_class", f"os {row.address}") in {(fact.fact, fact.value) for fact in detail.facts}
    paths = list((folder / "facts" / "collector").glob("*/*.parquet"))
    counts = pl.concat([COUNTS.empty(), *(COUNTS.conform(pl.read_parquet(path)) for path in paths)])
    assert dict(counts.group_by("device").agg(pl.col("flows").sum()).iter_rows()) == on_disk
    return on_disk.get("10.0.0.2", 0), on_disk.get("10.0.0.3", 0)


def test_a_crash_anywhere_between_datagram_and_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identifier = Ungrouped()
    collect(tmp_path / "warm", messages("10.0.0.9", 2))  # compiled once, with the operations of the warm-up
    monkeypatch.setattr("ethogram.serve.collector.warm_up", lambda *_: None)
    points = CrashPoints(monkeypatch, stays_dead=True)
    try:
        assert play(tmp_path / "whole", points, -1, identifier) == (4, 6)
        operations = points.count
        assert operations > 100
        every = range(1, operations + 1)
        tried = every if os.environ.get("ETHOGRAM_LAWS") else sorted(random.sample(every, SAMPLED))
        for at in tried:
            folder = tmp_path / f"crash-{at}"
            flows = play(folder, points, at, identifier)
            assert flows in ((4, 6), (0, 6), (4, 0)), f"crash at operation {at} of {operations}: {flows}"
            shutil.rmtree(folder)
    finally:
        points.close()
