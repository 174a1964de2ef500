"""Simulated home: flow records of fictitious devices, for the demo, tests and load.

All output is simulated and marked as such. A device is a list of habits; a habit is one service with a rhythm and a
volume. Remote addresses are from documentation prefixes (RFC 5737), MAC addresses from the locally administered range,
so they cannot be mistaken for real devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.schema import BIFLOW, TCP, TCP_ACK, TCP_FIN, TCP_SYN, UDP, Accounting, FlowSource

__all__ = ["DEMO_HOME", "Habit", "SimulatedDevice", "SimulatedHome"]

DAY_S = 86_400
GATEWAY = "192.168.77.1"
PHONE = "192.168.77.200"  # the household's phone: the remote of local flows, not a device
WAN_PREFIXES = ("192.0.2.", "198.51.100.", "203.0.113.")  # RFC 5737
MULTICAST = {1900: "239.255.255.250", 5353: "224.0.0.251", 3702: "239.255.255.250"}


@dataclass(frozen=True)
class Habit:
    """One service of one device.

    Parameters
    ----------
    protocol, port
        The service.
    per_day
        Flows per day. With ``jitter`` 0 they are evenly spaced; with 1 they are random (Poisson).
    octets_out, octets_in
        Median IP octets per flow and direction, log-normally distributed with ``spread``.
    duration_s
        Median duration of a flow.
    hours
        Hours of the day (UTC) as a half-open range.
    where
        ``wan``, ``gateway``, ``lan`` (the household's phone) or ``multicast``.
    serves
        Whether the device is the server, so that others open the flow.
    from_day, to_day
        Days on which the habit exists (half-open range), so that a device can change.
    """

    protocol: int
    port: int
    per_day: float
    octets_out: float
    octets_in: float
    duration_s: float = 1.0
    jitter: float = 0.2
    spread: float = 0.15
    hours: tuple[int, int] = (0, 24)
    where: str = "wan"
    serves: bool = False
    from_day: int = 0
    to_day: int = 1 << 30


@dataclass(frozen=True)
class SimulatedDevice:
    """A device of the simulated home: its name, label and habits."""

    name: str
    label: str
    type: str
    habits: tuple[Habit, ...]
    note: str = ""


def _dns(per_day: float) -> Habit:
    return Habit(UDP, 53, per_day, 70, 190, 0.05, where="gateway", jitter=0.6)


def _ntp(per_day: float) -> Habit:
    return Habit(UDP, 123, per_day, 76, 76, 0.05, jitter=0.02, spread=0.0)


def _mdns(per_day: float) -> Habit:
    return Habit(UDP, 5353, per_day, 320, 0, 2.0, where="multicast", jitter=0.5)


def _ssdp(per_day: float) -> Habit:
    return Habit(UDP, 1900, per_day, 1_400, 0, 3.0, where="multicast", jitter=0.3)


DEMO_HOME: tuple[SimulatedDevice, ...] = (
    SimulatedDevice("porch-camera", "sim camera", "camera", (
        _dns(180), _ntp(96), Habit(TCP, 443, 60, 24_000, 9_000, 40, jitter=1),
        Habit(UDP, 10001, 24, 2_400_000, 60_000, 600, jitter=1, spread=0.6), _ssdp(48),
        Habit(TCP, 554, 6, 900_000, 22_000, 300, jitter=1, where="lan", serves=True))),
    SimulatedDevice("front-doorbell", "sim doorbell", "doorbell", (
        _dns(60), _ntp(24), Habit(TCP, 443, 30, 9_000, 7_000, 20, jitter=0.5),
        Habit(TCP, 9999, 4, 3_800_000, 90_000, 60, jitter=1, spread=0.8, hours=(7, 22)))),
    SimulatedDevice("kettle-plug", "sim plug", "plug", (
        _dns(24), _ntp(24), Habit(TCP, 8883, 12, 5_200, 4_900, 7_200, jitter=0.1),
        Habit(TCP, 9999, 20, 420, 380, 0.4, jitter=1, where="lan", serves=True))),
    SimulatedDevice("hall-bulb", "sim bulb", "light", (
        _dns(48), Habit(UDP, 56700, 120, 110, 140, 0.2, jitter=1, where="lan", serves=True, hours=(6, 23)),
        Habit(TCP, 1883, 48, 900, 760, 1_200, jitter=0.1))),
    SimulatedDevice("light-hub", "sim hub", "hub", (
        _dns(140), _ntp(48), _ssdp(200), _mdns(96), Habit(TCP, 443, 100, 3_200, 5_100, 10, jitter=0.1),
        Habit(TCP, 80, 60, 5_800, 700, 0.5, jitter=1, where="lan", serves=True))),
    SimulatedDevice("kitchen-speaker", "sim speaker", "speaker", (
        _dns(400), _ntp(60), _mdns(500), Habit(TCP, 443, 300, 6_000, 16_000, 30, jitter=0.8),
        Habit(TCP, 4070, 8, 40_000, 3_900_000, 900, jitter=1, hours=(7, 23)))),
    SimulatedDevice("living-tv", "sim tv", "tv", (
        _dns(700), _ntp(10), _ssdp(150), _mdns(120),
        Habit(TCP, 443, 120, 60_000, 7_500_000, 300, jitter=1, spread=0.9, hours=(17, 24)),
        Habit(TCP, 8009, 30, 2_000, 1_700, 60, jitter=1, where="lan", serves=True))),
    SimulatedDevice("thermostat", "sim thermostat", "sensor", (
        _dns(96), _ntp(12), Habit(TCP, 11095, 96, 1_500, 1_200, 600, jitter=0.05))),
    SimulatedDevice("office-printer", "sim printer", "printer", (
        _dns(12), _mdns(240), Habit(UDP, 161, 288, 190, 140, 0.1, jitter=0.01, where="lan", serves=True),
        Habit(TCP, 9100, 6, 4_000, 1_200_000, 20, jitter=1, spread=0.9, where="lan", serves=True, hours=(8, 18)),
        Habit(TCP, 5222, 24, 1_100, 1_000, 3_000, jitter=0.05))),
    SimulatedDevice("back-lock", "sim lock", "lock", (
        _dns(24), Habit(TCP, 8883, 24, 800, 700, 3_300, jitter=0.05), Habit(UDP, 5683, 12, 120, 90, 0.3, jitter=1))),
    SimulatedDevice("vacuum", "sim vacuum", "appliance", (
        _dns(48), _ntp(8), Habit(UDP, 8053, 288, 180, 160, 0.1, jitter=0.02),
        Habit(TCP, 443, 3, 260_000, 22_000, 90, jitter=1, spread=0.5, hours=(9, 16)))),
    SimulatedDevice("weather-station", "sim weather station", "sensor", (
        _dns(144), Habit(TCP, 25050, 144, 1_300, 640, 3, jitter=0.02))),
    SimulatedDevice("study-plug", "sim plug", "plug", (
        _dns(24), _ntp(24), Habit(TCP, 8883, 12, 5_200, 4_900, 7_200, jitter=0.1),
        Habit(TCP, 9999, 20, 420, 380, 0.4, jitter=1, where="lan", serves=True),
        Habit(TCP, 23, 4_000, 60, 0, 0.1, jitter=1, from_day=6),
        Habit(TCP, 6667, 24, 700, 900, 3_000, jitter=0.3, from_day=6)),
        note="begins to scan for Telnet on the seventh day"),
    SimulatedDevice("aquarium", "sim aquarium controller", "appliance", (
        _ntp(6), Habit(UDP, 30303, 720, 90, 90, 0.1, jitter=0.02), Habit(TCP, 81, 48, 2_600, 700, 2, jitter=0.4)),
        note="never enrolled"),
    SimulatedDevice("garage-opener", "sim garage opener", "appliance", (
        Habit(UDP, 4500, 24, 8_000, 8_000, 3_000, jitter=0.1), Habit(TCP, 2525, 20, 700, 500, 1, jitter=1)),
        note="never enrolled"),
)  # fmt: skip
"""Fifteen devices of thirteen types; two are never enrolled and one changes its behaviour."""


@dataclass
class SimulatedHome(FlowSource):
    """A source of simulated biflows.

    Parameters
    ----------
    devices
        Who lives there.
    days
        How many days the script runs.
    start
        Its first midnight (UTC).
    seed
        Same seed, same records.

    Examples
    --------
    >>> home = SimulatedHome(days=1, seed=7)
    >>> frame = next(home.batches())
    >>> frame.height == home.accounting.used > 1000
    True
    """

    devices: Sequence[SimulatedDevice] = DEMO_HOME
    days: int = 10
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    seed: int = 1
    name: str = "simulated home"
    accounting: Accounting = field(default_factory=lambda: Accounting("records"))

    def address_of(self, device: SimulatedDevice) -> str:
        """Address of the device on the simulated network."""
        return f"192.168.77.{10 + [d.name for d in self.devices].index(device.name)}"

    def mac_of(self, device: SimulatedDevice) -> str:
        """MAC address of the device, from the locally administered range."""
        return f"02:00:5e:00:77:{10 + [d.name for d in self.devices].index(device.name):02x}"

    def device_file(self) -> pl.DataFrame:
        """Device file of the home: columns ``device`` and ``mac``."""
        return pl.DataFrame({"device": [d.name for d in self.devices], "mac": [self.mac_of(d) for d in self.devices]})

    def labels(self) -> pl.DataFrame:
        """Labels: columns ``device``, ``label`` and ``type``."""
        return pl.DataFrame(
            {
                "device": [d.name for d in self.devices],
                "label": [d.label for d in self.devices],
                "type": [d.type for d in self.devices],
            }
        )

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield one batch per day, ordered by end time, as a meter exports records."""
        for day in range(self.days):
            frames = [
                self._flows(device, number, habit, day)
                for device in self.devices
                for number, habit in enumerate(device.habits)
                if habit.from_day <= day < habit.to_day
            ]
            batch = pl.concat(frames).sort("end", "start", "source_address", "source_port")
            self.accounting.read += batch.height
            self.accounting.used += batch.height
            yield BIFLOW.conform(batch)

    def _flows(self, device: SimulatedDevice, number: int, habit: Habit, day: int) -> pl.DataFrame:
        index = [d.name for d in self.devices].index(device.name)
        # One random stream per device, habit and day, so that adding a device does not change other records.
        random = np.random.default_rng([self.seed, index, number, day])
        count, at_s = _times(habit, random)
        out = _volumes(habit.octets_out, habit.spread, count, random)
        back = _volumes(habit.octets_in, habit.spread, count, random)
        duration = np.exp(random.normal(np.log(habit.duration_s), 0.1, count))
        midnight = self.start + timedelta(days=day)
        offset_us = (at_s * 1e6).astype(np.int64)
        mine, remote = self.address_of(device), self._remotes(index, number, habit, count, random)
        high = random.integers(32_768, 61_000, count)
        ours, theirs = pl.Series([mine] * count, dtype=pl.String), pl.Series(remote, dtype=pl.String)
        mac = pl.Series([self.mac_of(device)] * count, dtype=pl.String)
        no_mac = pl.Series([None] * count, dtype=pl.String)
        serves, tcp = habit.serves, habit.protocol == TCP
        answered = back > 0
        # An unanswered TCP flow consists of a SYN.
        union = np.where(answered, TCP_SYN | TCP_ACK | TCP_FIN, TCP_SYN)
        start = pl.Series(offset_us, dtype=pl.Duration("us")) + midnight
        return pl.DataFrame(
            {
                "start": start,
                "end": start + pl.Series((duration * 1e6).astype(np.int64), dtype=pl.Duration("us")),
                "protocol": np.full(count, habit.protocol, np.uint8),
                "source_address": theirs if serves else ours,
                "destination_address": ours if serves else theirs,
                "source_port": high.astype(np.uint16),
                "destination_port": np.full(count, habit.port, np.uint16),
                "octets": back if serves else out,
                "packets": _packets(back if serves else out, duration),
                "reverse_octets": out if serves else back,
                "reverse_packets": _packets(out if serves else back, duration),
                "initial_tcp_flags": np.full(count, TCP_SYN) if tcp else [None] * count,
                "reverse_initial_tcp_flags": np.where(answered, TCP_SYN | TCP_ACK, 0) if tcp else [None] * count,
                "union_tcp_flags": union if tcp else [None] * count,
                "reverse_union_tcp_flags": np.where(answered, union, 0) if tcp else [None] * count,
                "end_reason": np.full(count, 3 if tcp else 1, np.uint8),
                "source_mac": no_mac if serves else mac,
                "destination_mac": mac if serves else no_mac,
            },
            schema_overrides={name: BIFLOW.schema[name] for name in BIFLOW.names if name not in _WITHOUT},
        )

    @staticmethod
    def _remotes(index: int, number: int, habit: Habit, count: int, random: np.random.Generator) -> list[str]:
        if habit.where == "gateway":
            return [GATEWAY] * count
        if habit.where == "multicast":
            return [MULTICAST[habit.port]] * count
        if habit.where == "lan":
            return [PHONE] * count
        # Two servers per habit, the same every day: a cloud service has few addresses.
        hosts = [f"{WAN_PREFIXES[number % 3]}{1 + (17 * index + 5 * number + i) % 250}" for i in range(2)]
        return [hosts[i] for i in random.integers(0, 2, count)]


_WITHOUT = {"vlan", "source_name", "destination_name"}


def _times(habit: Habit, random: np.random.Generator) -> tuple[int, NDArray[np.float64]]:
    """Times of a habit on one day, in seconds after midnight, ascending."""
    first, last = habit.hours[0] * 3600, habit.hours[1] * 3600
    if habit.jitter >= 1:
        count = int(random.poisson(habit.per_day))
        return count, np.sort(random.uniform(first, last, count))
    count = max(1, round(habit.per_day))
    step = (last - first) / count
    at_s = first + step * (np.arange(count) + 0.5 + habit.jitter * random.uniform(-0.5, 0.5, count))
    return count, np.clip(at_s, 0, DAY_S - 1)


def _volumes(median: float, spread: float, count: int, random: np.random.Generator) -> NDArray[np.uint64]:
    if median <= 0:
        return np.zeros(count, np.uint64)
    return np.exp(random.normal(np.log(median), spread, count)).astype(np.uint64)


def _packets(octets: NDArray[np.uint64], duration_s: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Number of packets for a volume: about 700 octets each, and one every ten minutes; 0 if there are no octets."""
    open_s = 1 + np.ceil(duration_s / 600 - 1).clip(0).astype(np.uint64)
    return np.where(octets > 0, np.maximum(1 + octets // np.uint64(700), open_s), np.uint64(0)).astype(np.uint64)
