"""Freed memory goes back to the system, and segments are read a part at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from ethogram.serve import memory, sources
from ethogram.serve.sources import CollectorSegments
from serve.segments_made import MINUTE, START, flows, segment

LATER = START + timedelta(hours=1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="allocators of Linux")
def test_polars_reads_the_setting_and_the_command_sets_it_before_polars_is_loaded() -> None:
    code = (
        "import os, sys, ethogram.cli.serve, ethogram.serve.memory as m; m.limit_arenas();"
        "assert 'polars' not in sys.modules; os.environ[m.POLARS_MEMORY] += ',stats_print:true'; import polars"
    )
    variables = {name: value for name, value in os.environ.items() if name != memory.POLARS_MEMORY}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=variables
    )
    if "jemalloc" not in done.stderr:
        pytest.skip("this build of Polars has another allocator")
    assert "opt.narenas: 4" in done.stderr
    assert "opt.muzzy_decay_ms: 0" in done.stderr
    assert "Invalid conf" not in done.stderr


def test_a_setting_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.POLARS_MEMORY, "narenas:1")
    memory.limit_arenas()
    assert os.environ[memory.POLARS_MEMORY] == "narenas:1"


def test_releasing_memory_changes_nothing_else() -> None:
    before = pl.DataFrame({"a": range(1000)})
    memory.release_memory()
    assert before["a"].sum() == 499_500


def source(folder: Path) -> CollectorSegments:
    return CollectorSegments(folder, 60.0, now=lambda: LATER)


def row_groups_of(*parts: int) -> list[tuple[pl.DataFrame, int]]:
    at = int((START + MINUTE).timestamp() * 1e6)
    return [(flows("10.0.0.2", START, number), at) for number in parts]


def test_a_segment_that_is_damaged_in_the_middle_does_not_count_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [segment(tmp_path, n, flows("10.0.0.2", START, 2)) for n in (1, 2, 3)]

    def parts(path: Path, _: object) -> Iterator[tuple[pl.DataFrame, int]]:
        yield from row_groups_of(2, 2)
        if path == paths[1]:
            raise pl.exceptions.ComputeError("page header\nis damaged")

    monkeypatch.setattr(sources, "row_groups", parts)
    batch = source(tmp_path).batch(0, None, 60)
    assert (batch.last, batch.accounting.used, batch.counts["flows"].sum()) == (3, 8, 8)
    assert dict(batch.segments.dropped) == {"damaged": 1}
    assert (batch.segments.read, batch.segments.used) == (3, 2)
    assert batch.problems == [f"{paths[1]}: damaged, left out: page header"]
    assert batch.traffic["10.0.0.2"].flows == 8


def test_a_segment_that_is_removed_while_it_is_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        segment(tmp_path, number, flows("10.0.0.2", START, 2))

    def parts(path: Path, _: object) -> Iterator[tuple[pl.DataFrame, int]]:
        yield from row_groups_of(2)
        if path.stem.endswith("1"):
            raise FileNotFoundError

    monkeypatch.setattr(sources, "row_groups", parts)
    batch = source(tmp_path).batch(0, None, 60)
    assert dict(batch.segments.dropped) == {"removed before it was read": 1}
    assert batch.accounting.used == 2


def test_a_batch_ends_when_it_has_enough_flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_FLOWS", 3)
    for number in (1, 2, 3):
        segment(tmp_path, number, flows("10.0.0.2", START, 2))
    batch = source(tmp_path).batch(0, None, 60)
    assert (batch.last, batch.more, batch.accounting.used) == (2, True, 4)


def test_sums_by_address_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_SUMS", 2)
    segment(tmp_path, 1, flows("10.0.0.2", START, 1))
    monkeypatch.setattr(sources, "row_groups", lambda *_: iter(row_groups_of(1, 2, 3, 4, 5)))
    batch = source(tmp_path).batch(0, None, 60)
    assert batch.traffic["10.0.0.2"].flows == batch.counts["flows"].sum() == 15
