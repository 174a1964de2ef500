"""Represent windows as bags of tokens that transfer between networks: services, names, and places.

A *service* is protocol, port, role and scope; a *name* is a registrable domain that was contacted; a *place* is a
protocol and scope, which is all that sources without ports provide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.identify.ports import port_name
from ethogram.schema import DYNAMIC_FROM, GROUP, TCP, UDP, Windows

__all__ = ["Tokens", "tokens_of"]

PADDED = 46.0  # octets: smaller packets are padded by Ethernet, which some meters count and some do not
SCATTERED = 8  # more high ports than this of one protocol, role and scope are all *dyn*
_RESOLVER = (pl.col("protocol") == UDP) & (pl.col("port") == 53)


@dataclass(frozen=True)
class Tokens:
    """One part of n windows in sparse rows; Z tokens, S distinct.

    Parameters
    ----------
    indptr, index
        (n + 1), (Z) rows; ``index`` ascends within a row and is -1 for tokens that no enrolled window has.
    value
        (Z) relative volume v.
    out, back
        (Z) log mean octets per packet; NaN where unknown or not comparable.
    compare_back
        (Z) whether sizes of the opposite direction are comparable.
    names
        Names of the tokens.
    """

    indptr: NDArray[np.int64]
    index: NDArray[np.int64]
    value: NDArray[np.float64]
    out: NDArray[np.float64]
    back: NDArray[np.float64]
    compare_back: NDArray[np.bool_]
    names: list[str]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def has(self) -> NDArray[np.bool_]:
        """Whether each window has any token of this part."""
        result: NDArray[np.bool_] = np.diff(self.indptr) > 0
        return result

    def known(self) -> Tokens:
        """Without tokens that no enrolled window has."""
        chosen = np.flatnonzero(self.index >= 0)
        owner = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        indptr = np.append(0, np.cumsum(np.bincount(owner[chosen], minlength=len(self)))).astype(np.int64)
        return self._at(indptr, chosen)

    def rows(self, first: int, end: int) -> Tokens:
        """Windows ``first`` to ``end``."""
        low, high = int(self.indptr[first]), int(self.indptr[end])
        return self._at(self.indptr[first : end + 1] - low, slice(low, high))

    def take(self, windows: NDArray[np.int64]) -> Tokens:
        """These windows, in this order."""
        lengths = np.diff(self.indptr)[windows]
        indptr = np.append(0, np.cumsum(lengths)).astype(np.int64)
        place = np.repeat(self.indptr[windows] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return self._at(indptr, place)

    def _at(self, indptr: NDArray[np.int64], place: slice | NDArray[np.int64]) -> Tokens:
        return Tokens(
            indptr, self.index[place], self.value[place], self.out[place], self.back[place], self.compare_back[place],
            self.names,
        )  # fmt: skip


def _token(part: str, *, asked: bool) -> tuple[pl.Expr, pl.Expr]:
    """The token of a row of counts, and whether sizes of its opposite direction are comparable."""
    transport = pl.col("protocol").is_in([TCP, UDP])
    scope = pl.col("scope").cast(pl.String)
    outside = (scope == "wan") & ~_RESOLVER
    group = pl.col("name").str.contains(GROUP)
    if part == "names":
        # DNS resolvers and NTP servers are chosen by the network or a pool, not by the product.
        clock = (pl.col("protocol") == UDP) & (pl.col("port") == 123)
        theirs = clock if asked else clock | _RESOLVER
        return pl.when(~theirs & ~group).then("name " + pl.col("name")), pl.lit(value=True)
    if part == "places":
        usual = (pl.col("protocol") == UDP) & pl.col("port").is_in([53, 67, 123])
        bare = port_name().str.replace(r"/\d+$", "")
        stated = pl.when(usual).then(port_name() + " any").when(scope != "multicast").then(bare + " " + scope)
        return pl.when(transport).then(stated), outside & ~usual
    # Dynamic ports, and high ports in large numbers, are random; the scope and answers of the resolver depend on the
    # network.
    side = ["item", "protocol", "role", "scope"]
    many = pl.when(pl.col("port") >= 1024).then(pl.col("port")).drop_nulls().n_unique().over(side) > SCATTERED
    chance = (pl.col("port") >= DYNAMIC_FROM) | ((pl.col("port") >= 1024) & many)
    named = pl.when(chance).then(port_name().str.replace(r"/\d+$", "/dyn")).otherwise(port_name())
    place = pl.when(_RESOLVER).then(pl.lit("any")).otherwise(scope)
    # Some sources state ports for a few protocols only; those are not comparable with services.
    packets = pl.col("packets_out").cast(pl.Float64)
    portless = transport & (pl.col("port") == 0)
    known = packets.filter(portless).sum().over("item") <= packets.filter(transport).sum().over("item") / 2
    # Multicast groups are characteristic of the software of a device.
    to = pl.when(group).then("name")
    token = pl.concat_str(named, pl.col("role").cast(pl.String), place, to, separator=" ", ignore_nulls=True)
    return pl.when(known & ~portless).then(token), outside


def tokens_of(windows: Windows, part: str, names: list[str] | None = None, *, asked: bool = False) -> Tokens:
    """The tokens of every window; ``names`` are the enrolled tokens, by default all that occur."""
    token, outside = _token(part, asked=asked)
    volumes = ("packets_out", "octets_out", "packets_in", "octets_in")
    rows = (
        windows.totals.with_columns(token=token, outside=outside)
        .drop_nulls("token")
        .group_by("item", "token", "outside")
        .agg(pl.col(name).sum().cast(pl.Float64) for name in volumes)
        .filter(pl.col("packets_out") > 0)
    )
    known = rows["token"].unique().sort().to_list() if names is None else names
    number = pl.DataFrame({"token": pl.Series(known, dtype=pl.String), "index": np.arange(len(known), dtype=np.int64)})

    def size(octets: str, packets: str) -> pl.Expr:
        mean = pl.col(octets) / pl.col(packets)
        seen = (pl.col(octets) > 0) & (pl.col(packets) > 0)
        return pl.when(seen).then(pl.max_horizontal(mean, pl.lit(PADDED)).log()).otherwise(float("nan"))

    volume = pl.col("packets_out").log1p()
    rows = (
        rows.join(number, on="token", how="left")
        .with_columns(index=pl.col("index").fill_null(-1))
        # A fixed order, since the last digit of a mean depends on the order of its terms, and ties on the last digit.
        .sort("item", "index", "token")
        .with_columns(
            # Without octets (profiles), packets mark permitted services and carry no volume.
            value=pl.when(pl.col("octets_out").sum().over("item") > 0)
            .then((volume / volume.mean().over("item")).sqrt())
            .otherwise(1.0),
            out=size("octets_out", "packets_out"),
            back=size("octets_in", "packets_in"),
        )
    )
    per_item = np.bincount(rows["item"].to_numpy(), minlength=len(windows))
    return Tokens(
        np.concatenate([[0], np.cumsum(per_item)]).astype(np.int64),
        rows["index"].to_numpy().astype(np.int64),
        _numbers(rows["value"]),
        _numbers(rows["out"]),
        _numbers(rows["back"]),
        rows["outside"].to_numpy().astype(np.bool_),
        known,
    )


def _numbers(column: pl.Series) -> NDArray[np.float64]:
    return column.to_numpy().astype(np.float64)
