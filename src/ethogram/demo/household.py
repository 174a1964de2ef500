"""The household of the live demo: real devices, whose flows are drawn from shipped counts, and the simulated home.

A day of the demo has the flows of one stored day of each real device: as many flows of every service in every hour as
were counted, with their octets, packets, durations and names. Times within the hour, client ports and addresses are
drawn. Where one day is stored, it repeats. Addresses of the Internet are from documentation prefixes, MAC addresses
from the locally administered range.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.demo.inventory import LATER, NETWORKS, labels_of, packaged, select_source
from ethogram.schema import BIFLOW, TCP, TCP_ACK, TCP_FIN, TCP_SYN, Windows
from ethogram.simulate import SimulatedHome
from ethogram.simulate.home import GATEWAY, PHONE, WAN_PREFIXES

__all__ = ["Household", "HouseholdDevice", "Replayed"]

HOUR_S, DAY_S = 3600, 86_400
FIRST_ADDRESS = 40
TO_GATEWAY = (53, 67, 123)  # services of the router on the LAN
VOLUMES = ("octets_out", "octets_in", "packets_out", "packets_in", "duration_ms")
OPENED = TCP_SYN | TCP_ACK | TCP_FIN


@dataclass(frozen=True)
class HouseholdDevice:
    """One device of the household.

    Parameters
    ----------
    name
        Its name in its corpus, or in the simulated home.
    truth
        What it is.
    source
        Where its counts are from.
    address, mac
        On the household's network.
    simulated
        Whether the device is simulated.
    """

    name: str
    truth: str
    source: str
    address: str
    mac: str
    simulated: bool


class Replayed:
    """Flows of one real device.

    Parameters
    ----------
    member
        The device.
    counts
        Its stored counts (:data:`ethogram.schema.COUNTS` without device) with ``day``, a number from 0.
    """

    def __init__(self, member: HouseholdDevice, counts: pl.DataFrame) -> None:
        self.member = member
        known = counts.filter(pl.col("protocol") > 0).sort(counts.columns)
        self._days = [known.filter(pl.col("day") == day) for day in range(int(counts["day"].max() or 0) + 1)]  # type: ignore[arg-type]

    def flows(self, day: int, midnight: datetime, seed: int) -> pl.DataFrame:
        """Biflows (:data:`ethogram.schema.BIFLOW`) of a day of the demo."""
        rows = self._days[day % len(self._days)]
        if not rows.height:
            return BIFLOW.empty()
        random = np.random.default_rng([seed, zlib.crc32(self.member.name.encode()), day])
        flows = rows["flows"].cast(pl.Int64).to_numpy()
        part = {name: _shares(rows[name].cast(pl.Int64).to_numpy(), flows) for name in VOLUMES}
        rows = rows[np.repeat(np.arange(rows.height), flows)]
        count = rows.height
        hour = rows["time"].dt.hour().to_numpy()
        start_us = ((hour + random.random(count)) * HOUR_S * 1e6).astype(np.int64)
        start = pl.Series(start_us, dtype=pl.Duration("us")) + midnight
        # The other end opens the flows of a device that only receives.
        inwards = (rows["role"] == "server").to_numpy() | ((part["packets_out"] == 0) & (part["packets_in"] > 0))
        served = ~(rows["role"] == "server").to_numpy() & inwards
        port, high = rows["port"].to_numpy(), random.integers(32_768, 61_000, count).astype(np.uint16)
        high[rows["protocol"].to_numpy() == 1] = 0
        mine = pl.Series([self.member.address], dtype=pl.String).new_from_index(0, count)
        remote = pl.Series(self._remotes(rows, random), dtype=pl.String)
        mac = pl.Series([self.member.mac], dtype=pl.String).new_from_index(0, count)
        from_remote = pl.Series(inwards)
        out = {"octets": _at_least(part["octets_out"], part["packets_out"] > 0),
               "packets": _at_least(part["packets_out"], part["octets_out"] > 0)}  # fmt: skip
        back = {"octets": _at_least(part["octets_in"], part["packets_in"] > 0),
                "packets": _at_least(part["packets_in"], part["octets_in"] > 0)}  # fmt: skip
        first = {name: np.where(inwards, back[name], out[name]) for name in out}
        second = {name: np.where(inwards, out[name], back[name]) for name in out}
        empty = first["packets"] == 0  # the other end opened it
        first = {"octets": np.where(empty, 40, first["octets"]), "packets": np.where(empty, 1, first["packets"])}
        answered, tcp = second["packets"] > 0, rows["protocol"].to_numpy() == TCP
        return pl.DataFrame({
            "start": start, "end": start + pl.Series(part["duration_ms"] * 1000, dtype=pl.Duration("us")),
            "protocol": rows["protocol"],
            "source_address": remote.zip_with(from_remote, mine),
            "destination_address": mine.zip_with(from_remote, remote),
            "source_port": np.where(served, port, high), "destination_port": np.where(served, high, port),
            "octets": first["octets"], "packets": first["packets"],
            "reverse_octets": second["octets"], "reverse_packets": second["packets"],
            "initial_tcp_flags": np.where(tcp, np.where(served, TCP_ACK, TCP_SYN), 0),
            "reverse_initial_tcp_flags": np.where(tcp & answered, TCP_SYN | TCP_ACK, 0),
            "union_tcp_flags": np.where(tcp, np.where(answered, OPENED, np.where(served, TCP_ACK, TCP_SYN)), 0),
            "reverse_union_tcp_flags": np.where(tcp & answered, OPENED, 0),
            "end_reason": np.where(tcp, 3, 1),
            "source_mac": mac.set(from_remote, None), "destination_mac": mac.set(~from_remote, None),
            "destination_name": rows["name"].set(from_remote | (rows["scope"] != "wan"), None),
        }, schema_overrides={name: type_ for name, type_ in BIFLOW.schema.items() if name not in _OTHERS})  # fmt: skip

    def _remotes(self, rows: pl.DataFrame, random: np.random.Generator) -> list[str]:
        """The other end of every flow: a service or name has few addresses."""
        which = random.integers(0, 2, rows.height).tolist()
        remotes = []
        for scope, port, name, other in zip(rows["scope"], rows["port"], rows["name"], which, strict=True):
            if scope == "multicast":
                remotes.append(name or "239.255.255.250")
            elif scope == "lan":
                remotes.append(GATEWAY if port in TO_GATEWAY else PHONE)
            else:
                number = zlib.crc32(f"{self.member.name} {name or port}".encode()) + other
                remotes.append(f"{WAN_PREFIXES[number % 3]}{1 + number // 3 % 250}")
        return remotes


_OTHERS = {"vlan", "source_name"}


def _shares(totals: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Totals in equal parts; the first part has the rest."""
    each = np.repeat(totals // np.maximum(parts, 1), parts)
    first = (np.cumsum(parts) - parts)[parts > 0]
    each[first] += (totals - totals // np.maximum(parts, 1) * parts)[parts > 0]
    return each


def _at_least(values: NDArray[np.int64], present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Values, and 1 where there must be something."""
    return np.where(present, np.maximum(values, 1), values)


class Household:
    """Twenty real devices and the simulated home behind one router; the real ones join one after the other.

    Parameters
    ----------
    days
        Days up to the latest midnight (UTC) before ``now``.
    seed
        Same seed, same flows.
    now
        The time.

    Attributes
    ----------
    members
        All devices.
    home
        The simulated part, there from the first day on.
    joins
        When each real device joins, within the first half of the days.

    Examples
    --------
    >>> household = Household(days=4)
    >>> sum(not member.simulated for member in household.members)
    20
    """

    def __init__(self, days: int = 10, seed: int = 1, now: datetime | None = None) -> None:
        now = now or datetime.now(tz=UTC)
        # Flows of the last evening end in the night.
        latest = (now - timedelta(hours=4)).replace(hour=0, minute=0, second=0, microsecond=0)
        self.days, self.seed, self.start = days, seed, latest - timedelta(days=days)
        self.home = SimulatedHome(days=days, start=self.start, seed=seed)
        self.replayed = _replayed()
        step = timedelta(days=days / 2) / len(self.replayed)
        self.joins = [self.start + number * step for number in range(len(self.replayed))]
        self.members = [each.member for each in self.replayed] + [
            HouseholdDevice(device.name, device.label, "simulated", self.home.address_of(device),
                            self.home.mac_of(device), simulated=True)
            for device in self.home.devices
        ]  # fmt: skip

    def batches(self) -> Iterator[pl.DataFrame]:
        """Biflows of all devices, one table a day, in order of their ends."""
        for day, simulated in enumerate(self.home.batches()):
            midnight = self.start + timedelta(days=day)
            tables = [simulated]
            for each, joins in zip(self.replayed, self.joins, strict=True):
                tables.append(each.flows(day, midnight, self.seed).filter(pl.col("start") >= joins))
            yield BIFLOW.conform(pl.concat([BIFLOW.conform(table) for table in tables]).sort("end", "start"))


def _replayed() -> list[Replayed]:
    """The real devices: of one corpus after the other, in order of their names."""
    devices: list[Replayed] = []
    for network in NETWORKS:
        later = select_source(packaged(LATER), network)
        truth = labels_of(later)
        windows = later.windows()
        for name in sorted(truth):
            number = FIRST_ADDRESS + len(devices)
            member = HouseholdDevice(name.partition("/")[2] or name, truth[name], network, f"192.168.77.{number}",
                                     f"02:00:5e:00:77:{number:02x}", simulated=False)  # fmt: skip
            devices.append(Replayed(member, _by_day(windows, name)))
    return devices


def _by_day(windows: Windows, device: str) -> pl.DataFrame:
    """Counts of a device with the number of their day: one a window of a day or more; shorter ones share the first."""
    items = windows.items.filter(pl.col("device") == device).sort("start")
    whole = bool(((items["end"] - items["start"]).dt.total_seconds() >= DAY_S).all())
    days: Sequence[int] = range(items.height) if whole else [0] * items.height
    numbered = items.select("item").with_columns(day=pl.Series(days, dtype=pl.Int64))
    return windows.counts.join(numbered, on="item").drop("item")
