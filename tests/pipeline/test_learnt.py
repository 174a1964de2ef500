"""What was learnt is kept beside the library: the same verdicts, never from another library, never from a bad file."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.config import IdentifySettings
from ethogram.errors import LibraryError
from ethogram.identify import library_file
from ethogram.identify.learnt_file import _checksum, header_of, read_learnt, write_learnt
from ethogram.identify.library import Library, Source
from ethogram.pipeline.learnt import BUNDLED, identify_by_library, learn, learn_enrolled, learnt_path, write_bundled
from ethogram.pipeline.library import OpenLibrary, enrol_windows, open_library
from ethogram.pipeline.verdicts import default_method, identify_windows, settings_for
from ethogram.pipeline.windows import ObservedWindows, regroup
from ethogram.schema import Inventory
from learnt_differences import learnt_differences
from pipeline.test_identify import LABELS, home, library
from pipeline.test_libraries import later

METHODS = ("evidence", "likelihood", "cross-network", "cross-network-families", "cross-network-kinds")
EVIDENCE = settings_for("evidence")


def opened(folder: Path, known: Library | None = None) -> OpenLibrary:
    """A library written to a folder and opened."""
    library_file.write(known or library(), folder / "home.jsonl.gz")
    return open_library(folder / "home.jsonl.gz")


def identified(known: Library, settings: IdentifySettings) -> tuple[Inventory, str]:
    inventory, messages = identify_by_library(regroup(home(2, 20, seed=3), "device"), known, settings)
    return inventory, " ".join(messages)


@pytest.mark.parametrize("method", METHODS)
def test_verdicts_are_those_of_a_library_learnt_anew(tmp_path: Path, method: str) -> None:
    known = opened(tmp_path)
    expected = identify_windows(regroup(home(2, 20, seed=3), "device"), known, settings_for(method))
    first, learnt = identified(known, settings_for(method))
    second, read = identified(open_library(tmp_path / "home.jsonl.gz"), settings_for(method))
    assert "learnt the library; kept in" in learnt
    assert read.startswith("read what was learnt")
    assert first.to_json() == second.to_json() == expected.to_json()


def test_settings_of_the_decision_alone_need_no_learning(tmp_path: Path) -> None:
    known = opened(tmp_path)
    learn(known, EVIDENCE)
    closed = settings_for("evidence", closed=True)
    result, outcome = identified(known, closed)
    assert outcome.startswith("read what was learnt")
    assert result.to_json() == identify_windows(regroup(home(2, 20, seed=3), "device"), known, closed).to_json()


def test_what_was_learnt_from_another_library_is_learnt_anew(tmp_path: Path) -> None:
    learn(opened(tmp_path), EVIDENCE)
    more, _ = enrol_windows(home(3, 40, seed=9), LABELS, source=Source("later"), extend=library())
    known = opened(tmp_path, more)
    _, result = identified(known, EVIDENCE)
    assert "learnt the library anew: home.learnt-evidence-label.npz is of another library; kept in" in result
    assert identified(known, EVIDENCE)[1].startswith("read")
    assert "of another settings" in identified(known, settings_for("evidence", folds=3))[1]


def test_other_code_learns_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = opened(tmp_path)
    learn(known, EVIDENCE)
    monkeypatch.setattr("ethogram.pipeline.learnt.code_digest", lambda: "0" * 12)
    assert "is of another code" in identified(known, EVIDENCE)[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    known = opened(tmp_path)
    tmp_path.chmod(0o500)
    try:
        assert "learnt the library; not kept: " in identified(known, EVIDENCE)[1]
    finally:
        tmp_path.chmod(0o700)


def test_a_method_that_cannot_be_kept_is_learnt_at_each_run(tmp_path: Path) -> None:
    _, result = identified(opened(tmp_path), settings_for("nearest"))
    assert result.startswith("learnt the library; not kept: what was learnt holds a NearestFingerprint")
    assert [path.name for path in tmp_path.iterdir()] == ["home.jsonl.gz"]


@dataclass(repr=False)
class Sound:
    """A library, and what was learnt from it."""

    known: OpenLibrary
    path: Path
    octets: bytes


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    known = opened(tmp_path_factory.mktemp("sound"))
    learn(known, EVIDENCE)
    path = learnt_path(Path(known.path), EVIDENCE)
    return Sound(known, path, path.read_bytes())


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_one_line_or_what_it_was(sound: Sound, data: st.DataObject) -> None:
    path, octets = sound.path, sound.octets
    damaged = bytearray(octets)
    if data.draw(st.booleans()):
        damaged = damaged[: data.draw(st.integers(0, len(octets) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(damaged))
    try:
        read_learnt(path)
    except LibraryError as error:
        assert "\n" not in str(error)
    finally:
        path.write_bytes(octets)


def forged(octets: bytes, change: dict[str, object]) -> bytes:
    """The archive with some members replaced, and the checksum that belongs to them."""
    with zipfile.ZipFile(io.BytesIO(octets)) as archive:
        members = {name.removesuffix(".npy"): np.load(archive.open(name)) for name in archive.namelist()}
    header = orjson.loads(members.pop("header").tobytes())
    members |= {name: np.asarray(array) for name, array in change.items()}
    header["sum"] = _checksum([members[f"a{i}"] for i in range(len(members))])
    target = io.BytesIO()
    np.savez(target, header=np.frombuffer(orjson.dumps(header), np.uint8), **members)
    return target.getvalue()


def test_indices_that_point_outside_an_array_are_refused(sound: Sound) -> None:
    known, path, octets = sound.known, sound.path, sound.octets
    with zipfile.ZipFile(io.BytesIO(octets)) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name != "header.npy"]
        arrays = {name: np.load(archive.open(f"{name}.npy")) for name in names}
    refused = 0
    try:
        for name, array in arrays.items():
            if array.dtype != np.int64 or not array.size:
                continue
            changed = array.copy()
            changed.flat[-1] += 1 << 40
            path.write_bytes(forged(octets, {name: changed}))
            try:
                read_learnt(path)
            except LibraryError as error:
                refused += "fit together" in str(error)
        assert refused >= 10
        changed = {name: array[:-1] for name, array in arrays.items() if array.ndim and array.size > 1}
        for name, array in changed.items():
            path.write_bytes(forged(octets, {name: array}))
            inventory, _ = identified(known, EVIDENCE)  # refused on reading, or by the trial on no items
            assert [v.verdict for v in inventory.devices] == ["camera", "plug", "recorder"], name
    finally:
        path.write_bytes(octets)


def test_a_file_names_no_class_or_attribute_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for tree in (
        {"$": "object", "c": "Path", "v": {}}, {"$": "object", "c": "Cells", "v": {"__class__": 1}},
        {"$": "code", "v": "1"}, {"$": "array", "v": 3}, {"$": "array", "v": -1}, {"$": []}, [[[]]] * 3 + [{"$": 1}],
    ):  # fmt: skip
        header = {"format": "ethogram.learnt/1", "arrays": 0, "sum": "", "tree": tree}
        header["sum"] = hashlib.sha256().hexdigest()
        np.savez(path, header=np.frombuffer(orjson.dumps(header), np.uint8))
        with pytest.raises(LibraryError):
            read_learnt(path)
    np.savez(path, header=np.array([object()], dtype=object))
    with pytest.raises(LibraryError, match="cannot be read"):
        read_learnt(path)


def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    shared = np.arange(3.0)
    value = {"a": [shared, shared, np.zeros(0)], "b": (1, None, "x", 0.1, float("inf")), (1, "k"): {"s", "t"}}
    write_learnt(tmp_path / "x.npz", value, {"library": "abc"})
    header, read = read_learnt(tmp_path / "x.npz")
    assert header["library"] == "abc"
    assert [part.tolist() for part in read["a"]] == [[0.0, 1.0, 2.0]] * 2 + [[]]
    assert read["b"] == value["b"]
    assert read[1, "k"] == {"s", "t"}


@pytest.mark.parametrize("level", BUNDLED)
def test_the_package_ships_what_its_library_teaches(tmp_path: Path, level: str) -> None:
    known = open_library()
    changed = settings_for(default_method(packaged=True, level=level), level=level)
    assert known.file is not None
    again = "run: python benchmarks/packaged_data.py --learnt"
    assert learn(known, changed).messages == [f"read what was learnt: {learnt_path(known.file, changed)}"], again
    written = {path.name: path for path in write_bundled(known, tmp_path, levels=(level,))}
    shipped = learnt_path(known.file, changed)
    assert written.keys() == {shipped.name}
    different = learnt_differences(written[shipped.name], shipped, ignored=("code",))
    assert not different, f"{', '.join(different)}: {again}"


def test_learnt_files_may_differ_by_rounding_only(tmp_path: Path) -> None:
    def write(name: str, number: float, whole: int, key: str = "abc") -> Path:
        arrays = np.array([number, 0.0, np.inf]), np.array([whole])
        write_learnt(tmp_path / name, {"a": arrays, "b": number}, {"library": key})
        return tmp_path / name

    shipped = write("shipped.npz", 3.0, 7)
    assert not learnt_differences(write("rounded.npz", 3.0 * (1 + 1e-12), 7), shipped)
    assert learnt_differences(write("number.npz", 3.0 * (1 + 1e-5), 7), shipped) == ["tree", "a0"]
    assert learnt_differences(write("whole.npz", 3.0, 8), shipped) == ["a1"]
    assert learnt_differences(write("library.npz", 3.0, 7, key="abd"), shipped) == ["library"]
    assert not learnt_differences(write("library.npz", 3.0, 7, key="abd"), shipped, ignored=("library",))


def test_a_large_library_is_read_only_when_its_entries_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ethogram.pipeline.unread_library.LARGE", 1)
    path = tmp_path / "home.jsonl.gz"
    first = opened(tmp_path)
    assert isinstance(first.entries, tuple)
    expected, _ = identified(first, EVIDENCE)
    with monkeypatch.context() as patched:
        patched.setattr(library_file, "load", lambda *_, **__: pytest.fail("the entries were read"))
        patched.setattr(library_file, "read_header", lambda _: replace(first, entries=()))
        unread = open_library(path)
        result, outcome = identified(unread, EVIDENCE)
    assert outcome.startswith("read what was learnt")
    assert result.to_json() == expected.to_json()
    assert (len(unread), unread, unread.sources) == (len(first), first, first.sources)
    assert unread.entries == first.entries
    assert unread.entries[0] == first.entries[0]
    assert [entry.digest for entry in unread.entries[:2]] == [entry.digest for entry in first.entries[:2]]
    library_file.write(library(seed=4), path)
    changed = open_library(path)
    assert isinstance(changed.entries, tuple)
    assert changed.digest != first.digest
    assert "of another library" in identified(changed, EVIDENCE)[1]


def test_a_changed_copy_of_a_library_is_not_what_its_file_holds(tmp_path: Path) -> None:
    known = opened(tmp_path)
    fewer = replace(known, entries=known.entries[:-1])
    assert "kept in" in identified(fewer, EVIDENCE)[1]
    assert header_of(learnt_path(Path(known.path), EVIDENCE))["file"] == ""


def test_a_library_that_was_just_enrolled_is_learnt_already(tmp_path: Path) -> None:
    path = tmp_path / "home.jsonl.gz"
    library_file.write(library(), path)
    assert learn_enrolled(library(), path) == [
        f"learnt the library; kept in {tmp_path / 'home.learnt-evidence-label.npz'}",
        f"learnt the levels; kept in {tmp_path / 'home.learnt-ladder.npz'}",
    ]
    assert identified(open_library(path), EVIDENCE)[1].startswith("read what was learnt")


def real_library(days: int) -> Library:
    """The first later days of real devices that come with the package for the demo."""
    entries = [entry for items in later().values() if len(items) >= 11 for entry in items[:days]]
    return Library().merge(Library(tuple(entries)))


def test_a_library_that_grew_by_a_day_learns_that_day_alone(tmp_path: Path) -> None:
    path = tmp_path / "home.jsonl.gz"
    before, after = real_library(6), real_library(7)
    library_file.write(before, path)
    learn_enrolled(before, path)
    known = open_library(path)
    assert known.entries
    library_file.write(after, path)
    (first, *_) = learn_enrolled(after, path, known)
    assert first == (
        f"updated what was learnt: {len(after) - len(before)} new windows; weights and calibration are those of "
        f"{len(before)} windows; kept in {tmp_path / 'home.learnt-evidence-label.npz'}"
    )
    days = [entry for items in later().values() if len(items) >= 11 for entry in items[-3:]]
    windows = Library(tuple(days)).windows()
    seen = ObservedWindows(windows, ["open"] * len(windows))
    updated, result = identify_by_library(seen, open_library(path), EVIDENCE)
    anew = identify_windows(seen, after, EVIDENCE)
    assert result[0].startswith("read what was learnt")
    assert [verdict.verdict for verdict in updated.devices] == [verdict.verdict for verdict in anew.devices]
    for device, other in zip(updated.devices, anew.devices, strict=True):
        assert device.known_types == pytest.approx(other.known_types, abs=0.05)


def test_a_library_that_grew_much_or_lost_windows_is_learnt_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "home.jsonl.gz"
    library_file.write(real_library(4), path)
    learn_enrolled(real_library(4), path)
    known = open_library(path)
    assert known.entries
    grown, fewer = real_library(6), replace(real_library(4), entries=real_library(4).entries[1:])
    for other in (grown, fewer):
        library_file.write(other, path)
        assert learn_enrolled(other, path, known)[0].startswith("learnt the library anew")


def test_an_extended_library_whose_file_was_replaced_unread_is_learnt_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ethogram.pipeline.unread_library.LARGE", 1)
    path = tmp_path / "home.jsonl.gz"
    library_file.write(real_library(6), path)
    learn_enrolled(real_library(6), path)
    unread, read = open_library(path), open_library(path)
    assert len(read.entries)
    library_file.write(real_library(7), path)
    assert learn_enrolled(real_library(7), path, read)[0].startswith("updated what was learnt: 17 new windows")
    library_file.write(real_library(6), path)
    learn_enrolled(real_library(6), path)
    library_file.write(real_library(7), path)
    assert learn_enrolled(real_library(7), path, unread)[0].startswith("learnt the library anew")


def test_small_additions_count_from_the_last_time_that_all_was_learnt(tmp_path: Path) -> None:
    path = tmp_path / "home.jsonl.gz"
    library_file.write(real_library(6), path)
    learn_enrolled(real_library(6), path)
    collected = []
    for days in (7, 8):
        known = open_library(path)
        assert known.entries
        library_file.write(real_library(days), path)
        collected.append(learn_enrolled(real_library(days), path, known)[0].split(":")[0])
    assert collected == ["updated what was learnt", "learnt the library anew"]


def test_a_new_device_is_known_after_an_update(tmp_path: Path) -> None:
    path = tmp_path / "home.jsonl.gz"
    whole = real_library(6)
    new = "ring-doorbell-stevens"
    before = replace(whole, entries=tuple(entry for entry in whole.entries if entry.identity.label != new))
    library_file.write(before, path)
    learn_enrolled(before, path)
    known = open_library(path)
    assert known.entries
    library_file.write(whole, path)
    assert learn_enrolled(whole, path, known)[0].startswith("updated what was learnt: 6 new windows")
    windows = Library(tuple(later()[new][-3:])).windows()
    updated, _ = identify_by_library(ObservedWindows(windows, ["open"] * 3), open_library(path), EVIDENCE)
    assert [verdict.verdict for verdict in updated.devices] == [new] * 3
