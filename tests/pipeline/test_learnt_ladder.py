"""What the ladder learnt of a library is kept beside it: the same answers, never from other libraries or names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ethogram.identify import library_file
from ethogram.identify.library import Identity, Library, Source
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.ladder import LadderJudge, with_packaged
from ethogram.pipeline.learnt import learn_enrolled
from ethogram.pipeline.learnt_ladder import learn_ladder, write_bundled_ladder
from ethogram.pipeline.library import OpenLibrary, enrol_windows, open_library
from ethogram.pipeline.unread_library import learnt_ladder_path
from learnt_differences import learnt_differences
from pipeline.test_identify import LABELS, home, library

AGAIN = "run: python benchmarks/packaged_data.py --learnt"


def named(label: str, vendor: str = "", kind: str = "") -> Identity:
    return Identity(label, vendor=vendor, type=kind)


def own_library() -> Library:
    """A library whose labels name a vendor as the pack does not write it, a kind, and nothing."""
    identities = [named("camera", "TP-LINK Technologies"), named("plug", "Den Works", "plug"), named("recorder")]
    labels = [replace(label, identity=who) for label, who in zip(LABELS, identities, strict=True)]
    return enrol_windows(home(), labels, source=Source("home"))[0]


def opened(folder: Path) -> OpenLibrary:
    library_file.write(own_library(), folder / "home.jsonl.gz")
    return open_library(folder / "home.jsonl.gz")


def test_the_package_ships_what_the_ladder_learns_of_its_library(tmp_path: Path) -> None:
    known = open_library()
    assert known.file is not None
    shipped_path = learnt_ladder_path(known.file)
    assert learn_ladder(known, Knowledge.bundled()).messages == [f"read what was learnt: {shipped_path}"], AGAIN
    different = learnt_differences(write_bundled_ladder(known, tmp_path), shipped_path, ignored=("code", "file"))
    assert not different, f"{', '.join(different)}: {AGAIN}"


def test_the_packaged_library_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = LadderJudge.of_library(open_library())
    with monkeypatch.context() as patched:
        patched.setattr(library_file, "read", lambda _: pytest.fail(f"the entries were read; {AGAIN}"))
        known = open_library()
        products = learn_ladder(known, Knowledge.bundled()).products
    items = home(1).windows
    fitted, read = (judge.products_.decision_function(items) for judge in (expected.products, products))
    assert products.models_ == expected.products.models_
    assert np.array_equal(fitted, read)


def test_products_of_an_own_library_are_kept_and_read(tmp_path: Path) -> None:
    known, knowledge = opened(tmp_path), Knowledge.bundled()
    expected = LadderJudge.of_library(with_packaged(known), knowledge)
    path = learnt_ladder_path(Path(known.path))
    first, second = learn_ladder(known, knowledge), learn_ladder(known, knowledge)
    assert first.messages == [f"learnt the levels; kept in {path}"]
    assert second.messages == [f"read what was learnt: {path}"]
    assert ("camera", "tp-link", "") in second.products.models_
    assert second.identities == first.identities == {
        "camera": named("camera", "TP-LINK Technologies"), "plug": named("plug", "Den Works", "plug"),
        "recorder": named("recorder"),
    }  # fmt: skip
    items = home(2, 20, seed=3).windows
    for judge in (LadderJudge(first.products, knowledge), LadderJudge(second.products, knowledge)):
        assert judge.verdicts(items) == expected.verdicts(items)


def test_other_libraries_and_other_names_of_vendors_are_learnt_anew(tmp_path: Path) -> None:
    known, knowledge = opened(tmp_path), Knowledge.bundled()
    learn_ladder(known, knowledge)
    rows = tmp_path / "mine.csv"
    rows.write_text("table,key,subject,value\nvendors,maker,name,Maker\nvendors,maker,alias,Den Works\n")
    (message,) = learn_ladder(known, knowledge.with_rows(rows)).messages
    assert message.startswith("learnt the levels anew: ")
    assert "home.learnt-ladder.npz is of other names of vendors" in message
    library_file.write(library(seed=4), Path(known.path))
    (message,) = learn_ladder(open_library(known.path), knowledge).messages
    assert message.startswith("learnt the levels anew: home.learnt-ladder.npz is of another library")


def test_a_damaged_file_is_learnt_anew(tmp_path: Path) -> None:
    known, knowledge = opened(tmp_path), Knowledge.bundled()
    learn_ladder(known, knowledge)
    path = learnt_ladder_path(Path(known.path))
    octets = path.read_bytes()
    path.write_bytes(octets[: len(octets) // 2])
    (message,) = learn_ladder(known, knowledge).messages
    assert message.startswith(f"learnt the levels anew: {path}: cannot be read")
    assert path.read_bytes() == octets


def test_a_large_enrolled_library_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.pipeline.unread_library.LARGE", 1)
    known = opened(tmp_path)
    result = learn_enrolled(own_library(), Path(known.path))
    assert [line.split("; ")[0] for line in result] == ["learnt the library", "learnt the levels"]
    with monkeypatch.context() as patched:
        patched.setattr(library_file, "read", lambda _: pytest.fail("the entries were read"))
        unread = open_library(known.path)
        assert learn_ladder(unread, Knowledge.bundled()).messages[0].startswith("read what was learnt")
