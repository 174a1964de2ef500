"""Splits of labelled flows, checked to be disjoint: by day with a gap, by the days of each device, or by network.

Flows are never split at random, since consecutive records of a connection share key, remote and payload.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.errors import LeakError, UsageError
from ethogram.identify.leave_group_out import MAC

__all__ = ["FlowDays", "FlowSplit"]

By = Literal["day", "device-day", "network"]
SHOWN = 5


@dataclass(frozen=True)
class FlowDays:
    """One side of a split: its flows with their devices and days.

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
    day: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.day.size)

    @classmethod
    def of(cls, network: str, device: pl.Series, start_us: NDArray[np.int64]) -> Self:
        """All flows of a table, from device and start time."""
        day = np.asarray(start_us // 86_400_000_000, np.int64)
        return cls(network, device, day, np.arange(day.size))

    def take(self, selected: NDArray[np.bool_] | NDArray[np.int64]) -> FlowDays:
        """A subset of the flows."""
        where = np.flatnonzero(selected) if selected.dtype == np.bool_ else np.asarray(selected, np.int64)
        return FlowDays(self.network, self.device.gather(pl.Series(where)), self.day[where], self.rows[where])

    def device_days(self) -> pl.DataFrame:
        """One row per device-day: ``device``, ``day``, ``flows``, ``row`` (the first)."""
        frame = pl.DataFrame({"device": self.device, "day": self.day, "row": self.rows})
        return frame.group_by("device", "day").agg(pl.len().alias("flows"), pl.col("row").min()).sort("device", "day")


@dataclass(frozen=True)
class FlowSplit:
    """A split whose sides are disjoint; construction fails if they are not.

    Parameters
    ----------
    name
        Description, for provenance.
    by
        ``day``: sides of one network are more than ``gap_days`` days apart over all devices; ``device-day``: the same
        for each device separately; ``network``: ``train`` and ``test`` are different networks, and other sides of one
        network are separated as ``within`` states.
    sides
        Flows by name of the side. A side of several networks has one entry for each: ``train of home``,
        ``train of office``.
    gap_days
        Unused days between two sides of one network.
    within
        With ``network``: how sides of one network are separated.

    Raises
    ------
    LeakError
        When two sides of one network are closer than the gap, train and test are one network (``network``), or a MAC
        address is on two sides in different networks; the message names rows.
    UsageError
        When a side is empty.

    Examples
    --------
    >>> days = FlowDays("home", pl.Series(["a", "a"]), np.array([0, 3]), np.array([0, 1]))
    >>> split = FlowSplit("by hand", "day", {"train": days.take(days.day < 2), "test": days.take(days.day > 2)})
    >>> split.sides["test"].rows.tolist()
    [1]
    """

    name: str
    by: By
    sides: Mapping[str, FlowDays]
    gap_days: int = 1
    within: Literal["day", "device-day"] = "day"

    def __post_init__(self) -> None:
        for name, side in self.sides.items():
            if not len(side):
                raise UsageError(f"split {self.name}: no flow in {name}")
        for left, right in combinations(self.sides, 2):
            roles = _role(left), _role(right)
            if self.sides[left].network != self.sides[right].network:
                if roles[0] != roles[1]:
                    self._refuse_shared_unit(left, right)
            elif self.by == "network" and set(roles) == {"train", "test"}:
                self._refuse_shared_network(left, right)
            else:
                self._refuse_near_days(left, right)

    def _refuse_near_days(self, left: str, right: str) -> None:
        a, b = self.sides[left].device_days(), self.sides[right].device_days()
        by_device = "device-day" in (self.by, self.within)
        if by_device:
            pairs = a.join(b, on="device", suffix="_other")
            near = pairs.filter((pl.col("day") - pl.col("day_other")).abs() <= self.gap_days)
            rows = near["row_other"]
        else:
            days = a["day"].unique().sort().to_numpy()
            other = b["day"].to_numpy()
            place = np.searchsorted(days, other)
            gap = np.minimum(np.abs(other - days[np.clip(place - 1, 0, None)]),
                             np.abs(days[np.clip(place, None, days.size - 1)] - other))  # fmt: skip
            near = b.filter(pl.Series(gap <= self.gap_days))
            rows = near["row"]
        if near.height:
            shown = [
                f"{device} on {_date(day)}"
                for device, day in near.select("device", "day_other" if by_device else "day").head(SHOWN).iter_rows()
            ]
            raise LeakError(
                f"split {self.name}: {left} and {right} are within {self.gap_days} days of each other in "
                f"{self.sides[left].network}: {near.height} device-days, first {', '.join(shown)}; "
                f"rows {rows.head(SHOWN).to_list()}"
            )  # fmt: skip

    def _refuse_shared_network(self, left: str, right: str) -> None:
        a, b = self.sides[left], self.sides[right]
        raise LeakError(f"split {self.name}: {left} and {right} are both in {a.network}; rows {b.rows[:SHOWN]}")

    def _refuse_shared_unit(self, left: str, right: str) -> None:
        a, b = self.sides[left], self.sides[right]
        shared = [name for name in sorted(set(a.device.unique()) & set(b.device.unique())) if MAC.match(name)]
        if shared:
            rows = b.rows[b.device.is_in(shared).to_numpy()][:SHOWN].tolist()
            raise LeakError(
                f"split {self.name}: {', '.join(shared[:SHOWN])} in both {left} and {right}: the same unit; rows {rows}"
            )

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over networks, devices and days of all sides."""
        within = "" if self.within == "day" else f" {self.within}"
        text = hashlib.sha256(f"{self.by} {self.gap_days}{within}".encode())
        for name, side in self.sides.items():
            text.update(f"|{name}|{side.network}|".encode())
            text.update(side.device_days().select("device", "day").write_csv().encode())
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


def _date(day: int) -> str:
    return str(np.datetime64(int(day), "D"))
