"""Count batches of flows in compiled code: keys are packed into integers and summed in one hash table.

Files and the live exporter count with it. The result equals that of :func:`ethogram.fingerprint.count.tally`, which is
written as portable expressions.
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

__all__ = ["CodedFlows", "Gathering", "count_block"]

_VOLUMES = [name for name in COUNT_VOLUMES if name != "flows"]
_PORT, _ROLE, _SCOPE, _ANSWERED, _FATE = 6, 5, 3, 2, 0  # first bit of each part of the key
_PROTOCOL, _TIME = _PORT + 16, _PORT + 24
_LONGEST = 1 << 63
_NONE = -(1 << 63)  # key of a flow with an empty required column
_WHO, _KEY, _FIRST = 0, 1, 2  # columns of the table: codes of device and name, the rest of the key, then the volumes
_FLOWS, _OCTETS_OUT, _OCTETS_IN, _PACKETS_OUT, _PACKETS_IN, _DURATION_MS = range(_FIRST, _FIRST + 6)
_WIDTH = _FIRST + len(COUNT_VOLUMES)  # eight numbers, one cache line
_SPARE_WORDS = 1 << 20  # texts allowed beyond two for each line: of ignored flows and of coarsened keys
_AT_ONCE = 1 << 19  # counts decoded at once; more only for a device that has more

Table = NDArray[np.int64]
_UNBOUNDED = BoundSettings(device_counts=1 << 29, file_counts=1 << 29)
compiled = Compiler.of(__file__, "../_hashing").compiled


@dataclass(frozen=True)
class CodedFlows:
    """A batch whose texts are replaced by codes, and a column that keeps the codes valid."""

    rows: pl.DataFrame
    words: pl.Series


@compiled
def _capped_sum(total: Any, more: Any) -> Any:
    """Sum of two unsigned counts stored in signed numbers; at most the largest 64-bit number."""
    added = np.uint64(total) + np.uint64(more)
    return np.int64(-1) if added < np.uint64(more) else np.int64(added)


class Gathering:
    """Sums the counts of many batches of flows; memory is a small multiple of the size of the result.

    One hash table holds a line for each key. Flows arrive nearly in order of time, so the lines in use are those of an
    hour and stay in the CPU cache. Several threads may call :meth:`read` at once; :meth:`fold` takes a lock.

    Parameters
    ----------
    settings
        Resolution, and which flows to ignore.
    least
        Initial capacity of the table, in lines.
    bounds
        Most counts of one device, and of all; :mod:`ethogram.fingerprint.bound` describes how keys are coarsened beyond
        them. A line takes 64 octets in the table and up to 16 in the slots, a text its length and 40.

    Attributes
    ----------
    accounting
        Over the unit ``flows``.

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
        """Count one batch; a lazy frame is read by the streaming engine.

        Parameters
        ----------
        flows
            Form :data:`ethogram.schema.FLOW`; at least the columns of
            :data:`ethogram.fingerprint.count.FLOW_COLUMNS`. Enum columns may be plain text.
        """
        self.fold(self.read(flows))

    def read(self, flows: pl.DataFrame | pl.LazyFrame) -> CodedFlows:
        """Encode a batch for :meth:`fold`; parameters as for :meth:`add`."""
        words = self._words
        kind = cast(pl.Categorical, words.dtype)
        rows = nw.to_native(marked(flows.lazy(), self._settings)).select(
            *(_code(name, kind) for name in ("device", "name")),
            _packed("start", self._unit_us).fill_null(_NONE).alias("key"),
            *(pl.col(name).cast(pl.UInt64).fill_null(0) for name in _VOLUMES),
        )
        return CodedFlows(rows.collect(engine="streaming"), words)

    def fold(self, flows: CodedFlows) -> None:
        """Add a batch encoded by :meth:`read`. Their order matters only once a bound on all counts is reached."""
        with self._turn:
            self._fold(flows)

    def last(self) -> int | None:
        """Start of the last sub-epoch with a flow, in microseconds since 1970; None without counts."""
        if not self._lines:
            return None
        return int(self._table[: self._lines, _KEY].max() >> _TIME) * self._unit_us

    def devices(self) -> pl.Series:
        """Names of the devices that have counts, in order of the alphabet."""
        codes = np.unique(self._table[: self._lines, _WHO] >> 32).astype(np.uint32)
        return pl.DataFrame({"device": codes}).select(_text("device", self._kind)).to_series().drop_nulls().sort()

    def unordered(self) -> pl.DataFrame:
        """Counts in no particular order (:data:`ethogram.schema.COUNTS`); the bounds on services are not applied."""
        return self._readable(self._table[: self._lines]) if self._lines else COUNTS.empty()

    def counts(self) -> pl.DataFrame:
        """Form :data:`ethogram.schema.COUNTS`, sorted by its key."""
        return pl.concat([COUNTS.empty(), *self.blocks()])

    def blocks(self, at_once: int = _AT_ONCE) -> Iterator[pl.DataFrame]:
        """Yield the counts in blocks, sorted by key across all blocks, no device in two of them. Call it once.

        Services beyond the bound of the settings are merged, and counted as corrections.

        Parameters
        ----------
        at_once
            Rows of a block; more only if a single device has more.
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
        """Add a batch to the table, which grows as needed."""
        left = np.zeros(1 + len(REASONS), dtype=np.int64)
        for part in flows.rows.to_arrow().to_batches():  # chunks as they are in memory, without a copy
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
        """Columns of a chunk of a batch; texts are encoded again if they were encoded before :meth:`_rebuild`."""
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
        """Replace the table by these lines, with spare capacity."""
        capacity = min(max(capacity, self._least, len(lines)), max(self._bounds.file_counts, len(lines)))
        self._table: Table = np.empty((capacity, _WIDTH), dtype=np.int64)
        self._table[: len(lines)] = lines
        self._lines = len(lines)
        self._slots = empty_slots(capacity + 1)
        if self._lines:
            _fill_slots(self._slots, self._table, self._lines)

    def _make_room(self) -> None:
        """Enlarge a full table, or coarsen its keys where they exceed the bounds."""
        most, total = self._bounds.device_counts, self._bounds.file_counts
        if self._lines > most and (self._sizes()["all"] > most).any():
            self._rebuild(most)
        if self._lines < total:
            if 2 * self._lines >= len(self._table):
                self._hold(self._table[: self._lines], 2 * self._lines + 1)
            return
        # Well below the bound, so that this happens rarely.
        self._rebuild(level(self._sizes(), total // 2, most))
        if self._lines > total * 3 // 4:
            self._drop_devices(total * 3 // 4)

    def _sizes(self) -> pl.DataFrame:
        """As :func:`ethogram.fingerprint.bound.sizes_of`, with codes instead of texts."""
        table = self._table[: self._lines]
        named = (table[:, _WHO] & 0xFFFFFFFF) > 0
        port = (table[:, _KEY] >> _PORT & 0xFFFF) != DYNAMIC_FROM
        keys = {"device": table[:, _WHO] >> 32, "time": table[:, _KEY] >> _TIME, "named": named, "all": named | port}
        return pl.DataFrame(keys).group_by("device", "time").agg(pl.col("named", "all").sum())

    def _rebuild(self, most: int) -> None:
        """Coarsen the keys beyond a bound, and drop texts that no line uses."""
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
        """Drop the devices with fewest flows, until the others have at most ``total`` lines."""
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
        """Rank of each code's text in sorted order, from 1; 0 for no text."""
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
        """Decode lines to counts."""
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


def count_block(flows: pl.DataFrame, settings: CountSettings, accounting: Accounting) -> pl.DataFrame:
    """Count one block of a stream, without bounds, which apply to what the caller has added up.

    Parameters
    ----------
    flows
        Form :data:`ethogram.schema.FLOW`.
    settings
        Resolution and what is left out.
    accounting
        Every flow is added to it.

    Returns
    -------
    counts
        Form :data:`ethogram.schema.COUNTS`, each key once, in no particular order.
    """
    gathering = Gathering(settings, least=max(flows.height, 1), bounds=_UNBOUNDED)
    gathering.add(flows)
    accounting.merge(gathering.accounting)
    return gathering.unordered()


def _new_words() -> tuple[pl.Categorical, pl.Series]:
    """A new encoding of texts, valid as long as some column of its type exists."""
    kind = pl.Categorical(pl.Categories.random())
    return kind, pl.Series([""], dtype=kind)


def _as_lines(counts: pl.DataFrame, kind: pl.Categorical, unit_us: int) -> Table:
    """Encode counts as lines of the table."""
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
    """Encode a text as a number that is the same in every batch; 0 for null."""
    return (pl.col(name).cast(kind).to_physical().cast(pl.UInt32) + 1).fill_null(0).alias(name)


def _text(name: str, kind: pl.Categorical) -> pl.Expr:
    """Decode a number of :func:`_code`."""
    return pl.when(pl.col(name) > 0).then(pl.col(name) - 1).cat.to(kind).cast(pl.String).alias(name)


def _packed(time: str, unit_us: int, fate: pl.Expr | None = None) -> pl.Expr:
    """Pack the key, without its two texts, into one number that sorts like the key; null if a part is null."""
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
    """Borders of blocks that hold whole devices."""
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
    if spans[0] * spans[1] * spans[2] < _LONGEST:  # nearly always
        whole = pl.Series((device * spans[1] + key) * spans[2] + name)
        return column(whole.arg_sort())
    return np.lexsort((name, key, device))


@compiled
def _by_rank(table: Table, ranks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort line numbers by the rank of their device; returns them and the end of each rank."""
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
