"""A reproducible library of many windows of many labels, and later windows of the same devices.

Each label is a device with its own set of services, names and volumes. What is common in homes (name service, time,
discovery, the web) is common here: most devices have it, in their own amounts. A day has some 100 counts, by hour,
service and name, as the days of the Stevens corpus have.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl

from ethogram.identify.library import Identity, Library, Source
from ethogram.schema import ITEM, ITEM_COUNTS, KINDS, Windows

__all__ = ["identities", "made_library", "made_windows"]

START = datetime(2026, 1, 5, tzinfo=UTC)
HOURS = 24
COMMON = [  # protocol, port, role, scope, share of devices, active share of hours
    (17, 53, "client", "lan", 0.95, 0.8), (6, 443, "client", "wan", 0.9, 0.75), (17, 123, "client", "wan", 0.6, 0.5),
    (17, 5353, "client", "multicast", 0.5, 0.4), (17, 1900, "client", "multicast", 0.4, 0.3),
    (17, 67, "client", "lan", 0.8, 0.04), (6, 80, "client", "wan", 0.4, 0.2), (6, 8883, "client", "wan", 0.3, 0.9),
    (17, 443, "client", "wan", 0.25, 0.3), (2, 0, "client", "multicast", 0.3, 0.2),
]  # fmt: skip
MAKERS = 60
OWN = 15  # at most so many services of a device's own, of 600 ports


def made_windows(labels: int, days: int, *, first: int = 0, seed: int = 0) -> Windows:
    """Days of one device for each label, from day ``first`` on."""
    frames = []
    for label in range(labels):
        habits = np.random.default_rng([seed, label])
        common = [(*service[:4], service[5]) for service in COMMON if habits.random() < service[4]]
        device_services = [(6 if habits.random() < 0.6 else 17, int(1024 + 7 * habits.integers(600)),
                "server" if habits.random() < 0.3 else "client", "wan" if habits.random() < 0.7 else "lan",
                float(habits.uniform(0.05, 0.6))) for _ in range(int(habits.integers(1, OWN + 1)))]  # fmt: skip
        services = common + device_services
        mean = habits.lognormal([[0.7], [6.0], [6.5]], 1.0, (3, len(services)))  # flows an hour, octets a flow
        domain = int(habits.integers(200))
        noise = np.random.default_rng([seed, label, first, days])
        shape = (days, HOURS, len(services))
        active = noise.random(shape) < np.array([s[4] for s in services]) * noise.uniform(0.5, 1.0, (days, 1, 1))
        day, hour, which = np.nonzero(active)
        flows = 1 + noise.poisson(mean[0][which])
        out = (flows * mean[1][which] * noise.lognormal(0, 0.3, which.size)).astype(np.int64) + 60
        back = (flows * mean[2][which] * noise.lognormal(0, 0.3, which.size)).astype(np.int64)
        columns = [np.array(column)[which] for column in list(zip(*services, strict=True))[:4]]
        back[columns[3] == "multicast"] = 0
        frames.append(pl.DataFrame({
            "item": label * days + day, "hour": (first + day) * HOURS + hour,
            "protocol": columns[0], "port": columns[1], "role": columns[2], "scope": columns[3],
            "answered": columns[3] != "multicast",
            "name": np.where((columns[3] == "wan") & (columns[0] == 6), f"maker{domain}.example", ""),
            "flows": flows, "octets_out": out, "octets_in": back, "packets_out": out // 300 + flows,
            "packets_in": back // 700 + (back > 0), "duration_ms": flows * noise.integers(20, 60_000, which.size),
        }))  # fmt: skip
    counts = pl.concat(frames).with_columns(
        time=pl.lit(START) + pl.duration(hours="hour"), name=pl.when(pl.col("name") != "").then("name")
    )
    item = np.arange(labels * days)
    items = pl.DataFrame({
        "item": item, "device": [f"02:00:00:00:{i // days // 256:02x}:{i // days % 256:02x}" for i in item.tolist()],
        "day": first + item % days,
    }).with_columns(start=pl.lit(START) + pl.duration(days="day"))  # fmt: skip
    items = items.with_columns(end=pl.col("start") + pl.duration(days=1))
    return Windows(ITEM.conform(items.select(ITEM.names)), ITEM_COUNTS.conform(counts.select(ITEM_COUNTS.names)))


def identities(labels: int, days: int) -> list[Identity | None]:
    """What each window is."""
    kinds = list(KINDS)
    return [
        Identity(f"device {label:03d}", vendor=f"maker {label % MAKERS:02d}", type=kinds[label % len(kinds)])
        for label in (i // days for i in range(labels * days))
    ]


def made_library(labels: int, days: int, seed: int = 0) -> Library:
    """A library of ``labels`` devices, ``days`` windows each."""
    windows = made_windows(labels, days, seed=seed)
    return Library.of(windows, identities(labels, days), source=Source("made for the benchmark"), name="made")
