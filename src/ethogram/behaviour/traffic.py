"""Flows and counts to traffic by epoch: the table that profiles are learnt from and that learnt profiles judge."""

from __future__ import annotations

import polars as pl

from ethogram.schema import COUNTS, TRAFFIC, Accounting

__all__ = ["FLOW_COLUMNS", "bound_traffic", "spread_flows", "sum_traffic", "traffic_of_counts", "traffic_of_flows"]

FLOW_COLUMNS = [
    "device", "start", "end", "protocol", "service_port", "role", "scope", "remote_domain", "octets_out", "octets_in",
    "packets_out", "packets_in",
]  # fmt: skip
"""Columns of the flow table that traffic needs."""
MOST_EPOCHS = 1500
"""Epochs over which one flow is spread at most; the last one receives what is left."""
_MICRO = 1_000_000
_KEY = TRAFFIC.names[:7]
_VOLUMES = TRAFFIC.names[7:]
_SPREAD = ["octets_out", "octets_in", "packets_out", "packets_in"]


def spread_flows(flows: pl.DataFrame, epoch_s: int) -> pl.DataFrame:
    """Flows as one row per epoch that they touch: octets and packets evenly over time, the flow itself at its start.

    Parameters
    ----------
    flows
        With ``start``, ``end``, octets and packets.
    epoch_s
        Length of an epoch.

    Returns
    -------
    The flows with ``time``, the start of the epoch, and ``flows``; volumes are Float64.
    """
    length = epoch_s * _MICRO
    begin, end = pl.col("start").dt.timestamp("us"), pl.col("end").dt.timestamp("us")
    first = pl.col("_first")
    flows = flows.with_columns(
        *[pl.col(name).cast(pl.Float64) for name in _SPREAD], _first=begin // length,
        _more=((end // length) - (begin // length)).clip(0, MOST_EPOCHS - 1), flows=pl.lit(1.0),
    )  # fmt: skip
    within = flows.filter(pl.col("_more") == 0)
    longer = flows.filter(pl.col("_more") > 0)
    if longer.height:
        longer = longer.with_columns(_at=pl.int_ranges(0, pl.col("_more") + 1)).explode("_at")
        at, last = pl.col("_at"), pl.col("_at") == pl.col("_more")
        lower = pl.max_horizontal(begin, (first + at) * length)
        upper = pl.when(last).then(end).otherwise((first + at + 1) * length)
        share = (upper - lower) / (end - begin)
        longer = longer.with_columns(
            *[pl.col(name) * share for name in _SPREAD], flows=(at == 0).cast(pl.Float64), _first=first + at
        ).drop("_at")
        within = pl.concat([within, longer])
    time = (first * length).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return within.with_columns(time=time).drop("_first", "_more")


def traffic_of_flows(flows: pl.DataFrame, epoch_s: int) -> pl.DataFrame:
    """Traffic (:data:`ethogram.schema.TRAFFIC`) of a flow table (:data:`ethogram.schema.FLOW`)."""
    rows = spread_flows(flows.select(FLOW_COLUMNS), epoch_s)
    return sum_traffic(rows.with_columns(port="service_port", name=pl.col("remote_domain").fill_null("")))


def traffic_of_counts(counts: pl.DataFrame, epoch_s: int = 3600) -> pl.DataFrame:
    """Traffic of counts (:data:`ethogram.schema.COUNTS`), whose sub-epoch must be a part of the epoch.

    >>> traffic_of_counts(COUNTS.empty()).height
    0
    """
    length = epoch_s * _MICRO
    start = (pl.col("time").dt.timestamp("us") // length * length).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return sum_traffic(counts.select(COUNTS.names).with_columns(time=start, name=pl.col("name").fill_null("")))


def sum_traffic(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of traffic with the same key added up."""
    return TRAFFIC.conform(rows.group_by(_KEY).agg(pl.col(_VOLUMES).cast(pl.Float64).sum()))


def bound_traffic(traffic: pl.DataFrame, most: int, accounting: Accounting) -> pl.DataFrame:
    """Bound the rows of each device and epoch: those with fewest packets lose their port and name, and are counted.

    A scan would otherwise have a row for each port of each epoch.
    """
    few = traffic.group_by("device", "time").len()["len"].max() if traffic.height else 0
    if few is None or few <= most:  # type: ignore[operator]
        return traffic
    packets = pl.col("packets_out") + pl.col("packets_in")
    rank = pl.int_range(pl.len()).over("device", "time", order_by=[-packets, *_KEY[2:]])
    over = traffic.with_columns(_over=rank >= most)
    accounting.correct("services over the bound of an epoch", int(over.filter("_over")["flows"].sum()))
    return sum_traffic(over.with_columns(
        port=pl.when("_over").then(0).otherwise("port").cast(pl.UInt16),
        name=pl.when("_over").then(pl.lit("")).otherwise("name"),
    ))  # fmt: skip
