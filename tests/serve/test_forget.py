"""Forgetting a device: nothing of it is left in any file, other devices stay, and a crash in the middle is mended."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet
import pytest
from crash_points import Crash, CrashPoints
from segments_made import MINUTE, START, flows, segment

from ethogram.cli import main
from ethogram.config import RetentionSettings, ServeSettings
from ethogram.errors import InputError, UsageError
from ethogram.identify import library_file
from ethogram.schema import DeviceFact, DeviceSighting, RoundResult
from ethogram.serve.facts import CountFacts
from ethogram.serve.feedback import ConfirmedLibrary
from ethogram.serve.retention import Retention
from ethogram.serve.segments import row_groups
from ethogram.serve.service import Service
from ethogram.serve.store import Store
from serve.store_rows import document, judge

MAC, ADDRESS, NAME = "aa:bb:cc:00:00:01", "192.168.1.5", "annas-phone"
OTHER, OTHER_ADDRESS = "aa:bb:cc:00:00:02", "192.168.1.6"


def sighting(mac: str, address: str, name: str) -> DeviceSighting:
    facts = tuple(DeviceFact(fact, value, "DHCP", START, START) for fact, value in
                  (("mac", mac), ("address", address), ("host_name", name)))  # fmt: skip
    return DeviceSighting(
        name=mac, mac=mac, addresses=(address,), host_names=(name,), first=START, last=START + MINUTE, flows=3,
        octets=600, due=START, facts=facts, hours=((START, 600),),
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with two devices that talk to each other."""
    folder = tmp_path / "data"
    collector = folder / "collector"
    mine = flows(MAC, START, address=ADDRESS)
    other = flows(OTHER, START, address=OTHER_ADDRESS)
    toward = other.with_columns(remote=pl.lit(ADDRESS), remote_name=pl.lit(f"{NAME}.lan"), remote_domain=pl.lit(NAME))
    segment(collector, 1, mine, other)
    segment(collector, 2, toward)
    segment(collector, 3, flows(MAC, START, address=ADDRESS))
    from ethogram.pipeline.counts import count_inputs
    from ethogram.pipeline.inputs import COUNTING

    facts = CountFacts(folder / "facts" / "collector")
    counts = count_inputs(pl.concat([mine, other, toward]), COUNTING).gathering.counts()
    facts.write(counts, 1, 2)
    facts.write(count_inputs(mine, COUNTING).gathering.counts(), 3, 3)
    with Store.open(folder / "store.db") as store:
        store.record_round(RoundResult(
            source="collector", after=0, segment=3, clock=START + MINUTE, library="none",
            sightings=(sighting(MAC, ADDRESS, NAME), sighting(OTHER, OTHER_ADDRESS, "printer")), epoch_due=START,
        ))  # fmt: skip
        id_ = store.find_devices(ADDRESS)[0]
        store.label(id_, "Annas Telefon", "root")
        store.note(id_, f"belongs to {NAME}", "root")
        store.note(store.find_devices(OTHER)[0], "a printer", "root")
    return folder


def texts(folder: Path) -> dict[Path, bytes]:
    """All files of a folder, decompressed."""
    content = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
            content[path] = str(table.to_pylist()).encode() + str(table.schema.metadata).encode()
        elif path.suffix == ".gz":
            content[path] = gzip.decompress(path.read_bytes())
        else:
            content[path] = path.read_bytes()
    return content


def left_of(folder: Path, words: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(path.name, word) for path, text in texts(folder).items() for word in words if word.encode() in text]


def service(folder: Path) -> Service:
    return Service(ServeSettings(data=str(folder)))


def check(folder: Path, id_: str) -> None:
    """Nothing of the first device is left, and everything of the second."""
    assert left_of(folder, (MAC, ADDRESS, NAME, "Annas", id_)) == []
    with Store.open(folder / "store.db") as store:
        assert store.find_devices(ADDRESS) == store.find_devices(MAC) == store.find_devices(id_) == []
        assert store.forget_requests() == []
        other = store.device(store.find_devices(OTHER)[0])
        assert other is not None
        assert [each.text for each in other.notes] == ["a printer"]
        entries = [entry for entry in store.audit() if entry.action == "forget"]
        assert len(entries) == 1
        assert entries[0].device == ""
        assert set(entries[0].detail) == {"rows"}
    rows = pl.concat([part for path in sorted((folder / "collector" / "flows").glob("*.parquet"))
                      for part, _ in row_groups(path)])  # fmt: skip
    assert rows["device"].to_list() == [OTHER] * 6
    assert sorted(set(rows["remote"])) == ["0.0.0.0", "192.0.2.1"]
    counts = CountFacts(folder / "facts" / "collector").read([MAC, OTHER], START)
    assert set(counts["device"]) == {OTHER}
    assert counts["flows"].sum() == 6


def test_nothing_of_a_forgotten_device_is_left(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(data / "store.db") as store:
        id_ = store.find_devices(ADDRESS)[0]
    assert {word for _, word in left_of(data, (MAC, ADDRESS, NAME))} == {MAC, ADDRESS, NAME}
    before = {path: path.read_bytes() for path in data.rglob("*.parquet")}
    assert main(["forget", NAME, "--data", str(data), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "flows: 9" in shown
    assert "label: 1" in shown
    assert {path: path.read_bytes() for path in data.rglob("*.parquet")} == before
    assert main(["forget", NAME.upper(), "--data", str(data)]) == 0
    capsys.readouterr()
    check(data, id_)
    assert main(["forget", NAME, "--data", str(data)]) == 3
    assert "there is no device 'annas-phone'" in capsys.readouterr().err
    assert main(["forget", "--data", str(data)]) == 0
    assert capsys.readouterr().err == "no run was interrupted\n"


def test_a_device_that_is_seen_again_is_new(data: Path) -> None:
    with Store.open(data / "store.db") as store:
        id_ = store.find_devices(ADDRESS)[0]
        service(data).forget_apart(store, id_)
        store.record_round(RoundResult(
            source="collector", after=3, segment=4, clock=START + MINUTE, library="none",
            sightings=(sighting(MAC, ADDRESS, NAME),), epoch_due=START,
        ))  # fmt: skip
        again = store.find_devices(ADDRESS)
        assert len(again) == 1
        assert again != [id_]
        detail = store.device(again[0])
        assert detail is not None
        assert detail.notes == ()
        assert not detail.row.pinned


def test_a_crash_at_any_point_is_mended_by_the_next_start(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(data / "store.db") as store:
        id_ = store.find_devices(ADDRESS)[0]
    points = CrashPoints(monkeypatch)
    try:
        at = 0
        for at in range(1, 400, 5):
            points.count, points.at = 0, at
            try:
                with Store.open(data / "store.db") as store:
                    if store.find_devices(ADDRESS) and not store.forget_requests():
                        service(data).forget_apart(store, id_)
                    else:
                        service(data).forget_apart(store)
            except Crash:
                continue
            break
        points.at = -1
    finally:
        points.close()
    assert at > 5
    with Store.open(data / "store.db") as store:
        service(data).forget_apart(store)
    check(data, id_)


def test_a_folder_in_use_is_refused(data: Path) -> None:
    first = service(data)
    first._take_lock()
    with Store.open(data / "store.db") as store, pytest.raises(UsageError, match="another service uses this folder"):
        service(data).forget_apart(store, store.find_devices(ADDRESS)[0])
    assert datetime.now(tz=UTC) > START


def test_each_kind_has_its_own_retention(data: Path) -> None:
    old = data / "collector" / "fingerprints" / "20260301T000000Z-00000001.parquet"
    old.parent.mkdir()
    old.write_bytes(b"")
    days = {"history_days": 10, "alert_days": 10, "event_days": 20, "audit_days": 30, "fingerprint_days": 5}
    now = datetime.now(tz=UTC)
    with Store.open(data / "store.db") as store:
        judge = service(data).judge_apart(store)
        for kind, days_later, left in (("events", 19, True), ("events", 21, False), ("audit", 29, True),
                                       ("audit", 31, False), ("history", 31, False)):  # fmt: skip
            Retention(RetentionSettings.of(**days, count_days=10_000), data / "collector").run(
                judge, now + timedelta(days=days_later)
            )
            rows = {"events": store.events, "audit": store.audit, "history": store.changes}[kind]()
            assert bool(rows) == left, (kind, days_later)
        assert not old.exists()
        assert store.find_devices(ADDRESS), "devices, labels and notes stay"


def confirmed(store: Store, data: Path) -> list[str]:
    """Confirm both devices, and return their ids."""
    ids = [store.find_devices(address)[0] for address in (ADDRESS, OTHER_ADDRESS)]
    for id_, statement in zip(ids, ("Acme camera", "Acme plug"), strict=True):
        judge(store, id_, document(statement), source="test")
        store.confirm(id_, "root")
    assert ConfirmedLibrary(data).update(store, service(data).stored_counts())
    assert left_of(data, (ids[0],))
    return ids


def test_a_library_that_cannot_be_written_is_rewritten_by_the_next_run(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise InputError("cannot be written: no space left on device")

    with Store.open(data / "store.db") as store:
        ids = confirmed(store, data)
        with monkeypatch.context() as patched:
            patched.setattr(library_file, "write", full)
            with pytest.raises(InputError, match="no space left"):
                service(data).forget_apart(store, ids[0])
        assert left_of(data, (ids[0],))
        service(data).forget_apart(store)
    assert left_of(data, (ids[0],)) == []


def test_a_forgotten_device_leaves_the_library_of_confirmed_devices(data: Path) -> None:
    with Store.open(data / "store.db") as store:
        ids = confirmed(store, data)
        service(data).forget_apart(store, ids[0])
    assert left_of(data, (ids[0],)) == []
    assert ids[1].encode() in texts(data)[data / "library.jsonl.gz"]
