"""Perturbations of test traffic: lost flows, sampled packets, stray services."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from ethogram.bench.counts.items import TaskData
from ethogram.config import CountSettings
from ethogram.fingerprint.count import count
from ethogram.schema import COUNTS, FLOW

__all__ = ["sampled", "with_stray", "without_flows"]


def without_flows(data: TaskData, share: float, counting: CountSettings, seed: int = 0) -> TaskData:
    """Remove a random share of the flows."""
    if share <= 0:
        return data
    random = np.random.default_rng(seed)
    flows = data.flows.filter(pl.Series(random.random(data.flows.height) >= share))
    return replace(data, flows=flows, counts=count(flows, counting)[0])


def with_stray(data: TaskData, services: int, seed: int) -> TaskData:
    """Add random services to each device and hour, with one small flow each."""
    hours = data.counts.select("device", "time").unique().sort("device", "time")
    random = np.random.default_rng(seed)
    repeated = hours.select(pl.all().repeat_by(services).explode())
    n = repeated.height
    stray = repeated.with_columns(
        protocol=pl.Series(random.choice([6, 17], n)), port=pl.Series(random.integers(1, 49152, n)),
        role=pl.lit("client"), scope=pl.lit("wan"), answered=pl.lit(value=True), flows=pl.lit(1),
        octets_out=pl.lit(200), octets_in=pl.lit(400), packets_out=pl.lit(3), packets_in=pl.lit(3),
        duration_ms=pl.lit(500),
    )  # fmt: skip
    return replace(data, counts=pl.concat([data.counts, COUNTS.conform(stray)]))


def sampled(data: TaskData, one_in: int, counting: CountSettings, seed: int = 0) -> TaskData:
    """Sample one packet in ``one_in``, and scale packets and octets back.

    Notes
    -----
    Packets are sampled independently; a flow without sampled packets disappears. Octets keep the mean packet size of
    the flow; k sampled packets span (k - 1)/(k + 1) of its duration on average. A flow whose reply is not sampled is
    unanswered. The number of flows cannot be scaled back. The service side is taken as known, which is optimistic.
    """
    if one_in <= 1:
        return data
    random = np.random.default_rng(seed)
    flows = data.flows
    sampled_packets = {
        way: pl.Series(random.binomial(flows[f"packets_{way}"].cast(pl.Int64).to_numpy(), 1 / one_in))
        for way in ("out", "in")
    }
    seen = flows.with_columns(kept_out=sampled_packets["out"], kept_in=sampled_packets["in"]).filter(
        pl.col("kept_out") + pl.col("kept_in") > 0
    )
    number = pl.col("kept_out") + pl.col("kept_in")
    span = (pl.col("end") - pl.col("start")).dt.total_microseconds() * (number - 1) / (number + 1)
    scaled = seen.with_columns(
        *(
            (pl.col(f"octets_{way}") * (pl.col(f"kept_{way}") * one_in / pl.col(f"packets_{way}")).fill_nan(0))
            .round()
            .cast(pl.UInt64)
            .alias(f"octets_{way}")
            for way in ("out", "in")
        ),
        *((pl.col(f"kept_{way}") * one_in).cast(pl.UInt64).alias(f"packets_{way}") for way in ("out", "in")),
        end=pl.col("start") + pl.duration(microseconds=span.cast(pl.Int64)),
        answered=pl.col("answered") & (pl.col("kept_out") > 0) & (pl.col("kept_in") > 0),
    )
    table = FLOW.conform(scaled.select(FLOW.names))
    return replace(data, flows=table, counts=count(table, counting)[0])
