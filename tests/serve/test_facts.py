"""Counts on disk: read once whatever a crash leaves, merged without a loss, kept when a store is restored."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from ethogram.fingerprint.count import merge_counts, sort_counts
from ethogram.schema import COUNTS
from ethogram.serve.facts import FANOUT, CountFacts

START = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = ["a", "b", "c"]


def counts_of(*rows: tuple[str, int, int]) -> pl.DataFrame:
    """Counts of devices at hours after the start, with a number of flows."""
    return COUNTS.conform(pl.DataFrame([
        {"device": device, "time": START + timedelta(hours=hour), "protocol": 6, "port": 443, "role": "client",
         "scope": "wan", "answered": True, "name": None, "flows": flows, "octets_out": flows, "octets_in": 0,
         "packets_out": flows, "packets_in": 0, "duration_ms": 0}
        for device, hour, flows in rows
    ], schema_overrides={"name": pl.String}))  # fmt: skip


def flows_in(facts: CountFacts, since: datetime = START) -> dict[str, int]:
    sums = facts.read(NAMES, since).group_by("device").agg(pl.col("flows").sum())
    return dict(sums.iter_rows())


def test_counts_lie_by_day_and_are_read_by_device(tmp_path: Path) -> None:
    facts = CountFacts(tmp_path)
    facts.write(counts_of(("a", 1, 5), ("b", 2, 7), ("a", 30, 11)), 1, 3)
    assert facts.days() == [date(2026, 3, 1), date(2026, 3, 2)]
    assert flows_in(facts) == {"a": 16, "b": 7}
    assert flows_in(facts, START + timedelta(days=1)) == {"a": 11}
    assert facts.hourly(START, ["b"])["flows"].to_list() == [7]
    assert facts.remove_before(date(2026, 3, 2)) == 1
    assert flows_in(facts) == {"a": 11}


def test_a_day_of_many_devices_is_read_by_any_of_them(tmp_path: Path) -> None:
    facts = CountFacts(tmp_path)
    rows = [(f"device {number:05d}", hour, number + 1) for number in range(9000) for hour in range(8)]
    facts.write(counts_of(*rows), 1, 1)  # more than one row group
    for numbers in ([0], [8999], [4500, 4501], [0, 4321, 8999]):
        names = [f"device {number:05d}" for number in numbers]
        content = facts.read([*names, "device 1", "~"], START)
        assert content["flows"].sum() == sum(8 * (number + 1) for number in numbers)
        assert set(content["device"]) == set(names)
    assert facts.read([], START).height == 0


@given(
    rows=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 47), st.integers(1, 9)), min_size=1, max_size=80)
)
def test_merging_files_changes_no_count(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int]]
) -> None:
    facts = CountFacts(tmp_path_factory.mktemp("facts"))
    for number, row in enumerate(rows, 1):
        facts.write(counts_of(row), number, number)
    before = sort_counts(pl.DataFrame(merge_counts(facts.read(NAMES, START))))
    facts.compact(len(rows))
    after = sort_counts(pl.DataFrame(merge_counts(facts.read(NAMES, START))))
    assert before.equals(after)
    assert all(len(facts.files(day)) < 2 * FANOUT for day in facts.days())


def test_parts_that_a_crash_left_beside_a_merged_file_are_not_read(tmp_path: Path) -> None:
    facts = CountFacts(tmp_path)
    for number in range(1, FANOUT + 1):
        facts.write(counts_of(("a", 1, 1)), number, number)
    folder = tmp_path / "2026-03-01"
    parts = {path.name: path.read_bytes() for path in folder.iterdir()}
    facts.compact(FANOUT)
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    assert flows_in(facts) == {"a": FANOUT}
    facts.compact(FANOUT)
    assert len(list(folder.iterdir())) == 1


def test_segments_that_the_store_does_not_have_are_not_merged(tmp_path: Path) -> None:
    facts = CountFacts(tmp_path)
    for number in range(1, FANOUT + 1):
        facts.write(counts_of(("a", 1, 1)), number, number)
    assert facts.compact(FANOUT - 1) == 0


def test_counts_of_a_round_that_was_not_completed_are_removed(tmp_path: Path) -> None:
    facts = CountFacts(tmp_path)
    facts.write(counts_of(("a", 1, 5)), 1, 3)
    facts.note(3)
    facts.write(counts_of(("a", 1, 50), ("a", 30, 50)), 4, 6)
    (tmp_path / "2026-03-01" / ".x.part").write_bytes(b"half")
    assert CountFacts(tmp_path).resume(3) == 3
    assert flows_in(facts) == {"a": 5}
    assert not list(tmp_path.rglob("*.part"))


def test_counts_stay_when_the_store_was_lost(tmp_path: Path) -> None:
    facts = CountFacts(tmp_path)
    facts.write(counts_of(("a", 1, 5)), 1, 3)
    facts.note(3)
    assert CountFacts(tmp_path).resume(0) == 3
    assert flows_in(facts) == {"a": 5}


def test_a_damaged_file_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    facts = CountFacts(tmp_path)
    facts.write(counts_of(("a", 1, 5)), 1, 1)
    facts.write(counts_of(("a", 1, 7)), 2, 2)
    path = tmp_path / "2026-03-01" / "00000001-00000001.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert flows_in(facts) == {"a": 7}
    (problem,) = facts.problems
    assert problem.startswith(f"{path}: cannot be read: ")


def test_files_are_merged_some_devices_after_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ethogram.serve.facts.MERGED_ROWS", 7)
    facts = CountFacts(tmp_path)
    tables = [counts_of(*((f"device {n % 11:02}", n % 5, 1) for n in range(number, number + 20)))
              for number in range(FANOUT)]  # fmt: skip
    for number, table in enumerate(tables, 1):
        facts.write(table, number, number)
    assert facts.compact(FANOUT) == FANOUT
    [file] = facts.files(facts.days()[0])
    merged = COUNTS.conform(pl.read_parquet(file.path))
    assert_frame_equal(merged, COUNTS.conform(sort_counts(pl.DataFrame(merge_counts(*tables)))))
    assert not list(tmp_path.rglob("*.part"))
