"""The judge: every flow counts once whatever crashes, verdicts are those of identify, cost follows what changed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import event

from ethogram.config import JudgeSettings, RetentionSettings
from ethogram.errors import InputError
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.schema import FLOW_METADATA, Accounting, Verdict, Window
from ethogram.serve.judge import Judge, next_due
from ethogram.serve.retention import Retention
from ethogram.serve.sources import CollectorSegments, WatchedFolder
from ethogram.serve.store import Store
from serve.crash_points import Crash, CrashPoints
from serve.segments_made import MINUTE, START, flows, segment

DAY = timedelta(days=1)
MAC = "aa:bb:cc:00:00:01"


@pytest.fixture(scope="module")
def identifier() -> DeviceIdentifier:
    return DeviceIdentifier()


class Clock:
    """The time as the source sees it."""

    def __init__(self, now: datetime = START + timedelta(hours=1)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Scene:
    """A collector folder, a store and a judge, which can be opened again as after a restart."""

    def __init__(self, folder: Path, identifier: DeviceIdentifier, **settings: object) -> None:
        self.folder, self.identifier, self.clock = folder, identifier, Clock()
        self.settings = JudgeSettings.of(**settings)
        self.collected = folder / "collected"
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.folder / "store.db", self.settings)
        source = CollectorSegments(self.collected, 60.0, oldest_days=self.settings.oldest_days, now=self.clock)
        self.judge = Judge(self.store, self.folder / "facts", [source], self.identifier)

    def run(self) -> list[str]:
        """Rounds until nothing is left; returns their problems."""
        problems = []
        while True:
            report = self.judge.round()
            problems += report.problems
            if not report.more:
                return problems

    def counted(self) -> int:
        facts = self.judge.counts.by_source["collector"]
        names = [key.value for row in self.store.devices(limit=1000).rows for key in self.detail(row.id).keys]
        return int(facts.read(names, START - 100 * DAY)["flows"].sum())

    def detail(self, id_: str) -> Any:
        detail = self.store.device(id_)
        assert detail is not None
        return detail


@pytest.fixture
def scene(tmp_path: Path, identifier: DeviceIdentifier) -> Callable[..., Scene]:
    return lambda **settings: Scene(tmp_path, identifier, **settings)


def test_segments_become_devices_with_verdicts(scene: Callable[..., Scene]) -> None:
    at = scene()
    segment(at.collected, 1, flows(MAC, START + MINUTE, 3, address="10.0.0.2"), flows("10.0.0.9", START + MINUTE, 5))
    segment(at.collected, 3, flows(MAC, START + 3 * MINUTE, 4, address="10.0.0.2"))
    assert at.run() == []
    rows = {row.mac or row.address: row for row in at.store.devices().rows}
    assert {name: row.flows for name, row in rows.items()} == {MAC: 7, "10.0.0.9": 5}
    assert rows[MAC].address == "10.0.0.2"
    assert rows[MAC].provisional
    assert rows[MAC].judged is not None
    assert rows[MAC].seen_s == (rows[MAC].last_seen - rows[MAC].first_seen).total_seconds()
    assert 120 <= rows[MAC].seen_s < 180
    assert at.store.position("collector") == 3
    assert at.counted() == 12
    detail = at.detail(rows[MAC].id)
    assert detail.verdict["ladder"]["levels"]
    assert detail.history[0].reason == "first judgement"
    assert {(fact.fact, fact.value) for fact in detail.facts} == {("address", "10.0.0.2"), ("mac", MAC)}
    assert at.store.traffic(START) == ((START, "", 12 * 200),)


def test_days_that_are_sent_again_pass_as_fast_as_their_flows_arrive(scene: Callable[..., Scene]) -> None:
    at = scene(provisional_s=300, epoch_s=86_400, lateness_s=0)
    now = at.clock.now = START + 8 * DAY
    for number, (day, judged) in enumerate(((0, 0), (1, 1), (2, 1), (3, 0), (4, 1)), start=1):  # one day a minute
        segment(at.collected, number, flows(MAC, START + day * DAY), at=now + (number - 2) * MINUTE)
        at.clock.now = now + number * MINUTE
        assert at.judge.round().judged == judged, day
        clock = at.store.clock()
        assert clock is not None
        assert abs(clock - (START + day * DAY)) < timedelta(minutes=5)
    segment(at.collected, 6, flows(MAC, START + 4 * DAY + MINUTE), at=now + 4 * MINUTE)
    for _ in range(30):  # a minute with nothing new is a minute: the day does not end
        at.clock.now += MINUTE
        assert at.judge.round().judged == 0


def test_an_exporter_of_old_flows_does_not_set_the_clock_back(scene: Callable[..., Scene]) -> None:
    at = scene()
    now = at.clock.now = START + 8 * DAY
    segment(at.collected, 1, flows("10.0.0.9", now), at=now)
    segment(at.collected, 2, flows("10.0.0.8", START + 2 * DAY), at=now + MINUTE)
    at.clock.now = now + 3 * MINUTE
    at.judge.round()
    assert at.store.clock() == now + MINUTE


def test_nothing_is_read_twice_and_totals_go_on_over_a_restart(scene: Callable[..., Scene]) -> None:
    at = scene()
    segment(at.collected, 1, flows(MAC, START + MINUTE))
    at.run()
    at.store.close()
    at.open()
    segment(at.collected, 2, flows(MAC, START + 2 * MINUTE))
    assert at.judge.round().segments == 1
    assert at.judge.round().segments == 0
    assert at.judge.accountings["collector"]["flows"] == Accounting("flows", 6, 6)
    assert at.store.devices().rows[0].flows == at.counted() == 6


def test_devices_are_judged_soon_then_when_time_has_doubled_then_by_epoch(scene: Callable[..., Scene]) -> None:
    at = scene(provisional_s=300, epoch_s=86_400, lateness_s=0)
    at.clock.now = START + 3 * MINUTE
    segment(at.collected, 1, flows(MAC, START))
    assert at.judge.round().judged == 0
    for minutes, judged in ((6, 0), (7, 1), (8, 0), (12, 1), (16, 0), (30, 1), (31, 0)):
        at.clock.now = START + minutes * MINUTE
        assert at.judge.round().judged == judged, minutes
    at.clock.now = START + DAY + 2 * MINUTE
    assert at.judge.round().judged == 1
    assert not at.store.devices().rows[0].provisional
    at.clock.now = START + 3 * DAY
    assert at.judge.round().judged == 0
    segment(at.collected, 2, flows(MAC, START + 3 * DAY), at=START + 3 * DAY)
    at.judge.round()
    at.clock.now = START + 4 * DAY + 2 * MINUTE
    assert at.judge.round().judged == 1


def test_a_round_is_bounded(scene: Callable[..., Scene]) -> None:
    at = scene(round_devices=4, round_segments=2)
    for number in range(1, 6):
        segment(at.collected, number, *(flows(f"10.0.{number}.{i}", START + MINUTE, 1) for i in range(1, 4)))
    first = at.judge.round()
    assert (first.segments, first.more) == (2, True)
    at.run()
    rows = at.store.devices().rows
    assert len(rows) == 15
    assert all(row.judged for row in rows)


def test_the_cost_follows_the_devices_that_changed(scene: Callable[..., Scene]) -> None:
    at = scene()
    segment(at.collected, 1, *(flows(f"10.0.{i // 200}.{i % 200 + 1}", START, 1) for i in range(300)))
    at.run()
    at.clock.now += timedelta(days=2)
    at.run()
    segment(at.collected, 2, flows("10.0.0.5", START + 2 * DAY, 1), at=START + 2 * DAY)
    at.run()
    at.clock.now += timedelta(days=2)
    assert at.judge.round().judged == 1


def test_flows_from_the_future_or_long_ago_are_counted_not_used(scene: Callable[..., Scene]) -> None:
    at = scene(oldest_days=30)
    segment(at.collected, 1, flows(MAC, START, 2), flows(MAC, START + 400 * DAY, 3), flows(MAC, START - 400 * DAY, 4))
    at.run()
    accounting = at.judge.accountings["collector"]["flows"]
    assert dict(accounting.ignored) == {"ends after its arrival": 3, "too old at its arrival": 4}
    assert accounting.balanced
    assert accounting.used == 2
    assert len(at.judge.counts.by_source["collector"].days()) == 1
    assert {(each.reason, each.value) for each in at.store.counters() if each.outcome == "ignored"} == {
        ("ends after its arrival", 3), ("too old at its arrival", 4),
    }  # fmt: skip


def test_a_damaged_segment_is_left_out_named_and_counted(scene: Callable[..., Scene]) -> None:
    at = scene()
    segment(at.collected, 1, flows(MAC, START, 2))
    path = segment(at.collected, 2, flows(MAC, START, 4))
    path.write_bytes(path.read_bytes()[:200])
    segment(at.collected, 3, flows(MAC, START, 8))
    (problem,) = at.run()
    assert problem.startswith(f"{path}: damaged, left out: ")
    assert at.counted() == 10
    assert dict(at.judge.accountings["collector"]["segments"].dropped) == {"damaged": 1}
    assert at.run() == []


def test_counts_are_kept_when_the_store_is_lost(scene: Callable[..., Scene]) -> None:
    at = scene()
    segment(at.collected, 1, flows(MAC, START, 2))
    first = segment(at.collected, 2, flows(MAC, START, 4))
    at.run()
    at.store.close()
    for path in at.folder.glob("store.db*"):
        path.unlink()
    first.unlink()
    at.open()
    segment(at.collected, 3, flows(MAC, START, 8))
    at.run()
    assert at.counted() == 14
    assert at.store.position("collector") == 3


def test_two_devices_that_had_one_address_have_their_own_counts(scene: Callable[..., Scene]) -> None:
    at = scene(address_gap_s=86_400)
    segment(at.collected, 1, flows("10.0.0.2", START, 2, port=443))
    at.run()
    later = START + 5 * DAY
    at.clock.now = later + timedelta(hours=1)
    segment(at.collected, 2, flows("10.0.0.2", later, 5, port=8883), at=later)
    at.run()
    rows = at.store.devices(sort="first_seen").rows
    assert [row.flows for row in rows] == [2, 5]
    assert [at.detail(row.id).verdict["flows"] for row in rows] == [2, 5]


def test_a_merged_device_is_judged_by_all_its_names(scene: Callable[..., Scene]) -> None:
    at = scene()
    segment(at.collected, 1, flows("10.0.0.2", START, 2), flows("10.0.0.3", START, 5))
    at.run()
    verdict, two = at.store.devices(sort="address").rows
    at.store.merge(verdict.id, two.id, "ana")
    at.run()
    assert at.detail(two.id).verdict["flows"] == 7


class CountingIdentifier:
    """Gives verdicts that hold the number of flows; judging itself writes nothing."""

    name = "library 1"

    def verdicts(self, counts: pl.DataFrame, identity: pl.DataFrame) -> list[Verdict]:
        sums = counts.group_by("device").agg(pl.col("flows").sum()).sort("device")
        window = Window(start=START, end=START + DAY)
        return [
            Verdict(device=device, verdict="unknown", score=0.5, margin=0.0, known_types={}, strangeness=1.0,
                    evidence=[], window=window, flows=number, converged=False)
            for device, number in sums.iter_rows()
        ]  # fmt: skip

    def groups(self, counts: pl.DataFrame) -> None:
        return None


def test_a_crash_at_any_operation_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identifier: Any = CountingIdentifier()

    def play(folder: Path, points: CrashPoints, at: int) -> tuple[Any, int]:
        """Three segments over two days with a crash at one operation; what is there at the end, and operations."""
        points.at = points.count = -1
        folder.mkdir()
        shutil.copy(empty, folder / "store.db")
        collected = folder / "collected"
        for number, (name, day) in enumerate(((MAC, 0), ("10.0.0.9", 0), (MAC, 1)), 1):
            segment(collected, number, flows(name, START + day * DAY - MINUTE, 3),
                    flows(name, START + day * DAY + MINUTE, 4), at=START + day * DAY + 3 * MINUTE)  # fmt: skip
        points.at, points.count = at, 0
        crashed = False
        while True:
            scene = None
            try:
                scene = Scene(folder, identifier, round_segments=2)
                scene.clock.now = START + DAY + timedelta(hours=2)
                scene.run()
                break
            except Crash:
                assert not crashed
                crashed = True
            finally:
                if scene is not None and crashed:
                    scene.store.close()
        operations, points.at = points.count, -1
        scene.clock.now += 3 * DAY  # everything is due by then, whenever it was judged before
        scene.run()
        rows = scene.store.devices(sort="address").rows
        end = (
            [(row.mac, row.flows, row.first_seen, row.last_seen, row.judged is not None) for row in rows],
            scene.counted(), scene.store.position("collector"), scene.store.traffic(START - DAY),
            scene.judge.accountings["collector"]["flows"].as_dict(), len(scene.store.changes()),
            [scene.detail(row.id).verdict["flows"] for row in rows],
        )  # fmt: skip
        scene.store.close()
        return end, operations

    empty = tmp_path / "empty.db"
    Store.open(empty).close()
    points = CrashPoints(monkeypatch)
    try:
        expected, operations = play(tmp_path / "whole", points, -1)
        assert expected[1] == 21
        assert operations > 60
        step = 1 if os.environ.get("ETHOGRAM_LAWS") else 9  # the laws' thorough run tries them all
        for at in range(random.randrange(step) + 1, operations + 1, step):
            end, _ = play(tmp_path / f"crash-{at}", points, at)
            assert end == expected, f"crash at operation {at}"
    finally:
        points.close()


def test_a_store_that_fails_for_a_while(scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    at = scene()
    segment(at.collected, 1, flows(MAC, START, 2))
    with monkeypatch.context() as patch:
        def fail(_: object) -> None:
            raise InputError("cannot be written: disk full", file="store.db")

        patch.setattr(at.store, "record_round", fail)
        with pytest.raises(InputError, match="disk full"):
            at.judge.round()
    at.run()
    assert at.counted() == at.store.devices().rows[0].flows == 2


def test_facts_that_cannot_be_written_leave_the_segment_for_later(scene: Callable[..., Scene]) -> None:
    at = scene()
    segment(at.collected, 1, flows(MAC, START, 2))
    (at.folder / "facts").write_text("in the way")
    with pytest.raises(InputError, match="facts"):
        at.judge.round()
    assert at.store.position("collector") == 0
    (at.folder / "facts").unlink()
    at.run()
    assert at.counted() == 2


def test_watched_files_are_read_once_when_they_have_settled(tmp_path: Path, identifier: DeviceIdentifier) -> None:
    watched = tmp_path / "in"
    watched.mkdir()
    table = watched / "day.parquet"
    frame = pl.concat([flows(MAC, START, 3, address="10.0.0.2"), flows("10.0.0.9", START, 2)])
    metadata = {key.decode(): value.decode() for key, value in FLOW_METADATA.items()}
    frame.write_parquet(table, metadata=metadata)
    (watched / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    (watched / ".hidden.parquet").write_bytes(b"x")
    for path in watched.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    (watched / "growing.pcap").write_bytes(b"x")
    with Store.open(tmp_path / "store.db") as store:
        source = WatchedFolder(watched, known=lambda: store.watched("watched"))
        judge = Judge(store, tmp_path / "facts", [source], identifier)
        reports = [judge.round(), judge.round(), judge.round()]
        assert [report.segments for report in reports] == [1, 1, 0]
        assert len([line for report in reports for line in report.problems if "bad.parquet" in line]) == 1
        assert {row.flows for row in store.devices().rows} == {3, 2}
        assert all(row.judged for row in store.devices().rows)
        assert store.clock() == START + timedelta(hours=1)
        assert set(store.watched("watched")) == {str(table), str(watched / "bad.parquet")}
        with pytest.raises(InputError, match="no such folder"):
            WatchedFolder(tmp_path / "none", known=dict).batch(0, None, 1)


def test_a_clock_that_steps_loses_and_doubles_nothing(scene: Callable[..., Scene]) -> None:
    at = scene()
    segment(at.collected, 1, flows(MAC, START, 2))
    at.run()
    for moment, number in ((START + 4000 * DAY, 2), (START - 4000 * DAY, 3), (START + 2 * DAY, 4)):
        at.clock.now = moment
        segment(at.collected, number, flows(MAC, START + number * MINUTE, 2))
        at.run()
    assert at.counted() == at.store.devices().rows[0].flows == 8
    assert at.store.clock() == START + 2 * DAY - 2 * MINUTE
    assert "silent" not in at.store.devices().rows[0].states


def test_old_facts_are_removed_and_unread_segments_are_not(scene: Callable[..., Scene]) -> None:
    at = scene()
    old = segment(at.collected, 1, flows(MAC, START, 2))
    recent = segment(at.collected, 2, flows(MAC, START + 9 * DAY, 2), at=START + 9 * DAY)
    at.clock.now = START + 10 * DAY
    at.run()
    unread = segment(at.collected, 3, flows(MAC, START, 2))
    retention = Retention(RetentionSettings(flow_days=7, count_days=5), at.collected)
    assert retention.run(at.judge, START + 10 * DAY) == 2
    assert (old.exists(), recent.exists(), unread.exists()) == (False, True, True)
    assert len(at.judge.counts.by_source["collector"].days()) == 1
    assert retention.run(at.judge, START + 400 * DAY) == 0, "at most once an hour"


def test_a_full_disk_is_one_line_and_nothing_is_lost(scene: Callable[..., Scene]) -> None:
    at = scene()
    segment(at.collected, 1, flows(MAC, START, 2))
    at.run()
    with at.store._writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(at.store._engine, "connect", limit)
    at.store._engine.dispose()
    segment(at.collected, 2, *(flows(f"10.0.{i}.1", START, 1) for i in range(200)))
    with pytest.raises(InputError, match=r"store\.db: cannot be written: database or disk is full"):
        at.run()
    assert at.store.position("collector") == 1
    event.remove(at.store._engine, "connect", limit)
    at.store._engine.dispose()
    at.run()
    assert at.counted() == sum(row.flows for row in at.store.devices(limit=1000).rows) == 202


def test_due_times() -> None:
    settings = JudgeSettings(provisional_s=300)
    assert next_due(START, START + 20 * timedelta(hours=1), settings, whole=False) == START + DAY
    assert next_due(START, START + timedelta(hours=1), settings, whole=True) is None
