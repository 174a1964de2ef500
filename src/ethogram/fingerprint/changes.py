"""What is different between the counts of two spans: services and names that appeared, vanished, grew or shrank.

The unit of comparison is the hour. A service is more or less *frequent* if the number of hours in which a device uses
it differs from what the same rate in both spans would give (hypergeometric test, the hours in which the device has any
traffic being the population); it *grew* or *shrank* if the octets of the hours in which it is used differ (rank-sum
test) and their mean differs by a factor. Flows are not independent and hours nearly are, which is why flows are not
counted here. Probabilities are corrected for the number of comparisons (Benjamini and Hochberg 1995).
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import KeySettings
from ethogram.fingerprint.key import with_service

__all__ = ["LEAST_FACTOR", "compare_counts"]

LEAST_FACTOR = 3.0
"""A service grew or shrank if its octets in an hour of use differ by this factor, at least."""
LEAST_HOURS = 3
"""Hours of use in each span, at least, before volumes are compared."""
SERVICE = KeySettings(role=True, scope=True)
UNANSWERED = (pl.col("role").cast(pl.String) == "server") & ~pl.col("answered")

Floats = NDArray[np.float64]


def compare_counts(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Compare the services and names of the devices that have traffic in both spans.

    Requests of other hosts that a device does not answer are left out.

    Parameters
    ----------
    before, after
        Counts of two spans (:data:`ethogram.schema.COUNTS`), by hour.

    Returns
    -------
    pl.DataFrame
        One row per ``device``, ``unit`` (``service`` or ``peer``) and ``subject``: hours of use ``hours_before`` and
        ``hours_after`` of the hours with traffic ``active_before`` and ``active_after``; octets in an hour with traffic
        ``before`` and ``after``; ``first`` hour of use in the second span; ``direction`` (``appeared``, ``vanished``,
        ``grew``, ``shrank``); and ``probability`` of such a difference by chance.

    References
    ----------
    Y. Benjamini and Y. Hochberg, Controlling the false discovery rate, J. R. Stat. Soc. B 57 (1995).

    Examples
    --------
    >>> from datetime import UTC, datetime, timedelta
    >>> from ethogram.schema import COUNTS
    >>> def hours(day, ports):
    ...     rows = [{"device": "cam", "time": datetime(2026, 3, day, hour, tzinfo=UTC), "protocol": 6, "port": port,
    ...              "role": "client", "scope": "wan", "answered": True, "flows": 1, "octets_out": 900}
    ...             for hour in range(24) for port in ports]
    ...     return pl.DataFrame(rows, schema=COUNTS.schema, orient="row")
    >>> rows = compare_counts(hours(1, [443]), hours(2, [443, 23]))
    >>> rows.filter(pl.col("probability") < 0.05).select("subject", "direction").row(0)
    ('TCP/23 client wan', 'appeared')
    """
    devices = pl.Series(sorted(set(before["device"].unique()) & set(after["device"].unique())), dtype=pl.String)
    sides = [side.filter(pl.col("device").is_in(devices.implode())) for side in (before, after)]
    active = [side.group_by("device").agg(active=pl.col("time").n_unique()) for side in sides]
    named = [with_service(side.filter(~UNANSWERED), SERVICE) for side in sides]
    used = [pl.concat([_hours(side, "service", "service"), _hours(side, "name", "peer")]) for side in named]
    return _tested(_joined(used, active))


def _hours(side: pl.DataFrame, subject: str, unit: str) -> pl.DataFrame:
    """Octets of each hour of use, as a list, by device and subject."""
    frame = side.with_columns(subject=pl.col(subject), unit=pl.lit(unit)).filter(pl.col("subject").is_not_null())
    octets = (pl.col("octets_out") + pl.col("octets_in")).sum()
    hourly = frame.group_by("device", "unit", "subject", "time").agg(octets=octets)
    return hourly.group_by("device", "unit", "subject").agg(
        "octets", hours=pl.len(), total=pl.col("octets").sum(), first=pl.col("time").min()
    )


def _joined(used: list[pl.DataFrame], active: list[pl.DataFrame]) -> pl.DataFrame:
    key = ["device", "unit", "subject"]
    rows = used[0].join(used[1], on=key, how="full", coalesce=True, suffix="_after")
    rows = rows.join(active[0], on="device").join(active[1], on="device", suffix="_after")
    zero = pl.lit(0, dtype=pl.Int64)
    return rows.select(
        *key, "octets", "octets_after",
        hours_before=pl.col("hours").cast(pl.Int64).fill_null(zero),
        hours_after=pl.col("hours_after").cast(pl.Int64).fill_null(zero),
        active_before=pl.col("active").cast(pl.Int64), active_after=pl.col("active_after").cast(pl.Int64),
        before=pl.col("total").fill_null(0) / pl.col("active"),
        after=pl.col("total_after").fill_null(0) / pl.col("active_after"),
        first="first_after",
    ).sort(key)  # fmt: skip


def _tested(rows: pl.DataFrame) -> pl.DataFrame:
    """Add direction and corrected probability."""
    columns = ("hours_before", "hours_after", "active_before", "active_after")
    before, after, active_before, active_after = (rows[name].to_numpy() for name in columns)
    more, fewer = _frequency(before, after, active_before, active_after)
    frequency = np.minimum(1.0, 2 * np.minimum(more, fewer))
    volume = _volume(rows)
    # Two tests of one pair: the smaller probability counts twice.
    probability = _corrected(np.minimum(1.0, 2 * np.minimum(frequency, volume)))
    ratio = _ratio(rows)
    direction = np.where(before == 0, "appeared", np.where(after == 0, "vanished",
                         np.where(ratio >= 1, "grew", "shrank")))  # fmt: skip
    steady = (before > 0) & (after > 0) & ~_far(ratio)
    return rows.drop("octets", "octets_after").with_columns(
        direction=pl.Series(direction.astype(str), dtype=pl.String),
        probability=pl.Series(np.where(steady, 1.0, probability)),
    )


def _frequency(
    before: NDArray[np.int64], after: NDArray[np.int64], active_before: NDArray[np.int64],
    active_after: NDArray[np.int64],
) -> tuple[Floats, Floats]:  # fmt: skip
    """Probability of as many hours of use after, or more, and of as few, or fewer, at one rate in both spans."""
    from scipy.stats import hypergeom

    population, used = active_before + active_after, before + after
    more = hypergeom.sf(after - 1, population, used, active_after)
    fewer = hypergeom.cdf(after, population, used, active_after)
    return np.asarray(more, dtype=np.float64), np.asarray(fewer, dtype=np.float64)


def _volume(rows: pl.DataFrame) -> Floats:
    """Probability that the octets of the hours of use are of one distribution; 1 where there are too few hours."""
    from scipy.stats import mannwhitneyu

    result = np.ones(rows.height)
    enough = (rows["hours_before"].to_numpy() >= LEAST_HOURS) & (rows["hours_after"].to_numpy() >= LEAST_HOURS)
    for i in np.flatnonzero(enough & _far(_ratio(rows))):
        result[i] = mannwhitneyu(rows["octets"][int(i)], rows["octets_after"][int(i)]).pvalue
    return result


def _ratio(rows: pl.DataFrame) -> Floats:
    """Octets in an hour after, by those before; at least one octet each."""
    before, after = (np.maximum(rows[name].to_numpy(), 1.0) for name in ("before", "after"))
    return np.asarray(after / before, dtype=np.float64)


def _far(ratio: Floats) -> NDArray[np.bool_]:
    return (ratio >= LEAST_FACTOR) | (ratio <= 1 / LEAST_FACTOR)


def _corrected(probability: Floats) -> Floats:
    """Probabilities corrected for their number, so that a limit on them is a limit on the share of false changes."""
    count = len(probability)
    if not count:
        return probability
    order = np.argsort(-probability)
    corrected = np.minimum.accumulate(probability[order] * count / np.arange(count, 0, -1))
    result = np.empty(count)
    result[order] = np.minimum(corrected, 1.0)
    return result
