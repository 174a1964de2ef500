"""Join records that were cut at the active timeout: a biflow with its continuation, a half with its own.

Records of one five-tuple are processed in order of start; five-tuples without a cut record are skipped.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from ethogram._arrays import column
from ethogram.flow.arrival import BEGINNING, UNKNOWN, Arrival
from ethogram.flow.factorize import hash_seed
from ethogram.flow.five_tuple import five_tuple_keys
from ethogram.flow.join_kernel import directed_keys, number_chains, shares_marked_key
from ethogram.flow.merge_records import LINKED, sum_groups, zero_counts
from ethogram.flow.pair import is_half
from ethogram.schema import TCP, TCP_ACK, TCP_SYN, Accounting

__all__ = ["Joining"]

ACTIVE_TIMEOUT = 2
_MAX_HELD = 1 << 20
# Meters cut at the first packet after the timeout, and round: a record that lasted nearly as long was cut.
_NEARLY = 0.98
_SLACK_US = 1_000_000
_HELD = {**LINKED, "_seen": pl.Int64(), "_reach": pl.Int64()}


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _clock_time(name: str, arrival: Arrival) -> pl.Expr:
    """A time, as far as it advances the clock: times after the arrival are ignored."""
    time = pl.col(name).to_physical()
    return pl.when(time <= arrival.at_us).then(time).otherwise(BEGINNING)


class Joining:
    """Joins records cut at the active timeout with the next record of the same five-tuple, in either direction.

    A record was cut if its end reason says so or, without an end reason, if it lasted about the active timeout. The
    next record continues it if it begins within ``gap_s`` of its end and without a new handshake. A half
    (:func:`ethogram.flow.pair.is_half`) is continued only by a half of the same direction.

    Parameters
    ----------
    gap_s
        Largest gap.
    active_timeout_s
        Of the meter, for records without an end reason.
    span_s
        Records are joined within one clock interval of this length. So a connection that stays open for days gives one
        flow in each hour, whatever the meter's active timeout was; each keeps the direction and the handshake of the
        first record. None for no limit.

    Attributes
    ----------
    accounting
        Over the unit ``records``; joined records are counted as corrections.

    Notes
    -----
    Records that may still be continued are held between blocks: from their end, by the clock
    (:class:`ethogram.flow.arrival.Arrival`), for the gap plus the active timeout, because a continuation is sent when
    it ends itself. Records that cannot grow within their interval are emitted immediately. At most about a million are
    held; beyond that the oldest are emitted and counted.
    """

    def __init__(self, gap_s: float, active_timeout_s: float, span_s: float | None = None) -> None:
        self.accounting = Accounting("records")
        self._gap = _us(gap_s)
        self._cut = _us(active_timeout_s * _NEARLY)
        self._hold = _us(gap_s + active_timeout_s)
        self._span = 0 if span_s is None else _us(span_s)
        self._clock = BEGINNING
        self._held = pl.DataFrame(schema=_HELD)

    def flows(self, block: pl.DataFrame, arrival: Arrival = UNKNOWN, *, last: bool = False) -> pl.DataFrame:
        """Join the records of a block; returns biflows in the form :data:`ethogram.flow.merge_records.LINKED`.

        Records that may be continued wait for the next block, unless this is the last.

        Parameters
        ----------
        block
            Form :data:`ethogram.schema.BIFLOW`.
        arrival
            When the block arrived; bounds the clock.
        last
            Whether this is the last block.
        """
        self.accounting.read += block.height
        self.accounting.used += block.height
        lasted = (pl.col("end") - pl.col("start")).dt.total_microseconds()
        block = block.with_columns(
            joined=pl.lit(1, dtype=pl.UInt32),
            last_cut=(pl.col("end_reason") == ACTIVE_TIMEOUT).fill_null(lasted >= self._cut),
            began=pl.col("start"),
        ).select(list(LINKED))
        before = min(self._clock, arrival.at_us)
        least = before + arrival.passed_us
        start, end = (_clock_time(name, arrival) for name in ("start", "end"))
        newest = block.select(start.max()).item()
        self._clock = max(least, BEGINNING if newest is None else newest)
        if not self._held.height and not block["last_cut"].any():
            return block
        ahead = pl.when(pl.col("start").to_physical() > arrival.at_us).then(least).otherwise(before)
        clock = pl.max_horizontal(start.cum_max(), end, ahead)
        block = block.with_columns(clock.alias("_seen"), pl.col("end").to_physical().alias("_reach"))
        rows = pl.concat([self._held.with_columns(pl.col("_seen").clip(upper_bound=arrival.at_us)), block])
        self._held = self._held.clear()
        parts = self._joined(rows)
        if not last:
            parts = [given for part in parts for given in self._waiting(part)]
            parts += self._bound()
        return pl.concat([part.select(list(LINKED)) for part in parts]).filter(pl.col("joined") > 0)

    def _joined(self, rows: pl.DataFrame) -> list[pl.DataFrame]:
        """Records that belong to no chain, and one record for each chain and interval."""
        tuples = five_tuple_keys(rows, hash_seed())
        key = np.empty(rows.height, np.uint64)
        directed_keys(tuples.key_a, tuples.swapped, column(rows.select(is_half()).to_series()), key)
        cut = column(rows["last_cut"])
        order = np.flatnonzero(shares_marked_key(key, cut))
        start, end, reach = (column(rows[name].to_physical()) for name in ("start", "end", "_reach"))
        order = order[np.lexsort((start[order], key[order]))]
        opens = rows.select(
            (pl.col("protocol") == TCP)
            & (pl.col("initial_tcp_flags").and_(pl.lit(TCP_SYN | TCP_ACK, dtype=pl.UInt8)) == TCP_SYN).fill_null(
                value=False
            )
        ).to_series()
        chain, group, furthest = np.empty(len(order), np.int64), np.empty(len(order), np.int64), reach[order]
        number_chains(
            key[order], tuples.key_b[order], start[order], end[order], cut[order], column(opens)[order], furthest,
            self._gap, _SLACK_US, self._span, chain, group,
        )  # fmt: skip
        linked = np.bincount(chain)[chain] > 1
        if not linked.any():
            return [rows]
        order, furthest = order[linked], furthest[linked]
        chain, group = (np.unique(numbers[linked], return_inverse=True)[1] for numbers in (chain, group))
        stays = np.ones(rows.height, np.bool_)
        stays[order] = False
        of_chains = rows[pl.Series(order)]
        last = np.append(np.flatnonzero(np.diff(group)), len(group) - 1)
        joined_rows, saturated = sum_groups(of_chains, tuples.swapped[order], chain, group)
        self.accounting.correct("sum beyond 64 bits: the largest number", saturated)
        joined_rows = joined_rows.with_columns(
            _seen=of_chains["_seen"].gather(pl.Series(last)), _reach=pl.Series(furthest[last])
        )
        # In order of their first records; the order of hashes differs from run to run.
        first = order[np.flatnonzero(np.diff(group, prepend=-1))]
        joined_rows = joined_rows[pl.Series(np.argsort(first))]
        pieces = of_chains.filter(pl.col("joined") > 0).height
        remaining = joined_rows.filter(pl.col("joined") > 0).height
        self.accounting.correct("joined with the record before", pieces - remaining)
        return [rows.filter(pl.Series(stays)), joined_rows]

    def _waiting(self, rows: pl.DataFrame) -> list[pl.DataFrame]:
        """Hold the records that the next block may continue, and return the others."""
        waits = rows["last_cut"] & (rows["_seen"] + self._hold >= self._clock)
        if "_final" in rows.columns:
            waits = waits & ~rows["_final"]
        held, given = rows.filter(waits).select(list(_HELD)), rows.filter(~waits)
        if not self._span or not held.height:
            self._held = pl.concat([self._held, held])
            return [given]
        # Records of a later interval are not added to it, so the record is emitted. A copy without counts is held for
        # the start and direction of the connection.
        full = (held["_reach"] - _SLACK_US) // self._span > held["start"].to_physical() // self._span
        self._held = pl.concat([self._held, held.filter(~full), zero_counts(held.filter(full))])
        return [given, held.filter(full)]

    def _bound(self) -> list[pl.DataFrame]:
        over = self._held.height - _MAX_HELD
        if over <= 0:
            return []
        self.accounting.correct("released before its continuation", over)
        held = self._held.sort("_seen")
        self._held = held.tail(_MAX_HELD)
        return [held.head(over)]
