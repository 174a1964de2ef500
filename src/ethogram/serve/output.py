"""Files written by the collector: segments of flows, fingerprints, and the matching state.

A segment contains the flows of the messages that arrived in one interval of the clock. It is committed as a unit, with
the exported fingerprints and the state after it. If the process dies, exactly the uncommitted segment is lost.
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
from ethogram.io.parquet import identity_text, parse_identity
from ethogram.io.wire.identity_elements import MAX_FACTS, summed_statements
from ethogram.pipeline.fingerprints import FingerprintRun, write_fingerprints
from ethogram.pipeline.text import plural
from ethogram.schema import FINGERPRINT, IDENTITY, Accounting
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
"""Exceptions of failed writes."""
_EXPORTER = r"exporter-(\d+)"
OTHER_SETTINGS = "other settings"
_LATEST_S = 253_402_300_799  # the end of the year 9999
_SHARE = 0.05  # maximum share of a segment's time for saving the fingerprint exporter


class Output:
    """The folder of one collector.

    Parameters
    ----------
    folder
        Created if it does not exist.
    settings, counting
        Settings of the fingerprint exporter.
    collect
        Limits of the fingerprint exporter.
    segment_s
        Length of a segment.

    Attributes
    ----------
    exporter
        The fingerprint exporter.
    accounting
        Over flows: written, or dropped because they could not be written.
    identity
        Over identity facts: kept for the segment, or dropped beyond the bound.
    segments, fingerprints
        Number of segments with flows, and of fingerprints, written to this folder.
    problem
        The last write error, until writing succeeds again.
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
        self._lost = False  # some flows of this segment could not be written
        self._delivered = 0  # fingerprints written since the last commit
        self._exported: list[pl.DataFrame] = []
        self._identity = IDENTITY.empty()  # of this segment, and of earlier ones without flows
        self._exporter_number = 0
        self._save_every = 1
        self.exporter = FingerprintExporter(
            settings, counting, max_devices=collect.max_devices, ahead_s=collect.ahead_s, bounds=collect.bounds
        )
        self.accounting = Accounting("flows")
        self.identity = Accounting("facts")
        self.segments = self.fingerprints = 0
        self.problem: str | None = None

    def open(self) -> tuple[CollectorState | None, list[str]]:
        """Lock the folder and resume what was committed in it.

        Returns
        -------
        state, problems
            State of the last committed segment; what could not be used.

        Raises
        ------
        InputError
            If the folder cannot be written.
        UsageError
            If another collector uses it.
        LibraryError
            If the state of the fingerprint exporter has other settings.
        """
        try:
            self._lock_folder()
            return self._resume()
        except OSError as error:
            self.close()
            raise InputError(f"cannot be written: {error.strerror or error}", file=self.folder) from None
        except BaseException:
            self.close()
            raise

    def _resume(self) -> tuple[CollectorState | None, list[str]]:
        """Load what was committed, and remove what was not."""
        self._committed, state, problems = committed(self.folder / STATE, self.folder / FLOWS)
        for files in (segments_in(self.folder / FINGERPRINTS), numbers_in(self.folder / STATE, _EXPORTER)):
            for number, path in files.items():
                if number > self._committed:
                    with contextlib.suppress(OSError):
                        path.unlink()
        # Leftovers of a failed commit that cannot be removed must not be mistaken for a later segment, so their numbers
        # are not reused.
        left = [segments_in(self.folder / STATE, SUFFIX), numbers_in(self.folder / STATE, _EXPORTER)]
        left.append(segments_in(self.folder / FINGERPRINTS))
        self._number = max([self._committed, *(number for files in left for number in files)])
        with contextlib.suppress(OSError):
            (self.folder / OPEN).unlink(missing_ok=True)
        if state is not None:
            self.accounting = accounting_of(state.output["accounting"])
            self.segments, self.fingerprints = state.output["segments"], state.output["fingerprints"]
            if "facts" in state.output:  # earlier versions had none
                self.identity = accounting_of(state.output["facts"])
            with contextlib.suppress(InputError):  # they are stated again
                self._identity = parse_identity(state.output.get("identity"), self.folder / STATE)
        return state, problems + self._restore()

    def _lock_folder(self) -> None:
        """Create and lock the folder; repeated if it has been removed meanwhile.

        Raises
        ------
        UsageError
            If another collector uses it.
        OSError
            If it cannot be created.
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
        """Restore the fingerprint exporter after the last committed segment; returns what could not be used."""
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
            problems += self._reset_clock(path)
            break
        for number, path in segments_in(self.folder / FLOWS).items():
            if number > self._exporter_number:
                self._feed_again(path)
        return problems

    def _exporter_of(self, path: Path) -> FingerprintExporter:
        """Load a saved fingerprint exporter."""
        collect = self._collect
        return restore(
            path, self._settings, self._counting, max_devices=collect.max_devices, ahead_s=collect.ahead_s,
            bounds=collect.bounds,
        )

    def _reset_clock(self, path: Path) -> list[str]:
        """Reset a clock that earlier versions advanced to flows dated in the future; returns messages."""
        # If the local clock was set back, the state is valid although it was saved later than now.
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
        """Feed a segment that the exporter state does not include; it gives the same fingerprints."""
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
        """Add flows that had arrived by this time; they count for fingerprints even if they cannot be written."""
        self.accounting.read += flows.height
        if not flows.height:
            return
        # The exporter decides by this order which flows are late. The file keeps it, so that the decision is the same
        # when flows are fed again.
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
                self._lock_folder()
            self._writer.write(flows, arrived_us)
        except FAILURES as error:
            self._writer.abandon()
            self._writer = None
            self._drop(before + flows.height)
            self._report(error)

    def learn(self, facts: pl.DataFrame) -> None:
        """Add identity facts (:data:`ethogram.schema.IDENTITY`) to the segment; beyond a bound new ones are dropped."""
        self.identity.read += facts.height
        rows = summed_statements([self._identity, facts], 2 * MAX_FACTS)
        beyond = max(rows.height - MAX_FACTS, 0)
        self.identity.drop("beyond the bound", beyond)
        self.identity.used += facts.height - beyond
        self._identity = rows.head(MAX_FACTS)

    def commit(self, state: CollectorState, *, last: bool = False) -> bool:
        """Commit the segment: its flows, fingerprints and state together, or none of them.

        If the flows cannot be written, they are lost and counted; the rest is then committed without them.

        Parameters
        ----------
        state
            State of the collector; the state of the output is filled in.
        last
            Also save the fingerprint exporter and export its open windows.

        Returns
        -------
        Whether everything was written.
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
        """Try to commit the segment with the flows of a writer, or without flows; reports the reason of a failure.

        The last step that can be undone is the commit itself: the file of flows, or a state without flows, gets its
        name. Whether this happened is checked on disk, because a failing step may have completed its work.
        """
        rows = 0 if writer is None else writer.rows
        name = self._name.stem
        exporter_number, failure = self._exporter_number, None
        try:
            self._lock_folder()
            if writer is not None:
                writer.close(self._identity)
            self._write_exported()
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
            self._report(failure)
            return False
        self.accounting = accounting_of(state.output["accounting"])
        self.segments, self.fingerprints = state.output["segments"], state.output["fingerprints"]
        self._committed, self._exporter_number, self._delivered = self._number, exporter_number, 0
        if rows:
            self._identity = IDENTITY.empty()
        if failure is not None:
            self._report(failure)
        elif not self._lost:
            self.problem = None
        return True

    def _reached(self, rows: int) -> bool:
        """Whether the segment is committed with this number of rows."""
        name = self._name.stem
        if rows:
            return _exists(self.folder / FLOWS / f"{name}.parquet")
        try:
            return load_state(self.folder / STATE / f"{name}{SUFFIX}").rows == 0
        except FAILURES:
            return False

    def _write_exported(self) -> None:
        """Write the exported fingerprints. They stay if the commit fails, because a later commit confirms them.

        Fingerprints of a segment after the last commit are removed at the next start.
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
        """Clean up after a commit; errors cannot undo the commit."""
        steps = [lambda: note(self.folder / STATE, self._number), self._remove_old]
        for step in [*steps, self._write_open] if last else steps:
            try:
                step()
            except FAILURES as error:
                self._report(error)

    def _written(self, rows: int) -> dict[str, Any]:
        """Output counters once this segment is committed."""
        return {
            "accounting": self.accounting.as_dict() | {"used": self.accounting.used + rows},
            "facts": self.identity.as_dict(),
            "identity": None if rows or not self._identity.height else identity_text(self._identity),
            "segments": self.segments + bool(rows), "fingerprints": self.fingerprints + self._delivered,
        }  # fmt: skip

    def close(self) -> None:
        """Release the folder."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _drop(self, rows: int) -> None:
        """Count unwritten flows. The fingerprint exporter includes them, so it is saved with the next commit."""
        self.accounting.drop("cannot be written", rows)
        self._lost = True

    def _report(self, error: Exception) -> None:
        """Store an error for display."""
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
        """Export windows that have not ended, from a copy of the exporter, because they continue in the next run."""
        path = self.folder / STATE / f"exporter-{self._exporter_number:08d}"
        copy = self._exporter_of(path)
        self._write_fingerprints(copy.finish(export_open=True), self.folder / OPEN)

    def _remove_old(self) -> None:
        """Remove states that no restart needs."""
        for number, path in segments_in(self.folder / STATE, SUFFIX).items():
            if number != self._committed:
                path.unlink(missing_ok=True)
        for number, path in numbers_in(self.folder / STATE, _EXPORTER).items():
            if number < self._exporter_number:
                path.unlink(missing_ok=True)


def _exists(path: Path) -> bool:
    """Whether a file exists; False if the disk does not respond."""
    try:
        return path.exists()
    except OSError:
        return False
