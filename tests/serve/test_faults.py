"""Faults of the live service: each is one clear line, the rest goes on, and nothing that was committed is lost."""

from __future__ import annotations

import sqlite3
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

import postgresql
from ethogram.config import JudgeSettings
from ethogram.config.serve import RetentionSettings
from ethogram.identify import library_file
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.pipeline.library import open_library
from ethogram.serve.judge import Judge
from ethogram.serve.retention import Retention
from ethogram.serve.service import Service
from ethogram.serve.sources import CollectorSegments
from ethogram.serve.store import Store, database
from serve.segments_made import flows, segment
from serve.test_service import message_of, serving, settings_of, state_of, wait_for

DAY = timedelta(days=1)
MAC, OTHER = "aa:bb:cc:00:00:01", "aa:bb:cc:00:00:02"


@pytest.fixture(scope="module")
def identifier() -> DeviceIdentifier:
    return DeviceIdentifier(None)


def test_a_database_that_goes_away_and_comes_back(
    tmp_path: Path, postgresql_server: postgresql.Server
) -> None:
    place, now = postgresql_server.new_database(), datetime.now(tz=UTC) - timedelta(hours=1)
    segment(tmp_path / "collector", 1, flows(MAC, now, 3, address="10.0.0.2"), at=now)
    lines: list[str] = []
    with serving(settings_of(tmp_path, store=place), lines) as service:
        wait_for(lambda: state_of(service, "judge") == "running" and message_of(service, "judge") == "", 120)
        postgresql_server.stop()
        try:
            segment(tmp_path / "collector", 2, flows(MAC, now, 4, address="10.0.0.2"), at=now + timedelta(minutes=1))
            wait_for(lambda: state_of(service, "store") == "failed")
            assert state_of(service, "judge") == "degraded"
            assert "cannot be" in message_of(service, "store")
        finally:
            postgresql_server.start()
        wait_for(lambda: state_of(service, "judge") == "running" and state_of(service, "store") == "running")
        with Store.open(place) as store:
            wait_for(lambda: store.devices().rows[0].flows == 7)
    assert sum(line.startswith("store: ") and "cannot be" in line for line in lines) == 1
    assert "store: works again" in lines


def test_a_library_that_changes_is_read_again_and_damage_keeps_the_earlier_one(tmp_path: Path) -> None:
    library, now = tmp_path / "mine.jsonl", datetime.now(tz=UTC) - timedelta(hours=1)
    entries = open_library().entries
    whole = library_file.dump(open_library().merge(open_library()))
    library.write_bytes(whole)
    segment(tmp_path / "data" / "collector", 1, flows(MAC, now, 3, address="10.0.0.2"), at=now)
    with serving(settings_of(tmp_path / "data", library=str(library))) as service:
        wait_for(lambda: state_of(service, "judge") == "running", 120)
        library.write_bytes(b"damaged")
        wait_for(lambda: "judged with the library that was read before" in message_of(service, "library"))
        assert (state_of(service, "library"), state_of(service, "judge")) == ("degraded", "running")
        assert [len(each) for each in service.libraries()] == [len(entries)]
        library.write_bytes(whole)
        wait_for(lambda: state_of(service, "library") == "running" and not message_of(service, "library"), 120)


def test_a_damaged_partition_of_counts_is_named_until_it_is_gone(tmp_path: Path, identifier: DeviceIdentifier) -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for number, day in enumerate((0, 1), 1):
        at = start + day * DAY
        segment(tmp_path, number, flows(MAC, at, 3), flows(OTHER, at, 2, port=8883), at=at)
    with Store.open(tmp_path / "store.db") as store:
        sources = [CollectorSegments(tmp_path, 60.0, now=lambda: start + timedelta(days=1, hours=1))]
        judge = Judge(store, tmp_path / "facts", sources, identifier)
        while judge.round().more:
            pass
        [path] = (tmp_path / "facts" / "collector" / "2026-03-01").glob("*.parquet")
        path.write_bytes(b"PAR1" + bytes(100))
        verdicts = judge.judged(store.judged_devices())
        assert {document["flows"] for document, _ in verdicts.values()} == {3, 2}
        report = judge.round()
        assert [str(path) in problem for problem in report.problems] == [True]
        path.unlink()
        assert judge.round().problems == []


def test_clock_steps_neither_lose_nor_delay_devices(tmp_path: Path, identifier: DeviceIdentifier) -> None:
    now = [datetime(2026, 3, 1, 12, tzinfo=UTC)]
    with Store.open(tmp_path / "store.db", JudgeSettings()) as store:
        judge = Judge(store, tmp_path / "facts", [CollectorSegments(tmp_path, 60.0, now=lambda: now[0])], identifier)

        def pass_time(number: int, clock: datetime, at: datetime) -> None:
            segment(tmp_path, number, flows(MAC, at, 3, address="10.0.0.2"), at=at)
            now[0] = clock
            while judge.round().more:
                pass

        first = now[0]
        pass_time(1, first + timedelta(hours=1), first)
        pass_time(2, first + 365 * DAY, first + timedelta(minutes=5))  # the clock is wrong for a while
        pass_time(3, first + timedelta(hours=2), first + timedelta(minutes=10))  # and set back
        [row] = store.devices().rows
        assert row.flows == 9
        pass_time(4, first + 2 * DAY, first + DAY)
        [row] = store.devices().rows
        assert row.judged is not None
        assert row.judged >= first + DAY, "a device is judged at the next epoch, not in a year"
        assert row.judged <= first + 3 * DAY


def test_a_full_disk_loses_nothing_that_was_committed(
    tmp_path: Path, identifier: DeviceIdentifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(tz=UTC) - timedelta(hours=1)
    with serving(settings_of(tmp_path)) as service:
        wait_for(lambda: state_of(service, "judge") == "running", 120)
        with monkeypatch.context() as patch:
            def full(*_: object, **__: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr("ethogram.serve.facts.fsync_dir", full)
            segment(tmp_path / "collector", 1, flows(MAC, now, 3, address="10.0.0.2"), at=now)
            wait_for(lambda: "No space left on device" in message_of(service, "judge"))
            assert state_of(service, "judge") == "degraded"
        wait_for(lambda: state_of(service, "judge") == "running" and not message_of(service, "judge"))
        with Store.open(tmp_path / "store.db") as store:
            assert [row.flows for row in store.devices().rows] == [3]


def test_a_full_database_is_said_and_the_service_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself says that it is full: its file may have no more pages, as on a disk without room."""
    now = datetime.now(tz=UTC) - timedelta(hours=1)
    most: list[int] = []
    set_up = database._set_up_sqlite

    def bounded(connection: sqlite3.Connection, record: object) -> None:
        set_up(connection, record)
        if most:
            connection.execute(f"PRAGMA max_page_count={most[0]}")

    monkeypatch.setattr(database, "_set_up_sqlite", bounded)
    segment(tmp_path / "collector", 1, flows(MAC, now, 3, address="10.0.0.2"), at=now)
    with serving(settings_of(tmp_path, page=True, web={"port": 0})) as service:
        wait_for(lambda: state_of(service, "judge") == "running" and not message_of(service, "judge"), 120)
        assert service.store is not None
        with Store.open(tmp_path / "store.db") as store:
            wait_for(lambda: [row.flows for row in store.devices().rows] == [3])
        most.append(1)  # SQLite takes the present size then
        service.store._engine.dispose()
        many = [flows(f"aa:bb:cc:00:{i // 256:02x}:{i % 256:02x}", now, 1, address=f"10.1.{i // 250}.{i % 250 + 1}")
                for i in range(300)]  # fmt: skip
        segment(tmp_path / "collector", 2, *many, at=now + timedelta(minutes=1))
        wait_for(lambda: "full" in message_of(service, "judge"))
        assert state_of(service, "judge") == "degraded"
        assert "\n" not in message_of(service, "judge")
        assert _parts(service.url)["judge"] == "degraded"
        wait_for(lambda: _parts(service.url)["store"] == "degraded")
        assert service.store.devices().total == 1, "what was committed can be read"
        most[0] = 1 << 30
        service.store._engine.dispose()
        wait_for(lambda: state_of(service, "judge") == "running" and not message_of(service, "judge"), 120)
        assert service.store.devices().total == 300, "one of them is the device that was there"
        assert sum(row.flows for row in service.store.devices(limit=1000).rows) == 303
        assert _parts(service.url)["store"] == "running"


def _parts(url: str) -> dict[str, str]:
    """States of the parts, as ``/readyz`` says them."""
    with urllib.request.urlopen(f"{url}readyz", timeout=20) as answer:
        return dict(orjson.loads(answer.read())["parts"])


def test_identity_facts_are_kept_as_long_as_the_settings_say(tmp_path: Path, identifier: DeviceIdentifier) -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    segment(tmp_path, 1, flows(MAC, start, 3, address="10.0.0.2"), at=start)
    with Store.open(tmp_path / "store.db") as store:
        source = CollectorSegments(tmp_path, 60.0, now=lambda: start + timedelta(hours=1))
        judge = Judge(store, tmp_path / "facts", [source], identifier)
        judge.round()
        [row] = store.devices().rows
        later = start + 40 * DAY
        Retention(RetentionSettings.of(identity_days=0), None).run(judge, later)
        assert store.device(row.id).facts  # type: ignore[union-attr]
        Retention(RetentionSettings.of(identity_days=30), None).run(judge, later)
        assert not store.device(row.id).facts  # type: ignore[union-attr]
        assert store.devices().total == 1


def test_a_service_that_does_not_collect_listens_nowhere_and_keeps_watched_counts(tmp_path: Path) -> None:
    service = Service(settings_of(tmp_path, collector=str(tmp_path / "elsewhere")))
    assert service.listening() == ()
    with Store.open(tmp_path / "store.db") as store:
        judge = service.judge_apart(store)
        assert set(judge.counts.by_source) == {"collector", "watched"}
        assert not judge.round().segments
