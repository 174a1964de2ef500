"""Items of a task: windows of counts, and their labels in a separate table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import CountSettings
from ethogram.corpora.labelled import LABELS, CorpusFlowTable
from ethogram.fingerprint.count import count
from ethogram.pipeline.statistics import flow_statistics
from ethogram.schema import COUNTS, FLOW, GROUP, ITEM, ITEM_COUNTS, TIME, Windows

__all__ = ["Items", "TaskData", "gather", "item_windows"]

Window = int | Literal["run", "device"]

LEAST_WATCHED = {"run": timedelta(seconds=1), "device": timedelta(seconds=60)}


@dataclass(frozen=True)
class TaskData:
    """Data of a task: flows of sources that have them, counts of all sources, and labels in a separate table.

    Devices are named ``corpus/device``, so that corpora can be concatenated.
    """

    flows: pl.DataFrame
    counts: pl.DataFrame
    labels: pl.DataFrame
    digest: str

    def without_names(self) -> TaskData:
        """The same data without remote names."""
        null = pl.lit(None, dtype=pl.String)
        return replace(
            self,
            # Multicast groups are well-known addresses and stay.
            flows=self.flows.with_columns(remote_name=null, remote_domain=_group("remote_domain")),
            counts=self.counts.with_columns(name=_group("name")),
            digest=self.digest + "-names",
        )


def _group(column: str) -> pl.Expr:
    return pl.when(pl.col(column).str.contains(GROUP)).then(column)


@dataclass(frozen=True)
class Items:
    """Windows, and one row of labels for each: item, device, unit, start, end, run, model ... network, cluster."""

    windows: Windows
    truth: pl.DataFrame

    def labels(self, level: str) -> NDArray[np.str_]:
        """Labels at a level (id, model, family, type, coarse), shape (n,)."""
        return np.asarray(self.truth[level].to_list(), dtype=np.str_)

    def take(self, items: NDArray[np.int64] | Sequence[int]) -> Items:
        """These items, renumbered in the order given."""
        numbers = np.asarray(items, dtype=np.int64)
        truth = self.truth[numbers].with_columns(item=pl.int_range(pl.len(), dtype=pl.UInt32))
        return Items(self.windows.take(numbers.tolist()), truth)

    def with_flows(self, least: int) -> Items:
        """Items with at least ``least`` flows."""
        sums = self.windows.counts.group_by("item").agg(pl.col("flows").sum()).filter(pl.col("flows") >= least)
        return self.take(sums["item"].sort().to_numpy().astype(np.int64))


def gather(loaded: Sequence[CorpusFlowTable], settings: CountSettings) -> TaskData:
    """Concatenate corpora: count flows, and add the counts of sources that have counts only."""
    flows, counts, labels = [FLOW.empty()], [COUNTS.empty()], [LABELS.empty()]
    for corpus in loaded:
        prefix = pl.lit(f"{corpus.card.name}/") + pl.col("device")
        labels.append(corpus.labels.with_columns(device=prefix))
        if corpus.flows.height:
            mine = corpus.flows.with_columns(device=prefix)
            flows.append(mine)
            counts.append(count(mine, settings)[0])
        counts.append(corpus.counts.with_columns(device=prefix))
    digest = "+".join(sorted(corpus.digest for corpus in loaded))
    return TaskData(pl.concat(flows), pl.concat(counts), pl.concat(labels), digest)


def item_windows(
    data: TaskData, window: Window, *, offset_s: int = 0, min_hours: int = 1, statistics: bool = False
) -> Items:
    """Divide the data of a task into items.

    Parameters
    ----------
    data
        Counts and labels.
    window
        Seconds: one item per device and clock window in which it was active. ``run``: one item per run.
        ``device``: one item per device, all its runs together.
    offset_s
        Offset of clock windows from multiples of their length since 1970-01-01 UTC.
    min_hours
        Clock windows active in fewer sub-epochs are left out, such as the ends of a capture.
    statistics
        Whether to compute flow statistics for the baselines; items of sources without flows have none.
    """
    labels = _spans(data.labels, window)
    member = labels.select("device", "group", "from", "to")
    if isinstance(window, int):
        member = member.drop("from", "to")
        shift = pl.duration(seconds=offset_s)
        rows = data.counts.join(member, on="device").with_columns(
            start=(pl.col("time") - shift).dt.truncate(f"{window}s") + shift
        )
        items = rows.group_by("device", "group", "start").agg(hours=pl.col("time").n_unique())
        items = items.filter(pl.col("hours") >= min_hours).drop("hours")
        items = items.with_columns(end=pl.col("start") + pl.duration(seconds=window))
        key = ["group", "start"]
    else:
        rows = data.counts.join(member, on="device")
        # Volumes are scaled to a day by this duration, so that of a single packet must not be zero.
        watched = pl.max_horizontal((pl.col("to") - pl.col("from")).sum(), pl.lit(LEAST_WATCHED[window]))
        items = labels.group_by("group").agg(
            pl.col("device").first(), start=pl.col("from").min(), end=pl.col("from").min() + watched
        )
        key = ["group"]
    items = items.sort("group", "start").with_row_index("item").with_columns(pl.col("item").cast(pl.UInt32))
    numbered = rows.join(items.select("item", *key), on=key)
    truth = items.join(labels.drop("from", "to", "group"), on="device", how="left", maintain_order="left")
    volumes = [name for name in ITEM_COUNTS.names if name not in ("item",)]
    windows = Windows(
        ITEM.conform(items.with_columns(device=pl.col("group"))),
        ITEM_COUNTS.conform(numbered.select("item", *volumes)).sort(ITEM_COUNTS.names[:8]),
    )
    cluster = pl.col("unit") + " " + pl.col("start").dt.strftime("%Y-%m-%d")
    if window == "run":
        # A run is short, so that it is a cluster by itself and not part of its day.
        cluster = pl.col("unit") + " " + pl.col("run")
    if statistics and data.flows.height:
        windows = replace(windows, statistics=_statistics(data, windows, window))
    return Items(windows, truth.with_columns(cluster=cluster))


def _spans(labels: pl.DataFrame, window: Window) -> pl.DataFrame:
    group = pl.concat_str("corpus", pl.lit("/"), "id") if window == "device" else pl.col("device")
    return labels.with_columns(group=group)


def _statistics(data: TaskData, windows: Windows, window: Window) -> pl.DataFrame:
    """Flow statistics by item; an item that is a whole run or device uses all of its flows."""
    group = _spans(data.labels, window).select("device", "group")
    flows = data.flows.join(group, on="device").with_columns(device=pl.col("group")).drop("group")
    items = windows.items
    if not isinstance(window, int):
        always = (pl.lit(datetime(1970, 1, 1, tzinfo=UTC)), pl.lit(datetime(2200, 1, 1, tzinfo=UTC)))
        items = items.with_columns(start=always[0].cast(TIME), end=always[1].cast(TIME))
    return flow_statistics(flows, Windows(items, windows.counts))
