"""Splits that prove they are disjoint: a split that leaks raises an error that names the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.errors import LeakError, UsageError

__all__ = ["LeakError", "Split", "by_model", "by_network", "chronological"]

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Enrolment and test items, checked to be disjoint.

    Parameters
    ----------
    name
        Description of the split, for provenance.
    items
        Column ``item`` (0, 1, ... as in the windows), ``device``, ``unit``, ``start``, ``end``, and every column that
        is in ``separates``.
    enrol, test
        Item numbers.
    separates
        Columns of which no value may be on both sides.
    in_time
        Whether all enrolled items of a unit must end before its test items begin.

    Raises
    ------
    LeakError
        When an item is on both sides, when two items of one unit overlap in time across the sides, or when a value
        of ``separates`` is on both.
    """

    name: str
    items: pl.DataFrame
    enrol: Indices
    test: Indices
    separates: tuple[str, ...] = ()
    in_time: bool = False

    def __post_init__(self) -> None:
        if not len(self.enrol) or not len(self.test):
            raise UsageError(f"split {self.name}: nothing to {'test' if len(self.enrol) else 'enrol'}")
        both = np.intersect1d(self.enrol, self.test)
        if both.size:
            raise LeakError(f"split {self.name}: {both.size} items on both sides, first {both[:5].tolist()}")
        left, right = self._side(self.enrol), self._side(self.test)
        for column in self.separates:
            shared = sorted(set(left[column].drop_nulls()) & set(right[column].drop_nulls()))
            if shared:
                rows = right.filter(pl.col(column).is_in(shared))["item"].head(5).to_list()
                raise LeakError(f"split {self.name}: {column} {', '.join(shared[:5])} on both sides, test items {rows}")
        self._refuse_overlap(left, right)

    def _side(self, which: Indices) -> pl.DataFrame:
        return self.items.filter(pl.col("item").is_in(which.tolist()))

    def _refuse_overlap(self, left: pl.DataFrame, right: pl.DataFrame) -> None:
        """Refuse items of one unit that overlap in time across the sides."""
        pairs = left.select("unit", "item", "start", "end").join(right, on="unit", suffix="_test")
        if self.in_time:
            leak = pairs.filter(pl.col("end") > pl.col("start_test"))
        else:
            leak = pairs.filter((pl.col("start") < pl.col("end_test")) & (pl.col("start_test") < pl.col("end")))
        if leak.height:
            shown = leak.select("unit", "item", "item_test").head(5).rows()
            raise LeakError(
                f"split {self.name}: {leak.height} pairs of items of one unit share time, "
                f"first {shown} (unit, enrolled, test)"
            )

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the devices and times of both sides."""
        text = hashlib.sha256(self.name.encode())
        for side in (self.enrol, self.test):
            part = self._side(side).select("device", "start", "end").sort("device", "start", "end")
            text.update(part.write_csv().encode() + b"|")
        return text.hexdigest()[:12]


def chronological(
    items: pl.DataFrame, *, by: Literal["day", "window", "clock"] = "day", share: float = 1 / 3,
    clock: int | None = None,
) -> Split:  # fmt: skip
    """Enrol the first part of each device's period, and test the rest.

    Parameters
    ----------
    items
        As for :class:`Split`, with ``unit``.
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
    return Split(name, items, _numbers(marked, "early"), _numbers(marked, "late"), in_time=True)


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
    return Split(name, items, _rows(known), _rows(tested), separates=("network", "site", "unit"))


def by_model(items: pl.DataFrame, test: Sequence[str]) -> Split:
    """Test some models, and enrol all others."""
    tested = items.filter(pl.col("model").is_in(list(test)))
    known = items.filter(~pl.col("model").is_in(list(test)))
    return Split(f"model {'+'.join(test)}", items, _rows(known), _rows(tested), separates=("model", "unit"))


def _rows(frame: pl.DataFrame) -> Indices:
    return np.asarray(frame["item"].sort().to_numpy(), dtype=np.int64)


def _numbers(frame: pl.DataFrame, column: str) -> Indices:
    return _rows(frame.filter(pl.col(column)))
