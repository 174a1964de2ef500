"""Windows of counts or fingerprints: the items that are enrolled and identified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from ethogram.config import ExporterSettings
from ethogram.fingerprint.count import interval
from ethogram.fingerprint.device import STABLE, EndedWindow
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.pipeline.fingerprints import windows_from_counts, windows_from_fingerprints
from ethogram.schema import COUNTS, ITEM, ITEM_COUNTS, Windows

__all__ = ["STABLE", "ObservedWindows", "Per", "export_counts", "regroup", "settled_devices", "stable_windows",
           "windows_of_devices"]  # fmt: skip

Per = Literal["device", "fingerprint", "epoch"]


@dataclass(frozen=True)
class ObservedWindows:
    """What came in: windows, and for each why it ended (:data:`ethogram.schema.STATUS`)."""

    windows: Windows
    status: list[str]

    @classmethod
    def of_fingerprints(cls, fingerprints: pl.DataFrame) -> ObservedWindows:
        """Exported fingerprints, each an item."""
        return cls(windows_from_fingerprints(fingerprints), fingerprints["status"].cast(pl.String).to_list())

    @classmethod
    def of_counts(cls, counts: pl.DataFrame, window_s: int) -> ObservedWindows:
        """Counts, cut into windows of equal length that have not been compared with anything: all *open*."""
        windows = windows_from_counts(counts, window_s)
        return cls(windows, ["open"] * len(windows))

    def take(self, items: Sequence[int]) -> ObservedWindows:
        """Only these items."""
        return ObservedWindows(self.windows.take(list(items)), [self.status[i] for i in items])

    @property
    def converged(self) -> list[bool]:
        """Whether each item is final."""
        return [status in STABLE for status in self.status]


def regroup(seen: ObservedWindows, per: Per, window_s: int = 86_400) -> ObservedWindows:
    """Bring windows to the items that verdicts are wanted for.

    Parameters
    ----------
    seen
        Windows as they came in.
    per
        ``fingerprint``: as they are; ``device``: all windows of a device as one, final as soon as one of them is;
        ``epoch``: cut anew into windows of ``window_s``.
    window_s
        Length of an epoch in seconds.
    """
    if per == "fingerprint":
        return seen
    windows = seen.windows
    if per == "epoch":
        named = windows.counts.join(windows.items.select("item", "device"), on="item")
        return ObservedWindows.of_counts(named.select(COUNTS.names), window_s)
    merged = (
        windows.items.with_columns(done=pl.Series(seen.converged, dtype=pl.Boolean))
        .group_by("device")
        .agg(pl.col("start").min(), pl.col("end").max(), pl.col("done").any(), pl.col("item").alias("items"))
        .sort("device")
        .with_row_index("new")
    )
    owner = merged.select(pl.col("new").cast(pl.UInt32), "items").explode("items")
    counts = windows.counts.join(owner, left_on="item", right_on="items").with_columns(item=pl.col("new"))
    items = merged.select(pl.col("new").alias("item"), "device", "start", "end")
    status = ["converged" if done else "open" for done in merged["done"]]
    return ObservedWindows(Windows(ITEM.conform(items), ITEM_COUNTS.conform(counts)), status)


def windows_of_devices(counts: pl.DataFrame, window_s: int) -> Windows:
    """All windows of a device as one item: :func:`regroup` by device of :meth:`ObservedWindows.of_counts`.

    Parameters
    ----------
    counts
        Form :data:`ethogram.schema.COUNTS`, sorted by key.
    window_s
        Length of a window in seconds.
    """
    begin, length = pl.col("time").dt.truncate(interval(window_s)), pl.duration(seconds=window_s)
    items = counts.group_by("device", maintain_order=True).agg(
        start=begin.min(), end=begin.max() + length, rows=pl.len()
    ).sort("device", maintain_order=True).with_row_index("item")  # fmt: skip
    number = np.repeat(items["item"].to_numpy(), items["rows"].to_numpy())
    rows = counts.with_columns(item=pl.Series(number, dtype=pl.UInt32))
    return Windows(ITEM.conform(items), ITEM_COUNTS.conform(rows))


def export_counts(counts: pl.DataFrame, settings: ExporterSettings | None = None) -> pl.DataFrame:
    """Let the fingerprint exporter run over counts; form :data:`ethogram.schema.FINGERPRINT`."""
    exporter = FingerprintExporter(settings, max_devices=None)
    exporter.add(counts.select(COUNTS.names))
    return exporter.finish()


def stable_windows(counts: pl.DataFrame) -> list[EndedWindow]:
    """Windows whose fingerprint is stable; counts of the form :data:`ethogram.schema.COUNTS`, sorted by key.

    Only the state machines run: no fingerprint is put together.
    """
    exporter = FingerprintExporter(max_devices=None)
    return [window for window in exporter.ended_windows(counts) if window.visible and window.status in STABLE]


def settled_devices(counts: pl.DataFrame) -> set[str]:
    """Devices of which a fingerprint converges; counts as for :func:`stable_windows`."""
    return FingerprintExporter(max_devices=None).stable_devices(counts)
