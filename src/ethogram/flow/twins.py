"""Flows that an exporter saw twice: on the way into it and, by another interface, on the way out."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram.flow.arrival import BEGINNING, UNKNOWN, Arrival
from ethogram.flow.numbers import secret
from ethogram.flow.tuples import tuples_of
from ethogram.flow.twin_match import FIRST, SECOND, twins
from ethogram.schema import Accounting

__all__ = ["Twins"]

_MAX_HELD = 1 << 20
_WAIT_US = 60_000_000  # both are sent when the same flow has ended, but from two caches
_COUNTS = ("octets", "packets", "reverse_octets", "reverse_packets")


@dataclass(frozen=True)
class _Seen:
    """What is remembered of N records."""

    one: NDArray[np.uint64]
    two: NDArray[np.uint64]
    swapped: NDArray[np.uint8]
    direction: NDArray[np.uint8]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    octets: NDArray[np.uint64]
    packets: NDArray[np.uint64]
    seen: NDArray[np.int64]

    def chosen(self, rows: NDArray[np.bool_]) -> _Seen:
        return _Seen(*(getattr(self, each.name)[rows] for each in fields(self)))

    def with_more(self, other: _Seen) -> _Seen:
        return _Seen(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))


class Twins:
    """Takes out the second record of a flow that was exported on the way in and on the way out.

    Two records are twins when their five-tuple and its direction are the same, ``direction`` is 0 in one and 1 in the
    other, they overlap in time, and packets and octets are equal or nearly so. The one on the way in stays, since it
    has the device's own MAC; the other way round only when it had already left with an earlier block. Without
    ``direction`` there are no twins. Of exporters that sample, twins differ and cannot be told.

    Attributes
    ----------
    accounting
        Over the unit ``records``; those taken out are counted as corrections. Records are remembered for a minute by
        the clock (:class:`ethogram.flow.arrival.Arrival`), once both directions were seen; at most about a million.
    """

    def __init__(self) -> None:
        self.accounting = Accounting("records")
        self._directions: set[int] = set()
        self._clock = BEGINNING
        self._seed = 0  # drawn at first use: it belongs to the keys that are held, and is kept with them
        self._seen: _Seen | None = None

    def without(self, block: pl.DataFrame, arrival: Arrival = UNKNOWN) -> pl.DataFrame:
        """The records of a block but for the twins of others.

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
        new = self._read(block[pl.Series(row)], arrival)
        held = 0 if self._seen is None else len(self._seen.one)
        all_ = new if self._seen is None else self._seen.with_more(new)
        found = np.zeros(len(all_.one), np.uint8)
        twins(
            all_.one,
            all_.two,
            all_.swapped,
            all_.direction,
            all_.start,
            all_.end,
            all_.octets,
            all_.packets,
            held,
            found,
        )
        gone = row[found[held:] == SECOND]
        # What found its twin needs no memory: a third record would be another flow.
        waits = (found != SECOND) & (found != FIRST) & (np.minimum(all_.seen, arrival.at_us) + _WAIT_US >= self._clock)
        waits[np.flatnonzero(waits)[:-_MAX_HELD]] = False
        self._seen = all_.chosen(waits)
        self.accounting.read += len(row)
        self.accounting.used += len(row)
        self.accounting.correct("seen on the way in and on the way out", len(gone))
        stays = np.ones(block.height, np.bool_)
        stays[gone] = False
        return block.filter(pl.Series(stays)) if len(gone) else block

    def _read(self, rows: pl.DataFrame, arrival: Arrival) -> _Seen:
        self._seed = self._seed or secret()
        tuples = tuples_of(rows, self._seed)
        start = column(rows["start"].to_physical())
        before = min(self._clock, arrival.at_us)
        least, ahead = before + arrival.passed_us, start > arrival.at_us
        seen = np.maximum(np.maximum.accumulate(np.where(ahead, BEGINNING, start)), before)
        self._clock = max(int(seen[-1]) if len(seen) else before, least)
        seen = np.where(ahead, np.maximum(seen, least), seen)
        octets, packets, more_octets, more_packets = (column(rows[name]) for name in _COUNTS)
        return _Seen(
            tuples.one, tuples.two, tuples.swapped, column(rows["direction"]), start,
            column(rows["end"].to_physical()), _capped_sum(octets, more_octets), _capped_sum(packets, more_packets),
            seen,
        )  # fmt: skip


def _capped_sum(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    total = one + other
    total[total < one] = np.iinfo(np.uint64).max
    return total
