"""Merge the records of one conversation into one record."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column, read_only
from ethogram.flow.join_kernel import first_known, saturating_sums
from ethogram.schema import BIFLOW

__all__ = ["LINKED", "sum_groups", "swap_ends", "zero_counts"]

LINKED = {**BIFLOW.schema, "joined": pl.UInt32(), "last_cut": pl.Boolean(), "began": BIFLOW.schema["start"]}
"""Columns of biflows between the stages: those of :data:`ethogram.schema.BIFLOW`, the number of records merged, whether
the last of them was cut at the active timeout, and the start of the connection's first record, which may have been
emitted in an earlier interval."""

_COUNTS = ("octets", "packets")
_CROSSED = (("source_mac", "destination_mac"), ("source_name", "destination_name"))
_PLAIN = ("vlan", "direction", "one_way")

Rows = NDArray[np.int64]


def zero_counts(rows: pl.DataFrame) -> pl.DataFrame:
    """Set all counts of the records to zero, so that they only keep the start and direction of their connection."""
    counts = [*_COUNTS, *(f"reverse_{name}" for name in _COUNTS), "joined"]
    return rows.with_columns(
        *(pl.lit(0, dtype=LINKED[name]).alias(name) for name in counts),
        *(pl.lit(None, dtype=pl.UInt64).alias(name) for name in LINKED if "raw_" in name),
    )


def swap_ends(rows: pl.DataFrame) -> pl.DataFrame:
    """Swap source with destination and forward with reverse counts.

    The records are marked as not one-way, because their forward counts are empty now.
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


def sum_groups(rows: pl.DataFrame, swapped: NDArray[np.uint8], chain: Rows, group: Rows) -> tuple[pl.DataFrame, int]:
    """Merge the records of each group into one, with the direction and the handshake of the first record of its chain.

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
        Number of sums beyond 64 bits, which are set to the largest number.

    Notes
    -----
    Raw counts are sums of the counts as exported: the raw counts of records that were scaled, and the plain counts of
    the others.
    """
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    last = pl.Series(np.append(begins[1:], len(group)) - 1)
    straight = pl.Series(swapped == swapped[np.flatnonzero(np.diff(chain, prepend=-1))][chain])

    def side(name: str, other: str) -> pl.Series:
        return rows[name].zip_with(straight, rows[other])

    def first(values: pl.Series) -> pl.Series:
        first_row = np.empty(len(begins), np.int64)
        rows_with_value = np.where(column(values.is_not_null()), np.arange(len(values)), -1)
        first_known(group, group, rows_with_value, first_row)
        return values.gather(pl.Series(np.maximum(first_row, 0))).set(pl.Series(first_row < 0), None)

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
    for here, there in _mirrored_pairs(("source_address", "destination_address"), ("source_port", "destination_port")):
        columns[here] = side(here, there).gather(last)
    for here, there in _mirrored_pairs(*_CROSSED):
        columns[here] = first(side(here, there))
    saturated = 0
    for here, there in _mirrored_pairs(*((name, f"reverse_{name}") for name in _COUNTS)):
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
    for here, there in _mirrored_pairs(("union_tcp_flags", "reverse_union_tcp_flags")):
        flags = side(here, there)
        union = np.bitwise_or.reduceat(column(flags.fill_null(0)), begins)
        none = ~np.logical_or.reduceat(column(flags.is_not_null()), begins)
        columns[here] = pl.Series(union).set(pl.Series(none), None)
    for here, there in _mirrored_pairs(("initial_tcp_flags", "reverse_initial_tcp_flags")):
        first_flags = np.empty(len(begins), np.int64)
        first_known(chain, group, column(side(here, there).cast(pl.Int64).fill_null(-1)), first_flags)
        columns[here] = pl.Series(first_flags).set(pl.Series(first_flags < 0), None).cast(pl.UInt8)
    records = pl.DataFrame({name: columns[name] for name in (*LINKED, "_final")}).cast(LINKED)  # type: ignore[arg-type]
    return records, saturated


def _mirrored_pairs(*pairs: tuple[str, str]) -> list[tuple[str, str]]:
    return [pair for here, there in pairs for pair in ((here, there), (there, here))]
