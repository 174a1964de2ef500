"""Splits of items: by the time of each device, by network or by model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.identify.split import Split

__all__ = ["by_model", "by_network", "chronological"]

Indices = NDArray[np.int64]


def chronological(
    items: pl.DataFrame, *, by: Literal["day", "window", "clock"] = "day", share: float = 1 / 3,
    clock: int | None = None,
) -> Split:  # fmt: skip
    """Enrol the first part of each device's period, and test the rest.

    Parameters
    ----------
    items
        Table of :class:`ethogram.identify.split.ItemSide`.
    by
        ``day``: the period is divided between calendar days; ``window``: between windows; ``clock``: at the same
        instant for all devices, ``clock`` seconds after the first window begins.
    share
        Share of the days or windows that is enrolled, rounded up.
    clock
        Seconds, for ``by="clock"``.

    Notes
    -----
    A device without test items stays enrolled, as a label that others can be confused with. A test item whose device
    is not enrolled cannot be classified correctly in a closed set; ``clock`` leaves such devices out.
    """
    if by == "clock":
        first = items["start"].min()
        cut = pl.lit(first) + pl.duration(seconds=clock or 0)
        marked = items.with_columns(early=pl.col("end") <= cut, late=pl.col("start") >= cut)
        marked = marked.filter(pl.col("early").any().over("unit") & pl.col("late").any().over("unit"))
    else:
        step = pl.col("start").dt.truncate("1d") if by == "day" else pl.col("start")
        rank = step.rank("dense").over("unit")
        limit = (step.n_unique().over("unit") * share - 1e-9).ceil()
        marked = items.with_columns(early=rank <= limit, late=rank > limit)
    name = f"chronological by {by}, " + (f"{clock} s" if by == "clock" else f"first {share:.3f}")
    return Split.of_items(name, items, _numbers(marked, "early"), _numbers(marked, "late"), in_time=True)


def by_network(
    items: pl.DataFrame, enrol: Sequence[str], test: Sequence[str], *, sites: Mapping[str, str] | None = None,
    drop_shared: bool = True,
) -> Split:  # fmt: skip
    """Enrol some networks and test others; a unit in both is not enrolled (or refused, without ``drop_shared``).

    Networks of one site are never on both sides.
    """
    items = items.with_columns(site=pl.col("network").replace(dict(sites or {})))
    tested = items.filter(pl.col("network").is_in(list(test)))
    known = items.filter(pl.col("network").is_in(list(enrol)))
    if drop_shared:
        known = known.filter(~pl.col("unit").is_in(tested["unit"].unique().to_list()))
    name = f"network {'+'.join(enrol)} -> {'+'.join(test)}"
    return Split.of_items(name, items, _rows(known), _rows(tested), separates=("network", "site", "unit"))


def by_model(items: pl.DataFrame, test: Sequence[str]) -> Split:
    """Test some models, and enrol all others."""
    tested = items.filter(pl.col("model").is_in(list(test)))
    known = items.filter(~pl.col("model").is_in(list(test)))
    return Split.of_items(f"model {'+'.join(test)}", items, _rows(known), _rows(tested), separates=("model", "unit"))


def _rows(frame: pl.DataFrame) -> Indices:
    return np.asarray(frame["item"].sort().to_numpy(), dtype=np.int64)


def _numbers(frame: pl.DataFrame, column: str) -> Indices:
    return _rows(frame.filter(pl.col(column)))
