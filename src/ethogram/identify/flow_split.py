"""Splits of labelled flows that prove they are disjoint: by day with a gap, by a device's own days, or by network.

Flows are never split at random: consecutive records of one connection share key, peer and payload.
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
    """One side of a split: which flows, of which devices, on which days.

    Parameters
    ----------
    network
        Where they were seen; a network has one name.
    device, day
        [N] of each flow; days since 1970-01-01 UTC.
    rows
        [N] where the flow stands; for the caller.
    """

    network: str
    device: pl.Series
    day: NDArray[np.int64]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.day.size)

    @classmethod
    def of(cls, network: str, device: pl.Series, start_us: NDArray[np.int64]) -> Self:
        """All flows of a table, by device and time of their first packet."""
        day = np.asarray(start_us // 86_400_000_000, np.int64)
        return cls(network, device, day, np.arange(day.size))

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> FlowDays:
        """Some of the flows."""
        where = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else np.asarray(chosen, np.int64)
        return FlowDays(self.network, self.device.gather(pl.Series(where)), self.day[where], self.rows[where])

    def device_days(self) -> pl.DataFrame:
        """Every device-day once: ``device``, ``day``, ``flows``, ``row`` (the first)."""
        frame = pl.DataFrame({"device": self.device, "day": self.day, "row": self.rows})
        return frame.group_by("device", "day").agg(pl.len().alias("flows"), pl.col("row").min()).sort("device", "day")


@dataclass(frozen=True)
class FlowSplit:
    """Sides that share nothing they must not share. One that cannot prove it is not made.

    Parameters
    ----------
    name
        What was done, for the provenance.
    by
        ``day``: sides of one network are more than ``gap_days`` apart, for all devices together; ``device-day``: the
        same for each device alone; ``network``: ``train`` and ``test`` stand in different networks, and other sides
        of one network are apart as ``within`` says.
    sides
        Flows by the name of the side. A side of several networks has one entry for each, whose names begin alike:
        ``train of home``, ``train of office``.
    gap_days
        Days that nobody uses between two sides of one network.
    within
        With ``network``: how sides of one network are apart.

    Raises
    ------
    LeakError
        When two sides share days, stand nearer than the gap, share (``network``) the network, or share a MAC address
        in two networks; the text names rows.
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
                f"split {self.name}: {left} and {right} stand within {self.gap_days} days of one another in "
                f"{self.sides[left].network}: {near.height} device-days, first {', '.join(shown)}; "
                f"rows {rows.head(SHOWN).to_list()}"
            )  # fmt: skip

    def _refuse_shared_network(self, left: str, right: str) -> None:
        a, b = self.sides[left], self.sides[right]
        raise LeakError(f"split {self.name}: {left} and {right} both stand in {a.network}; rows {b.rows[:SHOWN]}")

    def _refuse_shared_unit(self, left: str, right: str) -> None:
        a, b = self.sides[left], self.sides[right]
        shared = [name for name in sorted(set(a.device.unique()) & set(b.device.unique())) if MAC.match(name)]
        if shared:
            rows = b.rows[b.device.is_in(shared).to_numpy()][:SHOWN].tolist()
            raise LeakError(
                f"split {self.name}: {', '.join(shared[:SHOWN])} in {left} and in {right}: one unit; rows {rows}"
            )

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits over networks, devices and days of all sides."""
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
        """The first days train, the last ones test, and the days between are not used.

        Parameters
        ----------
        flows
            Of one network.
        test_share
            Share of the days with flows that test, at least one of them.
        gap_days
            Days left out before those.
        by
            Whether days are cut for all devices at once, or for each device's own.
        names
            Of the two sides.

        Raises
        ------
        UsageError
            When the days do not suffice.
        """
        key = flows.device if by == "device-day" else pl.Series([""] * len(flows), dtype=pl.String)
        own = pl.DataFrame({"key": key, "day": flows.day})
        days = own.unique().sort("key", "day").with_columns(
            place=pl.col("day").rank("ordinal").over("key"), count=pl.len().over("key")
        )  # fmt: skip
        # A device with a single day tests nothing, and stays a label that others can be confused with.
        tested = pl.max_horizontal((pl.col("count") * test_share).round(), pl.lit(1.0))
        first = days.filter((pl.col("place") > pl.col("count") - tested) & (pl.col("count") > 1))
        first = first.group_by("key").agg(pl.col("day").min().alias("first"))
        found = own.join(first, on="key", how="left", maintain_order="left")["first"].fill_null(1 << 40).to_numpy()
        train, test = flows.take(flows.day < found - gap_days), flows.take(flows.day >= found)
        if not len(train) or not len(test):
            raise UsageError(
                f"{np.unique(flows.day).size} days of labelled flows in {flows.network} are too few for {names[0]}, "
                f"a gap of {gap_days} and {names[1]}"
            )
        return cls(f"{by}, last {test_share:g} of the days", by, {names[0]: train, names[1]: test}, gap_days)


def _role(side: str) -> str:
    """What a side is for: the name up to the network."""
    return side.partition(" of ")[0]


def _date(day: int) -> str:
    return str(np.datetime64(int(day), "D"))
