"""Settings of profiles and of the monitor."""

from __future__ import annotations

from pydantic import Field

from ethogram.config._base import Settings

__all__ = ["MonitorSettings"]


class MonitorSettings(Settings):
    """How profiles are learnt, and when their volumes are alarms."""

    epoch_s: int = Field(default=300, ge=1, le=86_400, description="length of an epoch, which is judged as a whole")
    alarms_a_month: float = Field(
        default=1.0, gt=0, le=1000, description="alarms per device and month that limits allow if nothing changes"
    )
    least_days: int = Field(
        default=3, ge=2, description="days of traffic below which a device gets no profile of its own"
    )
    least_flows: float = Field(default=100.0, ge=0, description="limits are not below this many flows in an epoch")
    least_packets: float = Field(default=200.0, ge=0, description="limits are not below this many packets")
    least_octets: float = Field(default=300_000.0, ge=0, description="limits are not below this many octets")
    day_factor: float = Field(
        default=3.0, ge=1, description="limits on a whole day are not below this many times those on an epoch"
    )
    spread: float = Field(
        default=0.3, gt=0, le=5,
        description="least standard deviation that is assumed of the logarithm of a day's largest volume",
    )  # fmt: skip
    rare: int = Field(
        default=8, ge=1,
        description="more ports, or names, of a kind that do not recur on other days become one rule for any",
    )  # fmt: skip
    max_rules: int = Field(
        default=500, ge=1, le=5000, description="rules of a profile; beyond, those with least traffic are left out"
    )
    join_s: int = Field(
        default=86_400, ge=0, description="epochs with alarms of a device this close to each other are one alarm"
    )
