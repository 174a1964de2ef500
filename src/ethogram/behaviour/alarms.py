"""Volumes above their limits, and alarms: epochs of one device that are close to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import polars as pl

from ethogram.behaviour.learn import least_limit
from ethogram.behaviour.match import TOTAL, rule_traffic
from ethogram.config import MonitorSettings
from ethogram.schema import DIRECTION, METRICS, BehaviourProfile, MonitorAlarm, MonitorExcess, Period, service_name

__all__ = ["excesses", "find_alarms"]

MOST_SERVICES = 10
MOST_EXCESSES = 12
_KEY = ["device", "inside", "rule", "direction", "metric", "period"]


def excesses(
    matched: pl.DataFrame, profiles: Mapping[str, BehaviourProfile], settings: MonitorSettings | None = None
) -> pl.DataFrame:
    """Volumes of epochs above their limits.

    Parameters
    ----------
    matched
        Traffic by rule and direction (:data:`ethogram.behaviour.match.MATCHED`).
    profiles
        Profiles by device. The least limit applies to volumes without a limit of their own that are outside the
        profile, or whose profile has limits of other rules. Other volumes without a limit have none.
    settings
        Least limits.

    Returns
    -------
    One row per device, epoch, rule, direction, metric and period, with ``value``, ``usual``, ``limit``.
    """
    settings = settings or MonitorSettings()
    sums = rule_traffic(matched)
    of_day = ["device", "inside", "rule", "direction", pl.col("time").dt.date()]
    running = sums.with_columns(pl.col(METRICS).cum_sum().over(of_day, order_by="time"))
    rows = pl.concat([sums.with_columns(period=pl.lit("epoch")), running.with_columns(period=pl.lit("day"))])
    rows = rows.unpivot(
        METRICS, index=["device", "time", "inside", "rule", "direction", "period"], variable_name="metric"
    )
    periods: tuple[Period, ...] = ("epoch", "day")
    least = pl.DataFrame([(metric, period, least_limit(settings, metric, period))
                          for metric in METRICS for period in periods],
                         schema={"metric": pl.String, "period": pl.String, "least": pl.Float64},
                         orient="row")  # fmt: skip
    rows = rows.join(least, on=["metric", "period"])
    rows = rows.filter(pl.col("value") > pl.col("least"))
    limits = pl.DataFrame(
        [(device, each.inside, each.rule, each.direction, each.metric, each.period, each.usual, each.limit)
         for device, profile in profiles.items() for each in profile.limits],
        schema={"device": pl.String, "inside": pl.Boolean, "rule": pl.String, "direction": DIRECTION,
                "metric": pl.String, "period": pl.String, "usual": pl.Float64, "limit": pl.Float64}, orient="row",
    )  # fmt: skip
    learnt = [device for device, profile in profiles.items() if profile.limits]
    joined = rows.join(limits, on=_KEY, how="left")
    bounded = ~pl.col("inside") | pl.col("device").is_in(learnt)
    joined = joined.with_columns(
        usual=pl.col("usual").fill_null(0.0),
        limit=pl.coalesce("limit", pl.when(bounded).then("least").otherwise(float("inf"))),
    )
    above = joined.filter(pl.col("value") > pl.col("limit")).drop("least").sort("device", "time", *_KEY[1:])
    # The sum of a day stays above its limit until midnight: the epoch that passes it counts, with the whole sum.
    same_day = [*_KEY, pl.col("time").dt.date()]
    first = (pl.col("period") == "epoch") | (pl.col("time") == pl.col("time").min().over(same_day))
    whole = pl.when(pl.col("period") == "day").then(pl.col("value").max().over(same_day)).otherwise("value")
    return above.with_columns(value=whole, first=first).filter("first").drop("first")


def find_alarms(
    matched: pl.DataFrame, profiles: Mapping[str, BehaviourProfile], settings: MonitorSettings | None = None
) -> list[MonitorAlarm]:
    """Alarms, in order of time: epochs of a device with excesses, joined if they are close to each other."""
    settings = settings or MonitorSettings()
    above = excesses(matched, profiles, settings)
    if not above.height:
        return []
    gap = timedelta(seconds=settings.join_s + settings.epoch_s)
    new = (pl.col("time") - pl.col("time").shift(1).over("device")) > gap
    above = above.sort("device", "time").with_columns(number=new.fill_null(value=True).cum_sum())
    outside = matched.filter(~pl.col("inside"))
    alarms = []
    epoch = timedelta(seconds=settings.epoch_s)
    for _, rows in above.group_by("number", maintain_order=True):
        device, start, end = rows["device"][0], rows["time"][0], rows["time"][-1]
        begin = start.replace(hour=0, minute=0, second=0) if (rows["period"] == "day").any() else start
        there = outside.filter((pl.col("device") == device) & pl.col("time").is_between(begin, end))
        excess = _excesses(rows, settings.epoch_s)
        services = _services(there)
        alarms.append(MonitorAlarm(
            device=device, start=start, end=end + epoch, epochs=rows["time"].n_unique(), excesses=excess,
            services=services, reason=excess[0].reason,
        ))  # fmt: skip
    return sorted(alarms, key=lambda alarm: (alarm.start, alarm.device))


def _excesses(rows: pl.DataFrame, epoch_s: int) -> list[MonitorExcess]:
    whole, ratio = pl.col("rule") == TOTAL, pl.col("value") / pl.col("limit")  # a single rule explains more
    best = rows.with_columns(whole=whole, ratio=ratio).sort("whole", "ratio", descending=[False, True])
    best = best.unique(_KEY, keep="first", maintain_order=True).head(MOST_EXCESSES)
    return [
        MonitorExcess(
            inside=row["inside"], rule=row["rule"], direction=row["direction"], metric=row["metric"],
            period=row["period"], value=row["value"], usual=row["usual"], limit=row["limit"],
            reason=_reason(row, epoch_s),
        )
        for row in best.iter_rows(named=True)
    ]  # fmt: skip


def _reason(row: Mapping[str, Any], epoch_s: int) -> str:
    place = row["rule"] if row["inside"] else f"outside the profile ({row['rule']})"
    usual = f"at most {row['usual']:,.0f} on half of the days" if row["usual"] else "none on most days"
    time = "since midnight UTC" if row["period"] == "day" else f"in {epoch_s / 60:g} min"
    return (f"{place}: {row['value']:,.0f} {row['metric']} {row['direction']} the device {time}; "
            f"limit {row['limit']:,.0f}, {usual}")  # fmt: skip


def _services(outside: pl.DataFrame) -> list[str]:
    """Services outside the profile, those with most packets first; ports that are many are one line."""
    if not outside.height:
        return []
    key = ["protocol", "port", "role", "scope", "name"]
    sums = outside.group_by(key).agg(pl.col("packets", "octets").sum())
    kind = ["protocol", "role", "scope", "name"]
    few = pl.len().over(kind) <= MOST_SERVICES
    whole = sums.with_columns(few=few)
    shown: list[tuple[float, str]] = []
    for row in whole.filter("few").iter_rows(named=True):
        base = service_name(row["protocol"], row["port"], 1 << 17)
        shown.append((row["packets"], _line(base, row)))
    many = whole.filter(~pl.col("few")).group_by(kind).agg(pl.col("packets", "octets").sum(), ports=pl.len())
    for row in many.iter_rows(named=True):
        base = f"{service_name(row['protocol'], 1, 1 << 17).split('/')[0]} on {row['ports']:,} ports"
        shown.append((row["packets"], _line(base, row)))
    lines = [line for _, line in sorted(shown, key=lambda each: (-each[0], each[1]))]
    more = len(lines) - MOST_SERVICES
    return [*lines[:MOST_SERVICES], f"and {more:,} more"] if more > 0 else lines


def _line(base: str, row: Mapping[str, Any]) -> str:
    words: Sequence[str] = [base, row["role"], row["scope"], row["name"]]
    return f"{' '.join(word for word in words if word)}: {row['packets']:,.0f} packets, {row['octets']:,.0f} octets"
