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
from ethogram.errors import InputError, LibraryError, UsageError
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.state import restore, save
from ethogram.pipeline.fingerprints import FingerprintRun, write_fingerprints
from ethogram.pipeline.words import counted
from ethogram.schema import FINGERPRINT, Accounting
from ethogram.serve.segments import SegmentName, SegmentWriter, row_groups, segments_in
from ethogram.serve.state import SUFFIX, CollectorState, accounting_of, committed, note, numbers_in, save_state

__all__ = ["Output"]

FLOWS, FINGERPRINTS, STATE = "flows", "fingerprints", "state"
OPEN = "open.parquet"
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
        self._number = 0
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
            for name in (FLOWS, FINGERPRINTS, STATE):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", file=self.folder) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise UsageError(f"{self.folder}: another collector writes here") from None
        self._number, state, problems = committed(self.folder / STATE, self.folder / FLOWS)
        for number, path in segments_in(self.folder / FINGERPRINTS).items():
            if number > self._number:
                path.unlink()
        (self.folder / OPEN).unlink(missing_ok=True)
        if state is not None:
            self.accounting = accounting_of(state.output["accounting"])
            self.segments, self.fingerprints = state.output["segments"], state.output["fingerprints"]
        return state, problems + self._restore()

    def _restore(self) -> list[str]:
        """The fingerprint exporter as it was after the last committed segment; what could not be used of it."""
        problems = []
        saved = {n: p for n, p in numbers_in(self.folder / STATE, _EXPORTER).items() if n <= self._number}
        self._exporter_number = 0
        for number, path in sorted(saved.items(), reverse=True):
            try:
                self.exporter = self._exporter_of(path)
            except LibraryError as error:
                if OTHER_SETTINGS in str(error):
                    raise
                problems.append(f"{error}; flows that are here are counted again")
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
            f"{path}: flows dated {moment:%Y-%m-%d} had moved the clock of the fingerprints; it is set back, and "
            f"{counted(dropped, 'flow')} dated in the future no longer {'counts' if dropped == 1 else 'count'}"
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
            self.accounting.drop("cannot be written", flows.height)
            return
        before = self._writer.rows
        try:
            self._writer.write(flows, arrived_us)
        except InputError as error:
            self._fail(error, before + flows.height)

    def commit(self, state: CollectorState, *, last: bool = False) -> bool:
        """End the segment: its flows, its fingerprints and the state become one, or none of them is there.

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
        if writer is None:
            return False
        rows = writer.rows
        try:
            writer.close()
            if self._exported:
                table = pl.concat(self._exported)
                self._write_fingerprints(table, self.folder / FINGERPRINTS / f"{self._name.stem}.parquet")
            if last or self._number - self._exporter_number >= self._save_every:
                self._save_exporter()
            state.number, state.rows, state.exporter_number = self._number, rows, self._exporter_number
            state.output = self._written(rows)
            saved = save_state(self.folder / STATE, self._name, state)
            fsync_dir(self.folder / STATE)
            writer.commit()
            note(self.folder / STATE, self._number)
            if last:
                self._write_open()
        except (OSError, InputError, pl.exceptions.PolarsError, pyarrow.ArrowException) as error:
            writer.abandon()
            with contextlib.suppress(OSError):
                (self.folder / FINGERPRINTS / f"{self._name.stem}.parquet").unlink(missing_ok=True)
                (self.folder / STATE / f"{self._name.stem}{SUFFIX}").unlink(missing_ok=True)
            self._fail(error, rows)
            return False
        self.accounting = accounting_of(state.output["accounting"])
        self.segments, self.fingerprints = state.output["segments"], state.output["fingerprints"]
        self._exported = []
        self.problem = None
        self._forget_before(saved)
        return True

    def _written(self, rows: int) -> dict[str, Any]:
        """What is written once this segment is committed."""
        accounting = self.accounting.as_dict() | {"used": self.accounting.used + rows}
        exported = sum(table.height for table in self._exported)
        return {
            "accounting": accounting, "segments": self.segments + bool(rows),
            "fingerprints": self.fingerprints + exported,
        }  # fmt: skip

    def close(self) -> None:
        """Let another collector have the folder."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _fail(self, error: Exception, rows: int) -> None:
        """The flows of this segment are lost to the disk; the next segment is tried anew."""
        self._writer = None
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        self.problem = str(error) if isinstance(error, InputError) else f"{self.folder}: cannot be written: {reason}"
        self.accounting.drop("cannot be written", rows)

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
        self._exporter_number = self._number
        self._save_every = max(1, round(took / (_SHARE * self._segment_s)))

    def _write_open(self) -> None:
        """Windows that have not ended, as they are: a copy, since they go on when the collector does."""
        path = self.folder / STATE / f"exporter-{self._exporter_number:08d}"
        copy = self._exporter_of(path)
        self._write_fingerprints(copy.finish(export_open=True), self.folder / OPEN)

    def _forget_before(self, saved: Path) -> None:
        """Remove states that no restart would look at."""
        for path in segments_in(self.folder / STATE, SUFFIX).values():
            if path != saved:
                path.unlink(missing_ok=True)
        for number, path in numbers_in(self.folder / STATE, _EXPORTER).items():
            if number < self._exporter_number:
                path.unlink(missing_ok=True)
