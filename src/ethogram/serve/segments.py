"""Flow tables on disk by arrival time: each file appears when it is complete, and never changes afterwards."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import polars as pl
import pyarrow
import pyarrow.parquet

from ethogram._files import fsync_dir
from ethogram.errors import InputError
from ethogram.io.parquet import IDENTITY_KEY, identity_text
from ethogram.schema import FLOW, FLOW_METADATA

__all__ = ["SegmentName", "SegmentWriter", "row_groups", "segments_in"]

ROW_GROUP = 1 << 20
ARRIVED = "ethogram.arrived_us"
"""Metadata: arrival time of the flows of each row group, in microseconds since 1970."""
STATISTICS = ["device", "start", "end"]  # columns by which files are filtered
_NAME = re.compile(r"^(\d{8}T\d{6}(?:\.\d+)?Z)-(\d{8,})$")


@dataclass(frozen=True, order=True)
class SegmentName:
    """Name of a segment: its increasing number and the arrival time at which it begins."""

    number: int
    start_ns: int

    @classmethod
    def parse(cls, stem: str) -> SegmentName:
        """The name of a file without suffix.

        >>> SegmentName.parse("20231114T221400.5Z-00000012").start_ns
        1700000040500000000
        """
        begin, _, number = stem.rpartition("-")
        second, _, part = begin.rstrip("Z").partition(".")
        moment = datetime.strptime(second, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        return cls(int(number), int(moment.timestamp()) * 1_000_000_000 + int(part.ljust(9, "0")))

    @property
    def stem(self) -> str:
        """File name without suffix; names sort in order of writing.

        >>> SegmentName(12, 1_700_000_040_000_000_000).stem
        '20231114T221400Z-00000012'
        """
        moment = datetime.fromtimestamp(self.start_ns // 1_000_000_000, tz=UTC)
        part = f"{self.start_ns % 1_000_000_000:09d}".rstrip("0")
        return f"{moment:%Y%m%dT%H%M%S}{'.' + part if part else ''}Z-{self.number:08d}"


def segments_in(folder: Path, suffix: str = ".parquet") -> dict[int, Path]:
    """Segments of a folder by number, in order."""
    segments = {}
    for path in folder.glob(f"*{suffix}"):
        match = _NAME.match(path.name.removesuffix(suffix))
        if match:
            segments[int(match[2])] = path
    return dict(sorted(segments.items()))


def row_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[pl.DataFrame, int]]:
    """Yield the flows of a segment as written, with the arrival time of each part in microseconds since 1970.

    Parameters
    ----------
    path
        File of the segment.
    columns
        The columns that are needed; None: all.
    """
    with pyarrow.parquet.ParquetFile(path) as file:
        saved = (file.metadata.metadata or {}).get(ARRIVED.encode())
        # Earlier versions did not store it; the flows had arrived when the file was written.
        arrived_us = orjson.loads(saved) if saved else [path.stat().st_mtime_ns // 1000] * file.num_row_groups
        part = columns is not None and set(columns) <= set(file.schema_arrow.names)
        for group in range(file.num_row_groups):
            flows = pl.DataFrame(file.read_row_group(group, columns=list(columns or ()) if part else None))
            if part:
                yield flows.select(pl.col(name).cast(FLOW.schema[name]) for name in columns or ()), arrived_us[group]
            else:  # also of an earlier version, which had fewer columns
                yield FLOW.conform(flows, file=str(path)), arrived_us[group]


class SegmentWriter:
    """A growing segment with a name that readers ignore.

    Parameters
    ----------
    folder
        Destination folder.
    name
        Final name.

    Attributes
    ----------
    rows
        Rows written so far.
    """

    SCHEMA: pyarrow.Schema = (
        FLOW.empty().to_arrow(compat_level=pl.CompatLevel.oldest()).schema.with_metadata(FLOW_METADATA)
    )

    def __init__(self, folder: Path, name: SegmentName) -> None:
        self.path = folder / f"{name.stem}.parquet"
        self.rows = 0
        self._part = folder / f".{name.stem}.part"
        self._writer: pyarrow.parquet.ParquetWriter | None = None
        self._arrived_us: list[int] = []  # one per row group

    def write(self, flows: pl.DataFrame, arrived_us: int) -> None:
        """Add flows that had arrived by this time, as one or more row groups.

        Raises
        ------
        InputError
            If they cannot be written; the segment is then void.
        """
        if not flows.height:
            return
        try:
            if self._writer is None:
                texts = [each.name for each in self.SCHEMA if not pyarrow.types.is_primitive(each.type)]
                # Dictionaries and statistics of numbers would take a quarter of the writing time without benefit.
                self._writer = pyarrow.parquet.ParquetWriter(
                    self._part, self.SCHEMA, compression="zstd", use_dictionary=texts, write_statistics=STATISTICS
                )
            table = flows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self.SCHEMA)
            self._writer.write_table(table, row_group_size=ROW_GROUP)
        except (OSError, pyarrow.ArrowException) as error:
            self.abandon()
            raise InputError(f"cannot be written: {_reason(error)}", file=self.path) from None
        self.rows += flows.height
        self._arrived_us += [arrived_us] * -(-flows.height // ROW_GROUP)

    def close(self, identity: pl.DataFrame | None = None) -> None:
        """Finish and sync the file under its hidden name.

        Parameters
        ----------
        identity
            Facts that the records of the segment state (:data:`ethogram.schema.IDENTITY`), stored as metadata.

        Raises
        ------
        InputError
            If it cannot be written; the segment is then void.
        """
        if self._writer is None:
            return
        try:
            metadata = {ARRIVED: orjson.dumps(self._arrived_us).decode()}
            if identity is not None and identity.height:
                metadata[IDENTITY_KEY] = identity_text(identity)
            self._writer.add_key_value_metadata(metadata)
            self._writer.close()
            with self._part.open("rb") as stream:
                os.fsync(stream.fileno())
        except (OSError, pyarrow.ArrowException) as error:
            self.abandon()
            raise InputError(f"cannot be written: {_reason(error)}", file=self.path) from None

    def commit(self) -> None:
        """Rename the file to its final name; without rows there is no file."""
        if self.rows:
            self._part.replace(self.path)
            fsync_dir(self.path.parent)

    def abandon(self) -> None:
        """Remove the incomplete file."""
        if self._writer is not None:
            with contextlib.suppress(OSError, pyarrow.ArrowException):
                self._writer.close()
            self._writer = None
        with contextlib.suppress(OSError):  # a file that cannot be written often cannot be removed
            self._part.unlink(missing_ok=True)
        self.rows = 0


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).partition("\n")[0]
