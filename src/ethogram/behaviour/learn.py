"""Profiles learnt from traffic: what a device used, and how much of it in an epoch is usual.

Rules
-----
Each service with its role, scope and other end is a rule. Ports, or names, of a kind that do not recur on other days
become one rule for any port, or any name, if they are many: peer-to-peer traffic has a new port each time.

Limits
------
For each rule, and all traffic together, each direction and volume (flows, packets, octets) let ``m`` be the largest
value of an epoch, or the sum, on each of ``n`` days, and ``z = log(1 + m)``. The limit is the upper prediction limit of
a further day::

    exp(mean(z) + t * max(sd(z), spread) * sqrt(1 + 1/n)) - 1,  t = quantile of Student's t, n - 1 degrees of freedom

at the probability ``alarms_a_month / 30 / limits``, so that a device whose days stay alike raises that many alarms in
a month at most, however many rules it has. Days are the unit because epochs of one day depend on each other.

Traffic outside the profile has limits of the same form. They are learnt from what each day has that no other day has:
that is outside the profile of the other days.

References
----------
RFC 8520. A. Hamza, H. Habibi Gharakheili, T. A. Benson, V. Sivaraman, Detecting Volumetric Attacks on IoT Devices via
SDN-Based Monitoring of MUD Activity, SOSR 2019, for volumes by rule; arXiv 2001.10632, arXiv 2304.04987. Prediction
limits: G. J. Hahn, W. Q. Meeker, Statistical Intervals, 1991, section 4.8.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from ethogram.behaviour.match import match_services, outside_kind, rule_traffic
from ethogram.config import MonitorSettings
from ethogram.schema import METRICS, BehaviourProfile, BehaviourRule, Metric, Period, VolumeLimit, service_name

__all__ = ["learn_profiles", "least_limit", "volume_limits"]

_SERVICE = ["protocol", "port", "role", "scope", "name"]
_ANY_PORT, _ANY_NAME = 1 << 16, "*"
DAYS_A_MONTH = 30.0


def learn_profiles(
    traffic: pl.DataFrame, settings: MonitorSettings | None = None, *, source: str = "traffic",
    labels: Mapping[str, str] | None = None,
) -> dict[str, BehaviourProfile]:  # fmt: skip
    """Learn the profile of each device, or of the devices of each label together.

    Parameters
    ----------
    traffic
        Form :data:`ethogram.schema.TRAFFIC`, of epochs of ``settings.epoch_s``.
    settings
        Bounds of profiles.
    source
        What the profiles say they were made from.
    labels
        Label of each device; None: each device has a profile of its own. Rules of a label are those of all its
        devices; its days are device-days.

    Returns
    -------
    Profiles by device, or by label. Devices with fewer days than ``least_days`` have none.
    """
    settings = settings or MonitorSettings()
    dated = traffic.with_columns(day=pl.col("time").dt.date().cast(pl.String))
    if labels is not None:
        names = pl.DataFrame({"device": list(labels), "label": list(labels.values())},
                             schema={"device": pl.String, "label": pl.String})  # fmt: skip
        dated = dated.join(names, on="device").with_columns(
            day=pl.col("device") + " " + pl.col("day"), device=pl.col("label")
        ).drop("label")  # fmt: skip
    days = dated.group_by("device").agg(days=pl.col("day").n_unique())
    enough = days.filter(pl.col("days") >= settings.least_days)
    dated = dated.join(enough, on="device")
    if not dated.height:
        return {}
    rules = _rules(dated, settings)
    profiles: dict[str, BehaviourProfile] = {}
    number = dict(enough.select("device", "days").iter_rows())
    by_device = rules.sort("device", *_SERVICE).partition_by("device", as_dict=True)
    for (device,), rows in by_device.items():
        profiles[str(device)] = BehaviourProfile(
            device="" if labels is not None else str(device), label=str(device) if labels is not None else "",
            source=source, days=number[device], epoch_s=settings.epoch_s,
            rules=tuple(_rule(row) for row in rows.iter_rows(named=True)),
        )  # fmt: skip
    limits = _limits(dated, profiles, number, settings)
    return {
        device: profile.model_copy(update={"limits": tuple(limits.get(device, ()))})
        for device, profile in profiles.items()
    }


def _rules(dated: pl.DataFrame, settings: MonitorSettings) -> pl.DataFrame:
    """Keys of rules by device; a port of 65536 is any, a name of ``*`` is any."""
    key = ["device", *_SERVICE]
    used = dated.group_by(key).agg(
        days=pl.col("day").n_unique(), of=pl.col("days").first(),
        packets=(pl.col("packets_out") + pl.col("packets_in")).sum(),
    ).with_columns(pl.col("port").cast(pl.UInt32))  # fmt: skip
    once = pl.col("days") < 2
    for column, anything in (("port", _ANY_PORT), ("name", _ANY_NAME)):
        kind = [name for name in key if name != column]
        many = once.sum().over(kind) > settings.rare
        if column == "name":  # networks name the groups that a device speaks to
            many = many & (pl.col("scope") != "multicast")
        used = used.with_columns(
            pl.when(once & many).then(pl.lit(anything, dtype=used.schema[column])).otherwise(column).alias(column)
        )
        used = used.group_by(key).agg(
            pl.col("days").max(), pl.col("of").first(), pl.col("packets").sum()
        )
    most = pl.int_range(pl.len()).over("device", order_by=[-pl.col("packets"), *_SERVICE])
    return used.filter(most < settings.max_rules)


def _rule(row: Mapping[str, object]) -> BehaviourRule:
    protocol, port, role, scope = int(str(row["protocol"])), int(str(row["port"])), str(row["role"]), str(row["scope"])
    base = service_name(protocol, port, 1 << 17)
    ports: tuple[tuple[int, int], ...] = ((port, port),)
    if port == _ANY_PORT:
        base, ports = base.split("/")[0] + "/any", ()
    remote = None if row["name"] == _ANY_NAME else str(row["name"])
    words = [base, role, scope, "any" if remote is None else remote]
    return BehaviourRule(
        name=" ".join(word for word in words if word), protocol=protocol, role=role,  # type: ignore[arg-type]
        local_ports=ports if role == "server" else (), remote_ports=ports if role == "client" else (),
        scope=scope, remote=remote,  # type: ignore[arg-type]  # categories of the table
    )  # fmt: skip


def _limits(
    dated: pl.DataFrame, profiles: Mapping[str, BehaviourProfile], days: Mapping[str, int], settings: MonitorSettings
) -> dict[str, list[VolumeLimit]]:
    """Limits of rules, and of what one day has that no other has."""
    unique = pl.col("day").n_unique().over("device", *_SERVICE) == 1
    # A rule for any port or name covers what does not recur; the others do not cover a service of one day.
    matched = match_services(dated, profiles)
    general = pl.DataFrame(
        [(device, rule.name) for device, profile in profiles.items() for rule in profile.rules
         if rule.remote is None or not (rule.local_ports or rule.remote_ports)],
        schema={"device": pl.String, "rule": pl.String}, orient="row",
    ).with_columns(general=pl.lit(value=True))  # fmt: skip
    matched = matched.with_columns(unique=unique).join(general, on=["device", "rule"], how="left")
    left_out = pl.col("unique") & pl.col("general").is_null() & pl.col("inside")
    held = matched.filter(left_out).with_columns(inside=False, rule=outside_kind())
    rows = pl.concat([rule_traffic(matched, "day"), rule_traffic(held, "day", total=False)])
    return volume_limits(rows, days, settings)


def volume_limits(
    rows: pl.DataFrame, days: Mapping[str, int], settings: MonitorSettings | None = None
) -> dict[str, list[VolumeLimit]]:
    """Limits from traffic by rule (:data:`ethogram.schema.RULE_TRAFFIC` with ``day``) and the days of each device."""
    from scipy.stats import t as student

    settings = settings or MonitorSettings()
    key = ["device", "inside", "rule", "direction"]
    daily = pl.concat([
        rows.group_by(*key, "day").agg(pl.col(METRICS).max()).with_columns(period=pl.lit("epoch")),
        rows.group_by(*key, "day").agg(pl.col(METRICS).sum()).with_columns(period=pl.lit("day")),
    ])  # fmt: skip
    key = [*key, "period"]
    daily = daily.unpivot(METRICS, index=[*key, "day"], variable_name="metric").filter(pl.col("value") > 0)
    tests = daily.group_by("device").agg(tests=pl.struct(*key[1:], "metric").n_unique())
    z = pl.col("value").log1p()
    # Days without a rule's traffic count as zero: sums over the days that have it are enough.
    sums = daily.group_by(*key, "metric").agg(
        total=z.sum(), squares=(z**2).sum(), seen=pl.len(), values=pl.col("value")
    ).join(tests, on="device").sort(*key, "metric")  # fmt: skip
    number = np.array([days[device] for device in sums["device"]], dtype=np.float64)
    mean = sums["total"].to_numpy() / number
    variance = np.maximum(sums["squares"].to_numpy() - number * mean**2, 0.0) / np.maximum(number - 1, 1)
    sd = np.maximum(np.sqrt(variance), settings.spread)
    probability = np.minimum(settings.alarms_a_month / DAYS_A_MONTH / sums["tests"].to_numpy(), 0.5)
    quantile = student.isf(probability, np.maximum(number - 1, 1))
    bound = np.expm1(np.minimum(mean + quantile * sd * np.sqrt(1 + 1 / number), 60.0))
    limits: dict[str, list[VolumeLimit]] = {}
    for row, n, value in zip(sums.iter_rows(named=True), number, bound, strict=True):
        largest = [0.0] * (int(n) - row["seen"]) + sorted(row["values"])
        limits.setdefault(row["device"], []).append(VolumeLimit(
            inside=row["inside"], rule=row["rule"], direction=row["direction"], metric=row["metric"],
            period=row["period"], usual=float(np.median(largest)),
            limit=max(float(value), least_limit(settings, row["metric"], row["period"])),
        ))  # fmt: skip
    return limits


def least_limit(settings: MonitorSettings, metric: Metric, period: Period) -> float:
    """The limit below which none is."""
    least = {"flows": settings.least_flows, "packets": settings.least_packets, "octets": settings.least_octets}
    return least[metric] * (settings.day_factor if period == "day" else 1.0)
