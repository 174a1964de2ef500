"""The embeddings file of a library, and embedded flows of items."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pyarrow
import pyarrow.parquet
import pytest

from ethogram.errors import LibraryError, UsageError
from ethogram.identify import library_file
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.library import Identity, Library, Source
from ethogram.pipeline.embed_stream import Embedded
from ethogram.pipeline.library_embeddings import (
    FLOW_SIDE_FORMAT,
    KEY,
    embeddings_path,
    load_embeddings,
    merged_sides,
    read_store,
    write_library,
    write_store,
)
from ethogram.schema import ITEM, ITEM_COUNTS, Windows
from identify.traffic import days, windows_of

STORE = FlowStore("abc", 3, {"e1": np.arange(6, dtype=np.float32).reshape(2, 3), "e0": np.ones((1, 3), np.float32)})


def test_round_trip(tmp_path: Path) -> None:
    write_store(STORE, tmp_path / "l.flows.parquet")
    content = read_store(tmp_path / "l.flows.parquet")
    assert (content.encoder, content.d, sorted(content.z)) == ("abc", 3, ["e0", "e1"])
    assert all(np.array_equal(content.z[name], STORE.z[name]) for name in STORE.z)
    write_store(content, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "l.flows.parquet").read_bytes()


def table(**changes: object) -> pyarrow.Table:
    by_name = {"format": FLOW_SIDE_FORMAT, "encoder": "abc", "d": 2} | changes
    z = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.zeros(4, np.float32)), 2)
    return pyarrow.table({"entry": ["a", "b"], "z": z}).replace_schema_metadata({KEY: orjson.dumps(by_name)})


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (table(format="ethogram.flow-side/2"), "not an embeddings file"),
        (table(d=3), "3 numbers"),
        (table(d="x"), "invalid metadata"),
        (table(encoder=1), "invalid metadata"),
        (table().replace_schema_metadata({}), "not an embeddings file"),
        (table().rename_columns(["entry", "y"]).replace_schema_metadata(table().schema.metadata), "columns"),
        (table().set_column(0, "entry", pyarrow.array(["a", None])), "empty entry"),
    ],
)
def test_another_format_is_refused(tmp_path: Path, made: pyarrow.Table, says: str) -> None:
    pyarrow.parquet.write_table(made, tmp_path / "x.parquet")
    with pytest.raises(LibraryError, match=says):
        read_store(tmp_path / "x.parquet")


def test_non_finite_embeddings_are_refused(tmp_path: Path) -> None:
    write_store(FlowStore("abc", 1, {"e": np.array([[np.nan]], np.float32)}), tmp_path / "x.parquet")
    with pytest.raises(LibraryError, match="not finite"):
        read_store(tmp_path / "x.parquet")


def test_damage_and_pickles_are_errors_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_store(STORE, path)
    whole = path.read_bytes()
    for octets in (b"", whole[: len(whole) // 2], pickle.dumps({"z": 1}), whole[:-20] + b"\0" * 20):
        path.write_bytes(octets)
        with pytest.raises(LibraryError) as error:
            read_store(path)
        assert "\n" not in str(error.value)
    with pytest.raises(LibraryError, match="no such"):
        read_store(tmp_path / "none")


def test_the_path_of_the_embeddings() -> None:
    assert embeddings_path(Path("a/home.jsonl")) == Path("a/home.flows.parquet")
    assert embeddings_path(Path("home.v2.jsonl.gz")) == Path("home.v2.flows.parquet")


def test_flows_are_found_by_device_and_window() -> None:
    start = datetime(2024, 3, 4, tzinfo=UTC)
    day = timedelta(days=1)
    items = pl.DataFrame(
        [(0, "a", start, start + day), (1, "b", start, start + day), (2, "a", start + 2 * day, start + 3 * day)],
        schema=ITEM.schema, orient="row",
    )  # fmt: skip
    us = int(start.timestamp() * 1e6)
    at = np.array([us, us - 1, us + 5, us + 2 * 86_400_000_000 + 7, us + 86_400_000_001, us], np.int64)
    z = np.arange(6, dtype=np.float32)[:, None]
    flows = Embedded(pl.Series(["a", "a", "b", "a", "a", "c"]), at, np.arange(6).astype(np.uint64), z, "abc", 6)
    result = flows.of(Windows(items, ITEM_COUNTS.empty()))
    rows = zip(result.owner, result.z, strict=True)
    assert {(int(owner), float(z[0])) for owner, z in rows} == {(0, 0.0), (1, 2.0), (2, 3.0)}
    assert result.flows.tolist() == [1, 1, 1]
    assert flows.of(Windows(ITEM.empty(), ITEM_COUNTS.empty())).items == 0


def known(label: str, device: str = "a", count: int = 1) -> Library:
    windows = windows_of(days("camera", device, count))
    return Library.of(windows, [Identity(label)] * count, source=Source("s"))


def side(library: Library, encoder: str = "abc") -> FlowStore:
    return FlowStore(encoder, 1, {entry.digest: np.ones((2, 1), np.float32) for entry in library.entries})


def test_library_and_embeddings_are_written_together(tmp_path: Path) -> None:
    library, path = known("camera", count=2), tmp_path / "home.jsonl.gz"
    digests = [entry.digest for entry in library.entries]
    lines = write_library(library, side(library), path)
    assert lines == [
        f"2 entries of 1 label written to {path}",
        f"embedded flows of 2 of them written to {tmp_path / 'home.flows.parquet'}; encoder abc",
    ]
    back = library_file.read(path)
    assert (back, back.flows) == (library, "abc")
    store, result = load_embeddings(path, back)
    assert store is not None
    assert (sorted(store.z), result) == (sorted(digests), "")
    # Without what it belongs to, a flow side goes.
    less = library.remove(digests=digests[:1])
    write_library(less, side(library), path)
    assert sorted(read_store(embeddings_path(path)).z) == digests[1:]
    write_library(less, None, path)
    assert (library_file.read(path).flows, sorted(file.name for file in tmp_path.iterdir())) == ("", ["home.jsonl.gz"])


def test_neither_is_written_when_one_cannot_be(tmp_path: Path) -> None:
    library, path = known("camera"), tmp_path / "home.jsonl"
    write_library(library, side(library), path)
    before = path.read_bytes(), embeddings_path(path).read_bytes()
    other = tmp_path / "other.jsonl"
    embeddings_path(other).mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_library(library, side(library), other)
    assert not other.exists()
    with pytest.raises(LibraryError, match="no such folder"):
        write_library(library, None, tmp_path / "none" / "x.jsonl")
    assert (path.read_bytes(), embeddings_path(path).read_bytes()) == before


def test_missing_embeddings_give_a_message(tmp_path: Path) -> None:
    library, path = known("camera", count=2), tmp_path / "home.jsonl"
    write_library(library, None, path)
    assert load_embeddings(path, library_file.read(path)) == (None, "")
    write_library(library, side(library), path)
    read = library_file.read(path)
    first = read.entries[0].digest

    def said(store: FlowStore | None) -> str:
        embeddings_path(path).unlink(missing_ok=True)
        if store is not None:
            write_store(store, embeddings_path(path))
        return load_embeddings(path, read)[1]

    assert "home.flows.parquet is missing: home.jsonl was enrolled with encoder abc" in said(None)
    assert "was made with encoder xyz, but home.jsonl was enrolled with abc" in said(side(library, "xyz"))
    assert "belongs to another library" in said(side(known("plug")))
    both = FlowStore("abc", 1, {**side(known("plug")).z, first: np.ones((1, 1), np.float32)})
    assert "has flows of 1 entry not in home.jsonl" in said(both)
    store, _ = load_embeddings(path, read)
    assert store is not None
    assert sorted(store.z) == [first]


def test_embeddings_of_one_encoder_are_merged_and_others_refused(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.jsonl" for name in "abc")
    camera, plug = side(known("camera")), side(known("plug"))
    assert merged_sides([(a, None), (b, None)]) is None
    joined = merged_sides([(a, camera), (b, None), (c, plug)])
    assert joined is not None
    assert sorted(joined.z) == sorted([*camera.z, *plug.z])
    again = merged_sides([(a, joined), (b, joined)])
    assert again is not None
    assert {name: len(rows) for name, rows in again.z.items()} == dict.fromkeys(joined.z, 2)
    expected = r"c.flows.parquet was made with encoder xyz, but .*a.flows.parquet with abc"
    with pytest.raises(LibraryError, match=expected) as error:
        merged_sides([(a, camera), (c, side(known("plug"), "xyz"))])
    assert "\n" not in str(error.value)
