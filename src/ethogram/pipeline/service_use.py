"""Use of services by devices, from inputs of any kind: what MUD profiles and firewall rules are learnt from."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from ethogram.fingerprint.mud_profile import sum_uses
from ethogram.schema import MUD_USE, TCP, UDP

__all__ = ["MOST_USES", "ServiceUse", "add_uses", "ends_of_flows", "uses_of_counts", "uses_of_flows"]

MOST_USES = 1 << 19
"""Rows of uses in memory; beyond, addresses without a name are left out."""
MOST_ADDRESSES_OF_NAME = 64
"""Addresses of one host name; those with fewest flows are left out."""
END = {"name": pl.String(), "address": pl.String(), "flows": pl.UInt64()}
_DNS = 53


def uses_of_flows(flows: pl.DataFrame) -> pl.DataFrame:
    """Uses in a flow table; the other end is its host name, its address where it has none, or its multicast group."""
    remote, multicast = pl.col("remote").cast(pl.String), pl.col("scope") == "multicast"
    dns = pl.col("protocol").is_in([TCP, UDP]) & (pl.col("service_port") == _DNS)
    uses = flows.select(
        "device",
        pl.when(remote.str.contains(":")).then(6).otherwise(4).alias("version"),
        "protocol",
        pl.col("service_port").alias("port"),
        "role",
        "scope",
        pl.when(~multicast).then(pl.col("remote_name")).alias("name"),
        pl.when(multicast | dns | pl.col("remote_name").is_null()).then(remote).alias("address"),
        "initiator",
        "answered",
        pl.lit(1).alias("flows"),
        "packets_out",
        "packets_in",
    )
    return sum_uses(MUD_USE.conform(uses))


def uses_of_counts(counts: pl.DataFrame) -> pl.DataFrame:
    """Uses in counts (:data:`ethogram.schema.COUNTS`): other ends are domains, without addresses."""
    return sum_uses(MUD_USE.conform(counts.select(
        "device", "protocol", "port", "role", "scope", "name", "answered", "flows", "packets_out", "packets_in"
    )))  # fmt: skip


def add_uses(uses: pl.DataFrame, more: pl.DataFrame, most: int = MOST_USES) -> pl.DataFrame:
    """Sums of two tables of uses, without addresses if they would have more than ``most`` rows."""
    added = sum_uses(pl.concat([uses, more]))
    if added.height > most:
        added = sum_uses(added.with_columns(address=pl.lit(None, dtype=pl.String)))
    return added


def ends_of_flows(flows: pl.DataFrame) -> pl.DataFrame:
    """Host names of remote ends and the addresses behind them, with numbers of flows; multicast has none."""
    named = flows.filter(pl.col("remote_name").is_not_null() & (pl.col("scope") != "multicast"))
    # A flow of DNS has the name in the question, which is not that of the resolver.
    named = named.filter(~(pl.col("protocol").is_in([TCP, UDP]) & (pl.col("service_port") == _DNS)))
    return _sum_ends(named.select(
        pl.col("remote_name").cast(pl.String).str.to_lowercase().alias("name"),
        pl.col("remote").cast(pl.String).alias("address"), pl.lit(1, dtype=pl.UInt64).alias("flows"),
    ))  # fmt: skip


def _sum_ends(ends: pl.DataFrame) -> pl.DataFrame:
    summed = ends.group_by("name", "address").agg(pl.col("flows").sum())
    rank = pl.int_range(pl.len()).over("name", order_by=[-pl.col("flows").cast(pl.Int64), pl.col("address")])
    return summed.filter(rank < MOST_ADDRESSES_OF_NAME).sort("name", "address")


@dataclass
class ServiceUse:
    """Services of devices and addresses of names, summed over batches of flows.

    Parameters
    ----------
    uses
        Use of services (:data:`ethogram.schema.MUD_USE`).
    ends
        Host names with their addresses: ``name``, ``address``, ``flows``.
    """

    uses: pl.DataFrame = field(default_factory=MUD_USE.empty)
    ends: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=END))

    def add(self, flows: pl.DataFrame) -> None:
        """Add a batch of a flow table (:data:`ethogram.schema.FLOW`)."""
        self.uses = add_uses(self.uses, uses_of_flows(flows))
        self.ends = _sum_ends(pl.concat([self.ends, ends_of_flows(flows)])).head(MOST_USES)
