"""Synthetic windows for the tests of identification: devices with a few services each, written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.identify.nearest import similarity_terms
from ethogram.identify.ports import port_matrix
from ethogram.schema import ITEM, ITEM_COUNTS, Windows
from ethogram.schema.matrix import ServiceMatrix

START = datetime(2024, 3, 4, tzinfo=UTC)

# label -> services as (protocol, port, role, scope, flows an hour, octets out, octets in)
HABITS = {
    "camera": [(6, 443, "client", "wan", 6, 90_000, 9_000), (17, 53, "client", "lan", 4, 70, 150),
               (6, 554, "server", "lan", 2, 500_000, 5_000)],
    "plug": [(6, 8883, "client", "wan", 1, 2_000, 2_500), (17, 53, "client", "lan", 2, 60, 110),
             (17, 123, "client", "wan", 1, 76, 76)],
    "speaker": [(6, 443, "client", "wan", 12, 20_000, 300_000), (17, 1900, "client", "multicast", 8, 1_400, 0),
                (17, 5353, "server", "multicast", 5, 900, 0), (17, 53, "client", "lan", 9, 70, 160)],
}  # fmt: skip


def days(
    label: str, device: str, count: int, *, first: int = 0, hours: int = 24, seed: int = 0, stray: bool = False
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Items and counts of ``count`` days of one device, with a little noise."""
    rng = np.random.default_rng([seed, first, *label.encode(), *device.encode()])
    items, rows = [], []
    for day in range(count):
        start = START + timedelta(days=first + day)
        items.append((device, start, start + timedelta(days=1)))
        for hour in range(hours):
            for protocol, port, role, scope, flows, out, back in HABITS[label]:
                n = int(rng.poisson(flows))
                if n:
                    rows.append((day, start + timedelta(hours=hour), protocol, port, role, scope, scope != "multicast",
                                 None, n, n * out, n * back, 3 * n, 2 * n if back else 0, 900 * n))  # fmt: skip
        if stray:
            rows.append((day, start, 6, 31337, "server", "lan", True, None, 1, 40, 40, 1, 1, 5))
    return items, rows


def windows_of(*parts: tuple[list[tuple[object, ...]], list[tuple[object, ...]]]) -> Windows:
    """Put several devices' days into one."""
    items, rows = [], []
    for days_items, days_rows in parts:
        base = len(items)
        items += [(base + i, *item) for i, item in enumerate(days_items)]
        rows += [(base + row[0], *row[1:]) for row in days_rows]
    return Windows(
        pl.DataFrame(items, schema=ITEM.schema, orient="row"),
        pl.DataFrame(rows, schema=ITEM_COUNTS.schema, orient="row"),
        None,
    )


def with_made_up_statistics(windows: Windows) -> Windows:
    """Statistics derived from the counts, enough for the baselines to learn from."""
    result = windows.counts.group_by("item").agg(
        pl.col("flows").sum().cast(pl.Float64).alias("flow_sum"),
        (pl.col("octets_out").sum() / pl.col("flows").sum()).alias("octets_out_mean"),
        (pl.col("octets_in").sum() / pl.col("flows").sum()).alias("octets_in_mean"),
    )
    rows = windows.items.select("item").join(result, on="item", how="left", maintain_order="left")
    return Windows(windows.items, windows.counts, rows)


def enrolment(count: int = 6, seed: int = 0) -> tuple[Windows, list[str]]:
    """Three devices, ``count`` days each, and their labels."""
    windows = windows_of(*(days(label, f"{label}-1", count, seed=seed) for label in HABITS))
    return with_made_up_statistics(windows), [label for label in HABITS for _ in range(count)]


def shares(windows: Windows) -> ServiceMatrix:
    """Flow shares per port: a plain representation, written without the room that is not under test."""
    matrix = port_matrix(windows)
    totals = np.zeros(len(windows))
    rows = np.repeat(np.arange(len(windows)), np.diff(matrix.indptr))
    np.add.at(totals, rows, matrix.weights)
    return ServiceMatrix(matrix.indptr, matrix.indices, matrix.weights / totals[rows], matrix.services)


def ruzicka(a: ServiceMatrix, b: ServiceMatrix) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Plain pairwise similarity, in one block: the slow twin."""
    rows = [b.row(j) for j in range(len(b))]
    block = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        row = a.row(i)
        for j, other in enumerate(rows):
            block[i, j] = float(not row and not other) or sum(similarity_terms(row, other, "ruzicka").values())
    yield 0, block
