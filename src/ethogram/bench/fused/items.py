"""Items with fingerprints and flows: windows of counts, and the item of each custom flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.bench.counts.items import Items, TaskData, Window, item_windows
from ethogram.corpora.custom_flows import CorpusFlows
from ethogram.schema import Windows

__all__ = ["FusedItems", "fused_items"]


@dataclass(frozen=True)
class FusedItems:
    """Items, and for each corpus of captures the flows used, with the item of each.

    Parameters
    ----------
    items
        Windows of counts, and their labels.
    rows, owner
        By corpus: rows of its custom flows in ascending order, and the item of each.
    """

    items: Items
    rows: Mapping[str, NDArray[np.int64]]
    owner: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.items.windows)


def fused_items(
    data: TaskData, windows: Mapping[str, Window], corpora: Mapping[str, CorpusFlows], most: int, seed: int = 0
) -> FusedItems:
    """Divide the data of a task into items, by corpus, and find the flows of each item.

    Parameters
    ----------
    data
        Counts and labels.
    windows
        What one item is, by corpus; default: a device.
    corpora
        Custom flows of the corpora that have captures.
    most
        Maximum number of flows per item, drawn at random without use of labels.
    seed
        Seed of that draw.
    """
    parts = []
    for corpus in data.labels["corpus"].unique(maintain_order=True).to_list():
        labels = data.labels.filter(pl.col("corpus") == corpus)
        keep = pl.col("device").is_in(labels["device"].implode())
        of_corpus = replace(data, flows=data.flows.filter(keep), counts=data.counts.filter(keep), labels=labels)
        if of_corpus.counts.height:
            parts.append(item_windows(of_corpus, windows.get(corpus, "device")))
    items = _joined(parts)
    rows, owner = {}, {}
    for name, loaded in corpora.items():
        owners = _owners(loaded, items, windows.get(name, "device"))
        rows[name] = _drawn(owners, most, seed)
        owner[name] = owners[rows[name]]
    return FusedItems(items, rows, owner)


def _joined(parts: Sequence[Items]) -> Items:
    items, counts, truth, at = [], [], [], 0
    for part in parts:
        shifted = (pl.col("item") + pl.lit(at, pl.UInt32)).cast(pl.UInt32)
        items.append(part.windows.items.with_columns(item=shifted))
        counts.append(part.windows.counts.with_columns(item=shifted))
        truth.append(part.truth.with_columns(item=shifted))
        at += len(part.windows)
    return Items(Windows(pl.concat(items), pl.concat(counts)), pl.concat(truth, how="diagonal"))


def _owners(loaded: CorpusFlows, items: Items, window: Window) -> NDArray[np.int64]:
    """Item of each flow, [N]; -1 for flows of no item."""
    mine = items.windows.items.with_columns(corpus=items.truth["corpus"]).filter(pl.col("corpus") == loaded.card.name)
    start = pl.Series(loaded.flows.start_us).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    device = loaded.flows.device
    if window == "device":
        # An item is all runs of a device, and is named without the run.
        device = pl.Series([f"{loaded.card.name}/{name}" for name in loaded.truth["id"]], dtype=pl.String)
    flows = pl.DataFrame({"device": device, "start": start})
    key = ["device"]
    if isinstance(window, int):
        flows = flows.with_columns(pl.col("start").dt.truncate(f"{window}s"))
        key.append("start")
    mine = mine.with_columns(pl.col("start").cast(flows["start"].dtype))
    joined = flows.join(mine.select("item", *key), on=key, how="left", maintain_order="left")
    return joined["item"].cast(pl.Int64).fill_null(-1).to_numpy().astype(np.int64)


def _drawn(owner: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Rows of at most ``most`` flows of each item, in ascending order."""
    shuffled = np.random.default_rng([seed, 0xB07]).permutation(np.flatnonzero(owner >= 0))
    order = np.argsort(owner[shuffled], kind="stable")
    sorted_owner = owner[shuffled][order]
    place = np.empty(len(shuffled), np.int64)
    place[order] = np.arange(len(shuffled)) - np.searchsorted(sorted_owner, sorted_owner)
    return np.sort(shuffled[place < most])
