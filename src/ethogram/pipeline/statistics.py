"""Flow statistics of windows, for the baselines: how many flows, how large, how long, how far apart, to how many.

Outside any room, because it reads the flow table and knows nothing of fingerprints.
"""

from __future__ import annotations

import polars as pl

from ethogram.schema import Windows

__all__ = ["STATISTICS", "flow_statistics"]

_SIZES = ("octets_out", "octets_in", "packets_out", "packets_in", "duration_s", "gap_s")
_QUANTILES = (0.25, 0.5, 0.75)


def _entropy(name: str) -> pl.Expr:
    """Shannon entropy of a column's values in bits."""
    return pl.col(name).value_counts().struct.field("count").entropy(2.0, normalize=True).alias(f"{name}_entropy")


def _aggregates() -> list[pl.Expr]:
    expressions = [pl.len().cast(pl.Float64).log1p().alias("log_flows")]
    for name in _SIZES:
        value = pl.col(name).cast(pl.Float64)
        expressions += [
            value.sum().log1p().alias(f"{name}_log_sum"),
            value.mean().alias(f"{name}_mean"),
            value.std(ddof=0).alias(f"{name}_std"),
            value.max().alias(f"{name}_max"),
            *(value.quantile(q, "linear").alias(f"{name}_q{int(q * 100)}") for q in _QUANTILES),
        ]
    expressions += [
        (pl.col("octets_out").sum() / pl.col("packets_out").sum()).alias("packet_octets_out"),
        (pl.col("octets_in").sum() / pl.col("packets_in").sum()).alias("packet_octets_in"),
        (pl.col("protocol") == 6).mean().alias("tcp_share"),
        (pl.col("protocol") == 17).mean().alias("udp_share"),
        (pl.col("role") == "client").mean().alias("client_share"),
        (pl.col("scope") == "wan").mean().alias("wan_share"),
        (pl.col("scope") == "lan").mean().alias("lan_share"),
        pl.col("answered").mean().alias("answered_share"),
        pl.col("remote").n_unique().cast(pl.Float64).alias("remotes"),
        pl.col("service_port").n_unique().cast(pl.Float64).alias("services"),
        _entropy("service_port"),
        _entropy("remote"),
        _entropy("local_port"),
    ]
    return expressions


STATISTICS: tuple[str, ...] = tuple(expression.meta.output_name() for expression in _aggregates())
"""Names of the statistics, in order. Octets, packets and seconds; logs are natural, of 1 + x; entropies in bits."""


def flow_statistics(flows: pl.DataFrame | pl.LazyFrame, windows: Windows) -> pl.DataFrame:
    """Statistics of the flows that begin in each window of their device.

    Parameters
    ----------
    flows
        Form :data:`ethogram.schema.FLOW`.
    windows
        The items; they may overlap.

    Returns
    -------
    frame
        ``item`` and :data:`STATISTICS` as Float64, one row per item in order; null where an item has no flows, or
        too few for the statistic.
    """
    items = windows.items.lazy()
    inside = (
        flows.lazy()
        .join(items.rename({"start": "window_start", "end": "window_end"}), on="device", how="inner")
        .filter((pl.col("start") >= pl.col("window_start")) & (pl.col("start") < pl.col("window_end")))
        .sort("item", "start", "end")
        .with_columns(
            (pl.col("end") - pl.col("start")).dt.total_microseconds().truediv(1e6).alias("duration_s"),
            pl.col("start").diff().over("item").dt.total_microseconds().truediv(1e6).alias("gap_s"),
        )
    )
    aggregated = inside.group_by("item").agg(_aggregates())
    rows = items.select("item").join(aggregated, on="item", how="left", maintain_order="left")
    return rows.select("item", pl.col(*STATISTICS).cast(pl.Float64)).collect()
