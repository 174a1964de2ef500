"""Windows: the interface between counting and identification. An item is a device over a span of time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from ethogram.schema.biflow import TIME
from ethogram.schema.counts import COUNT_VOLUMES, COUNTS
from ethogram.schema.table import Column, Table

__all__ = ["ITEM", "ITEM_COUNTS", "Windows"]

ITEM = Table(
    "item",
    "One row per thing to be identified or enrolled: a device over a window.",
    (
        Column("item", pl.UInt32(), "", "0, 1, 2 ... in order"),
        Column("device", pl.String(), "", "the device's name"),
        Column("start", TIME, "", "start of the window"),
        Column("end", TIME, "", "end of the window"),
    ),
)

ITEM_COUNTS = Table(
    "item_counts",
    "The counts of each item: as the counts table, with the item in place of the device.",
    (Column("item", pl.UInt32(), "", "the item"), *(c for c in COUNTS.columns if c.name != "device")),
)


@dataclass(frozen=True)
class Windows:
    """Items and their counts.

    Parameters
    ----------
    items
        Form :data:`ITEM`; ``item`` runs from 0 without gaps.
    counts
        Form :data:`ITEM_COUNTS`; an item without rows was silent.
    statistics
        Optional flow statistics for the baselines: column ``item`` and one Float64 column per statistic.
    """

    items: pl.DataFrame
    counts: pl.DataFrame
    statistics: pl.DataFrame | None = None

    def __len__(self) -> int:
        return self.items.height

    @cached_property
    def totals(self) -> pl.DataFrame:
        """Counts summed over time, computed once: :attr:`counts` without ``time``, with the most packets out of a row.

        ``most_packets_out`` is the largest ``packets_out`` among the rows that were added. The order of rows is not
        defined.
        """
        keys = [name for name in self.counts.columns if name not in ("time", *COUNT_VOLUMES)]
        return self.counts.group_by(keys).agg(
            pl.col(COUNT_VOLUMES).sum(), pl.col("packets_out").max().alias("most_packets_out")
        )

    def take(self, items: list[int] | pl.Series) -> Windows:
        """Select items, renumbered from 0 in the given order."""
        order = pl.DataFrame({"item": pl.Series(items, dtype=pl.UInt32)}).with_row_index("new")
        order = order.with_columns(pl.col("new").cast(pl.UInt32))

        def renumber(frame: pl.DataFrame) -> pl.DataFrame:
            return (
                order.join(frame, on="item", how="inner", maintain_order="left_right")
                .with_columns(pl.col("new").alias("item"))
                .select(frame.columns)
            )

        return Windows(
            renumber(self.items),
            renumber(self.counts),
            None if self.statistics is None else renumber(self.statistics),
        )
