"""Counting of many batches of flows: keys are packed into integers, which group and sort several times faster.

Gives what adding up :func:`ethogram.fingerprint.count.tally` of every batch gives; that one is the form to read.
"""

from __future__ import annotations

from collections.abc import Iterator

import narwhals as nw
import polars as pl

from ethogram.config import CountSettings
from ethogram.fingerprint.count import FATE, marked
from ethogram.schema import COUNT_VOLUMES, COUNTS, ROLE, SCOPE, TIME

__all__ = ["Gathering"]

_KEYS = ["device", "name", "key"]  # code of the device, code of the name (0: none), all else of the key as one number
_VOLUMES = [name for name in COUNT_VOLUMES if name != "flows"]
_PORT, _ROLE, _SCOPE, _ANSWERED, _FATE = 6, 5, 3, 2, 0  # first bit of each; protocol and time stand above the port
_PROTOCOL, _TIME = _PORT + 16, _PORT + 24
_LONGEST = 1 << 63


class Gathering:
    """Add up the counts of many batches of flows in memory bounded by a small multiple of their sum.

    Parts wait, by blocks of devices, until they together are twice as long as the sum was; one block at a time is added
    up, because grouping holds several copies of what it groups.

    Parameters
    ----------
    settings
        Resolution and what is left out.
    blocks, least
        Blocks of devices, and the rows that may wait at least.

    Attributes
    ----------
    flows
        Flows taken.

    Examples
    --------
    >>> from ethogram.schema import FLOW
    >>> gathering = Gathering()
    >>> gathering.add(FLOW.empty())
    >>> gathering.sum().height
    0
    """

    def __init__(self, settings: CountSettings | None = None, blocks: int = 8, least: int = 1 << 18) -> None:
        self._settings = settings or CountSettings()
        self._unit_us = self._settings.sub_epoch_s * 1_000_000
        self.flows = 0
        self._least, self._waiting, self._limit = least, 0, least
        self._blocks: list[list[pl.DataFrame]] = [[] for _ in range(blocks)]
        self._kind = pl.Categorical(pl.Categories.random())
        # Numbers stand for the same texts only as long as some column of this type lives.
        self._words = pl.Series([""], dtype=self._kind)

    def add(self, flows: pl.DataFrame | pl.LazyFrame) -> None:
        """Take one batch; a lazy one is read by the streaming engine.

        Parameters
        ----------
        flows
            Form :data:`ethogram.schema.FLOW`; at least the columns of
            :data:`ethogram.fingerprint.count.FLOW_COLUMNS`. Fixed words may be plain text.
        """
        rows = nw.to_native(marked(flows.lazy(), self._settings)).select(
            *(_code(name, self._kind) for name in ("device", "name")), _packed(self._unit_us).alias("key"), *_VOLUMES
        )
        part = _grouped(rows.collect(engine="streaming"))
        for b, parts in enumerate(self._blocks):
            parts.append(part.filter(pl.col("device") % len(self._blocks) == b))
        self._waiting += part.height
        self.flows += int(part["flows"].sum())
        if self._waiting > self._limit:
            self._waiting = sum(self._folded(parts).height for parts in self._blocks)
            self._limit = 2 * self._waiting + self._least

    def sum(self) -> pl.DataFrame:
        """What :func:`ethogram.fingerprint.count.tally` gives of all batches so far, in no order; nothing is left."""
        return pl.concat([pl.DataFrame(schema={**COUNTS.schema, FATE: pl.UInt8}), *self.take()])

    def take(self) -> Iterator[pl.DataFrame]:
        """Give the sum block by block, no device in two of them, and let go of each."""
        for parts in self._blocks:
            if parts:
                whole = self._folded(parts)
                parts.clear()
                yield self._readable(whole)

    def _readable(self, packed: pl.DataFrame) -> pl.DataFrame:
        """Turn numbers back into the columns of a tally."""
        key = pl.col("key")

        def bits(first: int, n: int) -> pl.Expr:
            return (key // (1 << first)) % (1 << n)

        return packed.select(
            _text("device", self._kind),
            pl.from_epoch(key // (1 << _TIME) * self._unit_us, time_unit="us").cast(TIME).alias("time"),
            bits(_PROTOCOL, 8).cast(pl.UInt8).alias("protocol"),
            bits(_PORT, 16).cast(pl.UInt16).alias("port"),
            bits(_ROLE, 1).cast(pl.UInt8).cat.to(ROLE).alias("role"),
            bits(_SCOPE, 2).cast(pl.UInt8).cat.to(SCOPE).alias("scope"),
            (bits(_ANSWERED, 1) == 1).alias("answered"),
            _text("name", self._kind),
            *COUNT_VOLUMES,
            bits(_FATE, 2).cast(pl.UInt8).alias(FATE),
        )

    def _folded(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        """Add the parts of a block up; one is left."""
        if len(parts) > 1:
            parts[:] = [pl.concat(parts).group_by(_KEYS).agg(pl.col(name).sum() for name in COUNT_VOLUMES)]
        return parts[0]


def _code(name: str, kind: pl.Categorical) -> pl.Expr:
    """Give a text as a number that is the same in every batch; 0 where there is none."""
    return (pl.col(name).cast(kind).to_physical().cast(pl.UInt32) + 1).fill_null(0).alias(name)


def _text(name: str, kind: pl.Categorical) -> pl.Expr:
    """Turn the number of :func:`_code` back."""
    return pl.when(pl.col(name) > 0).then(pl.col(name) - 1).cat.to(kind).cast(pl.String).alias(name)


def _packed(unit_us: int) -> pl.Expr:
    """Everything of the key but the two texts as one number; null where a part is."""
    scope = (pl.col("scope") == "lan").cast(pl.Int64) + (pl.col("scope") == "multicast").cast(pl.Int64) * 2
    return (
        (pl.col("start").dt.timestamp("us") // unit_us) * (1 << _TIME)
        + pl.col("protocol").cast(pl.Int64) * (1 << _PROTOCOL)
        + pl.col("port").cast(pl.Int64) * (1 << _PORT)
        + (pl.col("role") == "server").cast(pl.Int64) * (1 << _ROLE)
        + scope * (1 << _SCOPE)
        + pl.col("answered").cast(pl.Int64) * (1 << _ANSWERED)
        + pl.col(FATE).cast(pl.Int64)
    )


def _grouped(rows: pl.DataFrame) -> pl.DataFrame:
    """Add up rows of one key: by one number where all three fit into it, which they nearly always do."""
    volumes = [pl.len().cast(pl.UInt64).alias("flows"), *(pl.col(name).cast(pl.UInt64).sum() for name in _VOLUMES)]
    key = rows["key"]
    if not rows.height or key.null_count():
        return rows.group_by(_KEYS).agg(volumes)
    first = int(key.min())  # type: ignore[arg-type]
    spans = [int(rows[name].max()) + 1 for name in ("device", "name")]  # type: ignore[arg-type]
    span = int(key.max()) - first + 1  # type: ignore[arg-type]
    if spans[0] * spans[1] * span >= _LONGEST:
        return rows.group_by(_KEYS).agg(volumes)
    who = pl.col("device").cast(pl.Int64) * spans[1] + pl.col("name").cast(pl.Int64)
    whole = pl.col("whole")
    grouped = (
        rows.lazy().select((who * span + (pl.col("key") - first)).alias("whole"), *_VOLUMES)
        .group_by("whole").agg(volumes).collect(engine="streaming")
    )  # fmt: skip
    return grouped.select(
        (whole // (span * spans[1])).cast(pl.UInt32).alias("device"),
        (whole // span % spans[1]).cast(pl.UInt32).alias("name"),
        (whole % span + first).alias("key"),
        *COUNT_VOLUMES,
    )
