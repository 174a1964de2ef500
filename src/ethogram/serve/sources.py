"""Where the judge reads flows: segments of a collector folder, or files of a watched folder."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import polars as pl
import pyarrow

from ethogram._parse_address import parse_address, parse_mac
from ethogram.config import CountSettings
from ethogram.errors import EthogramError, InputError
from ethogram.fingerprint.count import FLOW_COLUMNS
from ethogram.fingerprint.gather import Gathering
from ethogram.flow.identity import facts_of_named, summed_facts
from ethogram.io.parquet import identity_of
from ethogram.pipeline.counts import count_inputs
from ethogram.pipeline.inputs import COUNTING
from ethogram.pipeline.read_options import ReadOptions
from ethogram.schema import COUNTS, IDENTITY, Accounting
from ethogram.serve.facts import Hours, octets_by_hour
from ethogram.serve.segments import row_groups, segments_in

__all__ = ["Batch", "CollectorSegments", "SegmentSource", "Traffic", "WatchedFolder"]

FUTURE, OLD = "ends after its arrival", "too old at its arrival"
MOST_FLOWS = 2_000_000
"""Flows after which a batch ends."""
MOST_SUMS = 64
"""Tables of sums by device and address that are held at once."""
READ_COLUMNS = (*FLOW_COLUMNS, "device_address")
"""Columns of a segment that are read: a third of what it has in memory."""
DELAYS = 10
"""Latest segments whose delay counts."""
WAIT_S = 3600
"""Facts wait this long for the first flow of their device."""
MOST_WAITING = 10_000
SETTLED_S = 10.0
"""A watched file is read when it has not changed for this long."""
_SKIPPED = (".part", ".tmp", ".swp")


@dataclass
class Traffic:
    """Traffic of one device name in a batch; ``hours`` has the octets of each hour, in order."""

    first: datetime
    last: datetime
    flows: int
    octets: int
    addresses: tuple[str, ...]
    hours: Hours = ()


@dataclass
class Batch:
    """The flows of a span of segments, counted.

    Parameters
    ----------
    first, last
        Span of segments; ``last`` is before ``first`` if there is nothing new.
    counts
        Form :data:`ethogram.schema.COUNTS`.
    traffic
        By name in the flow table.
    identity
        Identity facts (:data:`ethogram.schema.IDENTITY`).
    clock
        Time up to which the source has data.
    more
        Whether further segments are there already.
    segments, accounting
        Over these segments or files, and over their flows.
    files
        Watched files: path, octets, modification time in nanoseconds, message.
    problems
        What could not be read, one line each.
    """

    first: int
    last: int
    clock: datetime
    counts: pl.DataFrame = field(default_factory=COUNTS.empty)
    traffic: dict[str, Traffic] = field(default_factory=dict)
    identity: pl.DataFrame = field(default_factory=IDENTITY.empty)
    more: bool = False
    segments: Accounting = field(default_factory=lambda: Accounting("segments"))
    accounting: Accounting = field(default_factory=lambda: Accounting("flows"))
    files: list[tuple[str, int, int, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class SegmentSource(Protocol):
    """Gives segments in order."""

    name: str
    whole: bool
    """Whether a batch is judged at once, because no more of it will come."""

    def batch(self, after: int, until: int | None, limit: int) -> Batch:
        """Count the segments after a number, at most ``limit`` of them and none after ``until``."""
        ...


class CollectorSegments:
    """The segments of a collector folder, whether or not its collector runs.

    Its clock is the time of flows, so that days that are sent again in seconds pass in seconds: the time up to which
    segments are complete, less the delay with which flows arrive, if that is longer than exporters hold records. The
    delay is the smallest of the latest segments, so that an exporter that sends old flows does not set the clock of
    others back.

    Parameters
    ----------
    folder
        Of the collector.
    segment_s
        Length of a segment: when all segments are read, data is complete up to two segments ago.
    ahead_s
        Flows that end more than this after their arrival are not counted.
    oldest_days
        Neither are flows that began longer before it than this.
    lateness_s
        A delay up to this is usual: exporters hold records of open flows.
    names
        Gives facts of files that name devices, without devices (:data:`ethogram.schema.IDENTITY`).
    now
        Gives the time.
    """

    name = "collector"
    whole = False

    def __init__(
        self, folder: Path, segment_s: float = 60.0, ahead_s: float = 300.0, oldest_days: int = 30, *,
        lateness_s: float = 1920.0, names: Callable[[], pl.DataFrame] = IDENTITY.empty,
        counting: CountSettings = COUNTING, now: Callable[[], datetime] = lambda: datetime.now(tz=UTC),
    ) -> None:  # fmt: skip
        self.folder = folder
        self._lag, self._ahead_us = timedelta(seconds=2 * segment_s), round(ahead_s * 1e6)
        self._oldest_us = oldest_days * 86_400_000_000
        self._names, self._counting, self._now = names, counting, now
        self._lateness_us = round(lateness_s * 1e6)
        self._delays_us: deque[int] = deque(maxlen=DELAYS)
        self._waiting: pl.DataFrame | None = None  # facts of devices that have no flows yet

    def batch(self, after: int, until: int | None, limit: int) -> Batch:
        """Count the segments after a number, at most ``limit`` of them and none after ``until``.

        Raises
        ------
        InputError
            If a segment cannot be read now; one with damaged content is left out and named in the batch.
        """
        files = {n: path for n, path in segments_in(self.folder / "flows").items() if n > after}
        numbers = [n for n in files if until is None or n <= until]
        if self._waiting is None:
            self._waiting = self._facts_before(after)
        unusable: dict[int, _UnusableError] = {}
        while True:
            batch = Batch(after + 1, after, self._now() - self._lag)
            reading = _Reading(batch, Gathering(self._counting), self._waiting)
            try:
                self._read({n: files[n] for n in numbers[:limit]}, reading, unusable)
            except _UnusableError as error:  # nothing of it counts: the batch is read again without it
                unusable[error.number] = error
            else:
                break
        self._waiting = reading.waiting
        self._delays_us.extend(reading.delays_us)
        unread = [n for n in files if n > batch.last]
        batch.more = bool(unread)
        if unread:  # data is complete up to the begin of the next segment
            begin = files[unread[0]].name.partition("-")[0].rstrip("Z")
            batch.clock = datetime.strptime(begin.partition(".")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        batch.clock -= self._delay()
        batch.accounting.merge(reading.gathering.accounting)
        batch.counts = COUNTS.conform(reading.gathering.counts())
        batch.traffic = _with_hours(_traffic(reading.seen), batch.counts)
        batch.identity = self._identity(batch)
        return batch

    def _read(self, files: Mapping[int, Path], reading: _Reading, unusable: Mapping[int, _UnusableError]) -> None:
        """Count segments in order until there are enough flows; those that are unusable are reported only."""
        batch = reading.batch
        for number, path in files.items():
            batch.segments.read += 1
            batch.last = number
            if number in unusable:
                batch.segments.drop(unusable[number].reason)
                batch.problems += unusable[number].problems
                continue
            self._add(number, path, reading)
            batch.segments.used += 1
            if batch.accounting.read + reading.gathering.accounting.read >= MOST_FLOWS:
                break

    def _delay(self) -> timedelta:
        delay_us = min(self._delays_us, default=0)
        return timedelta(microseconds=delay_us if delay_us > self._lateness_us else 0)

    def _facts_before(self, after: int) -> pl.DataFrame:
        """Facts of the segments that an earlier process read last: their devices may not have had flows yet."""
        earliest = self._now() - timedelta(seconds=WAIT_S)
        paths = [path for n, path in segments_in(self.folder / "flows").items()
                 if n <= after and path.name >= f"{earliest:%Y%m%dT%H%M%S}"]  # fmt: skip
        tables = [IDENTITY.empty()]
        for path in paths:
            with contextlib.suppress(InputError):  # reported when it was read
                tables.append(identity_of(path))
        return pl.concat(tables)

    def _identity(self, batch: Batch) -> pl.DataFrame:
        """Facts of the devices that have traffic; others wait, within bounds."""
        assert self._waiting is not None
        facts = _named(batch.traffic, pl.concat([self._waiting, self._names()]))
        if self._waiting.height:
            done = facts.select("mac", "address", "fact", "value", "source")
            waiting = self._waiting.join(done, on=done.columns, how="anti", nulls_equal=True)
            since = waiting["last"].max()
            if isinstance(since, datetime):
                waiting = waiting.filter(pl.col("last") >= since - timedelta(seconds=WAIT_S))
            self._waiting = waiting.tail(MOST_WAITING)
        return facts

    def _add(self, number: int, path: Path, reading: _Reading) -> None:
        """Count one segment, a row group at a time."""
        batch, delays_us = reading.batch, []
        for flows, arrived_us in _flows_of(number, path):
            start, end = (pl.col(name).dt.timestamp("us") for name in ("start", "end"))
            future = end > arrived_us + self._ahead_us
            old = start < arrived_us - self._oldest_us
            marked = flows.with_columns(future.alias("future"), (~future & old).alias("old"))
            for name, reason in (("future", FUTURE), ("old", OLD)):
                height = int(marked[name].sum())
                batch.accounting.read += height
                batch.accounting.ignore(reason, height)
            used = marked.filter(~pl.col("future") & ~pl.col("old")).drop("future", "old")
            reading.gathering.add(used)
            if used.height:
                reading.add(_by_address(used))
                latest = used["end"].dt.timestamp("us").max()
                assert isinstance(latest, int)
                delays_us.append(max(arrived_us - latest, 0))
        if delays_us:
            reading.delays_us.append(min(delays_us))
        try:
            facts = identity_of(path)
        except InputError as error:
            batch.problems.append(str(error))
            return
        if facts.height:
            reading.waiting = summed_facts(pl.concat([reading.waiting, facts]))


class _UnusableError(Exception):
    """A segment cannot be used; it has the reason to count, and lines that report the fault."""

    def __init__(self, number: int, reason: str, *problems: str) -> None:
        super().__init__(reason)
        self.number, self.reason, self.problems = number, reason, problems


@dataclass
class _Reading:
    """A batch that is being read: what is kept of it if nothing turns out to be unusable."""

    batch: Batch
    gathering: Gathering
    waiting: pl.DataFrame
    seen: list[pl.DataFrame] = field(default_factory=list)
    delays_us: list[int] = field(default_factory=list)

    def add(self, seen: pl.DataFrame) -> None:
        """Add sums by device and address; they are summed again before they become many."""
        self.seen.append(seen)
        if len(self.seen) >= MOST_SUMS:
            self.seen = [_summed(self.seen)]


def _flows_of(number: int, path: Path) -> Iterator[tuple[pl.DataFrame, int]]:
    """Yield the row groups of a segment with their time of arrival.

    Raises
    ------
    InputError
        If it cannot be read now.
    _UnusableError
        If it is gone or damaged.
    """
    try:
        yield from row_groups(path, READ_COLUMNS)
    except FileNotFoundError:
        raise _UnusableError(number, "removed before it was read") from None
    except (pyarrow.ArrowException, pl.exceptions.PolarsError, InputError, ValueError) as error:
        reason = error.reason if isinstance(error, InputError) else str(error).partition("\n")[0]
        raise _UnusableError(number, "damaged", f"{path}: damaged, left out: {reason}") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=path) from None


def _named(traffic: dict[str, Traffic], facts: pl.DataFrame) -> pl.DataFrame:
    """Facts of files that name devices, for the devices that have traffic: by MAC, or by an address of theirs."""
    if not facts.height or not traffic:
        return IDENTITY.empty()
    rows = [(device, "address", address) for device, each in traffic.items() for address in each.addresses]
    rows += [(device, "mac", device) for device in traffic if parse_mac(device)]
    stored = pl.DataFrame(rows, schema=["device", "fact", "value"], orient="row")
    devices = pl.Series(list(traffic), dtype=pl.String)
    return IDENTITY.conform(facts_of_named(facts, stored, devices))


def _by_address(flows: pl.DataFrame) -> pl.DataFrame:
    return flows.group_by("device", address="device_address").agg(
        pl.col("start").min(), pl.col("end").max(), pl.len().alias("flows"),
        (pl.col("octets_out") + pl.col("octets_in")).sum().alias("octets"),
    )  # fmt: skip


def _with_hours(traffic: dict[str, Traffic], counts: pl.DataFrame) -> dict[str, Traffic]:
    """Add the octets of each hour, as counted."""
    for device, hours in octets_by_hour(counts).items():
        if device in traffic:
            traffic[device].hours = hours
    return traffic


def _summed(seen: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One row for each device and address."""
    return pl.concat(seen).group_by("device", "address").agg(
        pl.col("start").min(), pl.col("end").max(), pl.col("flows", "octets").sum()
    )  # fmt: skip


def _traffic(seen: Sequence[pl.DataFrame]) -> dict[str, Traffic]:
    if not seen:
        return {}
    # The address of a device is its latest IPv4 address, else a global IPv6 address, else a link-local one.
    pairs = _summed(seen).with_columns(
        pl.col("address").str.starts_with("fe80:").alias("link"), pl.col("address").str.contains(":").alias("six")
    ).sort("link", "six", "end", "address", descending=[False, False, True, False])
    by_device = pairs.group_by("device", maintain_order=True).agg(
        pl.col("start").min(), pl.col("end").max(), pl.col("flows", "octets").sum(), pl.col("address").head(16)
    )  # fmt: skip
    return {
        row["device"]: Traffic(row["start"], max(row["end"], row["start"]), row["flows"], row["octets"],
                               tuple(row["address"]))
        for row in by_device.iter_rows(named=True)
    }  # fmt: skip


class WatchedFolder:
    """Files that appear in a folder: captures, Zeek logs, nfdump files, Parquet; each is one segment.

    Files are read in order of their modification time, when they have not changed for a while. A file that grows or is
    replaced after it was read is not read again, and named.

    Parameters
    ----------
    folder
        Is not written.
    reading
        How files become flows of devices.
    known
        Gives the files that were read: octets and modification time in nanoseconds by path.
    settled_s
        Time without a change.
    """

    name = "watched"
    whole = True

    def __init__(
        self, folder: Path, reading: ReadOptions | None = None, *,
        known: Callable[[], dict[str, tuple[int, int]]], settled_s: float = SETTLED_S,
        now: Callable[[], datetime] = lambda: datetime.now(tz=UTC),
    ) -> None:  # fmt: skip
        self.folder = folder
        self._reading, self._known, self._settled_s, self._now = reading or ReadOptions(), known, settled_s, now
        self._clock: datetime | None = None

    def waiting(self) -> list[Path]:
        """Files that are complete and were not read, the oldest first.

        Raises
        ------
        InputError
            If the folder cannot be read.
        """
        known, limit = self._known(), self._now().timestamp() - self._settled_s
        paths: list[tuple[int, Path]] = []
        try:
            for root, folders, names in os.walk(self.folder, onerror=_raise):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for name in names:
                    path = Path(root) / name
                    if name.startswith(".") or name.endswith(_SKIPPED) or str(path) in known:
                        continue
                    status = path.stat()
                    if status.st_mtime <= limit and path.is_file():
                        paths.append((status.st_mtime_ns, path))
        except FileNotFoundError as error:
            if not self.folder.is_dir():
                raise InputError("there is no such folder", file=self.folder) from None
            raise InputError(f"cannot be read: {error.strerror}", file=error.filename) from None
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", file=error.filename) from None
        return [path for _, path in sorted(paths)]

    def batch(self, after: int, until: int | None, limit: int) -> Batch:  # noqa: ARG002 (one file at a time)
        """Count the next file; its number is the one after ``after``."""
        waiting = self.waiting()
        if not waiting:
            return Batch(after + 1, after, self._clock or self._now())
        path = waiting[0]
        status = path.stat()
        batch = Batch(after + 1, after + 1, self._clock or self._now(), more=len(waiting) > 1)
        message = ""
        batch.segments.read = 1
        try:
            counted = count_inputs([path], COUNTING, self._reading)
        except EthogramError as error:
            message = str(error)
            batch.segments.drop("unreadable")
            batch.problems.append(message)
        else:
            batch.segments.used = 1
            batch.counts = COUNTS.conform(counted.gathering.counts())
            batch.accounting.merge(counted.gathering.accounting)
            batch.identity = counted.identity
            batch.problems += counted.log.errors
            message = "; ".join(counted.log.errors)
            batch.traffic = _with_hours(_traffic_of_counts(batch.counts, counted.identity), batch.counts)
            if batch.traffic:
                latest = min(max(each.last for each in batch.traffic.values()), self._now())
                batch.clock = self._clock = max(self._clock or latest, latest)
        batch.files = [(str(path), status.st_size, status.st_mtime_ns, message)]
        return batch


def _raise(error: OSError) -> None:
    raise error


def _traffic_of_counts(counts: pl.DataFrame, identity: pl.DataFrame) -> dict[str, Traffic]:
    """Traffic by the hour, where flows themselves are not at hand."""
    rows = counts.group_by("device").agg(
        pl.col("time").min().alias("first"), pl.col("time").max().alias("last"), pl.col("flows").sum(),
        (pl.col("octets_out") + pl.col("octets_in")).sum().alias("octets"),
    ).sort("device")  # fmt: skip
    addresses: dict[str, list[str]] = {}
    known = identity.filter(pl.col("fact") == "address", pl.col("device").is_not_null())
    for device, value in known.sort("last", descending=True, nulls_last=True).select("device", "value").iter_rows():
        addresses.setdefault(device, []).append(value)
    traffic = {}
    for row in rows.iter_rows(named=True):
        device = row["device"]
        stated = addresses.get(device) or ([device] if parse_address(device) and not parse_mac(device) else [])
        traffic[device] = Traffic(row["first"], row["last"] + timedelta(hours=1), row["flows"], row["octets"],
                                  tuple(stated[:16]))  # fmt: skip
    return traffic
