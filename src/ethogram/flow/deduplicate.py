"""Remove flows that one exporter observed twice: at its ingress and at its egress interface."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram.flow.arrival import BEGINNING, UNKNOWN, Arrival
from ethogram.flow.dedup_kernel import DUPLICATE, mark_duplicates
from ethogram.flow.factorize import hash_seed
from ethogram.flow.five_tuple import five_tuple_keys
from ethogram.schema import Accounting

__all__ = ["Deduplicator"]

_MAX_HELD = 1 << 20
_WAIT_US = 60_000_000  # both records are sent when the flow has ended, but from two caches
_COUNTS = ("octets", "packets", "reverse_octets", "reverse_packets")


@dataclass(frozen=True)
class _EmittedRecords:
    """Columns of N records, remembered to be compared with later ones.

    ``seen`` is the time of the clock when each arrived. Saved states hold these arrays under the names of the fields.
    """

    one: NDArray[np.uint64]
    two: NDArray[np.uint64]
    swapped: NDArray[np.uint8]
    direction: NDArray[np.uint8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    octets: NDArray[np.uint64]
    packets: NDArray[np.uint64]
    seen: NDArray[np.int64]

    @staticmethod
    def none() -> _EmittedRecords:
        """No records."""
        hashes, small, times = np.empty(0, np.uint64), np.empty(0, np.uint8), np.empty(0, np.int64)
        return _EmittedRecords(hashes, hashes, small, small, times, times, hashes, hashes, times)

    def __len__(self) -> int:
        return len(self.one)

    def __getitem__(self, rows: NDArray[np.bool_]) -> _EmittedRecords:
        return _EmittedRecords(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __add__(self, other: _EmittedRecords) -> _EmittedRecords:
        return _EmittedRecords(*(
            np.concatenate([getattr(self, field.name), getattr(other, field.name)]) for field in fields(self)
        ))  # fmt: skip


class Deduplicator:
    """Removes the second record of a flow that was exported at ingress and at egress.

    Two records are duplicates when they agree in the five-tuple and its direction, ``direction`` is 0 (ingress) in one
    and 1 (egress) in the other, they overlap in time, and their packets and octets are equal or nearly so. The ingress
    record is kept, because it carries the device's own MAC, unless the egress record was already emitted with an
    earlier block. Records without ``direction`` are never duplicates. Duplicates of sampling exporters have different
    counters and are not recognised.

    Attributes
    ----------
    accounting
        Over the unit ``records``; removed records are counted as corrections.

    Notes
    -----
    Once both directions have been seen, records are remembered for a minute by the clock
    (:class:`ethogram.flow.arrival.Arrival`), about a million at most.
    """

    def __init__(self) -> None:
        self.accounting = Accounting("records")
        self._directions: set[int] = set()
        self._clock = BEGINNING
        self._seed = 0  # drawn on first use and saved with the keys, which depend on it
        self._emitted = _EmittedRecords.none()

    def remove(self, block: pl.DataFrame, arrival: Arrival = UNKNOWN) -> pl.DataFrame:
        """Remove the duplicates from a block.

        Parameters
        ----------
        block
            Form :data:`ethogram.schema.BIFLOW`.
        arrival
            When the block arrived; bounds the clock.
        """
        if block["direction"].null_count() == block.height:
            return block
        self._directions |= set(block["direction"].drop_nulls().unique())
        if not {0, 1} <= self._directions:
            return block
        row = np.flatnonzero(column(block["direction"].is_not_null()))
        held = len(self._emitted)
        records = self._emitted + self._read(block[pl.Series(row)], arrival)
        mark = np.zeros(len(records), np.uint8)
        mark_duplicates(
            records.one, records.two, records.swapped, records.direction, records.start, records.end, records.octets,
            records.packets, held, mark,
        )  # fmt: skip
        duplicates = row[mark[held:] == DUPLICATE]
        # A record whose duplicate was found is forgotten: a third record would be another flow.
        remember = (mark == 0) & (np.minimum(records.seen, arrival.at_us) + _WAIT_US >= self._clock)
        remember[np.flatnonzero(remember)[:-_MAX_HELD]] = False
        self._emitted = records[remember]
        self.accounting.read += len(row)
        self.accounting.used += len(row)
        self.accounting.correct("seen on the way in and on the way out", len(duplicates))
        if not len(duplicates):
            return block
        keep = np.ones(block.height, np.bool_)
        keep[duplicates] = False
        return block.filter(pl.Series(keep))

    def _read(self, rows: pl.DataFrame, arrival: Arrival) -> _EmittedRecords:
        """Columns of new records; advances the clock."""
        self._seed = self._seed or hash_seed()
        keys = five_tuple_keys(rows, self._seed)
        start = column(rows["start"].to_physical())
        before = min(self._clock, arrival.at_us)
        least, ahead = before + arrival.passed_us, start > arrival.at_us
        seen = np.maximum(np.maximum.accumulate(np.where(ahead, BEGINNING, start)), before)
        self._clock = max(int(seen[-1]) if len(seen) else before, least)
        seen = np.where(ahead, np.maximum(seen, least), seen)
        octets, packets, reverse_octets, reverse_packets = (column(rows[name]) for name in _COUNTS)
        return _EmittedRecords(
            keys.key_a, keys.key_b, keys.swapped, column(rows["direction"]), start, column(rows["end"].to_physical()),
            _capped_sum(octets, reverse_octets), _capped_sum(packets, reverse_packets), seen,
        )  # fmt: skip


def _capped_sum(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    total = a + b
    total[total < a] = np.iinfo(np.uint64).max
    return total
