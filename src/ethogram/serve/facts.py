"""Counts of the live service on disk: one folder a day, files that never change, kept apart from decisions.

A file holds the counts of a span of segments for one day: ``counts/2026-03-01/00000017-00000020.parquet``. Files are
merged as they become many; a merged file covers the span of its parts, and parts that a crash left beside it are not
read. Files after the last complete round are of one that was not completed, and are removed at the start.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ethogram._files import fsync_dir, write_bytes
from ethogram.errors import InputError
from ethogram.fingerprint.count import sort_counts, summed_counts
from ethogram.schema import COUNTS

__all__ = [
    "CountFacts", "DeviceHours", "Hours", "SpanFile", "hours_of_devices", "midnight_before", "octets_by_hour",
]  # fmt: skip

Hours = tuple[tuple[datetime, int], ...]
"""Octets of hours, in order."""
NOTE = "complete"
FANOUT = 16
"""Files of about the same span that are merged into one."""
MERGED_ROWS = 1 << 20
"""Rows that are in memory at once when files are merged, unless a device has more."""
_ROW_GROUP = 1 << 16
_NAME = re.compile(r"(\d{8,})-(\d{8,})\.parquet")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
FAILURES = (OSError, pl.exceptions.PolarsError, pa.ArrowException)


@dataclass(frozen=True, order=True)
class SpanFile:
    """Counts of the segments from ``first`` to ``last`` on one day."""

    first: int
    last: int
    path: Path

    @property
    def tier(self) -> int:
        """0 for up to 15 segments, 1 for up to 255, and so on."""
        tier, span = 0, self.last - self.first + 1
        while span >= FANOUT:
            tier, span = tier + 1, span // FANOUT
        return tier


class CountFacts:
    """The counts of one source.

    Parameters
    ----------
    folder
        Created when counts are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._problems: dict[Path, str] = {}

    @property
    def problems(self) -> list[str]:
        """One line for each file that cannot be read, until it is removed or replaced; the latest 100."""
        return [text for path, text in self._problems.items() if path.exists()]

    def days(self) -> list[date]:
        """Days that have counts, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(date.fromisoformat(path.name) for path in self.folder.iterdir() if _DAY.fullmatch(path.name))

    def files(self, day: date) -> list[SpanFile]:
        """Files of a day, without those that others cover, in order."""
        return _uncovered(_files_in(self.folder / day.isoformat()))

    def resume(self, segment: int) -> int:
        """Remove what belongs to a round that was not completed.

        Parameters
        ----------
        segment
            Last segment that the store has.

        Returns
        -------
        The last segment whose counts are here. It is later than ``segment`` if the store was lost, or restored from an
        earlier backup: those segments must not be counted again.
        """
        complete = max(segment, self._noted())
        for day in self.days():
            for file in _files_in(self.folder / day.isoformat()):
                if file.first > complete:
                    file.path.unlink(missing_ok=True)
            for part in (self.folder / day.isoformat()).glob(".*.part"):
                part.unlink(missing_ok=True)
        return complete

    def note(self, segment: int) -> None:
        """Remember that the round up to a segment is complete; called after the store has it."""
        if self.folder.is_dir():
            write_bytes(self.folder / NOTE, b"%d\n" % segment)

    def _noted(self) -> int:
        try:
            return int((self.folder / NOTE).read_bytes())
        except (OSError, ValueError):
            return 0

    def write(self, counts: pl.DataFrame, first: int, last: int) -> None:
        """Write the counts of segments, sorted by device, and sync them.

        Parameters
        ----------
        counts
            Form :data:`ethogram.schema.COUNTS`.
        first, last
            Span of segments.

        Raises
        ------
        InputError
            If they cannot be written; the segments can be written again.
        """
        for (day,), part in counts.group_by(pl.col("time").dt.date(), maintain_order=True):
            assert isinstance(day, date)
            self._write(part, self.folder / day.isoformat(), first, last)

    def _write(self, counts: pl.DataFrame, folder: Path, first: int, last: int) -> None:
        path = folder / f"{first:08d}-{last:08d}.parquet"
        part = folder / f".{path.name}.part"
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True)
                fsync_dir(folder.parent)
            sort_counts(counts).write_parquet(part, compression="zstd", row_group_size=_ROW_GROUP, statistics=True)
            _put(part, path)
        except FAILURES as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise InputError(f"cannot be written: {_reason(error)}", file=path) from None

    def read(self, devices: Sequence[str], since: datetime) -> pl.DataFrame:
        """Counts of devices since a time, rows with the same key not yet added up.

        A file that cannot be read is left out, and named in :attr:`problems`.
        """
        wanted = pl.Series(list(devices), dtype=pl.String)
        if not len(wanted):
            return COUNTS.empty()
        # Files are in order of device: row groups without any of them are not decoded.
        of_wanted = pl.col("device").is_between(pl.lit(wanted.min()), pl.lit(wanted.max()))
        of_wanted &= pl.col("device").is_in(wanted.implode())
        tables = [COUNTS.empty()]
        for file in self._since(since):
            try:
                frame = pl.scan_parquet(file.path).filter(of_wanted, pl.col("time") >= since)
                tables.append(COUNTS.conform(frame.collect(), file=str(file.path)))
                self._problems.pop(file.path, None)
            except (*FAILURES, InputError) as error:
                self._report(file.path, error)
        return pl.concat(tables)

    def _since(self, since: datetime) -> Iterator[SpanFile]:
        for day in self.days():
            if day >= since.astimezone(UTC).date():
                yield from self.files(day)

    def hourly(self, since: datetime, devices: Sequence[str] | None = None) -> pl.DataFrame:
        """Sums by device, hour and service since a time: ``device``, ``time``, ``protocol``, ``port``, volumes."""
        tables = []
        for file in self._since(since):
            try:
                frame = pl.scan_parquet(file.path).filter(pl.col("time") >= since)
                if devices is not None:
                    frame = frame.filter(pl.col("device").is_in(pl.Series(list(devices), dtype=pl.String).implode()))
                sums = frame.group_by("device", "time", "protocol", "port").agg(
                    pl.col("flows").sum(), (pl.col("octets_in") + pl.col("octets_out")).sum().alias("octets")
                )
                tables.append(sums.collect())
            except FAILURES as error:
                self._report(file.path, error)
        if not tables:
            return pl.DataFrame(schema={**{name: COUNTS.schema[name] for name in ("device", "time", "protocol",
                                "port", "flows")}, "octets": pl.UInt64()})  # fmt: skip
        return pl.concat(tables).group_by("device", "time", "protocol", "port").agg(pl.col("flows", "octets").sum())

    def compact(self, segment: int) -> int:
        """Merge files of the same size whose segments the store has; returns the number of files removed."""
        removed = 0
        for day in self.days():
            folder = self.folder / day.isoformat()
            files = self.files(day)
            for stale in set(_files_in(folder)) - set(files):
                stale.path.unlink(missing_ok=True)
            while run := _run([file for file in files if file.last <= segment]):
                if not self._merge(run, folder):
                    break
                for each in run:
                    each.path.unlink(missing_ok=True)
                removed += len(run)
                files = self.files(day)
        return removed

    def _merge(self, run: Sequence[SpanFile], folder: Path) -> bool:
        """Write the sums of some files as one; returns whether they could be read.

        Some devices are merged after the others, so that memory does not grow with their number. Parts are in order
        of device, and so is the file.
        """
        path = folder / f"{run[0].first:08d}-{run[-1].last:08d}.parquet"
        part = folder / f".{path.name}.part"
        merged = _merged([str(each.path) for each in run])
        try:
            with ExitStack() as stack:
                writer: Any = None
                while (rows := self._next(merged, run[0].path.parent)) is not None:
                    if writer is None:
                        writer = stack.enter_context(pq.ParquetWriter(part, rows.schema, compression="zstd"))
                    writer.write_table(rows, row_group_size=_ROW_GROUP)
            if writer is None or run[0].path.parent in self._problems:
                part.unlink(missing_ok=True)
                return False
            _put(part, path)
        except FAILURES as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise InputError(f"cannot be written: {_reason(error)}", file=path) from None
        return True

    def _next(self, merged: Iterator[Any], folder: Path) -> Any | None:
        """The next part; None at the end, or when a file cannot be read."""
        try:
            rows = next(merged, None)
        except (*FAILURES, InputError) as error:
            self._report(folder, error)
            return None
        if rows is not None:
            self._problems.pop(folder, None)
        return rows

    def remove_before(self, day: date) -> int:
        """Remove the counts of days before a day; returns the number of days."""
        old = [each for each in self.days() if each < day]
        for each in old:
            shutil.rmtree(self.folder / each.isoformat(), ignore_errors=True)
        return len(old)

    def _report(self, path: Path, error: Exception) -> None:
        text = str(error) if isinstance(error, InputError) else f"{path}: cannot be read: {_reason(error)}"
        self._problems = dict(list(self._problems.items())[-99:]) | {path: text}


class DeviceHours:
    """Octets of the hours of one device, in order; the rows of a table are read when they are wanted.

    Parameters
    ----------
    table
        ``device``, ``time``, ``octets``, sorted.
    start, length
        Rows of the device.
    """

    def __init__(self, table: pl.DataFrame, start: int, length: int) -> None:
        self._table, self._start, self._length = table, start, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[datetime, int]]:
        yield from self._table.slice(self._start, self._length).select("time", "octets").iter_rows()


def hours_of_devices(counts: pl.DataFrame) -> dict[str, DeviceHours]:
    """Octets in both directions by device and hour, of counts (:data:`ethogram.schema.COUNTS`)."""
    table = counts.group_by("device", pl.col("time").dt.truncate("1h")).agg(
        octets=pl.col("octets_out").sum() + pl.col("octets_in").sum()
    ).sort("device", "time")  # fmt: skip
    spans = table.group_by("device", maintain_order=True).agg(pl.len().alias("length"))
    starts = spans.with_columns(start=pl.col("length").cum_sum() - pl.col("length"))
    return {
        device: DeviceHours(table, start, length)
        for device, start, length in starts.select("device", "start", "length").iter_rows()
    }


def octets_by_hour(counts: pl.DataFrame) -> dict[str, Hours]:
    """As :func:`hours_of_devices`, with the rows themselves."""
    return {device: tuple(hours) for device, hours in hours_of_devices(counts).items()}


def _put(part: Path, path: Path) -> None:
    """Sync a file, and give it its name."""
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    part.replace(path)
    fsync_dir(path.parent)


def _merged(names: Sequence[str]) -> Iterator[Any]:
    """Sums of files, some devices after the others."""
    for first, last in _device_spans(names):
        in_range = pl.col("device").is_between(pl.lit(first), pl.lit(last))
        tables = [COUNTS.conform(pl.scan_parquet(name).filter(in_range).collect(), file=name) for name in names]
        yield summed_counts(pl.concat(tables)).to_arrow()


def _device_spans(names: Sequence[str]) -> list[tuple[str, str]]:
    """First and last device of parts of files, of about :data:`MERGED_ROWS` rows each; at least one part."""
    rows = pl.concat([pl.scan_parquet(name).group_by("device").len() for name in names])
    devices = rows.group_by("device").agg(pl.col("len").sum()).sort("device").collect()
    part = (devices["len"].cum_sum() - 1) // MERGED_ROWS
    spans = devices.group_by(part.alias("part"), maintain_order=True).agg(
        pl.col("device").first().alias("first"), pl.col("device").last().alias("last")
    )
    return list(spans.select("first", "last").iter_rows()) or [("", "")]


def _files_in(folder: Path) -> list[SpanFile]:
    files = []
    for path in folder.glob("*.parquet"):
        match = _NAME.fullmatch(path.name)
        if match:
            files.append(SpanFile(int(match[1]), int(match[2]), path))
    return sorted(files)


def _uncovered(files: Sequence[SpanFile]) -> list[SpanFile]:
    """Files whose span lies in no other's."""
    uncovered: list[SpanFile] = []
    for file in sorted(files, key=lambda each: (each.first, -each.last)):
        if not uncovered or file.last > uncovered[-1].last:
            uncovered.append(file)
    return uncovered


def _run(files: Sequence[SpanFile]) -> list[SpanFile]:
    """Neighbours of one tier that are enough to be merged."""
    run: list[SpanFile] = []
    for file in files:
        if run and run[-1].tier != file.tier:
            run = []
        run.append(file)
        if len(run) == FANOUT:
            return run
    return []


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]


def midnight_before(moment: datetime, days: int) -> datetime:
    """Begin of the day (UTC) that lies some days before a time.

    >>> str(midnight_before(datetime(2026, 3, 8, 17, 30, tzinfo=UTC), 7))
    '2026-03-01 00:00:00+00:00'
    """
    return (moment.astimezone(UTC) - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
