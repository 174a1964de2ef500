"""Libraries and knowledge of the service: a changed file is taken up, a broken one leaves the earlier one in force."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import httpx
import polars as pl
import pytest

from ethogram.cli import app
from ethogram.errors import LibraryError
from ethogram.identify import library_file
from ethogram.identify.labels import Label
from ethogram.identify.library import Identity, Library, Source
from ethogram.pipeline.fingerprints import windows_from_counts
from ethogram.pipeline.library import enrol_windows
from ethogram.pipeline.windows import ObservedWindows
from ethogram.serve import library_files, rejudge
from ethogram.serve.library_files import LibraryFiles
from ethogram.serve.rejudge import LibraryChange
from ethogram.serve.service import Service
from ethogram.serve.store import Store
from serve.segments_made import MINUTE, flows, segment
from serve.test_rejudge import OneAnswer, judge_of, judged
from serve.test_service import message_of, serving, settings_of, state_of, wait_for

__all__ = ["judged"]

HOUR = timedelta(hours=1)
KNOWN = ("amazon-echo", "netatmo-welcome")


def own_library(path: Path, days: int = 3) -> Path:
    """Days of some devices, as a library."""
    with resources.as_file(resources.files("ethogram") / "data" / "later.jsonl.gz") as file:
        entries = library_file.read(file).entries
    some = [[entry for entry in entries if entry.identity.label == label][:days] for label in KNOWN]
    own = [replace(entry, identity=Identity(f"my {entry.identity.label}")) for rows in some for entry in rows]
    library_file.write(Library(name=path.name).merge(Library(tuple(own))), path)
    return path


def test_a_file_is_read_again_if_its_content_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own_library(tmp_path / "mine.jsonl.gz")
    files = LibraryFiles([str(path), "packaged"], "")
    assert files.refresh()
    first = files.identifier
    assert first is not None
    os.utime(path, (1, 1))
    assert not files.refresh()
    with monkeypatch.context() as patched:
        patched.setattr(library_files, "file_digest", lambda _: pytest.fail("it is read, but has not changed"))
        assert not files.refresh()
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"damaged"):
        path.write_bytes(broken)
        assert not files.refresh()
        assert "mine.jsonl.gz" in files.problem
        assert files.problem.endswith("; devices are judged with the library that was read before")
        assert files.identifier is first
    path.unlink()
    assert not files.refresh()
    assert "there is no such library" in files.problem
    path.write_bytes(whole)
    assert not files.refresh()  # the one in force
    assert (files.problem, files.identifier) == ("", first)
    own_library(path, days=2)
    assert files.refresh()
    assert files.identifier is not first and files.identifier.name != first.name


def test_a_file_of_knowledge_is_followed_too(tmp_path: Path) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("table,key,subject,value\nvendors,maker,name,Maker\n")
    files = LibraryFiles([], str(facts))
    assert files.refresh()
    facts.write_text("table,key,word\n")
    assert not files.refresh()
    assert "facts.csv" in files.problem
    facts.write_text("table,key,subject,value\nvendors,maker,name,Another\n")
    assert files.refresh()
    assert files.problem == ""


def test_without_an_identifier_the_reason_is_raised(tmp_path: Path) -> None:
    files = LibraryFiles([str(tmp_path / "none.jsonl")], "")
    with pytest.raises(LibraryError, match="there is no such library"):
        files.refresh()
    assert files.identifier is None


def test_devices_of_another_library_are_judged_again_in_parts(judged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejudge, "AT_ONCE", 3)
    with Store.open(judged / "store.db") as store:
        assert not LibraryChange().part(judge_of(judged, store, OneAnswer("library 1", "doorbell")))
        judge = judge_of(judged, store, OneAnswer("library 2", "doorbell"))
        change = LibraryChange()
        assert change.part(judge)
        assert sorted(row.statement for row in store.devices().rows) == ["camera"] + ["doorbell"] * 3
        again = LibraryChange()  # after a restart
        assert not again.part(judge)
        assert again.judged == 1
        assert {row.statement for row in store.devices().rows} == {"doorbell"}
        reasons = {each.reason for each in store.changes() if each.before == "camera"}
        assert reasons == {"judged with another library: library 2"}
        assert not change.part(judge)
        judge.identifier = OneAnswer("library 3", "plug")
        assert not change.part(judge)  # begin() was not called
        change.begin()
        assert change.part(judge)
        assert not change.part(judge)
        assert {row.statement for row in store.devices().rows} == {"plug"}


def enrol_device(service: Service, store: Store, path: Path) -> None:
    """Add a device of the service to a library, from its stored counts."""
    counts = service.stored_counts().of_devices(store.judged_devices()).with_columns(device=pl.lit("one"))
    windows = windows_from_counts(counts, 86_400)
    label = Label("one", Identity("hall lamp", vendor="Philips Hue", type="light"))
    library, _ = enrol_windows(ObservedWindows(windows, ["open"] * len(windows)), [label], source=Source("test", ""),
                               extend=library_file.read(path), name=path.name)  # fmt: skip
    library_file.write(library, path)


def test_the_service_takes_up_a_changed_library_and_shows_a_broken_one(tmp_path: Path) -> None:
    path, now = own_library(tmp_path / "mine.jsonl.gz"), datetime.now(tz=UTC) - 3 * HOUR
    for number in range(1, 25):
        at = now + number * 2 * MINUTE
        segment(tmp_path / "collector", number, flows("aa:bb:cc:00:00:01", at, 3, port=8883, address="10.0.0.2",
                                                      name="hall.example"), at=at)  # fmt: skip
    settings = settings_of(tmp_path, library=[str(path), "packaged"], page=True, web={"port": 0})
    with serving(settings) as service, Store.open(tmp_path / "store.db") as store:
        wait_for(lambda: store.devices().total and store.devices().rows[0].judged, 120)
        [row] = store.devices().rows
        assert row.statement != "hall lamp"
        wait_for(lambda: service.url)
        path_before = path.read_bytes()
        path.write_bytes(b"damaged")
        wait_for(lambda: state_of(service, "library") == "degraded")
        ready = httpx.get(f"{service.url}readyz")
        assert (ready.status_code, ready.json()["parts"]["library"]) == (200, "degraded")
        assert "mine.jsonl.gz" in message_of(service, "library")
        assert len(service.libraries()) == 2
        path.write_bytes(path_before)
        wait_for(lambda: state_of(service, "library") == "running")
        enrol_device(service, store, path)
        wait_for(lambda: store.devices().rows[0].statement == "hall lamp", 120)
        change = store.changes()[0]
        assert change.after == "hall lamp"
        assert change.reason.startswith("judged with another library: mine.jsonl.gz ")


def test_a_list_of_libraries_is_a_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = own_library(tmp_path / "mine.jsonl.gz")
    for text in (f'library = ["{path}", "packaged"]', f'library = "{path}"', 'library = ""', 'library = "packaged"'):
        (tmp_path / "serve.toml").write_text(f'data = "{tmp_path / "data"}"\npage = false\n{text}\n')
        assert app.main(["serve", "--check", "--config", str(tmp_path / "serve.toml")]) == 0, text
    capsys.readouterr()
    options = ["--library", str(path), "--library", str(tmp_path / "none.jsonl")]
    assert app.main(["serve", "--check", "--data", str(tmp_path / "data"), *options]) == 5
    assert "none.jsonl: there is no such library" in capsys.readouterr().err
