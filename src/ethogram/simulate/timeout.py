"""Timeouts of the simulated exporter: split flows at the active timeout, and order records by end time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from ethogram.schema import BIFLOW, TCP, TCP_ACK, TCP_FIN, TCP_RST

__all__ = ["cut", "in_order"]

ACTIVE_TIMEOUT = 2  # flowEndReason
VOLUMES = ("octets", "packets", "reverse_octets", "reverse_packets")


def cut(biflows: pl.DataFrame, active_s: int) -> pl.DataFrame:
    """Split flows that last longer than the active timeout into records with a share of the volume.

    Parameters
    ----------
    biflows
        Complete flows.
    active_s
        The timeout; 0 splits none.

    Returns
    -------
    Biflows with a column ``_first``: whether it is the first record of its flow.
    """
    frame = BIFLOW.conform(biflows)
    length = active_s * 1_000_000 if active_s else 1 << 62
    lasted = (pl.col("end") - pl.col("start")).dt.total_microseconds()
    # Records without packets are omitted, so a flow of few packets gives few records.
    most = pl.max_horizontal("packets", "reverse_packets", 1).cast(pl.Int64)
    frame = frame.with_columns(_pieces=pl.min_horizontal((lasted - 1).clip(0) // length + 1, most))
    if (frame["_pieces"] <= 1).all():
        return frame.drop("_pieces").with_columns(_first=pl.lit(True))
    frame = frame.with_columns(_piece=pl.int_ranges(0, "_pieces")).explode("_piece")
    piece, pieces = pl.col("_piece"), pl.col("_pieces")
    first, last = piece == 0, piece == pieces - 1
    begin = pl.col("start") + pl.duration(microseconds=piece * length)
    shares = {name: pl.col(name) // pieces + (piece < pl.col(name) % pieces) for name in VOLUMES}
    whole = frame.with_columns(
        **shares,
        **_flags(first, last),
        start=begin,
        end=pl.when(last).then("end").otherwise(begin + pl.duration(microseconds=length)),
        end_reason=pl.when(last).then("end_reason").otherwise(ACTIVE_TIMEOUT),
    )
    return BIFLOW.conform(whole).with_columns(frame["_piece"].eq(0).alias("_first"))


def _flags(first: pl.Expr, last: pl.Expr) -> dict[str, pl.Expr]:
    """TCP flags of the pieces: the opening in the first, the end in the last, acknowledgements in all."""
    columns = {}
    for side in ("", "reverse_"):
        initial, union = pl.col(f"{side}initial_tcp_flags"), pl.col(f"{side}union_tcp_flags")
        ending = union & (TCP_FIN | TCP_RST)
        part = pl.when(first).then(union ^ ending).otherwise(TCP_ACK) | pl.when(last).then(ending).otherwise(0)
        tcp = pl.col("protocol") == TCP
        columns[f"{side}initial_tcp_flags"] = pl.when(tcp & ~first).then(TCP_ACK).otherwise(initial)
        columns[f"{side}union_tcp_flags"] = pl.when(tcp & ~(first & last)).then(part).otherwise(union)
    return columns


def in_order(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield records in order of their ends across batches; those after the start of the next batch are held back."""
    held: pl.DataFrame | None = None
    for batch in batches:
        if not batch.height:
            continue
        if held is None:
            held = batch
        else:
            first = batch["end"].min()
            yield held.filter(pl.col("end") < first)
            held = pl.concat([held.filter(pl.col("end") >= first), batch])
        held = held.sort("end", maintain_order=True)
    if held is not None:
        yield held
