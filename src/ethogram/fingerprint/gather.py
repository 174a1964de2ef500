"""Counting of many batches of flows: keys are packed into integers and added up in one table of compiled code.

Gives what adding up :func:`ethogram.fingerprint.count.tally` of every batch gives; that one is the form to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Any, cast

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram._hashing import empty_slots, find_pair, mix64
from ethogram._numba import Compiler
from ethogram.config import BoundSettings, CountSettings
from ethogram.fingerprint.bound import DEVICES, bound_keys, drop_devices, level
from ethogram.fingerprint.count import FATE, REASONS, cap_services, marked, sort_counts
from ethogram.schema import COUNT_VOLUMES, COUNTS, DYNAMIC_FROM, ROLE, SCOPE, TIME, Accounting

__all__ = ["CodedFlows", "Gathering"]

_VOLUMES = [name for name in COUNT_VOLUMES if name != "flows"]
_PORT, _ROLE, _SCOPE, _ANSWERED, _FATE = 6, 5, 3, 2, 0  # first bit of each; protocol and time stand above the port
_PROTOCOL, _TIME = _PORT + 16, _PORT + 24
_LONGEST = 1 << 63
_NONE = -(1 << 63)  # key of a flow without one
_WHO, _KEY, _FIRST = 0, 1, 2  # columns of the table: codes of device and name, the rest of the key, then the volumes
_FLOWS, _OCTETS_OUT, _OCTETS_IN, _PACKETS_OUT, _PACKETS_IN, _DURATION_MS = range(_FIRST, _FIRST + 6)
_WIDTH = _FIRST + len(COUNT_VOLUMES)  # eight numbers: one line of cache
_SPARE_WORDS = 1 << 20  # texts beyond two of each line: those of ignored flows and of keys made coarser
_AT_ONCE = 1 << 19  # counts made readable at once, or of one device if that has more

Table = NDArray[np.int64]
compiled = Compiler.of(__file__, "../_hashing").compiled


@dataclass(frozen=True)
class CodedFlows:
    """A batch whose texts are numbers, and a column that keeps what they stand for."""

    rows: pl.DataFrame
    words: pl.Series


@compiled
def _capped_sum(total: Any, more: Any) -> Any:
    """Sum of two counts in 64 bits without sign, kept in a signed number; too large: the largest."""
    added = np.uint64(total) + np.uint64(more)
    return np.int64(-1) if added < np.uint64(more) else np.int64(added)


class Gathering:
    """Add up the counts of many batches of flows in memory bounded by a small multiple of their sum.

    One table in open addressing holds a line for each key; flows come nearly in order of time, so the lines in use are
    those of an hour and stay in the cache. Several threads may :meth:`read` at once; :meth:`fold` takes turns.

    Parameters
    ----------
    settings
        Resolution and what is left out.
    least
        Lines the table holds at first.
    bounds
        Counts of one device, and counts in all; see :mod:`ethogram.fingerprint.bound` for what becomes of the others.
        A line takes 64 octets in the table and up to 16 in the places that find it, each text its length and 40.

    Attributes
    ----------
    accounting
        Of the flows taken.

    Examples
    --------
    >>> from ethogram.schema import FLOW
    >>> gathering = Gathering()
    >>> gathering.add(FLOW.empty())
    >>> gathering.counts().height
    0
    """

    def __init__(
        self, settings: CountSettings | None = None, least: int = 1 << 16, bounds: BoundSettings | None = None
    ) -> None:
        self._settings = settings or CountSettings()
        self._bounds = bounds or BoundSettings()
        self._unit_us = self._settings.sub_epoch_s * 1_000_000
        self.accounting = Accounting("flows")
        self._least = min(least, self._bounds.file_counts)
        self._lines = 0
        self._hold(np.empty((0, _WIDTH), dtype=np.int64))
        self._kind, self._words = _new_words()
        self._last_word = 0
        self._turn = Lock()

    def add(self, flows: pl.DataFrame | pl.LazyFrame) -> None:
        """Take one batch; a lazy one is read by the streaming engine.

        Parameters
        ----------
        flows
            Form :data:`ethogram.schema.FLOW`; at least the columns of
            :data:`ethogram.fingerprint.count.FLOW_COLUMNS`. Fixed words may be plain text.
        """
        self.fold(self.read(flows))

    def read(self, flows: pl.DataFrame | pl.LazyFrame) -> CodedFlows:
        """Prepare a batch for :meth:`fold`; parameters as for :meth:`add`."""
        words = self._words
        kind = cast(pl.Categorical, words.dtype)
        rows = nw.to_native(marked(flows.lazy(), self._settings)).select(
            *(_code(name, kind) for name in ("device", "name")),
            _packed("start", self._unit_us).fill_null(_NONE).alias("key"),
            *(pl.col(name).cast(pl.UInt64).fill_null(0) for name in _VOLUMES),
        )
        return CodedFlows(rows.collect(engine="streaming"), words)

    def fold(self, flows: CodedFlows) -> None:
        """Add what :meth:`read` gave. Where a bound on all counts is reached, the order of batches matters."""
        with self._turn:
            self._fold(flows)

    def last(self) -> int | None:
        """Start of the last sub-epoch with a flow, in microseconds since 1970; None without counts."""
        if not self._lines:
            return None
        return int(self._table[: self._lines, _KEY].max() >> _TIME) * self._unit_us

    def counts(self) -> pl.DataFrame:
        """Form :data:`ethogram.schema.COUNTS`, sorted by its key."""
        return pl.concat([COUNTS.empty(), *self.blocks()])

    def blocks(self, at_once: int = _AT_ONCE) -> Iterator[pl.DataFrame]:
        """Give the counts block by block, sorted by key across all of them, no device in two blocks.

        Services beyond the bound of the settings are joined, and the accounting says so; ask once.

        Parameters
        ----------
        at_once
            Rows of a block; more only where one device has more.
        """
        self._slots = empty_slots(1)
        table = self._table[: self._lines]
        ranks = [self._ranks(code) for code in (table[:, _WHO] >> 32, table[:, _WHO] & 0xFFFFFFFF)]
        order, ends = _by_rank(table, ranks[0])
        for begin, end in pairwise(_cuts(ends, at_once)):
            lines = table[order[begin:end]]
            counts = self._readable(lines[_sorted(lines, *ranks)])
            corrected = self.accounting.corrected.total()
            counts = bound_keys(counts, self.accounting, self._bounds.device_counts)
            counts = cap_services(counts, self.accounting, self._settings.max_services)
            yield sort_counts(counts) if self.accounting.corrected.total() != corrected else counts

    def _fold(self, flows: CodedFlows) -> None:
        """Add a batch to the table, which grows as it must."""
        left = np.zeros(1 + len(REASONS), dtype=np.int64)
        for part in flows.rows.to_arrow().to_batches():  # as it lies in memory: nothing is copied
            done = 0
            while done < part.num_rows:
                columns = self._columns(part, flows.words)
                self._lines, done = _add(self._slots, self._table, self._lines, done, left, *columns)
                if done < part.num_rows:
                    self._make_room()
        read = flows.rows.height
        self.accounting.read += read
        self.accounting.used += read - int(left.sum())
        self.accounting.drop("empty required column", int(left[0]))
        for reason, n in zip(REASONS, left[1:], strict=True):
            self.accounting.ignore(reason, int(n))
        if self._last_word > 2 * self._lines + _SPARE_WORDS:
            self._rebuild(self._bounds.device_counts)

    def _columns(self, part: Any, words: pl.Series) -> list[Any]:
        """Columns of a part of a batch; numbers of texts anew where they were given before :meth:`_rebuild`."""
        if words is not self._words:
            kind = cast(pl.Categorical, words.dtype)
            part = (
                cast(pl.DataFrame, pl.from_arrow(part))
                .with_columns(_text(name, kind) for name in ("device", "name"))
                .with_columns(_code(name, self._kind) for name in ("device", "name"))
                .to_arrow().combine_chunks()
            )  # fmt: skip
        columns = [column(values) for values in part.columns]
        self._last_word = max(self._last_word, *(int(column.max(initial=0)) for column in columns[:2]))
        return columns

    def _hold(self, lines: Table, capacity: int = 0) -> None:
        """Make lines the table, with room for more."""
        capacity = min(max(capacity, self._least, len(lines)), max(self._bounds.file_counts, len(lines)))
        self._table: Table = np.empty((capacity, _WIDTH), dtype=np.int64)
        self._table[: len(lines)] = lines
        self._lines = len(lines)
        self._slots = empty_slots(capacity + 1)
        if self._lines:
            _fill_slots(self._slots, self._table, self._lines)

    def _make_room(self) -> None:
        """Make a full table larger, or its keys coarser where there are more than the bounds allow."""
        most, total = self._bounds.device_counts, self._bounds.file_counts
        if self._lines > most and (self._sizes()["all"] > most).any():
            self._rebuild(most)
        if self._lines < total:
            if 2 * self._lines >= len(self._table):
                self._hold(self._table[: self._lines], 2 * self._lines + 1)
            return
        # Well below the bound, so that this is seldom needed.
        self._rebuild(level(self._sizes(), total // 2, most))
        if self._lines > total * 3 // 4:
            self._drop_devices(total * 3 // 4)

    def _sizes(self) -> pl.DataFrame:
        """As :func:`ethogram.fingerprint.bound.sizes_of`, with numbers for texts."""
        table = self._table[: self._lines]
        named = (table[:, _WHO] & 0xFFFFFFFF) > 0
        port = (table[:, _KEY] >> _PORT & 0xFFFF) != DYNAMIC_FROM
        keys = {"device": table[:, _WHO] >> 32, "time": table[:, _KEY] >> _TIME, "named": named, "all": named | port}
        return pl.DataFrame(keys).group_by("device", "time").agg(pl.col("named", "all").sum())

    def _rebuild(self, most: int) -> None:
        """Make keys beyond a bound coarser, and let go of texts that no line has."""
        table, (kind, words) = self._table[: self._lines], _new_words()
        numbers = np.arange(int((table[:, _WHO] >> 32).max(initial=0)) + 1)
        order, ends = _by_rank(table, numbers)
        parts = [np.empty((0, _WIDTH), dtype=np.int64)]
        for begin, end in pairwise(_cuts(ends, _AT_ONCE)):
            counts = bound_keys(self._readable(table[order[begin:end]]), self.accounting, most)
            parts.append(_as_lines(counts, kind, self._unit_us))
        self._kind, self._words = kind, words
        self._hold(np.concatenate(parts))
        self._last_word = int(max((self._table[: self._lines, _WHO] >> 32).max(initial=0),
                                  (self._table[: self._lines, _WHO] & 0xFFFFFFFF).max(initial=0)))  # fmt: skip

    def _drop_devices(self, total: int) -> None:
        """Drop the devices with fewest flows, until the others have so many lines at most."""
        table = self._table[: self._lines]
        lines = pl.DataFrame({"device": (table[:, _WHO] >> 32).astype(np.uint32), "flows": table[:, _FIRST]})
        sizes = lines.group_by("device").agg(pl.col("flows").sum(), counts=pl.len())
        named = sizes.with_columns(number="device").with_columns(_text("device", self._kind))
        gone = named.join(drop_devices(named, total).to_frame(), on="device", how="semi")
        flows = int(gone["flows"].sum())
        self.accounting.used -= flows
        self.accounting.drop(DEVICES, flows)
        self._hold(table[~column(lines["device"].is_in(gone["number"].implode()))])

    def _ranks(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the place in sorted order of each code's text; 0 where there is none."""
        n = int(codes.max()) + 1 if len(codes) else 1
        used = np.zeros(n, dtype=np.bool_)
        used[codes] = True
        used[0] = False
        numbers = np.flatnonzero(used)
        texts = pl.DataFrame({"code": numbers.astype(np.uint32)}).select(_text("code", self._kind)).to_series()
        ranks = np.zeros(n, dtype=np.int64)
        ranks[numbers[column(texts.arg_sort())]] = np.arange(1, len(numbers) + 1)
        return ranks

    def _readable(self, lines: Table) -> pl.DataFrame:
        """Turn numbers back into counts."""
        columns = {
            "device": (lines[:, _WHO] >> 32).astype(np.uint32),
            "name": (lines[:, _WHO] & 0xFFFFFFFF).astype(np.uint32),
            "key": np.ascontiguousarray(lines[:, _KEY]),
            **{name: lines[:, _FIRST + i].astype(np.uint64) for i, name in enumerate(COUNT_VOLUMES)},
        }
        key = pl.col("key")

        def bits(first: int, n: int) -> pl.Expr:
            return (key // (1 << first)) % (1 << n)

        return pl.DataFrame(columns).select(
            _text("device", self._kind),
            pl.from_epoch(key // (1 << _TIME) * self._unit_us, time_unit="us").cast(TIME).alias("time"),
            bits(_PROTOCOL, 8).cast(pl.UInt8).alias("protocol"),
            bits(_PORT, 16).cast(pl.UInt16).alias("port"),
            bits(_ROLE, 1).cast(pl.UInt8).cat.to(ROLE).alias("role"),
            bits(_SCOPE, 2).cast(pl.UInt8).cat.to(SCOPE).alias("scope"),
            (bits(_ANSWERED, 1) == 1).alias("answered"),
            _text("name", self._kind),
            *COUNT_VOLUMES,
        )


def _new_words() -> tuple[pl.Categorical, pl.Series]:
    """A numbering of texts. Numbers stand for the same texts only as long as some column of this type lives."""
    kind = pl.Categorical(pl.Categories.random())
    return kind, pl.Series([""], dtype=kind)


def _as_lines(counts: pl.DataFrame, kind: pl.Categorical, unit_us: int) -> Table:
    """Lines of the table from counts."""
    codes = counts.select(
        *(_code(name, kind).cast(pl.Int64) for name in ("device", "name")),
        _packed("time", unit_us, pl.lit(0)).alias("key"),
    )
    lines = np.empty((counts.height, _WIDTH), dtype=np.int64)
    lines[:, _WHO] = column(codes["device"]) << 32 | column(codes["name"])
    lines[:, _KEY] = column(codes["key"])
    for i, name in enumerate(COUNT_VOLUMES):
        lines[:, _FIRST + i] = column(counts[name].cast(pl.UInt64)).view(np.int64)
    return lines


def _code(name: str, kind: pl.Categorical) -> pl.Expr:
    """Give a text as a number that is the same in every batch; 0 where there is none."""
    return (pl.col(name).cast(kind).to_physical().cast(pl.UInt32) + 1).fill_null(0).alias(name)


def _text(name: str, kind: pl.Categorical) -> pl.Expr:
    """Turn the number of :func:`_code` back."""
    return pl.when(pl.col(name) > 0).then(pl.col(name) - 1).cat.to(kind).cast(pl.String).alias(name)


def _packed(time: str, unit_us: int, fate: pl.Expr | None = None) -> pl.Expr:
    """Give everything of the key but the two texts as one number, in order of the key; null where a part is."""
    scope = (pl.col("scope") == "lan").cast(pl.Int64) + (pl.col("scope") == "multicast").cast(pl.Int64) * 2
    return (
        (pl.col(time).dt.timestamp("us") // unit_us) * (1 << _TIME)
        + pl.col("protocol").cast(pl.Int64) * (1 << _PROTOCOL)
        + pl.col("port").cast(pl.Int64) * (1 << _PORT)
        + (pl.col("role") == "server").cast(pl.Int64) * (1 << _ROLE)
        + scope * (1 << _SCOPE)
        + pl.col("answered").cast(pl.Int64) * (1 << _ANSWERED)
        + (pl.col(FATE) if fate is None else fate).cast(pl.Int64)
    )


def _cuts(ends: NDArray[np.int64], most: int) -> list[int]:
    """Where blocks of whole devices begin and end."""
    bounds, last = [0], 0
    for end in ends.tolist():
        if last > bounds[-1] and end - bounds[-1] > most:
            bounds.append(last)
        last = end
    return bounds if last == bounds[-1] else [*bounds, last]


def _sorted(lines: Table, devices: NDArray[np.int64], names: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order of the lines by device, key and name."""
    device, name, key = devices[lines[:, _WHO] >> 32], names[lines[:, _WHO] & 0xFFFFFFFF], lines[:, _KEY]
    device, key = device - device.min(), key - key.min()
    spans = [int(part.max()) + 1 for part in (device, key, name)]
    if spans[0] * spans[1] * spans[2] < _LONGEST:  # as nearly always
        whole = pl.Series((device * spans[1] + key) * spans[2] + name)
        return column(whole.arg_sort())
    return np.lexsort((name, key, device))


@compiled
def _by_rank(table: Table, ranks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort line numbers by the rank of their device, and say where each rank ends."""
    ends = np.zeros(len(ranks) + 1, dtype=np.int64)
    for i in range(len(table)):
        ends[ranks[table[i, _WHO] >> 32] + 1] += 1
    for r in range(1, len(ends)):
        ends[r] += ends[r - 1]
    order = np.empty(len(table), dtype=np.int64)
    for i in range(len(table)):
        rank = ranks[table[i, _WHO] >> 32]
        order[ends[rank]] = i
        ends[rank] += 1
    return order, ends[:-1]


@compiled
def _fill_slots(slots: NDArray[np.int32], table: Table, lines: int) -> None:
    """Enter all lines into empty slots."""
    for line in range(lines):
        who, key = table[line, _WHO], table[line, _KEY]
        slots[find_pair(slots, table, who, key, mix64(who, key))] = line


@compiled
def _add(
    slots: NDArray[np.int32], table: Table, lines: int, begin: int, left: NDArray[np.int64],
    device: NDArray[np.uint32], name: NDArray[np.uint32], key: NDArray[np.int64], octets_out: NDArray[np.uint64],
    octets_in: NDArray[np.uint64], packets_out: NDArray[np.uint64], packets_in: NDArray[np.uint64],
    duration_ms: NDArray[np.uint64],
) -> tuple[int, int]:  # fmt: skip
    """Add flows from ``begin`` on; returns the number of lines, and the flow at which the table was full."""
    for i in range(begin, len(key)):
        k = key[i]
        if k == _NONE or device[i] == 0:
            left[0] += 1
            continue
        fate = k & 3
        if fate:
            left[fate] += 1
            continue
        who = (np.int64(device[i]) << 32) | np.int64(name[i])
        at = find_pair(slots, table, who, k, mix64(who, k))
        line = int(slots[at])
        if line < 0:
            if lines == len(table):
                return lines, i
            line = lines
            lines += 1
            slots[at] = line
            table[line, _WHO] = who
            table[line, _KEY] = k
            for j in range(_FIRST, table.shape[1]):
                table[line, j] = 0
        table[line, _FLOWS] += 1
        table[line, _OCTETS_OUT] = _capped_sum(table[line, _OCTETS_OUT], octets_out[i])
        table[line, _OCTETS_IN] = _capped_sum(table[line, _OCTETS_IN], octets_in[i])
        table[line, _PACKETS_OUT] = _capped_sum(table[line, _PACKETS_OUT], packets_out[i])
        table[line, _PACKETS_IN] = _capped_sum(table[line, _PACKETS_IN], packets_in[i])
        table[line, _DURATION_MS] = _capped_sum(table[line, _DURATION_MS], duration_ms[i])
    return lines, len(key)
