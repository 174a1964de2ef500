"""The library and its file: properties of merging, round trips, and errors of invalid files."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ethogram.errors import LibraryError
from ethogram.identify import library_file
from ethogram.identify.library import Identity, Library, Source

from .traffic import HABITS, days, windows_of

IDENTITY = {
    "camera": Identity("camera", "cam 1", "acme", "camera", "camera"),
    "plug": Identity("plug", "", "acme", "plug", "plug"),
    "speaker": Identity("speaker", "one", "bell", "speaker", "speaker"),
}


def library(label: str = "camera", device: str = "a", count: int = 1, first: int = 0, source: str = "s") -> Library:
    windows = windows_of(days(label, device, count, first=first))
    return Library.of(windows, [IDENTITY[label]] * count, source=Source(source))


CHOICES = st.builds(
    library,
    label=st.sampled_from(sorted(HABITS)),
    device=st.sampled_from(["a", "b"]),
    count=st.integers(1, 2),
    first=st.integers(0, 2),
    source=st.sampled_from(["s", "t"]),
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(CHOICES, CHOICES, CHOICES)
def test_merging_is_associative_commutative_and_idempotent(a: Library, b: Library, c: Library) -> None:
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a
    assert a.merge(Library()) == a


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(CHOICES, CHOICES)
def test_round_trip(a: Library, b: Library) -> None:
    both = a.merge(b)
    again = library_file.load(library_file.dump(both))
    assert again == both
    assert again.digest == both.digest
    assert library_file.dump(again) == library_file.dump(both)


def test_counts_come_back_exactly() -> None:
    windows = windows_of(days("camera", "a", 2), days("speaker", "b", 1))
    known = Library.of(windows, [IDENTITY["camera"]] * 2 + [IDENTITY["speaker"]], source=Source("s"))
    back = known.windows()
    keys = ["item", "time", "protocol", "port", "role"]
    assert back.items.equals(windows.items)
    assert back.counts.sort(keys).equals(windows.counts.sort(keys))


def test_equal_counts_are_one_entry_with_two_observations() -> None:
    windows = windows_of(days("plug", "a", 1))
    moved = windows.items.with_columns(pl.col("start", "end").dt.offset_by("7d"), device=pl.lit("b"))
    later = type(windows)(moved, windows.counts.with_columns(pl.col("time").dt.offset_by("7d")))
    identity = [IDENTITY["plug"]]
    both = Library.of(windows, identity, source=Source("s")).merge(Library.of(later, identity, source=Source("s")))
    assert len(both) == 1
    assert both.entries[0].multiplicity == 2
    assert both.remove(devices=["a"]).entries[0].observed[0].device == "b"
    assert len(both.remove(devices=["a", "b"])) == 0


def test_entries_are_removed_by_label_and_digest() -> None:
    both = library("camera").merge(library("plug"))
    assert both.remove(labels=["camera"]).labels() == ["plug"]
    assert both.remove(digests=[both.entries[0].digest]).labels() == ["plug"]
    for wrong in ({"labels": ["plugs"]}, {"devices": ["nobody"]}, {"digests": ["0"]}):
        with pytest.raises(LibraryError, match="no entry has the"):
            both.remove(**wrong)
    with pytest.raises(LibraryError, match="'plugs'; similar: plug"):
        both.remove(labels=["plug", "plugs"])


def test_levels_and_missing_names() -> None:
    both = library("camera").merge(library("plug"))
    assert both.labels("model") == ["cam 1", "plug"]
    assert both.labels("family") == ["acme/camera", "acme/plug"]
    bare = Library.of(windows_of(days("plug", "a", 1)), [Identity("plug")], source=Source("s"))
    with pytest.raises(LibraryError, match="no family is known of plug"):
        bare.labels("family")


def test_items_without_identity_and_silent_items_are_not_enrolled() -> None:
    windows = windows_of(days("plug", "a", 1), days("plug", "b", 1, hours=0))
    assert len(Library.of(windows, [None, IDENTITY["plug"]], source=Source("s"))) == 0


def test_writing_is_atomic_and_deterministic(tmp_path: Path) -> None:
    known = library("camera", count=2)
    for name in ("a.jsonl", "a.jsonl.gz"):
        library_file.write(known, tmp_path / name)
        first = (tmp_path / name).read_bytes()
        library_file.write(known, tmp_path / name)
        assert (tmp_path / name).read_bytes() == first
        assert library_file.read(tmp_path / name) == known
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.gz"]
    with pytest.raises(LibraryError, match="cannot be written"):
        library_file.write(known, tmp_path / "no" / "a.jsonl")


def altered(number: int, **fields: object) -> bytes:
    lines = library_file.dump(library()).splitlines()
    line = orjson.loads(lines[number])
    line.update(fields)
    lines[number] = orjson.dumps({k: v for k, v in line.items() if v is not ...})
    return b"\n".join(lines)


def observed(start: str, end: str) -> bytes:
    return altered(1, observed=[{"device": "a", "start": start, "end": end}])


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "the file is empty"),
        (b"{}\n", "library:1: not a library"),
        (b"nonsense\n", "library:1: not JSON"),
        (b"[1]\n", "library:1: not a JSON object"),
        (altered(0, format="ethogram.library/2"), "format ethogram.library/2, but this version reads"),
        (altered(0, columns=["a"]), "library:1: columns are not offset_s"),
        (altered(0, sources=[{"nom": "x"}]), "library:1: "),
        (altered(1, label=...), "library:2: label: Field required"),
        (altered(1, extra=1), "library:2: extra: Extra inputs"),
        (altered(1, counts=[]), "library:2: an entry needs"),
        (altered(1, counts=[[0, "TCP/443"]]), "library:2: counts.0"),
        (altered(1, counts=[[0, "TCP/443", "client", "wan", True, None, -1, 1, 1, 1, 1, 1]]), "negative number"),
        (altered(1, counts=[[0, "TCP/443", "boss", "wan", True, None, 1, 1, 1, 1, 1, 1]]), "unknown role"),
        (altered(1, counts=[[0, "TCP/443", "client", "wan", True, None, 1 << 60, 1, 1, 1, 1, 1]]), "a count above"),
        (altered(1, counts=[[1 << 40, "TCP/443", "client", "wan", True, None, 1, 1, 1, 1, 1, 1]]), "an offset of more"),
        (altered(1, label="a" * 2000), "library:2: a text of more than 1,024 characters"),
        (altered(1, counts=[[0, "TCP/443", "client", "wan", True, "a" * 2000, 1, 1, 1, 1, 1, 1]]), "a text of more"),
        (altered(0, note="a" * 2000), "library:1: a text of more"),
        (observed("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00"), "library:2: observed: not a time"),
        (observed("0001-01-01T00:00:00+14:00", "2024-01-01"), "library:2: observed: not a time"),
        (observed("2024-01-01", "2300-01-01"), "library:2: observed: 2024-01-01 00:00:00+00:00 to 2300"),
        (observed("1969-12-31", "2024-01-01"), "library:2: observed: 1969"),
        (observed("2024-01-02", "2024-01-01"), "library:2: observed: the end 2024-01-01"),
        (observed("yesterday", "2024-01-01"), "library:2: observed: not a time"),
    ],
)  # fmt: skip
def test_errors_name_line_and_reason(octets: bytes, reason: str) -> None:
    with pytest.raises(LibraryError) as error:
        library_file.load(octets)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("service", ["TCP/https", "TCP/70000", "HTTP/80", "443", "IP/x", "IP/300"])
def test_an_invalid_service_is_refused(service: str) -> None:
    row = [0, service, "client", "wan", True, None, 1, 1, 1, 1, 1, 1]
    with pytest.raises(LibraryError, match="is not a service"):
        library_file.load(altered(1, counts=[row])).windows()


def test_missing_and_truncated_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="there is no such library"):
        library_file.read(tmp_path / "none.jsonl")
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(library_file.dump(library()))[:-40])
    with pytest.raises(LibraryError, match="cannot be read"):
        library_file.read(cut)


def test_a_line_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_file, "MAX_LINE", 1000)
    with pytest.raises(LibraryError, match="the line has more than 1,000 octets"):
        library_file.load(library_file.dump(library()))
    monkeypatch.setattr(library_file, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(library_file, "MAX_ROWS", 10)
    with pytest.raises(LibraryError, match="more than"):
        library_file.load(library_file.dump(library()))


def test_blank_lines_are_bounded_while_they_are_unpacked(tmp_path: Path) -> None:
    header = library_file.dump(library()).splitlines()[0]
    bomb = tmp_path / "bomb.jsonl.gz"
    bomb.write_bytes(gzip.compress(header + b"\n" * 100_000_000))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(LibraryError, match=r"bomb\.jsonl\.gz:1002: more than 1,000 blank lines"):
        library_file.read(bomb)


def test_octets_are_bounded_while_they_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_file, "MAX_OCTETS", 500)
    with pytest.raises(LibraryError, match="library:2: more than 500 octets"):
        library_file.load(library_file.dump(library()))


@pytest.mark.parametrize("identity", [{"label": "a" * 2000}, {"model": "b" * 2000}])
def test_entries_beyond_the_bounds_are_not_written(tmp_path: Path, identity: dict[str, str]) -> None:
    known = library()
    changed = replace(known, entries=(replace(known.entries[0], identity=replace(IDENTITY["camera"], **identity)),))
    with pytest.raises(LibraryError, match=r"cannot be written: entry .* a text of more"):
        library_file.write(changed, tmp_path / "a.jsonl")
    assert not list(tmp_path.iterdir())


TIMES = st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat()) | st.text(max_size=40)
VALUES = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=20)
ROWS = st.lists(st.lists(VALUES, min_size=12, max_size=12), min_size=1, max_size=3)


@settings(max_examples=100)
@given(TIMES, TIMES, ROWS)
def test_any_entry_is_refused_or_round_trips(start: str, end: str, rows: list[object]) -> None:
    for octets in (observed(start, end), altered(1, counts=rows)):
        try:
            known = library_file.load(octets)
            known.windows()
        except LibraryError:
            continue
        assert library_file.load(library_file.dump(known)) == known


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_random_octets_raise_only_library_errors(octets: bytes) -> None:
    with pytest.raises(LibraryError) as caught:
        library_file.load(octets)
    assert str(caught.value)


def test_the_header_names_the_encoder_of_the_embeddings(tmp_path: Path) -> None:
    known = library()
    assert b'"flows":' not in library_file.dump(known).splitlines()[0]
    library_file.write(replace(known, flows="abc"), tmp_path / "l.jsonl")
    back = library_file.read(tmp_path / "l.jsonl")
    assert (back.flows, back == known, back.digest == known.digest) == ("abc", True, True)
    assert back.remove(labels=["camera"]).flows == "abc"


def test_renaming_keeps_empty_fields_and_maps_digests() -> None:
    both = library().merge(library("plug", "b"))
    named, moved = both.renamed({"plug": Identity("desk plug", type="outlet")})
    assert [e.identity for e in named.entries] == [
        IDENTITY["camera"], Identity("desk plug", "", "acme", "outlet", "plug"),
    ]  # fmt: skip
    old = {e.identity.label: e for e in both.entries}
    new = {e.identity.label: e for e in named.entries}
    assert moved == {old["plug"].digest: new["desk plug"].digest}
    assert new["desk plug"].observed == old["plug"].observed
    assert (named.sources, named.name) == (both.sources, both.name)


def test_entries_that_become_the_same_are_one() -> None:
    windows = windows_of(days("plug", "a", 1))
    known = Library.of(windows, [IDENTITY["plug"]], source=Source("s"))
    twin = Library.of(windows, [replace(IDENTITY["plug"], label="twin")], source=Source("s"))
    named, moved = known.merge(twin).renamed({"twin": IDENTITY["plug"]})
    assert named == known
    assert moved == {twin.entries[0].digest: known.entries[0].digest}


def test_an_absent_label_cannot_be_renamed() -> None:
    with pytest.raises(LibraryError, match="no entry has the label 'lamp'"):
        library().renamed({"lamp": Identity("light")})
