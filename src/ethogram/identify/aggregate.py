"""Score a long window as the mean of short parts, since a device has modes: idle, in use, offline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.errors import UsageError
from ethogram.identify.identifier import Identifier, Term, average, require_labels
from ethogram.identify.last_seen import LastSeen
from ethogram.schema import ITEM, ITEM_COUNTS, Windows

__all__ = ["Averaged", "split_windows"]


def split_windows(windows: Windows, window_s: int) -> tuple[Windows, NDArray[np.int64]]:
    """Cut items longer than ``window_s`` into parts aligned to multiples of it (from midnight UTC).

    Returns
    -------
    parts, owner
        The parts with traffic, and one silent part for each silent item. ``owner`` is the item of each part, ascending.
    """
    if window_s <= 0:
        raise UsageError("window_s must be positive")
    span = f"{window_s}s"
    long = (pl.col("end") - pl.col("start")) > pl.duration(seconds=window_s)
    spans = windows.items.select("item", pl.col("start").alias("whole"), long.alias("long"))
    counts = (
        windows.counts.join(spans, on="item", how="left", maintain_order="left")
        .with_columns(part=pl.when("long").then(pl.col("time").dt.truncate(span)).otherwise("whole"))
        .drop("whole", "long")
    )
    silent = windows.items.select("item", pl.col("start").alias("part")).join(counts, on="item", how="anti")
    active = counts.select("item", "part").unique()
    keys = (
        pl.concat([active, silent])
        .sort("item", "part")
        .with_row_index("new")
        .with_columns(pl.col("new").cast(pl.UInt32))
    )
    items = keys.join(windows.items.select("item", "device"), on="item", how="left", maintain_order="left").select(
        pl.col("new").alias("item"),
        "device",
        pl.col("part").alias("start"),
        (pl.col("part") + pl.duration(seconds=window_s)).alias("end"),
    )
    rows = counts.join(keys, on=["item", "part"], how="left", maintain_order="left").with_columns(item=pl.col("new"))
    parts = Windows(ITEM.conform(items), rows.select(ITEM_COUNTS.names))
    return parts, keys["item"].to_numpy().astype(np.int64)


class Averaged(Identifier):
    """Fit and score an identifier on parts of ``window_s``, and average the scores over each item.

    Parameters
    ----------
    inner
        Identifier for the parts.
    window_s
        Length of a part in seconds; one to six hours separate the modes of a device.
    """

    def __init__(self, inner: Identifier, window_s: int = 6 * 3600) -> None:
        self.inner = inner
        self.window_s = window_s

    @cached_property
    def _parts(self) -> LastSeen[tuple[Windows, NDArray[np.int64]]]:
        return LastSeen()

    def _split(self, windows: Windows) -> tuple[Windows, NDArray[np.int64]]:
        """Parts of the windows; to explain what was just scored gives the same objects, so ``inner`` can reuse them."""
        return self._parts.of(windows, lambda: split_windows(windows, self.window_s))

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Fit on the parts, each with the label of its item."""
        self.labels_ = require_labels(windows, labels)
        parts, owner = split_windows(windows, self.window_s)
        self.inner.fit_parts(parts, [labels[i] for i in owner], owner)
        return self

    def refit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """As :meth:`fit`; the inner identifier keeps what it may."""
        self.labels_ = require_labels(windows, labels)
        parts, owner = split_windows(windows, self.window_s)
        self.inner.refit_parts(parts, [labels[i] for i in owner], owner)
        return self

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Mean raw scores of the parts, shape (n, L)."""
        self.require_fit()
        parts, owner = self._split(windows)
        return self.inner.decision_parts(parts, owner, len(windows))

    def cross_val(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Held-out scores; parts belong to the group of their item."""
        parts, owner = split_windows(windows, self.window_s)
        names, scores = self.inner.cross_val(parts, [labels[i] for i in owner], groups[owner])
        return names, average(scores, owner, len(windows))

    def explain(self, windows: Windows, labels: Sequence[str]) -> Sequence[Sequence[Term]]:
        """Terms averaged over the parts; a term that is absent in a part counts as 0."""
        self.require_fit()
        parts, owner = self._split(windows)
        part_labels = [labels[i] for i in owner]
        return self.inner.explain_parts(parts, part_labels, owner, len(labels))
