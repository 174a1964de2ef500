"""Forgetting a device: its rows leave every file of the data folder, then the store.

Files are rewritten whole, or not at all: a new file takes the place of the old one by a rename. A request is open
until the rows of the store are deleted, so what a crash left is done again. Flows of other devices with this one stay,
without its address and names.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet

from ethogram._files import atomic_write, fsync_dir
from ethogram.errors import EthogramError, InputError
from ethogram.fingerprint.state import forget_devices
from ethogram.io.parquet import identity_of, identity_text, parse_identity
from ethogram.pipeline.stage_state import StageState
from ethogram.schema import COUNTS, ForgetRequest, NameSpan
from ethogram.serve.facts import FAILURES
from ethogram.serve.segments import SegmentName, SegmentWriter, row_groups, segments_in
from ethogram.serve.state import SUFFIX, load_state, numbers_in, save_state
from ethogram.serve.stored_counts import StoredCounts

__all__ = ["forget_files"]

HOUR = timedelta(hours=1)
_NAMES = ("remote_name", "remote_domain")
_NOWHERE = "0.0.0.0"  # noqa: S104 (the unspecified address, not a place to listen)
_EXPORTER = r"exporter-(\d+)"


def forget_files(
    request: ForgetRequest, counts: StoredCounts, collector: Path, *, dry_run: bool = False
) -> dict[str, int]:
    """Remove a device from the files of counts and of a collector; returns the number of rows by kind of file.

    Parameters
    ----------
    request
        What identifies the device.
    counts
        The stored counts.
    collector
        Folder of a collector that does not run.
    dry_run
        Only count.

    Raises
    ------
    InputError
        If a collector writes to the folder, or a file cannot be read or written; the rest can be done again.
    """
    rows: Counter[str] = Counter()
    with contextlib.nullcontext() if dry_run else _locked(collector):
        try:
            for facts in counts.by_source.values():
                for day in facts.days():
                    for file in facts.files(day):
                        rows["counts"] += _counts(file.path, request, dry_run)
            for path in segments_in(collector / "flows").values():
                rows["flows"] += _segment(path, request, dry_run)
            for path in (*segments_in(collector / "fingerprints").values(), collector / "open.parquet"):
                if path.exists():
                    rows["fingerprints"] += _fingerprints(path, request, dry_run)
            if not dry_run:
                _state(collector / "state", request)
        except (*FAILURES, pyarrow.ArrowException) as error:
            reason = str(getattr(error, "strerror", None) or error).partition("\n")[0]
            raise InputError(f"cannot be rewritten: {reason}", file=getattr(error, "filename", None)) from None
    return dict(rows)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a collector's folder, if there is one."""
    if not folder.is_dir():
        yield
        return
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("a collector writes to this folder: stop it to forget a device", file=folder) from None
        yield
    finally:
        os.close(lock)


def _of_device(spans: tuple[NameSpan, ...], name: str, time: str) -> pl.Expr:
    """Rows with one of the names, at a time at which it was the device's."""
    alone = [span.value for span in spans if span.alone]
    of_device = pl.col(name).cast(pl.String).is_in(alone)
    for span in spans:
        if not span.alone:
            inside = pl.col(time).is_between(span.first - HOUR, span.last + HOUR)
            of_device |= (pl.col(name).cast(pl.String) == span.value) & inside
    return of_device.fill_null(value=False)


def _host(column: str, request: ForgetRequest) -> pl.Expr:
    """Values that are a host name of the device, alone or with a domain."""
    text = pl.col(column).cast(pl.String).str.to_lowercase()
    names = [name.lower() for name in request.host_names]
    return (text.is_in(names) | text.str.split(".").list.first().is_in(names)).fill_null(value=False)


def _replaced(path: Path, write: Callable[[Path], None]) -> None:
    with atomic_write(path) as part:
        write(part)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
    fsync_dir(path.parent)


def _counts(path: Path, request: ForgetRequest, dry_run: bool) -> int:
    frame = pl.read_parquet(path, memory_map=False)
    gone, named = (frame.select(rows.alias("rows"))["rows"]
                   for rows in (_of_device(request.names, "device", "time"), _host("name", request)))  # fmt: skip
    count = int((gone | named).sum())
    if count and not dry_run:
        rest = COUNTS.conform(
            frame.with_columns(name=pl.when(named).then(None).otherwise(pl.col("name"))).filter(~gone)
        )
        if rest.height:
            _replaced(path, lambda part: rest.write_parquet(part, compression="zstd", row_group_size=1 << 16,
                                                            statistics=True))  # fmt: skip
        else:
            path.unlink()
            fsync_dir(path.parent)
    return count


def _segment(path: Path, request: ForgetRequest, dry_run: bool) -> int:
    """Rewrite a segment with the same row groups, so that their times of arrival stay."""
    groups = list(row_groups(path))
    facts = identity_of(path)
    rest = _facts(facts, request)
    remote, count = _of_device(request.addresses, "remote", "start"), 0
    remaining: list[tuple[pl.DataFrame, int]] = []
    for flows, arrived_us in groups:
        marks = flows.select(gone=_of_device(request.names, "device", "start"), other=remote,
                             **{name: _host(name, request) for name in _NAMES})  # fmt: skip
        count += int(marks.select(pl.any_horizontal(pl.all()).sum()).item())
        changed = flows.with_columns(
            pl.when(marks["other"]).then(pl.lit(_NOWHERE)).otherwise(pl.col("remote")).alias("remote"),
            *(pl.when(marks["other"] | marks[name]).then(None).otherwise(pl.col(name)).alias(name) for name in _NAMES),
        )  # fmt: skip
        remaining.append((changed.filter(~marks["gone"]), arrived_us))
    if (not count and rest.height == facts.height) or dry_run:
        return count
    number = SegmentName.parse(path.name.removesuffix(".parquet"))
    writer = SegmentWriter(path.parent, number)
    for flows, arrived_us in remaining:
        writer.write(flows, arrived_us)
    if writer.rows:
        writer.close(rest)
        writer.commit()
    else:
        path.unlink()
        fsync_dir(path.parent)
    return count


def _facts(facts: pl.DataFrame, request: ForgetRequest) -> pl.DataFrame:
    """Identity facts that do not name the device."""
    addresses = [span.value for span in request.addresses if span.alone]
    texts = [*addresses, *request.macs, *(span.value for span in request.names if span.alone)]
    names = [name.lower() for name in request.host_names]
    hit = pl.any_horizontal(pl.col("device", "mac", "address", "value").cast(pl.String).is_in(texts).fill_null(False))
    return facts.filter(~(hit | pl.col("value").str.to_lowercase().is_in(names)))


def _fingerprints(path: Path, request: ForgetRequest, dry_run: bool) -> int:
    with pyarrow.parquet.ParquetFile(path) as file:
        table = file.read()
    frame = pl.DataFrame(pl.from_arrow(table)).with_row_index("row")
    gone = frame.filter(_of_device(request.names, "device", "start"))["row"]
    if len(gone) and not dry_run:
        keep = frame.filter(~pl.col("row").is_in(gone.implode()))["row"].to_arrow()
        if len(keep):
            _replaced(path, lambda part: pyarrow.parquet.write_table(table.take(keep), part, compression="zstd"))
        else:
            path.unlink()
            fsync_dir(path.parent)
    return len(gone)


def _state(folder: Path, request: ForgetRequest) -> None:
    """Remove the device from the state of a collector; what flow stages remembered of all devices is learnt again."""
    for path in segments_in(folder, SUFFIX).values():
        try:
            state = load_state(path)
            facts = parse_identity(state.output.get("identity"), path)
        except EthogramError:  # it could not be resumed either
            path.unlink(missing_ok=True)
            continue
        rest = _facts(facts, request)
        state.stages = StageState()
        state.output["identity"] = identity_text(rest) if rest.height else None
        save_state(folder, SegmentName.parse(path.name.removesuffix(SUFFIX)), state)
    names = {span.value for span in request.names if span.alone}
    for path in numbers_in(folder, _EXPORTER).values():
        forget_devices(path, names)
