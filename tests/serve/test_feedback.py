"""Confirmed statements join the library of the service with their provenance, and leave it when they are taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from segments_made import MINUTE, START, flows, segment

from ethogram.errors import UsageError
from ethogram.identify import library_file
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.schema import Judgement, RoundResult
from ethogram.serve import feedback
from ethogram.serve.feedback import LIBRARY, ConfirmedLibrary, identity_of_statement
from ethogram.serve.judge import Judge
from ethogram.serve.sources import CollectorSegments
from ethogram.serve.store import Store

HUE = "dcp.dc1.philips.com"


@pytest.fixture(scope="module")
def identifier() -> DeviceIdentifier:
    return DeviceIdentifier(None)


def home(folder: Path, store: Store, identifier: DeviceIdentifier, devices: int = 2) -> Judge:
    """A judge that has read an hour of some devices."""
    for number in range(1, 61):
        at = START + number * MINUTE
        segment(folder, number, *[
            flows(f"10.0.0.{i + 2}", at, 3, port=(443, 8883, 8443)[i % 3], name=HUE if i == 0 else f"a{i}.example")
            for i in range(devices)
        ])  # fmt: skip
    judge = Judge(store, folder / "facts", [CollectorSegments(folder, 60.0, now=lambda: START + timedelta(hours=3))],
                  identifier)  # fmt: skip
    while judge.round().more:
        pass
    return judge


def state(store: Store, address: str, statement: str = "Philips Hue hub") -> str:
    """State something about a device, as a judge does; returns its id."""
    [row] = store.devices(search=address).rows
    document = dict(store.device(row.id).verdict or {})  # type: ignore[union-attr]
    document["ladder"] = (document.get("ladder") or {}) | {
        "statement": statement, "level": "family", "score": 0.97, "kind": "hub", "vendor": "Philips Hue", "model": "",
        "levels": [], "labels": [], "missing": [],
    }  # fmt: skip
    position = store.position("collector")
    store.record_round(RoundResult("collector", position, position, START, "test 1",
                                   judgements=(Judgement(row.id, document, False, None),), again=True))  # fmt: skip
    return row.id


def test_a_confirmed_device_joins_the_library_and_leaves_it_again(tmp_path: Path, identifier: DeviceIdentifier) -> None:
    with Store.open(tmp_path / "store.db") as store:
        judge = home(tmp_path, store, identifier)
        id_ = state(store, "10.0.0.2")
        library = ConfirmedLibrary(tmp_path)
        assert not library.update(store, judge.counts)
        assert not (tmp_path / LIBRARY).exists()
        store.confirm(id_, "anna")
        assert library.update(store, judge.counts)
        assert not library.update(store, judge.counts)
        stored = library_file.read(tmp_path / LIBRARY)
        assert stored.labels() == ["Philips Hue hub"]
        [source] = stored.sources
        assert source.name.startswith("confirmed by anna on ")
        assert source.name.endswith(f"Philips Hue hub ({id_})")
        assert datetime.fromisoformat(source.enrolled) <= datetime.now(tz=UTC)
        assert {entry.identity.vendor for entry in stored.entries} == {"Philips Hue"}
        assert not ConfirmedLibrary(tmp_path).update(store, judge.counts)  # after a restart
        store.withdraw(id_, "anna")
        assert library.update(store, judge.counts)
        assert not library_file.read(tmp_path / LIBRARY).entries
        assert library.open() is None
        with pytest.raises(UsageError, match="nothing was confirmed or rejected"):
            store.withdraw(id_, "anna")


def test_confirmations_are_read_after_a_change_by_a_user_only(
    tmp_path: Path, identifier: DeviceIdentifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path / "store.db") as store:
        judge = home(tmp_path, store, identifier)
        id_, other = state(store, "10.0.0.2"), state(store, "10.0.0.3")
        store.confirm(id_, "anna")
        library = ConfirmedLibrary(tmp_path)
        assert library.update(store, judge.counts)
        with monkeypatch.context() as patched:
            patched.setattr(store, "confirmed", lambda **_: pytest.fail("nothing has changed"))
            assert not library.update(store, judge.counts)
        store.merge(id_, other, "anna")
        assert library.update(store, judge.counts)
        assert confirmed_in(tmp_path) == {other}
        new = store.split(other, ["10.0.0.2"], "anna")
        assert library.update(store, judge.counts)
        assert confirmed_in(tmp_path) == set(), "the device is judged first"
        state(store, "10.0.0.2")
        assert library.update(store, judge.counts)
        assert confirmed_in(tmp_path) == {new}
        assert not library.update(store, judge.counts)


def confirmed_in(folder: Path) -> set[str]:
    """Devices in the library of confirmed devices."""
    return {o.device for entry in library_file.read(folder / LIBRARY).entries for o in entry.observed}


def test_the_next_round_compares_with_confirmed_devices(tmp_path: Path) -> None:
    identifier = DeviceIdentifier(None)
    with Store.open(tmp_path / "store.db") as store:
        judge = home(tmp_path, store, identifier)
        id_ = state(store, "10.0.0.2")
        store.confirm(id_, "anna")
        library = ConfirmedLibrary(tmp_path)
        library.update(store, judge.counts)
        identifier.add(library.open())
        due = store.judged_devices()
        verdicts = judge.judged(due)
        assert verdicts[id_][0]["verdict"] == "Philips Hue hub"
        assert verdicts[id_][0]["ladder"]["level"] == "device"
        others = [document for id_of, (document, _) in verdicts.items() if id_of != id_]
        assert all(document["verdict"] != "Philips Hue hub" for document in others)
        identifier.add(None)
        assert judge.judged(due)[id_][0]["verdict"] != "Philips Hue hub"


def test_a_rejected_statement_is_not_stated_again_until_it_is_taken_back(
    tmp_path: Path, identifier: DeviceIdentifier
) -> None:
    with Store.open(tmp_path / "store.db") as store:
        judge = home(tmp_path, store, identifier)
        id_ = state(store, "10.0.0.2")
        store.confirm(id_, "anna")
        store.reject(id_, "ben")
        assert store.confirmed() == []
        state(store, "10.0.0.2")
        assert store.device(id_).row.statement == "unknown"  # type: ignore[union-attr]
        store.withdraw(id_, "ben")
        state(store, "10.0.0.2")
        assert store.device(id_).row.statement == "Philips Hue hub"  # type: ignore[union-attr]
        assert [row.action for row in store.audit(id_=id_)][:3] == ["withdraw", "reject", "confirm"]
        assert judge.store.confirmed() == []


def test_statements_without_vendor_or_kind_are_remembered_only(tmp_path: Path, identifier: DeviceIdentifier) -> None:
    with Store.open(tmp_path / "store.db") as store:
        home(tmp_path, store, identifier)
        store.confirm(state(store, "10.0.0.2"), "anna")
        [confirmed] = store.confirmed()
    ladder = confirmed.verdict["ladder"]
    assert identity_of_statement(confirmed) is not None
    for change in ({"kind": ""}, {"vendor": ""}, {"kind": "plug or light"}, {"level": "vendor"}, {"statement": "x"}):
        assert identity_of_statement(replace(confirmed, verdict={"ladder": ladder | change})) is None


def test_the_library_is_bounded_and_damage_is_mended(
    tmp_path: Path, identifier: DeviceIdentifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MOST_CONFIRMED", 1)
    with Store.open(tmp_path / "store.db") as store:
        judge = home(tmp_path, store, identifier)
        first, second = state(store, "10.0.0.2"), state(store, "10.0.0.3")
        for id_ in (first, second):
            store.confirm(id_, "anna")
        ConfirmedLibrary(tmp_path).update(store, judge.counts)
        stored = library_file.read(tmp_path / LIBRARY)
        assert {o.device for entry in stored.entries for o in entry.observed} == {second}
        (tmp_path / LIBRARY).write_bytes(b"damaged")
        library = ConfirmedLibrary(tmp_path)
        assert library.open() is None
        assert library.problem
        assert library.update(store, judge.counts)
        assert library_file.read(tmp_path / LIBRARY).labels() == ["Philips Hue hub"]
        assert isinstance(judge.counts.of_devices(store.judged_devices()), pl.DataFrame)
