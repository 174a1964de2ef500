"""Quantities of each service in a window (flows, packets, octets and so on) on a log scale.

Services are counted at three levels: the service (TCP/443 client wan), its kind (TCP client wan), and all traffic, so
that unseen ports still contribute. The ports with their own service are fitted at enrolment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.schema import Windows

__all__ = ["QUANTITIES", "Quantities", "ServiceVocabulary"]

QUANTITIES = ("flows", "packets out", "packets in", "octets out", "octets in", "octets out per flow",
              "octets in per flow", "seconds per flow", "hours")  # fmt: skip
"""Each as log(1 + x). The last is the number of sub-epochs (hours) with the service."""

ALL = "all traffic"


@dataclass(frozen=True)
class Quantities:
    """Windows in sparse rows. n windows, Z values, K keys; a feature is key * len(QUANTITIES) + quantity.

    Parameters
    ----------
    indptr
        (n + 1) window i has the values ``indptr[i]:indptr[i + 1]``.
    features
        (Z) ascending within a window; a present key has all quantities.
    values
        (Z) log(1 + x).
    keys
        (K) names of the services.
    """

    indptr: NDArray[np.int64]
    features: NDArray[np.int64]
    values: NDArray[np.float64]
    keys: list[str]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, start: int, end: int) -> Quantities:
        """Windows ``start`` (inclusive) to ``end`` (exclusive)."""
        part = slice(self.indptr[start], self.indptr[end])
        indptr = self.indptr[start : end + 1] - self.indptr[start]
        return Quantities(indptr, self.features[part], self.values[part], self.keys)


def _kind() -> pl.Expr:
    protocol = pl.col("protocol")
    return (
        pl.when(protocol == 6).then(pl.lit("TCP")).when(protocol == 17).then(pl.lit("UDP"))
        .otherwise("IP/" + protocol.cast(pl.String))
    )  # fmt: skip


class ServiceVocabulary:
    """The services that are counted by their own port or name.

    Parameters
    ----------
    min_items
        A port is a service of its own if a device used it in this many items (or in all its items, if fewer); other
        ports are *system* below 1024 and *dyn* above.
    names
        Treat registrable domains of remotes as services, too, under the same rule.
    """

    def __init__(self, min_items: int = 3, *, names: bool = False) -> None:
        self.min_items = min_items
        self.names = names

    def fit(self, windows: Windows) -> ServiceVocabulary:
        """Fit the ports (and names) that devices use repeatedly, and the keys that occur."""
        rows = windows.counts.join(windows.items.select("item", "device"), on="item")
        seen = rows.group_by("device").agg(pl.col("item").n_unique().alias("all"))

        def kept(*columns: str) -> pl.DataFrame:
            used = (
                rows.group_by("device", *columns).agg(pl.col("item").n_unique().alias("used")).join(seen, on="device")
            )
            enough = pl.col("used") >= pl.min_horizontal("all", pl.lit(self.min_items))
            return used.filter(enough).select(columns).unique().drop_nulls().sort(columns)

        self.ports_ = kept("protocol", "port").with_columns(known=pl.lit(value=True))
        self.domains_ = kept("name")["name"].to_list() if self.names else []
        self.keys_: list[str] = sorted(self._long(windows)["key"].unique().to_list())
        return self

    def _long(self, windows: Windows) -> pl.DataFrame:
        """One row per item and key with the sums for its quantities."""
        numbered = pl.col("protocol").is_in([6, 17])
        port = (
            pl.when(~numbered).then(pl.lit(""))
            .when(pl.col("known").fill_null(value=False)).then("/" + pl.col("port").cast(pl.String))
            .when(pl.col("port") < 1024).then(pl.lit("/system")).otherwise(pl.lit("/dyn"))
        )  # fmt: skip
        side = pl.concat_str(pl.lit(" "), pl.col("role").cast(pl.String), pl.lit(" "), pl.col("scope").cast(pl.String))
        alone = ~pl.col("answered") & (pl.col("scope").cast(pl.String) != "multicast")
        unanswered = pl.when(alone).then(pl.lit(" unanswered")).otherwise(pl.lit(""))
        rows = windows.counts.join(self.ports_, on=["protocol", "port"], how="left").with_columns(
            service=_kind() + port + side + unanswered,
            kind="any " + _kind() + side,
            all=pl.lit(ALL),
            domain=pl.when(pl.col("name").is_in(self.domains_)).then("name " + pl.col("name")),
        )
        levels = ["service", "kind", "all", *(["domain"] if self.names else [])]
        sums = [
            pl.col(name).sum().cast(pl.Float64)
            for name in ("flows", "packets_out", "packets_in", "octets_out", "octets_in", "duration_ms")
        ]
        return pl.concat(
            [
                rows.drop_nulls(level)
                .group_by("item", pl.col(level).alias("key"))
                .agg(*sums, pl.col("time").n_unique().cast(pl.Float64).alias("hours"))
                for level in levels
            ]
        )

    def quantities(self, windows: Windows) -> Quantities:
        """Quantities of the windows; keys that did not occur at enrolment are dropped."""
        flows = pl.col("flows")
        values = [
            flows, pl.col("packets_out"), pl.col("packets_in"), pl.col("octets_out"), pl.col("octets_in"),
            pl.col("octets_out") / flows, pl.col("octets_in") / flows, pl.col("duration_ms") / 1000.0 / flows,
            pl.col("hours"),
        ]  # fmt: skip
        number = pl.DataFrame({"key": pl.Series(self.keys_, dtype=pl.String)}).with_row_index("number")
        rows = (
            self._long(windows)
            .join(number, on="key", how="inner")
            .sort("item", "number")
            .select("item", "number", *(v.log1p().alias(q) for q, v in zip(QUANTITIES, values, strict=True)))
        )
        count = len(QUANTITIES)
        item = rows["item"].to_numpy().astype(np.int64)
        first = rows["number"].to_numpy().astype(np.int64) * count
        per_item = np.bincount(item, minlength=len(windows)) * count
        return Quantities(
            np.concatenate([[0], np.cumsum(per_item)]).astype(np.int64),
            (first[:, None] + np.arange(count)).ravel(),
            np.ascontiguousarray(rows.select(QUANTITIES).to_numpy(), dtype=np.float64).ravel(),
            self.keys_,
        )
