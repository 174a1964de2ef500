"""The flow side of a library on disk, and flows found for items."""

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

from ethogram.errors import LibraryError
from ethogram.identify.flow_store import FlowStore
from ethogram.pipeline.flow_feed import Embedded
from ethogram.pipeline.flow_side import FLOW_SIDE_FORMAT, KEY, beside, read_store, write_store
from ethogram.schema import ITEM, ITEM_COUNTS, Windows

STORE = FlowStore("abc", 3, {"e1": np.arange(6, dtype=np.float32).reshape(2, 3), "e0": np.ones((1, 3), np.float32)})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_store(STORE, tmp_path / "l.flows.parquet")
    found = read_store(tmp_path / "l.flows.parquet")
    assert (found.encoder, found.d, sorted(found.z)) == ("abc", 3, ["e0", "e1"])
    assert all(np.array_equal(found.z[name], STORE.z[name]) for name in STORE.z)
    write_store(found, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "l.flows.parquet").read_bytes()


def table(**changes: object) -> pyarrow.Table:
    told = {"format": FLOW_SIDE_FORMAT, "encoder": "abc", "d": 2} | changes
    z = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.zeros(4, np.float32)), 2)
    return pyarrow.table({"entry": ["a", "b"], "z": z}).replace_schema_metadata({KEY: orjson.dumps(told)})


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (table(format="ethogram.flow-side/2"), "not the flow side"),
        (table(d=3), "3 numbers"),
        (table(d="x"), "metadata is wrong"),
        (table(encoder=1), "metadata is wrong"),
        (table().replace_schema_metadata({}), "not the flow side"),
        (table().rename_columns(["entry", "y"]).replace_schema_metadata(table().schema.metadata), "columns"),
        (table().set_column(0, "entry", pyarrow.array(["a", None])), "empty entry"),
    ],
)
def test_another_form_is_refused(tmp_path: Path, made: pyarrow.Table, says: str) -> None:
    pyarrow.parquet.write_table(made, tmp_path / "x.parquet")
    with pytest.raises(LibraryError, match=says):
        read_store(tmp_path / "x.parquet")


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
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


def test_it_stands_beside_the_library() -> None:
    assert beside(Path("a/home.jsonl")) == Path("a/home.flows.parquet")
    assert beside(Path("home.v2.jsonl.gz")) == Path("home.v2.flows.parquet")


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
    found = flows.of(Windows(items, ITEM_COUNTS.empty()))
    assert {(int(o), float(z[0])) for o, z in zip(found.owner, found.z, strict=True)} == {(0, 0.0), (1, 2.0), (2, 3.0)}
    assert found.flows.tolist() == [1, 1, 1]
    assert flows.of(Windows(ITEM.empty(), ITEM_COUNTS.empty())).items == 0
