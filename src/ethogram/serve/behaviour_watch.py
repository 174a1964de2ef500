"""Behaviour of the service's devices: the current day against a profile of the days before, from stored counts.

A profile is learnt once a day for a device that has traffic, and kept in memory. The cost of a look follows the devices
that had traffic since the last one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import polars as pl

from ethogram.behaviour.alarms import find_alarms
from ethogram.behaviour.learn import learn_profiles
from ethogram.behaviour.match import match_services
from ethogram.behaviour.traffic import bound_traffic, traffic_of_counts
from ethogram.config import AlertSettings, MonitorSettings
from ethogram.schema import Accounting, BehaviourProfile, DueDevice, MonitorAlarm

__all__ = ["BehaviourWatch"]

HOUR = timedelta(hours=1)
MOST_PROFILES = 5000
MOST_SERVICES = 512
CountsOf = Callable[[Sequence[DueDevice], datetime], pl.DataFrame]
"""Counts of devices with their ids since a time (:data:`ethogram.schema.COUNTS`)."""


class BehaviourWatch:
    """Judges devices by their own past.

    Parameters
    ----------
    settings
        Days that a profile is learnt from, and least limits.

    Examples
    --------
    >>> BehaviourWatch(AlertSettings()).look([], lambda devices, since: pl.DataFrame(), datetime(2026, 1, 1))
    {}
    """

    def __init__(self, settings: AlertSettings) -> None:
        self._days = timedelta(days=settings.profile_days)
        self._monitor = MonitorSettings(
            epoch_s=3600, alarms_a_month=settings.profile_alarms, least_days=settings.profile_least_days,
            least_packets=settings.profile_packets, least_flows=settings.profile_packets / 2,
            least_octets=settings.profile_packets * 1500,
        )  # fmt: skip
        self._profiles: OrderedDict[str, tuple[date, BehaviourProfile | None]] = OrderedDict()

    def look(
        self, devices: Sequence[DueDevice], counts: CountsOf, clock: datetime
    ) -> dict[str, MonitorAlarm | None]:
        """The latest alarm of the current day of each device with a profile, by id; None: it has none.

        Parameters
        ----------
        devices
            Devices to look at.
        counts
            Reads stored counts.
        clock
            Time of the data. In the first hour of a day, the day before is looked at.
        """
        today = (clock - HOUR).replace(hour=0, minute=0, second=0, microsecond=0)
        unknown = [device for device in devices if not self._is_known(device.id, today.date())]
        if unknown:
            self._learn(unknown, counts(unknown, today - self._days), today)
        profiles = {device.id: profile for device in devices
                    if (profile := self._profiles.get(device.id, (today, None))[1]) is not None}  # fmt: skip
        watched = [device for device in devices if device.id in profiles]
        if not watched:
            return {}
        traffic = self._traffic(counts(watched, today)).filter(pl.col("time") >= today)
        alarms: dict[str, MonitorAlarm | None] = dict.fromkeys(profiles)
        for alarm in find_alarms(match_services(traffic, profiles), profiles, self._monitor):
            alarms[alarm.device] = alarm
        return alarms

    def _is_known(self, id_: str, day: date) -> bool:
        if id_ not in self._profiles:
            return False
        self._profiles.move_to_end(id_)
        return self._profiles[id_][0] == day

    def _learn(self, devices: Sequence[DueDevice], counts: pl.DataFrame, today: datetime) -> None:
        before = counts.filter(pl.col("time") < today)
        learnt = learn_profiles(self._traffic(before), self._monitor) if before.height else {}
        for device in devices:
            self._profiles[device.id] = today.date(), learnt.get(device.id)
        while len(self._profiles) > MOST_PROFILES:
            self._profiles.popitem(last=False)

    def _traffic(self, counts: pl.DataFrame) -> pl.DataFrame:
        return bound_traffic(traffic_of_counts(counts), MOST_SERVICES, Accounting("flows"))
