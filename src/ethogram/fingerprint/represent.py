"""Counts of a window to weights of services: List, Prevalence, Generalized(G), log volume, tiers of rank.

Shares are kept as two integers, numerator and denominator, so that levels are exact for counts of any size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import log1p
from typing import Any

import narwhals as nw
from narwhals.typing import IntoFrame

from ethogram.config import RepresentationSettings

__all__ = ["DAY_S", "level", "levels_of", "represent", "weigh"]

DAY_S = 86_400


def level(n: int, total: int, granularity: int) -> int:
    """Level of a service with ``n`` of ``total``: ceil(G n / total), in integers.

    >>> [level(35, 100, g) for g in (1, 2, 4, 5, 10, 20)]
    [1, 1, 2, 2, 4, 7]
    """
    return (granularity * n + total - 1) // total


def levels_of(counts: Mapping[str, int], granularity: int) -> dict[str, Fraction]:
    """Exact Generalized(G) of plain counts; ``granularity`` 0 stands for infinity and gives the shares.

    >>> levels_of({"UDP/53": 60, "TCP/443": 35, "UDP/123": 5}, 4)
    {'UDP/53': Fraction(3, 4), 'TCP/443': Fraction(1, 2), 'UDP/123': Fraction(1, 4)}
    """
    total = sum(counts.values())
    if granularity == 0:
        return {name: Fraction(n, total) for name, n in counts.items() if n}
    return {name: Fraction(level(n, total, granularity), granularity) for name, n in counts.items() if n}


def weigh(
    amounts: Mapping[str, int], total: int, settings: RepresentationSettings, *,
    flows: Mapping[str, int], window_s: float | None = None,
) -> dict[str, int | float]:  # fmt: skip
    """Weigh one fingerprint in plain Python: the twin of :func:`represent`, used one device and epoch at a time.

    Parameters
    ----------
    amounts, total
        Flows, active sub-epochs, octets or packets per service, and of all; whichever ``settings.weight`` names.
    flows
        Flows per service, for ``min_flows``.
    window_s
        Window length, to scale a log volume to a day.

    Returns
    -------
    weights
        Service to weight; where the representation has levels, the integer level (G times the weight).

    Examples
    --------
    >>> weigh({"UDP/53": 3, "TCP/443": 7}, 10, RepresentationSettings(granularity=4), flows={"UDP/53": 3, "TCP/443": 7})
    {'UDP/53': 2, 'TCP/443': 3}
    """
    considered = {
        name: n
        for name, n in amounts.items()
        if n > 0 and flows[name] >= settings.min_flows and n / total >= settings.min_share
    }
    g = settings.granularity
    if settings.kind == "list":
        return dict.fromkeys(considered, 1)
    if settings.kind == "log_volume":
        factor = 1.0 if window_s is None else DAY_S / window_s
        return {name: log1p(n * factor) for name, n in considered.items()}
    if settings.kind == "tiers":
        above = {name: sum(m > n for m in considered.values()) for name, n in considered.items()}
        kinds = len(considered)
        return {name: g - (r * g) // kinds if g else (kinds - r) / kinds for name, r in above.items()}
    if settings.kind == "generalized" and g:
        return {name: level(n, total, g) for name, n in considered.items()}
    return {name: n / total for name, n in considered.items()}


def represent(
    rows: IntoFrame, group: Sequence[str], settings: RepresentationSettings | None = None,
) -> Any:  # fmt: skip
    """Turn counts into weights per group and service.

    Parameters
    ----------
    rows
        The columns of counts, ``service`` (see :func:`ethogram.fingerprint.key.with_service`), the columns of
        ``group``, and for ``log_volume`` optionally ``window_s``: the length of the group's window, to scale volumes
        to a day.
    group
        Columns that identify a fingerprint: ``["item"]``, or device and window.
    settings
        Which representation; see :class:`ethogram.config.RepresentationSettings`. For ``log_volume`` the setting
        ``weight`` names the volume: flows, active sub-epochs, octets or packets.

    Returns
    -------
    frame
        ``group``, ``service``, ``weight`` (above 0), ``level`` (integer, null where the representation has none),
        and the integers ``n`` and ``total`` whose quotient is the share. In no particular order.

    Notes
    -----
    Level of Generalized(G) is ``(G * n + total - 1) // total``; its weight is ``level / G``. It is not monotone in G.
    """
    representation = settings or RepresentationSettings()
    by = list(group)
    frame: Any = nw.from_native(rows)
    scaled = representation.kind == "log_volume" and "window_s" in frame.collect_schema().names()
    amount = {
        "flow_share": nw.col("flows").sum(),
        "presence": nw.col("time").n_unique(),
        "octet_share": nw.col("octets_out").sum() + nw.col("octets_in").sum(),
        "packet_share": nw.col("packets_out").sum() + nw.col("packets_in").sum(),
    }[representation.weight].cast(nw.Int64)
    extra = [nw.col("window_s").max()] if scaled else []
    each = frame.group_by([*by, "service"]).agg(
        amount.alias("n"), nw.col("flows").sum().cast(nw.Int64).alias("flows"), *extra
    )
    totals = frame.group_by(by).agg(amount.alias("total"))
    shares = each.join(totals, on=by, how="inner").filter(nw.col("n") > 0)
    if representation.min_flows > 0:
        shares = shares.filter(nw.col("flows") >= representation.min_flows)
    if representation.min_share > 0:
        shares = shares.filter(_quotient(nw.col("n"), nw.col("total")) >= representation.min_share)
    weighed = _weigh(shares, by, representation, scaled=scaled)
    return weighed.select(*by, "service", "weight", "level", "n", "total").to_native()


def _weigh(shares: Any, by: list[str], settings: RepresentationSettings, *, scaled: bool) -> Any:
    """Add weight and level to shares (n of total)."""
    n, total, g = nw.col("n"), nw.col("total"), settings.granularity
    none = nw.lit(None).cast(nw.Int64)
    if settings.kind == "list":
        return shares.with_columns(nw.lit(1.0).alias("weight"), nw.lit(1).cast(nw.Int64).alias("level"))
    if settings.kind == "prevalence" or (settings.kind == "generalized" and g == 0):
        return shares.with_columns(_quotient(n, total).alias("weight"), none.alias("level"))
    if settings.kind == "generalized":
        # Shares of presence overlap, but each is at most 1, so the same formula holds.
        levels = shares.with_columns(((n * g + total - 1) // total).alias("level"))
        return levels.with_columns(_quotient(nw.col("level"), nw.lit(g)).alias("weight"))
    if settings.kind == "log_volume":
        volume = n * DAY_S / nw.col("window_s") if scaled else n.cast(nw.Float64)
        return shares.with_columns((volume + 1.0).log().alias("weight"), none.alias("level"))
    # Tiers of rank: the K services sorted by amount, in G equal parts; equal amounts share a tier.
    ranked = shares.with_columns(
        (n.rank("min", descending=True).over(*by).cast(nw.Int64) - 1).alias("above"),
        n.count().over(*by).cast(nw.Int64).alias("kinds"),
    )
    if g == 0:
        left = nw.col("kinds") - nw.col("above")
        return ranked.with_columns(_quotient(left, nw.col("kinds")).alias("weight"), none.alias("level"))
    tiers = ranked.with_columns((g - (nw.col("above") * g) // nw.col("kinds")).alias("level"))
    return tiers.with_columns(_quotient(nw.col("level"), nw.lit(g)).alias("weight"))


def _quotient(n: nw.Expr, total: nw.Expr) -> nw.Expr:
    """Divide with a single rounding. Polars multiplies by the reciprocal if it knows that the divisor is constant.

    Then 3/10 would differ from 0.3, and the weights of a window would depend on the other windows.
    """
    return n / (total + n * 0)
