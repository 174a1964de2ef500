"""A disk that fails at any file operation of a run: every flow is either on disk or counted as dropped."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet
import pytest
from test_output import arrived_of, flows_of, output_of

from ethogram.errors import InputError
from ethogram.pipeline.fingerprints import read_fingerprints
from ethogram.serve.output import Output
from ethogram.serve.segments import segments_in
from ethogram.serve.state import CollectorState

HOURS, ROWS = 2, 9
OPERATIONS: tuple[tuple[object, str], ...] = (
    (Path, "replace"), (Path, "unlink"), (Path, "open"), (Path, "write_bytes"), (Path, "mkdir"), (os, "fsync"),
    (os, "open"), (pyarrow.parquet.ParquetWriter, "write_table"), (pyarrow.parquet.ParquetWriter, "close"),
)  # fmt: skip


class FailingDisk:
    """Counts the calls of one file operation in a folder, and makes one or all later ones fail.

    Parameters
    ----------
    at
        Index of the first call that fails; None for none.
    persistent
        Whether later calls fail, too.
    after
        Whether the operation is completed before it reports its failure.
    """

    def __init__(
        self, at: int | None = None, *, code: int = errno.ENOSPC, persistent: bool = False, after: bool = False
    ) -> None:
        self.at, self.code, self.persistent, self.after = at, code, persistent, after
        self.calls = 0

    def wrap(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            if self.at is None or number < self.at or (number > self.at and not self.persistent):
                return operation(*arguments, **named)
            if self.after:
                operation(*arguments, **named)
            raise OSError(self.code, os.strerror(self.code))

        return call


def run(folder: Path) -> Output | None:
    """Several segments including the end; None if the folder could not be opened."""
    output = output_of(folder)
    try:
        output.open()
    except InputError:
        return None
    for hour in range(HOURS):
        output.begin(hour * 60_000_000_000)
        output.add(flows_of(hour, ROWS), arrived_of(hour))
        output.commit(CollectorState(), last=hour == HOURS - 1)
    output.close()
    return output


def rows_in(folder: Path) -> int:
    return sum(pl.read_parquet(path).height for path in segments_in(folder / "flows").values())


def check(folder: Path, output: Output | None) -> None:
    """Invariants after a run with faults, and after the next start without faults."""
    before = segments_in(folder / "flows")
    on_disk = rows_in(folder)
    if output is not None:
        assert output.accounting.balanced
        assert output.accounting.read == HOURS * ROWS
        assert on_disk == output.accounting.used, "on disk and counted as dropped, or the other way round"
    again = output_of(folder)
    state, _ = again.open()
    assert segments_in(folder / "flows") == before, "a restart removes no committed flows"
    assert again.accounting.balanced
    assert (state is not None) or not before, "the state of committed flows was deleted"
    assert again.accounting.used == on_disk
    assert on_disk <= again.exporter.accounting.read <= HOURS * ROWS
    for hour in (HOURS, HOURS + 1):
        again.begin(hour * 60_000_000_000)
        again.add(flows_of(hour, ROWS), arrived_of(hour))
        assert again.commit(CollectorState(), last=hour == HOURS + 1)
    again.close()
    assert rows_in(folder) == again.accounting.used == on_disk + 2 * ROWS
    parts = [*segments_in(folder / "fingerprints").values(), folder / "open.parquet"]
    counted = sum(read_fingerprints(part).table["flows"].sum() for part in parts)
    assert counted == again.exporter.accounting.used, "fingerprints count what the exporter used, once"
    assert not [path for path in (folder / "flows").iterdir() if path.name.startswith(".")]


def calls_of(owner: object, name: str, folder: Path) -> int:
    disk = FailingDisk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, disk.wrap(getattr(owner, name)))
        check(folder, run(folder))
    return disk.calls


@pytest.mark.parametrize("persistent", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(("owner", "name"), OPERATIONS, ids=[name for _, name in OPERATIONS])
def test_a_file_operation_that_fails_at_any_place(owner: object, name: str, persistent: bool, tmp_path: Path) -> None:
    calls = calls_of(owner, name, tmp_path / "sound")
    assert calls or name == "write_bytes"
    for at in range(calls):
        folder = tmp_path / str(at)
        disk = FailingDisk(at, code=(errno.ENOSPC, errno.EIO)[at % 2], persistent=persistent)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, disk.wrap(getattr(owner, name)))
            output = run(folder)
        check(folder, output)


DONE = ((Path, "replace"), (os, "fsync"), (Path, "unlink"))


@pytest.mark.parametrize(("owner", "name"), DONE, ids=[name for _, name in DONE])
def test_an_operation_that_was_done_and_reports_a_failure(owner: object, name: str, tmp_path: Path) -> None:
    for at in range(calls_of(owner, name, tmp_path / "sound")):
        folder = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, FailingDisk(at, after=True).wrap(getattr(owner, name)))
            output = run(folder)
        check(folder, output)


def test_a_folder_that_is_removed_meanwhile_is_made_again_with_its_lock(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    output = output_of(folder)
    output.open()
    for hour in range(4):
        output.begin(hour * 60_000_000_000)
        output.add(flows_of(hour, ROWS), arrived_of(hour))
        assert output.commit(CollectorState(), last=hour == 3)
        if hour == 1:
            shutil.rmtree(folder)
    assert rows_in(folder) == 2 * ROWS
    assert (folder / ".lock").exists()
    with pytest.raises(Exception, match="another collector uses this folder"):
        output_of(folder).open()
    output.close()
