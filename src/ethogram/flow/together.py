"""Records of one conversation added up to one record."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column, read_only
from ethogram.flow.chain import first_known, saturating_sums
from ethogram.schema import BIFLOW

__all__ = ["LINKED", "added", "nothing_of", "turned_round"]

LINKED = {**BIFLOW.schema, "joined": pl.UInt32(), "last_cut": pl.Boolean(), "began": BIFLOW.schema["start"]}
"""Biflows on their way: how many records each is of, whether the last of them was cut at the active timeout, and when
the first record of the connection began, which may have left in an earlier interval."""

_COUNTS = ("octets", "packets")
_CROSSED = (("source_mac", "destination_mac"), ("source_name", "destination_name"))
_PLAIN = ("vlan", "direction", "one_way")

Rows = NDArray[np.int64]


def nothing_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The same records without anything counted: they say how a connection began, and no more."""
    counts = [*_COUNTS, *(f"reverse_{name}" for name in _COUNTS), "joined"]
    return rows.with_columns(
        *(pl.lit(0, dtype=LINKED[name]).alias(name) for name in counts),
        *(pl.lit(None, dtype=pl.UInt64).alias(name) for name in LINKED if "raw_" in name),
    )


def turned_round(rows: pl.DataFrame) -> pl.DataFrame:
    """The same records as the other end would report them: source and destination, forward and reverse change places.

    A record that says only what the destination sent is not one-way any more.
    """
    other = {}
    for name in LINKED:
        if name.startswith("source_"):
            other[name] = f"destination_{name[7:]}"
            other[other[name]] = name
        elif f"reverse_{name}" in LINKED:
            other[name] = f"reverse_{name}"
            other[other[name]] = name
    columns = [rows[other.get(name, name)].alias(name) for name in LINKED]
    return pl.DataFrame(columns).with_columns(one_way=pl.lit(value=False))


def added(rows: pl.DataFrame, swapped: NDArray[np.uint8], chain: Rows, group: Rows) -> tuple[pl.DataFrame, int]:
    """One record for each group, in the direction and with the handshake with which its chain began.

    Parameters
    ----------
    rows
        Columns :data:`LINKED`, of N records in order of chain, group and start.
    swapped, chain, group
        Direction of each record in its five-tuple; numbers of its chain and group, from 0, ascending without gaps.

    Returns
    -------
    records
        Columns :data:`LINKED`, and ``_final``: whether a later group of the chain follows.
    saturated
        Sums of octets or packets beyond 64 bits: they stay at the largest number.

    Notes
    -----
    Of raw counts where some records were scaled and some not, the sum is of what was exported: the raw counts of
    those that were scaled, and the plain ones of the others.
    """
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    last = pl.Series(np.append(begins[1:], len(group)) - 1)
    straight = pl.Series(swapped == swapped[np.flatnonzero(np.diff(chain, prepend=-1))][chain])

    def side(name: str, other: str) -> pl.Series:
        return rows[name].zip_with(straight, rows[other])

    def first(values: pl.Series) -> pl.Series:
        found = np.empty(len(begins), np.int64)
        there = np.where(column(values.is_not_null()), np.arange(len(values)), -1)
        first_known(group, group, there, found)
        return values.gather(pl.Series(np.maximum(found, 0))).set(pl.Series(found < 0), None)

    start, end = (column(rows[name].to_physical()) for name in ("start", "end"))
    opening = np.maximum.accumulate(np.where(np.diff(chain, prepend=-1) > 0, np.arange(len(chain)), 0))
    columns = {
        "began": rows["began"].gather(pl.Series(opening[begins])),
        "start": pl.Series(np.minimum.reduceat(start, begins)).cast(LINKED["start"]),
        "end": pl.Series(np.maximum.reduceat(end, begins)).cast(LINKED["end"]),
        "joined": pl.Series(np.add.reduceat(column(rows["joined"]), begins)),
        "protocol": rows["protocol"].gather(last),
        "end_reason": rows["end_reason"].gather(last),
        "last_cut": rows["last_cut"].gather(last),
        "_final": pl.Series(np.append(chain[begins[1:]] == chain[begins[:-1]], [False])),
        **{name: first(rows[name]) for name in _PLAIN},
    }
    for here, there in _both(("source_address", "destination_address"), ("source_port", "destination_port")):
        columns[here] = side(here, there).gather(last)
    for here, there in _both(*_CROSSED):
        columns[here] = first(side(here, there))
    saturated = 0
    for here, there in _both(*((name, f"reverse_{name}") for name in _COUNTS)):
        counts = column(side(here, there))
        sums = np.empty(len(begins), np.uint64)
        saturated += saturating_sums(counts, begins, sums)
        columns[here] = pl.Series(sums)
        raw_here, raw_there = (f"reverse_raw_{name[8:]}" if name[:8] == "reverse_" else f"raw_{name}"
                               for name in (here, there))  # fmt: skip
        raw = side(raw_here, raw_there)
        known = column(raw.is_not_null())
        exported = np.empty(len(begins), np.uint64)
        saturating_sums(read_only(np.where(known, column(raw.fill_null(0)), counts)), begins, exported)
        columns[raw_here] = pl.Series(exported).set(pl.Series(~np.logical_or.reduceat(known, begins)), None)
    for here, there in _both(("union_tcp_flags", "reverse_union_tcp_flags")):
        flags = side(here, there)
        union = np.bitwise_or.reduceat(column(flags.fill_null(0)), begins)
        none = ~np.logical_or.reduceat(column(flags.is_not_null()), begins)
        columns[here] = pl.Series(union).set(pl.Series(none), None)
    for here, there in _both(("initial_tcp_flags", "reverse_initial_tcp_flags")):
        found = np.empty(len(begins), np.int64)
        first_known(chain, group, column(side(here, there).cast(pl.Int64).fill_null(-1)), found)
        columns[here] = pl.Series(found).set(pl.Series(found < 0), None).cast(pl.UInt8)
    records = pl.DataFrame({name: columns[name] for name in (*LINKED, "_final")}).cast(LINKED)  # type: ignore[arg-type]
    return records, saturated


def _both(*pairs: tuple[str, str]) -> list[tuple[str, str]]:
    return [pair for here, there in pairs for pair in ((here, there), (there, here))]
