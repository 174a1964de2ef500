"""Files of custom flows as blocks that are read on demand, and their days: some to learn from, later ones held out.

In memory is one day number per flow; the flows themselves are read a row group at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from ethogram.config import TrainingSettings
from ethogram.errors import ConfigurationError, InputError
from ethogram.identify.split import FlowDays, Split
from ethogram.io.open_files import expand
from ethogram.pipeline.vector_files import VectorFile
from ethogram.schema import ALWAYS, CUSTOM_FLOW, CustomFlows, TimeSpan

__all__ = ["DayBlocks", "FlowFiles", "TrainingFlows", "day_text"]

DAY_US = 86_400_000_000
READ_OCTETS = 1 << 22


class FlowFiles:
    """Custom flows of some files.

    Parameters
    ----------
    inputs
        Files, directories and globs of custom flows (Parquet) of one direction.

    Attributes
    ----------
    digest
        Of the files' content, whatever their names and order.
    direction
        ``outgoing`` or ``bidirectional``.
    days
        Day of each flow since 1970-01-01 (UTC), int32, by block.

    Raises
    ------
    InputError
        When a file holds no custom flows of ours, or directions differ.
    """

    def __init__(self, inputs: Sequence[str | Path]) -> None:
        files = [
            (path, VectorFile(path)) for path, named in expand(inputs) if named or path.suffix in {".parquet", ".pq"}
        ]
        if not files:
            raise InputError("no custom flows (Parquet) there", file=str(inputs[0]))
        for path, file in files:
            if file.published:
                raise InputError("of the published layout: 'ethogram vectors' makes custom flows of it", file=path)
        directions = {file.direction for _, file in files}
        if len(directions) > 1:
            raise InputError("outgoing and bidirectional flows do not go together")
        self.paths = [path for path, _ in files]
        self.direction = directions.pop()
        self._files = [pyarrow.parquet.ParquetFile(path) for path in self.paths]
        self.groups = [(i, j) for i, file in enumerate(self._files) for j in range(file.metadata.num_row_groups)]
        self.days = [self._days(i, j) for i, j in self.groups]
        if not len(self):
            raise InputError("no custom flows in it", file=self.paths[0])
        self.digest = _content(self.paths)

    def __len__(self) -> int:
        return sum(map(len, self.days))

    def _table(self, file: int, group: int, columns: list[str]) -> pyarrow.Table:
        try:
            return self._files[file].read_row_group(group, columns=columns)
        except (OSError, pyarrow.ArrowException) as error:
            raise InputError(f"damaged Parquet file: {str(error).splitlines()[0]}", file=self.paths[file]) from None

    def _days(self, file: int, group: int) -> NDArray[np.int32]:
        start = self._table(file, group, ["start"])["start"].combine_chunks().cast(pyarrow.int64())
        return np.asarray(start.to_numpy(zero_copy_only=False) // DAY_US, np.int32)

    def block(self, number: int) -> CustomFlows:
        """The flows of one row group."""
        file, group = self.groups[number]
        return CustomFlows.of_arrow(self._table(file, group, CUSTOM_FLOW.names), file=self.paths[file])


@dataclass(frozen=True)
class DayBlocks:
    """Some flows of the files, block by block: :class:`ethogram.representation.training.FlowBlocks`."""

    files: FlowFiles
    blocks: tuple[int, ...]
    rows: tuple[NDArray[np.int64], ...]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Flows of each block."""
        return np.array([len(rows) for rows in self.rows], np.int64)

    def read(self, block: int) -> CustomFlows:
        """The selected flows of one block, in the file's order."""
        flows = self.files.block(self.blocks[block])
        rows = self.rows[block]
        return flows if len(rows) == len(flows) else flows.take(rows)

    def days(self) -> NDArray[np.int32]:
        """Days of its flows, ascending."""
        days_by_block = [self.files.days[block][rows] for block, rows in zip(self.blocks, self.rows, strict=True)]
        return np.unique(np.concatenate(days_by_block)) if days_by_block else np.zeros(0, np.int32)

    def flow_days(self) -> FlowDays:
        """Its days as a side of a split, with one row per day; the devices are not read."""
        days = self.days().astype(np.int64)
        return FlowDays("", pl.Series([""] * days.size, dtype=pl.String), days, np.arange(days.size))


@dataclass(frozen=True)
class TrainingFlows:
    """Flows to learn from, and flows of later days for early stopping.

    Parameters
    ----------
    train
        Flows of the first days.
    held_out
        Some flows of the last days; None when none are held out.
    """

    train: DayBlocks
    held_out: DayBlocks | None

    @classmethod
    def of(cls, files: FlowFiles, settings: TrainingSettings, span: TimeSpan = ALWAYS) -> TrainingFlows:
        """Hold out the last days, and leave a gap before them; only days in ``span``, and the day of its begin.

        Raises
        ------
        ConfigurationError
            When no day is left to learn from.
        """
        days = np.unique(np.concatenate(files.days))
        whole = (int(days[0]), int(days[-1]))
        first_day = whole[0] if span.begin_us is None else span.begin_us // DAY_US
        end_day = whole[1] + 1 if span.end_us is None else -(-span.end_us // DAY_US)
        days = days[(days >= first_day) & (days < end_day)]
        if not days.size:
            raise ConfigurationError(
                f"no flows of the days asked for; there are those from {day_text(whole[0])} to {day_text(whole[1])}"
            )
        count = 0 if settings.held_out == 0 else max(1, round(settings.held_out * len(days)))
        last = days[len(days) - count :]
        first_held_out = int(last[0]) if count else int(days[-1]) + 1
        until = first_held_out - (settings.gap_days if count else 0)
        train = _select(files, lambda day: (day >= first_day) & (day < until))
        if not train.blocks:
            raise ConfigurationError(
                f"{len(days)} days of flows: with {count} held out and a gap of {settings.gap_days} none is left to"
                " learn from; hold out less (--held-out 0: nothing) or leave no gap (--gap-days 0)"
            )
        if not count:
            return cls(train, None)
        later = _select(files, lambda day: (day >= first_held_out) & (day < end_day))
        held_out = _sample(later, settings.held_out_flows)
        sides = {"train": train.flow_days(), "held out": held_out.flow_days()}
        Split("pretraining", "day", sides, settings.gap_days)  # raises an error if days are shared
        return cls(train, held_out)


def _select(files: FlowFiles, wanted: Callable[[NDArray[np.int32]], NDArray[np.bool_]]) -> DayBlocks:
    rows = [np.flatnonzero(wanted(days)) for days in files.days]
    blocks = tuple(i for i, some in enumerate(rows) if len(some))
    return DayBlocks(files, blocks, tuple(rows[i] for i in blocks))


def _sample(part: DayBlocks, flows: int) -> DayBlocks:
    """At most so many flows, drawn evenly and always the same ones."""
    sizes = part.sizes
    total = int(sizes.sum())
    if total <= flows:
        return part
    drawn = np.sort(np.random.default_rng(0).choice(total, flows, replace=False))
    first = np.concatenate([[0], np.cumsum(sizes)])
    edges = np.searchsorted(drawn, first)
    rows = [part.rows[i][drawn[edges[i] : edges[i + 1]] - first[i]] for i in range(len(sizes))]
    nonempty = [i for i, some in enumerate(rows) if len(some)]
    return DayBlocks(part.files, tuple(part.blocks[i] for i in nonempty), tuple(rows[i] for i in nonempty))


def _content(paths: Sequence[Path]) -> str:
    """Sixteen hexadecimal digits over the content of all files."""
    each = []
    for path in paths:
        total = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(READ_OCTETS):
                total.update(block)
        each.append(total.hexdigest())
    return hashlib.sha256(" ".join(sorted(each)).encode()).hexdigest()[:16]


def day_text(day: int) -> str:
    """A day number as a date.

    >>> day_text(19_723)
    '2024-01-01'
    """
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=int(day)):%Y-%m-%d}"
