"""Records that belong together: a cut biflow and its continuation, a one-way record and its answer.

Both work on sorted columns: the records of one five-tuple lie beside each other, in order of start.
"""

from __future__ import annotations

import polars as pl

from ethogram.schema import BIFLOW, TCP, TCP_ACK, TCP_SYN, Accounting

__all__ = ["Joining", "Pairing"]

ACTIVE_TIMEOUT = 2
_MAX_HELD = 1 << 20
# Meters cut at the first packet after the timeout, and round: a record this close to it was cut by it.
_NEARLY = 0.98
_SLACK_US = 1_000_000


def _swapped() -> pl.Expr:
    """Whether a record points from the larger endpoint to the smaller one."""
    larger = pl.col("source_address") > pl.col("destination_address")
    same = pl.col("source_address") == pl.col("destination_address")
    return larger | (same & (pl.col("source_port") > pl.col("destination_port")))


def _tuple_hash() -> pl.Expr:
    """A number that is the same for both directions of a five-tuple."""
    # Each end is hashed as a whole, which keeps a:1 to b:2 apart from a:2 to b:1.
    ends = [
        pl.col(f"{side}_address").hash(seed=1).xor(pl.col(f"{side}_port").hash(seed=2)).hash(seed=3)
        for side in ("source", "destination")
    ]
    return ends[0].xor(ends[1]).xor(pl.col("protocol").hash(seed=4))


def _by_tuple(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``_swapped`` and ``_same`` (five-tuple as in the row before, either way), sorted by five-tuple and start.

    The sort goes by a hash, and equality is then checked on the endpoints themselves: should two tuples ever share a
    hash, a join may be missed but never made wrongly.
    """
    frame = frame.with_columns(_swapped().alias("_swapped"))
    frame = frame.with_columns(_tuple_hash().alias("_key")).sort("_key", "start", maintain_order=True)
    turned = pl.col("_swapped") != pl.col("_swapped").shift(1)
    same = pl.col("protocol") == pl.col("protocol").shift(1)
    for here, there in (("source", "destination"), ("destination", "source")):
        for part in ("address", "port"):
            now = pl.when(turned).then(f"{there}_{part}").otherwise(f"{here}_{part}")
            same = same & (now == pl.col(f"{here}_{part}").shift(1))
    return frame.with_columns(same.fill_null(False).alias("_same")).drop("_key")


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


class Joining:
    """Joins records cut at the active timeout with the next record of the same five-tuple, either way round.

    A record was cut when its end reason says so; where there is none, when it lasted about the active timeout. The
    next one continues it when it begins within ``gap_s`` of its end and not with a new handshake.

    Parameters
    ----------
    gap_s
        Largest gap.
    active_timeout_s
        Of the meter, for records without an end reason.
    span_s
        Records are joined within one interval of the clock of this length. A connection that stays open for days
        then shows in each hour of them, as one flow, whatever the meter's active timeout was; what was cut still
        keeps the direction and the handshake of the first record. None joins without end.

    Attributes
    ----------
    accounting
        Over the unit ``records``; joined ones are counted as corrections. Records that may still be continued are
        held between blocks, at most about a million; then the oldest leave first and are counted.
    """

    def __init__(self, gap_s: float, active_timeout_s: float, span_s: float | None = None) -> None:
        self.accounting = Accounting("records")
        self._gap = _us(gap_s)
        self._cut = _us(active_timeout_s * _NEARLY)
        self._span = None if span_s is None else _us(span_s)
        self._held = BIFLOW.empty().with_columns(joined=pl.lit(1, dtype=pl.UInt32), _last_cut=pl.lit(False)).clear()

    def flows(self, block: pl.DataFrame, *, last: bool = False) -> pl.DataFrame:
        """Biflows of a block, with ``joined``; those that may be continued wait for the next block unless ``last``."""
        self.accounting.read += block.height
        self.accounting.used += block.height
        lasted = (pl.col("end") - pl.col("start")).dt.total_microseconds()
        block = block.with_columns(
            joined=pl.lit(1, dtype=pl.UInt32),
            _last_cut=(pl.col("end_reason") == ACTIVE_TIMEOUT).fill_null(lasted >= self._cut),
        )
        block = pl.concat([self._held, block.select(self._held.columns)])
        self._held = self._held.clear()
        if block["_last_cut"].any():
            # Only the five-tuples of which a record was cut need be looked at; the hash is the same either way round.
            tuples = block.select(_tuple_hash().alias("key"))["key"]
            maybe = tuples.is_in(tuples.filter(block["_last_cut"]).unique().implode())
            block = pl.concat([block.filter(~maybe), self._joined(block.filter(maybe))])
        if not last:
            block = self._hold(block)
        return block.drop("_last_cut")

    def _joined(self, block: pl.DataFrame) -> pl.DataFrame:
        rows = _by_tuple(block)
        gap = (pl.col("start") - pl.col("end").shift(1)).dt.total_microseconds()
        opens = (pl.col("protocol") == TCP) & (
            pl.col("initial_tcp_flags").and_(pl.lit(TCP_SYN | TCP_ACK, dtype=pl.UInt8)) == TCP_SYN
        ).fill_null(False)
        continues = (
            pl.col("_same") & pl.col("_last_cut").shift(1) & ~opens & gap.is_between(-_SLACK_US, self._gap)
        ).fill_null(False)
        rows = rows.with_columns(continues.alias("_continues")).with_columns(_chain=(~pl.col("_continues")).cum_sum())
        in_chain = pl.col("_continues") | pl.col("_continues").shift(-1).fill_null(False)
        alone = rows.filter(~in_chain).select(block.columns)
        interval = pl.lit(0) if self._span is None else pl.col("start").dt.epoch("us") // self._span
        chains = _as_begun(rows.filter(in_chain)).with_columns(_group=pl.struct("_chain", interval).rle_id())
        together = _summed(chains).select(block.columns)
        self.accounting.correct("joined with the record before", block.height - alone.height - together.height)
        return pl.concat([alone, together])

    def _hold(self, block: pl.DataFrame) -> pl.DataFrame:
        """Keep back what the next block may continue: cut, and ended no longer than the gap before the newest."""
        if not block.height:
            return block
        newest = block["start"].max()
        waits = pl.col("_last_cut") & ((pl.lit(newest) - pl.col("end")).dt.total_microseconds() <= self._gap)
        held = block.filter(waits).sort("end")
        if held.height > _MAX_HELD:
            self.accounting.correct("let go before its continuation", held.height - _MAX_HELD)
        self._held = held.tail(_MAX_HELD)
        return pl.concat([block.filter(~waits), held.head(max(held.height - _MAX_HELD, 0))])


_PAIRS = [("source_address", "destination_address"), ("source_port", "destination_port"),
          ("octets", "reverse_octets"), ("packets", "reverse_packets"),
          ("initial_tcp_flags", "reverse_initial_tcp_flags"), ("union_tcp_flags", "reverse_union_tcp_flags"),
          ("source_mac", "destination_mac"), ("source_name", "destination_name"),
          ("raw_octets", "reverse_raw_octets"), ("raw_packets", "reverse_raw_packets")]  # fmt: skip


def _turned(rows: pl.DataFrame, over: str) -> pl.DataFrame:
    """The records of each group in the direction of its first one."""
    turned = pl.col("_swapped") != pl.col("_swapped").first().over(over)

    def side(here: str, there: str) -> pl.Expr:
        return pl.when(turned).then(there).otherwise(here).alias(here)

    sides = [expression for a, b in _PAIRS for expression in (side(a, b), side(b, a))]
    return rows.with_columns(*sides, _swapped=pl.col("_swapped").first().over(over))


def _as_begun(rows: pl.DataFrame) -> pl.DataFrame:
    """The records of each ``_chain`` with the direction and handshake that it began with."""
    opening = ["initial_tcp_flags", "reverse_initial_tcp_flags"]
    return _turned(rows, "_chain").with_columns(pl.col(name).drop_nulls().first().over("_chain") for name in opening)


def _summed(rows: pl.DataFrame) -> pl.DataFrame:
    """One biflow for each ``_group``, in the direction of its first record."""
    rows = _turned(rows, "_group")
    first = ["protocol", "source_address", "destination_address", "source_port", "destination_port", "start"]
    known = ["initial_tcp_flags", "reverse_initial_tcp_flags", "source_mac", "destination_mac", "source_name",
             "destination_name", "vlan", "direction", "one_way"]  # fmt: skip
    counted = ["octets", "packets", "reverse_octets", "reverse_packets", "joined"]
    unions = ["union_tcp_flags", "reverse_union_tcp_flags"]
    raw = ["raw_octets", "raw_packets", "reverse_raw_octets", "reverse_raw_packets"]
    return rows.group_by("_group", maintain_order=True).agg(
        *(pl.col(name).first() for name in first),
        *(pl.col(name).drop_nulls().first() for name in known),
        *(pl.col(name).sum() for name in counted),
        *(pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name) for name in raw),
        *(pl.when(pl.col(n).count() > 0).then(pl.col(n).fill_null(0).bitwise_or()).alias(n) for n in unions),
        pl.col("end").max(),
        pl.col("end_reason", "_last_cut").last(),
    )  # fmt: skip


class Pairing:
    """Pairs one-way records of opposite direction that overlap, or follow each other within a gap, into biflows.

    Parameters
    ----------
    gap_s
        Largest silence between the end of one and the start of the other.

    Attributes
    ----------
    accounting
        Over the unit ``records``; pairs are counted as corrections. Unpaired records that may still be answered are
        held between blocks.
    """

    def __init__(self, gap_s: float) -> None:
        self.accounting = Accounting("records")
        self._gap = _us(gap_s)
        self._held = BIFLOW.empty()

    def flows(self, block: pl.DataFrame, *, last: bool = False) -> pl.DataFrame:
        """Biflows of a block; records with packets both ways pass as they are."""
        self.accounting.read += block.height
        self.accounting.used += block.height
        block = pl.concat([self._held, block])
        self._held = self._held.clear()
        if not block.height:
            return block
        one_way = (pl.col("reverse_packets") == 0) & (pl.col("reverse_octets") == 0)
        both, rows = block.filter(~one_way), _by_tuple(block.filter(one_way))
        gap = (pl.col("start") - pl.col("end").shift(1)).dt.total_microseconds()
        answers = (
            pl.col("_same") & (pl.col("_swapped") != pl.col("_swapped").shift(1)) & (gap <= self._gap)
        ).fill_null(False)
        # In a run of records that answer each other, the first and second are a pair, the third and fourth, ...
        rows = rows.with_columns(answers.alias("_answers")).with_columns(_run=(~pl.col("_answers")).cum_sum())
        second = pl.int_range(pl.len()).over("_run") % 2 == 1
        rows = rows.with_columns(second.alias("_second")).with_columns(
            _group=(~pl.col("_second")).cum_sum(), _last_cut=pl.lit(False), joined=pl.lit(1, dtype=pl.UInt32)
        )
        in_pair = pl.col("_second") | pl.col("_second").shift(-1).fill_null(False)
        pairs = _summed(rows.filter(in_pair)).select(block.columns)
        alone = rows.filter(~in_pair).select(block.columns)
        self.accounting.correct("paired with the opposite direction", pairs.height)
        if not last:
            alone = self._hold(alone)
        return pl.concat([both, pairs, alone])

    def _hold(self, alone: pl.DataFrame) -> pl.DataFrame:
        if not alone.height:
            return alone
        newest = alone["start"].max()
        waits = (pl.lit(newest) - pl.col("end")).dt.total_microseconds() <= self._gap
        held = alone.filter(waits).sort("end")
        self._held = held.tail(_MAX_HELD)
        return pl.concat([alone.filter(~waits), held.head(max(held.height - _MAX_HELD, 0))])
