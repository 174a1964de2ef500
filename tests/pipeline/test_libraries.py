"""Several libraries at once: your own as one, the packaged one beside it, each by its method, and one probability."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import ethogram
from custom_flow_twin import P, capture
from ethogram.errors import LibraryError
from ethogram.identify import library_file
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.library import Entry, Identity, Library
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.contradiction import AHEAD, contradicted, limit_of
from ethogram.pipeline.identify import IdentifyOptions, identify_by_libraries
from ethogram.pipeline.learnt import learn, learnt_path
from ethogram.pipeline.learnt_ladder import learn_ladder
from ethogram.pipeline.libraries import KnownLibraries, merged_libraries, open_libraries
from ethogram.pipeline.library import OpenLibrary, open_library
from ethogram.pipeline.unread_library import UnreadEntries
from ethogram.pipeline.verdicts import settings_for
from ethogram.pipeline.windows import ObservedWindows
from ethogram.schema import UNKNOWN, Inventory

MINE = ("amazon-echo", "belkin-wemo-motion", "chime-doorbell-stevens", "netatmo-welcome", "tenvis-camera")
OTHERS = ("ring-doorbell-stevens", "belkin-wemo-mini", "smartthings-hub", "withings-baby-monitor")
"""Products of the packaged library, of later days of the same networks; the first are enrolled as own devices."""


def later() -> dict[str, list[Entry]]:
    """Later days of real devices, by product."""
    with resources.as_file(resources.files("ethogram") / "data" / "later.jsonl.gz") as file:
        by_label: dict[str, list[Entry]] = {}
        for entry in library_file.read(file).entries:
            by_label.setdefault(entry.identity.label, []).append(entry)
    return by_label


def own_library(folder: Path, labels: tuple[str, ...] = MINE, name: str = "home") -> OpenLibrary:
    """Four days of some devices, under names of the user's own."""
    entries = [
        replace(entry, identity=Identity(f"my {label}")) for label in labels for entry in later()[label][:4]
    ]
    path = folder / f"{name}.jsonl.gz"
    library_file.write(Library().merge(Library(tuple(entries))), path)
    return open_library(path)


@pytest.fixture(scope="module")
def days() -> tuple[list[str], ObservedWindows]:
    """Two further days of each device."""
    entries = [entry for label in (*MINE, *OTHERS) for entry in later()[label][-2:]]
    windows = Library(tuple(entries)).windows()
    return [entry.identity.label for entry in entries], ObservedWindows(windows, ["open"] * len(windows))


def judged(days: ObservedWindows, libraries: list[OpenLibrary], **options: bool) -> Inventory:
    return identify_by_libraries(days, KnownLibraries.of(libraries), IdentifyOptions(**options), None)[0]  # type: ignore[arg-type]


def test_own_devices_and_packaged_products_are_named_together(
    tmp_path: Path, days: tuple[list[str], ObservedWindows]
) -> None:
    labels, observed = days
    user_library, packaged = own_library(tmp_path), open_library()
    joint = judged(observed, [packaged, user_library])
    alone = judged(observed, [packaged])
    own_alone = judged(observed, [user_library])
    mine = [(v, label) for v, label in zip(joint.devices, labels, strict=True) if label in MINE]
    assert sum(verdict.verdict == f"my {label}" for verdict, label in mine) >= 0.8 * len(mine)
    assert not [verdict for verdict, label in mine if verdict.verdict not in (f"my {label}", label, UNKNOWN)]
    others = [i for i, label in enumerate(labels) if label in OTHERS]
    assert all(own_alone.devices[i].verdict == UNKNOWN for i in others)
    assert [joint.devices[i].verdict for i in others] == [alone.devices[i].verdict for i in others]
    assert sum(joint.devices[i].verdict == labels[i] for i in others) == len(others) / 2
    assert {joint.devices[i].library for i in others if joint.devices[i].verdict == labels[i]} == {"packaged"}
    assert joint.library == f"home.jsonl.gz {user_library.digest} + library.jsonl.gz {packaged.digest}"


def test_the_probabilities_of_both_libraries_are_one_whole(
    tmp_path: Path, days: tuple[list[str], ObservedWindows]
) -> None:
    _, observed = days
    verdicts = judged(observed, [own_library(tmp_path), open_library()]).devices
    assert len(verdicts) == len(observed.windows) > 0
    for verdict in verdicts:
        total = sum(verdict.known_types.values())
        assert 0.0 <= total <= 1.0 + 1e-9
        assert set(verdict.known_types) > {f"my {label}" for label in MINE} | set(OTHERS)
        if verdict.verdict != UNKNOWN:
            assert verdict.score == pytest.approx(verdict.known_types[verdict.verdict])
            assert verdict.score >= max(verdict.known_types.values()) / 2
        else:
            assert verdict.score >= 0.5
    for verdict in judged(observed, [own_library(tmp_path), open_library()], closed=True).devices:
        assert verdict.verdict == max(verdict.known_types, key=lambda label: verdict.known_types[label])


def test_own_libraries_count_as_one(tmp_path: Path, days: tuple[list[str], ObservedWindows]) -> None:
    _, observed = days
    first, second = own_library(tmp_path, MINE[:3], "first"), own_library(tmp_path, MINE[2:], "second")
    whole = own_library(tmp_path)
    merged = merged_libraries([first, second])
    assert (merged.entries, merged.name) == (whole.entries, "first.jsonl.gz+second.jsonl.gz")
    assert merged.digest == whole.digest
    verdicts = judged(observed, [first, second])
    assert verdicts.devices == judged(observed, [whole]).devices
    learnt = learnt_path(tmp_path / "first+second.jsonl.gz", settings_for("evidence"))
    assert learnt.is_file()


def test_large_own_libraries_that_were_learnt_together_are_not_parsed(
    tmp_path: Path, days: tuple[list[str], ObservedWindows], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, observed = days
    monkeypatch.setattr("ethogram.pipeline.unread_library.LARGE", 1)
    parts = [own_library(tmp_path, MINE[:3], "first"), own_library(tmp_path, MINE[2:], "second")]
    for part in parts:
        judged(observed, [part])
    expected = judged(observed, parts)
    paths = [part.path for part in parts]
    with monkeypatch.context() as patched:
        patched.setattr(library_file, "read", lambda _: pytest.fail("the entries were read"))
        opened = open_libraries(paths)
        assert judged(observed, opened) == expected
    entries = merged_libraries(opened).entries
    assert isinstance(entries, UnreadEntries)
    assert len(entries) == 4 * len(MINE) and labels


def test_details_of_a_label_are_those_of_the_first_library(tmp_path: Path) -> None:
    entry = later()["tenvis-camera"][0]
    libraries = []
    for name, vendor in (("first", "maker"), ("second", "another")):
        path = tmp_path / f"{name}.jsonl.gz"
        library_file.write(Library((replace(entry, identity=Identity("den", vendor=vendor)),)), path)
        libraries.append(open_library(path))
    knowledge = Knowledge.bundled()
    assert learn_ladder(merged_libraries(libraries), knowledge).identities["den"].vendor == "maker"
    assert learn_ladder(merged_libraries(libraries[::-1]), knowledge).identities["den"].vendor == "another"


def test_names_of_libraries(tmp_path: Path) -> None:
    user_library = own_library(tmp_path)
    assert [library.bundled for library in open_libraries([])] == [True]
    names = ["packaged", user_library.path, "packaged", user_library.path]
    assert [library.bundled for library in open_libraries(names)] == [True, False]
    with pytest.raises(LibraryError, match=r"^missing\.jsonl: there is no such library$"):
        open_libraries(["packaged", "missing.jsonl"])


def test_several_libraries_in_python(tmp_path: Path) -> None:
    user_library = own_library(tmp_path)
    pcap = tmp_path / "day.pcap"
    sent = [P((1_714_521_600 + 60 * i) * 10**9, "192.168.1.5", "198.51.100.7", 40_000 + i, 443) for i in range(5)]
    pcap.write_bytes(capture([packet for each in sent for packet in (each, each.back(each.time_ns + 1000))]))
    inventory = ethogram.identify(pcap, library=["packaged", user_library.path])
    assert inventory.library.startswith("home.jsonl.gz ")
    assert " + library.jsonl.gz " in inventory.library
    assert ethogram.identify(pcap, library=[user_library, ethogram.open_library()]) == inventory
    assert ethogram.identify(pcap, library="packaged") == ethogram.identify(pcap)


def test_what_is_known_of_files_holds_for_their_entries_alone(tmp_path: Path) -> None:
    first, other = own_library(tmp_path, MINE[:1], "one"), own_library(tmp_path, MINE[1:2], "other")
    merged = merged_libraries([first, other])
    assert merged.octets == f"{first.octets}+{other.octets}"
    assert [len(octets) for octets in (first.octets, other.octets)] == [64, 64]
    assert merged.parts == (first, other)
    assert first.parts == (first,)
    changed = replace(first, entries=first.entries[:1])
    assert (changed.octets, changed.parts) == ("", (changed,))
    assert changed.digest == Library(first.entries[:1]).digest != first.digest
    assert replace(first, name="renamed").octets == first.octets


def test_libraries_of_different_encoders_are_judged_together_without_embeddings(tmp_path: Path) -> None:
    libraries = [own_library(tmp_path, MINE[i : i + 1], name) for i, name in enumerate(("one", "other"))]
    embedded = [
        replace(library, store=FlowStore(name, 2, {library.entries[0].digest: np.zeros((1, 2), np.float32)}))
        for library, name in zip(libraries, ("encoder 1", "encoder 2"), strict=True)
    ]  # fmt: skip
    with pytest.raises(LibraryError, match="of different encoders cannot be merged"):
        KnownLibraries.of(embedded)
    user_library = KnownLibraries.of(embedded, flows=False).own
    assert user_library is not None
    assert user_library.store is None
    merged = merged_libraries(libraries)
    assert (user_library.digest, user_library.octets) == (merged.digest, merged.octets)


def test_a_packaged_product_is_not_called_by_the_name_of_your_nearest_device(tmp_path: Path) -> None:
    mine = ("amazon-echo", "belkin-wemo-motion", "chime-doorbell-stevens")
    user_library, packaged = own_library(tmp_path, mine), open_library()
    new = ("tp-link-kasa-bulb-stevens", "tp-link-kasa-plug-stevens", *mine)
    entries = [entry for label in new for entry in later()[label][-3:]]
    windows = Library(tuple(entries)).windows()
    observed = ObservedWindows(windows, ["open"] * len(windows))
    alone, joint = judged(observed, [user_library]), judged(observed, [packaged, user_library])
    nearest = [verdict.verdict for verdict in alone.devices[:6]]
    assert nearest == ["my chime-doorbell-stevens"] * 6  # nothing else is known
    for entry, before, after in zip(entries, alone.devices, joint.devices, strict=True):
        assert sum(after.known_types.values()) <= 1 + 1e-9
        if entry.identity.label in mine:
            assert after.verdict == before.verdict == f"my {entry.identity.label}"
        else:
            assert after.verdict.startswith("tp-link-kasa")
            assert after.library == "packaged"


def test_libraries_that_say_the_same_in_other_words_do_not_contradict(tmp_path: Path) -> None:
    user_library, packaged = own_library(tmp_path), open_library()
    entries = [entry for label in MINE for entry in later()[label][-3:]]
    windows = Library(tuple(entries)).windows()
    observed = ObservedWindows(windows, ["open"] * len(windows))
    of_own, of_packaged = judged(observed, [user_library]), judged(observed, [packaged])
    assert sum(verdict.verdict in MINE for verdict in of_packaged.devices) >= 6
    model = learn(packaged, settings_for("cross-network")).model
    assert contradicted(windows, of_own, of_packaged, user_library, model) == set()


def test_the_limit_of_contradiction_is_learnt_of_the_bundled_library_alone() -> None:
    packaged = open_library()
    model = learn(packaged, settings_for("cross-network")).model
    assert round(limit_of(packaged, model), 1) == AHEAD
    one_each = {entry.identity.label: entry for entry in packaged.entries}
    assert limit_of(Library(tuple(one_each.values())), model) == 0.0  # no window of the same product to compare with
