"""Pair one-way records, called halves, of opposite directions into biflows.

Halves are processed in order of their ends, nearly the order in which exporters send them. Halves that overlap or
nearly follow each other are paired as soon as both are present; of several candidates, the one with the largest overlap
is taken. Other halves wait, and are then paired with the nearest one within the gap. So a lost record, or a flow that
was cut at different times in its two directions, does not shift all later pairs.

The half whose connection began first is the source. A connection longer than a join interval is emitted in several
parts, and one direction may have no part in some interval. It is remembered which side began, so that a lone answer is
still recognised as an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram.flow.arrival import BEGINNING, UNKNOWN, Arrival
from ethogram.flow.factorize import hash_seed
from ethogram.flow.five_tuple import five_tuple_keys
from ethogram.flow.merge_records import LINKED, swap_ends
from ethogram.flow.pair_kernel import ALONE, KNOWN, OPEN, TURNED, match_halves
from ethogram.schema import Accounting

__all__ = ["Pairing", "is_half", "mark_one_way"]

_MAX_HELD = 1 << 20
_AT_ONCE_US = 1_000_000  # an answer follows within a round trip; a later half may belong to another record
_WAIT_S = 60.0  # exporters check for ended flows every few seconds, and send UDP flows after their idle timeout
Rows = NDArray[np.int64]
_NEVER_ANSWERED = r"^(22[4-9]|23\d)\.|^255\.255\.255\.255$|^ff"


def mark_one_way(
    records: pl.DataFrame, pair: Literal["auto", "always", "never"], *, unidirectional: bool
) -> pl.DataFrame:
    """Decide which records are one-way, and set ``one_way``.

    Parameters
    ----------
    records
        Form :data:`ethogram.schema.BIFLOW`.
    pair
        The setting: ``always`` and ``never`` override the records; ``auto`` keeps what they say.
    unidirectional
        Under ``auto``, whether records that do not say are one-way.
    """
    if pair != "auto":
        return records.with_columns(one_way=pl.lit(pair == "always"))
    return records.with_columns(pl.col("one_way").fill_null(value=True)) if unidirectional else records


def is_half() -> pl.Expr:
    """Polars expression: whether a record is one-way, and so to be paired."""
    nothing_back = (pl.col("reverse_packets") == 0) & (pl.col("reverse_octets") == 0)
    return pl.col("one_way").fill_null(value=False) & nothing_back


@dataclass(frozen=True)
class _Halves:
    """Columns of N halves that the kernel reads, and their rows in the frame with all columns.

    Saved states hold these arrays under the names of the fields.
    """

    one: NDArray[np.uint64]
    two: NDArray[np.uint64]
    swapped: NDArray[np.uint8]
    start: Rows
    end: Rows
    began: Rows
    split: NDArray[np.bool_]
    leads: NDArray[np.bool_]
    wait: Rows
    until: Rows
    row: Rows

    def __getitem__(self, rows: NDArray[np.bool_] | Rows) -> _Halves:
        return _Halves(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __add__(self, other: _Halves) -> _Halves:
        return _Halves(*(
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in self.__dataclass_fields__
        ))  # fmt: skip

    @staticmethod
    def none() -> _Halves:
        """No halves."""
        numbers, whole = np.empty(0, np.uint64), np.empty(0, np.int64)
        bits = np.empty(0, np.bool_)
        return _Halves(numbers, numbers, np.empty(0, np.uint8), whole, whole, whole, bits, bits, *[whole] * 3)


class Pairing:
    """Pairs halves of opposite directions into biflows; other records pass unchanged.

    Parameters
    ----------
    gap_s
        Largest silence between the end of one half and the start of the other.
    cut_wait_s
        How much longer a record waits that was cut at the active timeout, since its answer may not have ended.
    span_s
        Clock interval within which records were joined; None for no limit.

    Attributes
    ----------
    accounting
        Over the unit ``records``; pairs are counted as corrections.

    Notes
    -----
    Halves wait for their answer between blocks, for a minute plus the gap by the clock
    (:class:`ethogram.flow.arrival.Arrival`). At most about a million wait, and 64 of one five-tuple and direction;
    beyond that the oldest are emitted and counted. Which side began is remembered for about a million long connections;
    beyond that the oldest are forgotten and counted.
    """

    def __init__(self, gap_s: float, cut_wait_s: float = 1800.0, span_s: float | None = None) -> None:
        self.accounting = Accounting("records")
        self._gap = round(gap_s * 1e6)
        self._wait = round((gap_s + _WAIT_S) * 1e6)
        self._cut_wait = round(cut_wait_s * 1e6)
        self._span = 0 if span_s is None else round(span_s * 1e6)
        # The next part of a connection ends an interval later, and then waits too.
        self._memory = self._span + 2 * (self._wait + self._cut_wait)
        self._clock = BEGINNING
        self._seed = 0  # drawn on first use and saved with the keys, which depend on it
        self._halves = _Halves.none()
        self._begun = np.empty(0, KNOWN)
        self._held = pl.DataFrame(schema=LINKED)

    def flows(self, block: pl.DataFrame, arrival: Arrival = UNKNOWN, *, last: bool = False) -> pl.DataFrame:
        """Pair the halves of a block; those that may still be answered wait, unless it is the last.

        Parameters
        ----------
        block
            Columns :data:`ethogram.flow.merge_records.LINKED`.
        arrival
            When the block arrived; bounds the clock.
        last
            Whether this is the last block.
        """
        half = block.select(is_half()).to_series()
        whole, halves = block.filter(~half), block.filter(half)
        self.accounting.read += halves.height
        self.accounting.used += halves.height
        if not halves.height and not len(self._halves.row):
            return whole
        return pl.concat([whole, *self._matched(halves, arrival, last)])

    def _matched(self, block: pl.DataFrame, arrival: Arrival, last: bool) -> list[pl.DataFrame]:
        """Pairs, and halves emitted alone."""
        held = len(self._halves.row)
        all_ = self._halves + self._read(block)
        partner, begins = np.empty(len(all_.row), np.int64), np.empty(len(all_.row), np.bool_)
        self._clock, crowded, begun = match_halves(
            all_.one, all_.two, all_.swapped, all_.start, all_.end, all_.began, all_.split, all_.leads, all_.wait,
            all_.until, held, self._clock, arrival.at_us, arrival.passed_us, min(_AT_ONCE_US, self._gap), self._gap,
            self._span, self._memory, last, self._begun, partner, begins,
        )  # fmt: skip
        self.accounting.correct("released before its answer", crowded)
        self._remember(begun)
        frame = pl.concat([self._held, block]) if self._held.height else block
        self._release(all_, partner, frame)
        first = np.flatnonzero(partner > np.arange(len(partner)))
        second = partner[first]
        first, second = np.where(begins[first], first, second), np.where(begins[first], second, first)
        pairs = _paired(frame, all_.row[first], all_.row[second])
        self.accounting.correct("paired with the opposite direction", pairs.height)
        given = [pairs, _rows(frame, all_.row[partner == ALONE])]
        turned = all_.row[partner == TURNED]
        if turned.size:
            given.append(swap_ends(_rows(frame, turned)))
            self.accounting.correct("answer alone in a later part of its connection", turned.size)
        self._keep(all_, partner == OPEN, frame)
        return given

    def _read(self, block: pl.DataFrame) -> _Halves:
        """Columns of a block for the kernel, in order of end."""
        end = block["end"].to_physical()
        order = np.arange(len(end)) if end.is_sorted() else column(end.arg_sort(descending=False)).astype(np.int64)
        self._seed = self._seed or hash_seed()
        tuples = five_tuple_keys(block, self._seed)
        wait = np.where(column(block["last_cut"]), self._wait + self._cut_wait, self._wait)
        start, began = (column(block[name].to_physical()) for name in ("start", "began"))
        split = column(block["last_cut"]) | (began < start)
        rows = np.arange(len(end)) + self._held.height
        return _Halves(
            tuples.key_a, tuples.key_b, tuples.swapped, start, column(end), began, split, _leads(block), wait,
            np.empty_like(wait), rows,
        )[order]  # fmt: skip

    def _remember(self, begun: NDArray[np.void]) -> None:
        """Keep who began the long connections; of too many those that were seen last."""
        over = len(begun) - _MAX_HELD
        if over > 0:
            self.accounting.correct("beginnings of connections forgotten", over)
            begun = begun[np.argpartition(begun["kept"], over)[over:]]
        self._begun = begun

    def _release(self, halves: _Halves, partner: Rows, frame: pl.DataFrame) -> None:
        """Emit halves that are never answered, and the oldest beyond the bound."""
        still = np.flatnonzero(partner == OPEN)
        fresh = still[halves.row[still] >= self._held.height]
        to = _rows(frame.select("destination_address"), halves.row[fresh])["destination_address"]
        partner[fresh[column(to.str.contains(_NEVER_ANSWERED))]] = ALONE
        still = np.flatnonzero(partner == OPEN)
        over = max(len(still) - _MAX_HELD, 0)
        partner[still[:over]] = ALONE
        self.accounting.correct("released before its answer", over)

    def _keep(self, halves: _Halves, still: NDArray[np.bool_], frame: pl.DataFrame) -> None:
        waiting = halves[still]
        fresh = waiting.row >= self._held.height
        # Rows of emitted halves are removed only once they are the majority: millions may wait while few are emitted.
        if len(waiting.row) * 2 >= self._held.height:
            added = _rows(frame, waiting.row[fresh])
            waiting.row[fresh] = np.arange(added.height) + self._held.height
            self._held = pl.concat([self._held, added])
        else:
            self._held = _rows(frame, waiting.row)
            waiting.row[:] = np.arange(len(waiting.row))
        self._halves = waiting


def _rows(frame: pl.DataFrame, rows: Rows) -> pl.DataFrame:
    return frame[pl.Series(rows, dtype=pl.get_index_type())]


def _leads(block: pl.DataFrame) -> NDArray[np.bool_]:
    """Whether each half began, if both start at the same time: the one from the higher port, else lower address."""
    ports = [column(block[f"{side}_port"]) for side in ("source", "destination")]
    leads: NDArray[np.bool_] = ports[0] > ports[1]
    equal = np.flatnonzero(ports[0] == ports[1])
    if equal.size:
        ends = _rows(block.select("source_address", "destination_address"), equal)
        leads[equal] = column(ends["source_address"] < ends["destination_address"])
    return leads


def _paired(frame: pl.DataFrame, first: Rows, second: Rows) -> pl.DataFrame:
    """Biflows of pairs of rows; a value missing in one half is taken from the other."""
    sent = ["octets", "packets", "initial_tcp_flags", "union_tcp_flags", "raw_octets", "raw_packets"]
    crossed = [("source_mac", "destination_mac"), ("destination_mac", "source_mac"),
               ("source_name", "destination_name"), ("destination_name", "source_name"),
               ("vlan", "vlan"), ("direction", "direction")]  # fmt: skip
    there, back = pl.Series(first), pl.Series(second)
    start, end = (column(frame[name].to_physical()) for name in ("start", "end"))
    # A later part of a connection may begin with the answer.
    earliest = pl.Series(np.minimum(start[first], start[second])).cast(LINKED["start"])
    later = pl.Series(np.where(end[second] > end[first], second, first))
    empty = {name for name in LINKED if frame[name].null_count() == frame.height}

    def taken(name: str, rows: pl.Series) -> pl.Series:
        if name in empty:
            return pl.repeat(None, len(rows), dtype=LINKED[name], eager=True)
        return frame[name].gather(rows)

    def known(name: str, other: str) -> pl.Series:
        mine = taken(name, there)
        return mine if other in empty else mine.zip_with(mine.is_not_null(), taken(other, back))

    joined = column(frame["joined"])
    columns = {
        **{f"reverse_{name}": taken(name, back) for name in sent},
        **{name: known(name, other) for name, other in crossed},
        **{name: taken(name, later) for name in ("end", "end_reason", "last_cut")},
        "start": earliest,
        "joined": pl.Series(np.maximum(joined[first], joined[second])),
        "one_way": pl.repeat(False, len(first), dtype=pl.Boolean, eager=True),
    }  # fmt: skip
    return pl.DataFrame({name: columns[name] if name in columns else taken(name, there) for name in LINKED})
