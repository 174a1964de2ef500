"""What the collector leaves on disk: segments of flows, fingerprints, and the state that belongs to them.

A segment is the flows of the messages that arrived in one interval of the clock. It is committed as a whole, with the
fingerprints that left and the state behind it; what is not committed when the process dies is lost, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow
import pyarrow.parquet

from ethogram._files import fsync_dir
from ethogram.config import CollectSettings, CountSettings, ExporterSettings
from ethogram.errors import EthogramError, InputError, LibraryError, UsageError
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.state import restore, save
from ethogram.pipeline.fingerprints import FingerprintRun, write_fingerprints
from ethogram.pipeline.text import plural
from ethogram.schema import FINGERPRINT, Accounting
from ethogram.serve.segments import SegmentName, SegmentWriter, row_groups, segments_in
from ethogram.serve.state import (
    SUFFIX,
    CollectorState,
    accounting_of,
    committed,
    load_state,
    note,
    numbers_in,
    save_state,
)

__all__ = ["Output"]

FLOWS, FINGERPRINTS, STATE = "flows", "fingerprints", "state"
OPEN, LOCK = "open.parquet", ".lock"
FAILURES = (OSError, EthogramError, pl.exceptions.PolarsError, pyarrow.ArrowException)
"""What writing raises when the disk does not take it."""
_EXPORTER = r"exporter-(\d+)"
OTHER_SETTINGS = "other settings"
_LATEST_S = 253_402_300_799  # the end of the year 9999
_SHARE = 0.05  # of the time of a segment that saving the fingerprint exporter may take


class Output:
    """The folder of one collector.

    Parameters
    ----------
    folder
        Made when it is not there.
    settings, counting
        Of the fingerprint exporter.
    collect
        For the bound of devices.
    segment_s
        Length of a segment.

    Attributes
    ----------
    exporter
        The fingerprint exporter.
    accounting
        Over flows: written, or dropped because nothing could be written.
    segments, fingerprints
        Segments with flows, and fingerprints, written in this folder.
    problem
        The last one with writing, until writing works again.
    """

    def __init__(
        self, folder: Path, settings: ExporterSettings, counting: CountSettings, collect: CollectSettings,
        segment_s: float,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._settings, self._counting, self._collect = settings, counting, collect
        self._segment_s = segment_s
        self._lock = -1
        self._writer: SegmentWriter | None = None
        self._name = SegmentName(0, 0)
        self._number = self._committed = 0
        self._lost = False  # flows of this segment could not be written
        self._delivered = 0  # fingerprints written since the last commit
        self._exported: list[pl.DataFrame] = []
        self._exporter_number = 0
        self._save_every = 1
        self.exporter = FingerprintExporter(
            settings, counting, max_devices=collect.max_devices, ahead_s=collect.ahead_s, bounds=collect.bounds
        )
        self.accounting = Accounting("flows")
        self.segments = self.fingerprints = 0
        self.problem: str | None = None

    def open(self) -> tuple[CollectorState | None, list[str]]:
        """Take the folder, and go on from what was committed in it.

        Returns
        -------
        state, problems
            What belongs to the last committed segment; what could not be used.

        Raises
        ------
        InputError
            When the folder cannot be written.
        UsageError
            When another collector has it.
        LibraryError
            When the fingerprint exporter's state is of other settings.
        """
        try:
            self._take_folder()
            return self._go_on()
        except OSError as error:
            self.close()
            raise InputError(f"cannot be written: {error.strerror or error}", file=self.folder) from None
        except BaseException:
            self.close()
            raise

    def _go_on(self) -> tuple[CollectorState | None, list[str]]:
        """Take up what was committed, and remove what was not."""
        self._committed, state, problems = committed(self.folder / STATE, self.folder / FLOWS)
        for files in (segments_in(self.folder / FINGERPRINTS), numbers_in(self.folder / STATE, _EXPORTER)):
            for number, path in files.items():
                if number > self._committed:
                    with contextlib.suppress(OSError):
                        path.unlink()
        # What a failed commit left and cannot be removed must not be taken for that of a later segment: its number is
        # not used again.
        left = [segments_in(self.folder / STATE, SUFFIX), numbers_in(self.folder / STATE, _EXPORTER)]
        left.append(segments_in(self.folder / FINGERPRINTS))
        self._number = max([self._committed, *(number for files in left for number in files)])
        with contextlib.suppress(OSError):
            (self.folder / OPEN).unlink(missing_ok=True)
        if state is not None:
            self.accounting = accounting_of(state.output["accounting"])
            self.segments, self.fingerprints = state.output["segments"], state.output["fingerprints"]
        return state, problems + self._restore()

    def _take_folder(self) -> None:
        """Make the folder and lock it; again when somebody has removed it meanwhile.

        Raises
        ------
        UsageError
            When another collector has it.
        OSError
            When it cannot be made.
        """
        for name in (FLOWS, FINGERPRINTS, STATE):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        lock = self.folder / LOCK
        if self._lock >= 0:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._lock), lock.stat()):
                    return
            os.close(self._lock)
            self._lock = -1
        self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            raise UsageError(f"{self.folder}: another collector uses this folder") from None

    def _restore(self) -> list[str]:
        """The fingerprint exporter as it was after the last committed segment; what could not be used of it."""
        problems = []
        saved = {n: p for n, p in numbers_in(self.folder / STATE, _EXPORTER).items() if n <= self._committed}
        self._exporter_number = 0
        for number, path in sorted(saved.items(), reverse=True):
            try:
                self.exporter = self._exporter_of(path)
            except LibraryError as error:
                if OTHER_SETTINGS in str(error):
                    raise
                problems.append(f"{error}; the stored flows are counted again")
                continue
            self._exporter_number = number
            problems += self._set_back(path)
            break
        for number, path in segments_in(self.folder / FLOWS).items():
            if number > self._exporter_number:
                self._feed_again(path)
        return problems

    def _exporter_of(self, path: Path) -> FingerprintExporter:
        """The fingerprint exporter that was saved in a file."""
        collect = self._collect
        return restore(
            path, self._settings, self._counting, max_devices=collect.max_devices, ahead_s=collect.ahead_s,
            bounds=collect.bounds,
        )

    def _set_back(self, path: Path) -> list[str]:
        """Set back a clock that earlier versions let flows dated in the future move; what there is to say about it."""
        # Where the clock of this machine was set back, the state is not wrong: it was saved later than it is now.
        now_us = max(time.time_ns(), path.stat().st_mtime_ns) // 1000
        clock_us = self.exporter.clock_us
        dropped = self.exporter.set_back(now_us)
        if dropped is None or clock_us is None:
            return []
        moment = datetime.fromtimestamp(min(clock_us // 1_000_000, _LATEST_S), tz=UTC)
        return [
            f"{path}: flows dated {moment:%Y-%m-%d} had advanced the fingerprint clock; it is reset, and "
            f"{plural(dropped, 'flow')} dated in the future {'is' if dropped == 1 else 'are'} excluded"
        ]

    def _feed_again(self, path: Path) -> None:
        """The flows of a segment that the exporter's state does not know; their fingerprints are what they were."""
        tables = [FINGERPRINT.empty()]
        tables += [self.exporter.feed(flows, arrived_us) for flows, arrived_us in row_groups(path)]
        self._write_fingerprints(pl.concat(tables), self.folder / FINGERPRINTS / path.name)

    def begin(self, start_ns: int) -> None:
        """Begin a segment."""
        self._number += 1
        self._name = SegmentName(self._number, start_ns)
        self._lost = False
        self._writer = SegmentWriter(self.folder / FLOWS, self._name)

    def add(self, flows: pl.DataFrame, arrived_us: int) -> None:
        """Take flows of the segment that had arrived by then; without disk they still count for the fingerprints."""
        self.accounting.read += flows.height
        if not flows.height:
            return
        # In the order in which records arrive: by it the exporter judges what is late. The file keeps it, so that
        # flows that are fed again are judged alike.
        flows = flows.sort("end", maintain_order=True)
        exported = self.exporter.feed(flows, arrived_us)
        if exported.height:
            self._exported.append(exported)
        if self._writer is None:
            self._drop(flows.height)
            return
        before = self._writer.rows
        try:
            if not before:
                self._take_folder()
            self._writer.write(flows, arrived_us)
        except FAILURES as error:
            self._writer.abandon()
            self._writer = None
            self._drop(before + flows.height)
            self._say(error)

    def commit(self, state: CollectorState, *, last: bool = False) -> bool:
        """End the segment: its flows, its fingerprints and the state become one, or none of them is there.

        When the flows cannot be written they are lost, and counted; the rest is then tried without them.

        Parameters
        ----------
        state
            What the collector knows; what the output knows is filled in.
        last
            Save the fingerprint exporter too, and its open windows for people.

        Returns
        -------
        Whether all was written.
        """
        writer, self._writer = self._writer, None
        rows = 0 if writer is None else writer.rows
        if writer is not None and not self._attempt(writer, state, last=last):
            self._drop(rows)
            writer = None
        if writer is None and not self._attempt(None, state, last=last):
            return False
        self._tidy(last=last)
        return not self._lost

    def _attempt(self, writer: SegmentWriter | None, state: CollectorState, *, last: bool) -> bool:
        """Try to commit the segment with what a writer has, or the rest without flows; says why when it fails.

        The last step that can undo it is the one that commits it: the flows, or a state without flows, get their name.
        Whether that was reached is looked up, since a step that fails may have done its work.
        """
        rows = 0 if writer is None else writer.rows
        name = self._name.stem
        exporter_number, failure = self._exporter_number, None
        try:
            self._take_folder()
            if writer is not None:
                writer.close()
            self._deliver()
            if last or self._lost or self._number - exporter_number >= self._save_every:
                self._save_exporter()
                exporter_number = self._number
            state.number, state.rows, state.exporter_number = self._number, rows, exporter_number
            state.output = self._written(rows)
            save_state(self.folder / STATE, self._name, state)
            fsync_dir(self.folder / STATE)
            if writer is not None:
                writer.commit()
        except FAILURES as error:
            failure = error
        if failure is not None and not self._reached(rows):
            if writer is not None:
                writer.abandon()
            with contextlib.suppress(OSError):
                (self.folder / STATE / f"{name}{SUFFIX}").unlink(missing_ok=True)
            self._lost = True
            self._say(failure)
            return False
        self.accounting = accounting_of(state.output["accounting"])
        self.segments, self.fingerprints = state.output["segments"], state.output["fingerprints"]
        self._committed, self._exporter_number, self._delivered = self._number, exporter_number, 0
        if failure is not None:
            self._say(failure)
        elif not self._lost:
            self.problem = None
        return True

    def _reached(self, rows: int) -> bool:
        """Whether the segment is committed, with so many rows."""
        name = self._name.stem
        if rows:
            return _exists(self.folder / FLOWS / f"{name}.parquet")
        try:
            return load_state(self.folder / STATE / f"{name}{SUFFIX}").rows == 0
        except FAILURES:
            return False

    def _deliver(self) -> None:
        """Write the fingerprints that left. They stay also when the commit fails, since a later one confirms them.

        Those of a segment behind the last commit are removed at the next start.
        """
        if not self._exported:
            return
        table = pl.concat(self._exported)
        path = self.folder / FINGERPRINTS / f"{self._name.stem}.parquet"
        try:
            self._write_fingerprints(table, path)
        except FAILURES:
            if not _exists(path):
                raise
        self._delivered += table.height
        self._exported = []

    def _tidy(self, *, last: bool) -> None:
        """What follows a commit; none of it can undo the commit."""
        steps = [lambda: note(self.folder / STATE, self._number), self._forget_old]
        for step in [*steps, self._write_open] if last else steps:
            try:
                step()
            except FAILURES as error:
                self._say(error)

    def _written(self, rows: int) -> dict[str, Any]:
        """What is written once this segment is committed."""
        return {
            "accounting": self.accounting.as_dict() | {"used": self.accounting.used + rows},
            "segments": self.segments + bool(rows), "fingerprints": self.fingerprints + self._delivered,
        }  # fmt: skip

    def close(self) -> None:
        """Let another collector have the folder."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _drop(self, rows: int) -> None:
        """Flows are lost to the disk. The fingerprint exporter has seen them: it is saved with the next commit."""
        self.accounting.drop("cannot be written", rows)
        self._lost = True

    def _say(self, error: Exception) -> None:
        """Keep what went wrong for people."""
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        named = isinstance(error, EthogramError)
        self.problem = str(error) if named else f"{self.folder}: cannot be written: {reason}"

    def _write_fingerprints(self, table: pl.DataFrame, path: Path) -> None:
        if table.height:
            run = FingerprintRun(table, self._settings, self._counting, self.exporter.accounting)
            write_fingerprints(run, path)
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            fsync_dir(path.parent)

    def _save_exporter(self) -> None:
        begin = time.monotonic()
        save(self.exporter, self.folder / STATE / f"exporter-{self._number:08d}")
        took = time.monotonic() - begin
        self._save_every = max(1, round(took / (_SHARE * self._segment_s)))

    def _write_open(self) -> None:
        """Windows that have not ended, as they are: a copy, since they go on when the collector does."""
        path = self.folder / STATE / f"exporter-{self._exporter_number:08d}"
        copy = self._exporter_of(path)
        self._write_fingerprints(copy.finish(export_open=True), self.folder / OPEN)

    def _forget_old(self) -> None:
        """Remove states that no restart would look at."""
        for number, path in segments_in(self.folder / STATE, SUFFIX).items():
            if number != self._committed:
                path.unlink(missing_ok=True)
        for number, path in numbers_in(self.folder / STATE, _EXPORTER).items():
            if number < self._exporter_number:
                path.unlink(missing_ok=True)


def _exists(path: Path) -> bool:
    """Whether a file is there; not when the disk does not even say."""
    try:
        return path.exists()
    except OSError:
        return False
