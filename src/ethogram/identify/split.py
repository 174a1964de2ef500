"""Splits whose sides are proven disjoint: of flows by day, by device-day or by network, and of items by their times.

Items are never split at random, since consecutive records of a device share key, remote and payload.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.errors import LeakError, UsageError
from ethogram.identify.leave_group_out import device_units

__all__ = ["FlowDays", "ItemSide", "Split", "SplitSide"]

By = Literal["day", "device-day", "network", "item"]
Indices = NDArray[np.int64]
SHOWN = 5
TRAINED, TESTED = ("train", "enrol"), "test"
"""Roles of the sides that a classifier learns from and is tested on."""


class SplitSide(Protocol):
    """One side of a split: its items or flows, each of one unit and with a period of time."""

    @property
    def rows(self) -> Indices:
        """[N] row numbers, for the caller."""
        ...

    def __len__(self) -> int: ...

    def periods(self) -> pl.DataFrame:
        """One row per item or device-day: ``row``, ``device``, ``unit``, ``network``, ``start``, ``end``, and more.

        ``unit`` is the same for one device in all networks, ``device`` is its name in messages.
        """
        ...

    def digest_text(self, name: str) -> bytes:
        """Text of the side called ``name`` for the digest of the split."""
        ...


@dataclass(frozen=True)
class FlowDays:
    """Flows of one network as a side of a split, with their devices and days.

    Parameters
    ----------
    network
        Name of the network.
    device, day
        [N] device and day (days since 1970-01-01 UTC) of each flow.
    rows
        [N] row numbers of the flows, for the caller.
    """

    network: str
    device: pl.Series
    day: Indices
    rows: Indices

    def __len__(self) -> int:
        return int(self.day.size)

    @classmethod
    def of(cls, network: str, device: pl.Series, start_us: Indices) -> Self:
        """All flows of a table, from device and start time."""
        day = np.asarray(start_us // 86_400_000_000, np.int64)
        return cls(network, device, day, np.arange(day.size))

    def take(self, selected: NDArray[np.bool_] | Indices) -> FlowDays:
        """A subset of the flows."""
        where = np.flatnonzero(selected) if selected.dtype == np.bool_ else np.asarray(selected, np.int64)
        return FlowDays(self.network, self.device.gather(pl.Series(where)), self.day[where], self.rows[where])

    def device_days(self) -> pl.DataFrame:
        """One row per device-day: ``device``, ``day``, ``flows``, ``row`` (the first)."""
        frame = pl.DataFrame({"device": self.device, "day": self.day, "row": self.rows})
        return frame.group_by("device", "day").agg(pl.len().alias("flows"), pl.col("row").min()).sort("device", "day")

    def periods(self) -> pl.DataFrame:
        """One row per device-day; a MAC address is one unit in all networks, any other name is of this network."""
        days = self.device_days()
        devices = days["device"].to_list()
        start = pl.col("day").cast(pl.Int32).cast(pl.Date).cast(pl.Datetime("us"))
        return days.select(
            "row", "device", unit=pl.Series(device_units(devices, [self.network] * len(devices)), dtype=pl.String),
            network=pl.lit(self.network), start=start, end=start + pl.duration(days=1),
        )  # fmt: skip

    def digest_text(self, name: str) -> bytes:
        """Network, devices and days."""
        return f"|{name}|{self.network}|".encode() + self.device_days().select("device", "day").write_csv().encode()


@dataclass(frozen=True)
class ItemSide:
    """Items of a table as a side of a split.

    Parameters
    ----------
    table
        All items: ``item`` (its number), ``device``, ``unit``, ``start``, ``end``, and what else a split separates.
    rows
        [N] numbers of the items of this side.
    """

    table: pl.DataFrame = field(repr=False)
    rows: Indices

    def __len__(self) -> int:
        return len(self.rows)

    def _items(self) -> pl.DataFrame:
        return self.table.filter(pl.col("item").is_in(self.rows.tolist()))

    def periods(self) -> pl.DataFrame:
        """One row per item; all of one network if the table does not name networks."""
        items = self._items().rename({"item": "row"})
        return items if "network" in items.columns else items.with_columns(network=pl.lit(""))

    def digest_text(self, name: str) -> bytes:  # noqa: ARG002 (digests of result rows leave out the name)
        """Devices and times."""
        times = self._items().select("device", "start", "end").sort("device", "start", "end")
        return times.write_csv().encode() + b"|"


@dataclass(frozen=True)
class Split:
    """A split whose sides are disjoint; construction fails if they are not.

    Parameters
    ----------
    name
        Description, for provenance.
    by
        ``day``: sides of one network are more than ``gap_days`` days apart over all devices; ``device-day``: the same
        for each device separately; ``network``: ``train`` and ``test`` are different networks, and other sides of one
        network are separated as ``within`` states; ``item``: items of one unit do not overlap in time.
    sides
        Sides by name. A side of several networks has one entry for each: ``train of home``, ``train of office``.
    gap_days
        Unused days between two sides of one network.
    within
        With ``network``: how sides of one network are separated.
    separates
        Columns of which no value may be on both the side that trains (``train``, ``enrol``) and ``test``.
    in_time
        Whether all periods of a unit on one side must end before those on the next side begin.

    Raises
    ------
    LeakError
        When two sides are closer in time than these rules allow, a value of ``separates`` is on two sides, train and
        test are one network (``network``), or a device is on two sides in different networks (all but ``item``). The
        message names rows.
    UsageError
        When a side is empty.

    Examples
    --------
    >>> days = FlowDays("home", pl.Series(["a", "a"]), np.array([0, 3]), np.array([0, 1]))
    >>> split = Split("by hand", "day", {"train": days.take(days.day < 2), "test": days.take(days.day > 2)})
    >>> split.sides["test"].rows.tolist()
    [1]
    """

    name: str
    by: By
    sides: Mapping[str, SplitSide]
    gap_days: int = 1
    within: Literal["day", "device-day"] = "day"
    separates: tuple[str, ...] = ()
    in_time: bool = False

    def __post_init__(self) -> None:
        for name, side in self.sides.items():
            if not len(side):
                raise UsageError(f"split {self.name}: nothing in {name}")
        periods = {name: side.periods() for name, side in self.sides.items()}
        for left, right in combinations(self.sides, 2):
            self._refuse_shared_values(left, right, periods[left], periods[right])
            self._refuse_shared_time(left, right, periods[left], periods[right])

    @classmethod
    def of_items(
        cls, name: str, items: pl.DataFrame, enrol: Indices, test: Indices, *, separates: tuple[str, ...] = (),
        in_time: bool = False,
    ) -> Self:  # fmt: skip
        """Split items into those that are enrolled and those that are tested.

        Parameters
        ----------
        items
            Table of :class:`ItemSide`.
        enrol, test
            Item numbers.
        """
        sides = {"enrol": ItemSide(items, enrol), "test": ItemSide(items, test)}
        return cls(name, "item", sides, 0, separates=separates, in_time=in_time)

    @property
    def enrol(self) -> Indices:
        """Rows of the side ``enrol``."""
        return self.sides["enrol"].rows

    @property
    def test(self) -> Indices:
        """Rows of the side ``test``."""
        return self.sides["test"].rows

    def _refuse_shared_values(self, left: str, right: str, a: pl.DataFrame, b: pl.DataFrame) -> None:
        """Refuse values that must be on one side only, and a device in two networks on two sides."""
        roles = _role(left), _role(right)
        separates = self.separates + (("network",) if self.by == "network" else ())
        if roles[0] in TRAINED and roles[1] == TESTED:
            for column in separates:
                shared = b.join(a.select(column).drop_nulls().unique(), on=column, how="semi")
                if shared.height:
                    self._refuse(f"{column} {_first(shared[column])} in both {left} and {right}", shared)
        if self.by != "item" and roles[0] != roles[1]:
            elsewhere = a.select("unit", "network").unique().join(b, on="unit", suffix="_other")
            elsewhere = elsewhere.filter(pl.col("network") != pl.col("network_other"))
            if elsewhere.height:
                units = _first(elsewhere["device"])
                self._refuse(f"{units} in both {left} and {right}: the same unit", elsewhere)

    def _refuse_shared_time(self, left: str, right: str, a: pl.DataFrame, b: pl.DataFrame) -> None:
        """Refuse periods that overlap or are within the gap: of one unit, or of one network (``day``)."""
        per_unit = self.by in ("item", "device-day") or (self.by, self.within) == ("network", "device-day")
        key = "unit" if per_unit else "network"
        spans = list(dict.fromkeys([key, "network", "start", "end"]))
        pairs = a.select(spans).unique().join(b.select(spans).unique(), on=key, suffix="_other", nulls_equal=True)
        if per_unit and _role(left) == _role(right):
            pairs = pairs.filter(pl.col("network") == pl.col("network_other"))
        gap = pl.duration(days=self.gap_days)
        leaks = pl.col("end") + gap > pl.col("start_other")
        if not self.in_time:
            leaks &= pl.col("end_other") + gap > pl.col("start")
        same = (pl.col("start") == pl.col("start_other")) & (pl.col("end") == pl.col("end_other"))
        near = pairs.filter(leaks | same)  # a period of no length does not overlap itself
        if not near.height:
            return
        near = near.select(key, start="start_other", end="end_other").unique()
        items = b.join(near, on=[key, "start", "end"], how="semi", nulls_equal=True, maintain_order="left")
        if self.in_time:
            relation = f"{left} does not end before {right} begins"
        elif self.gap_days or self.by != "item":
            where = _first(items["network"])
            relation = f"{left} and {right} are within {self.gap_days} days of each other in {where}"
        else:
            relation = f"items of one unit share time in {left} and {right}"
        self._refuse(relation, items)

    def _refuse(self, relation: str, items: pl.DataFrame) -> None:
        kind = "items" if self.by == "item" else "device-days"
        shown = ", ".join(
            f"{device} on {start:%Y-%m-%d}" for device, start in items.select("device", "start").head(SHOWN).iter_rows()
        )
        rows = items["row"].head(SHOWN).to_list()
        raise LeakError(f"split {self.name}: {relation}: {items.height} {kind}, first {shown}; rows {rows}")

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over the rules and all sides: of items, over devices and times."""
        within = "" if self.within == "day" else f" {self.within}"
        rules = self.name if self.by == "item" else f"{self.by} {self.gap_days}{within}"
        text = hashlib.sha256(rules.encode())
        for name, side in self.sides.items():
            text.update(side.digest_text(name))
        return text.hexdigest()[:12]

    @classmethod
    def by_day(
        cls, flows: FlowDays, *, test_share: float, gap_days: int, by: Literal["day", "device-day"] = "day",
        names: tuple[str, str] = ("train", "test"),
    ) -> Self:  # fmt: skip
        """Split by day: the first days train, the last ones test, with a gap between them.

        Parameters
        ----------
        flows
            Flows of one network.
        test_share
            Share of the days with flows to test on; at least one day.
        gap_days
            Unused days before the test days.
        by
            Split the days of all devices at once, or of each device separately.
        names
            Names of the two sides.

        Raises
        ------
        UsageError
            When there are too few days.
        """
        key = flows.device if by == "device-day" else pl.Series([""] * len(flows), dtype=pl.String)
        keyed = pl.DataFrame({"key": key, "day": flows.day})
        days = keyed.unique().sort("key", "day").with_columns(
            place=pl.col("day").rank("ordinal").over("key"), count=pl.len().over("key")
        )  # fmt: skip
        # A device with a single day is only used for training.
        tested = pl.max_horizontal((pl.col("count") * test_share).round(), pl.lit(1.0))
        first = days.filter((pl.col("place") > pl.col("count") - tested) & (pl.col("count") > 1))
        first = first.group_by("key").agg(pl.col("day").min().alias("first"))
        joined = keyed.join(first, on="key", how="left", maintain_order="left")
        first_test_day = joined["first"].fill_null(1 << 40).to_numpy()
        train, test = flows.take(flows.day < first_test_day - gap_days), flows.take(flows.day >= first_test_day)
        if not len(train) or not len(test):
            raise UsageError(
                f"{np.unique(flows.day).size} days of labelled flows in {flows.network} are too few for {names[0]}, "
                f"a gap of {gap_days} and {names[1]}"
            )
        return cls(f"{by}, last {test_share:g} of the days", by, {names[0]: train, names[1]: test}, gap_days)


def _role(side: str) -> str:
    """Role of a side: its name without the network."""
    return side.partition(" of ")[0]


def _first(values: pl.Series) -> str:
    return ", ".join(str(value) for value in values.unique(maintain_order=True).head(SHOWN))
