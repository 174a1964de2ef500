"""Settings of the alerts of the live service."""

from __future__ import annotations

from pydantic import Field

from ethogram.config._base import Settings

__all__ = ["AlertSettings"]


class AlertSettings(Settings):
    """When alerts are raised, grouped, repeated and removed."""

    off: tuple[str, ...] = Field(default=(), description="kinds of alerts that are not raised")
    learn_s: int = Field(
        default=86_400, ge=0, description="devices that appear this soon after the first one raise no alert"
    )
    unknown_s: int = Field(default=2 * 86_400, gt=0, description="a device is unknown for this long before an alert")
    regular_share: float = Field(
        default=0.7, gt=0, le=1,
        description="share of days with traffic that makes a device regular, so that its silence is an alert",
    )  # fmt: skip
    regular_days: int = Field(default=3, gt=0, description="fewer days with traffic make no device regular")
    exporter_s: float = Field(default=900.0, gt=0, description="an exporter is silent after this time")
    trouble_s: float = Field(default=60.0, ge=0, description="a part does not work for this long before an alert")
    conflict_s: float = Field(
        default=1800.0, ge=0, description="a name or address is used twice for this long before an alert"
    )
    rest_s: float = Field(default=3600.0, gt=0, description="a counter of losses rests after this time")
    disk_octets: int = Field(default=1 << 30, ge=0, description="free space on the disk below which there is an alert")
    profile_days: int = Field(
        default=14, ge=2, le=90, description="days before today that the profile of a device is learnt from"
    )
    profile_least_days: int = Field(
        default=5, ge=2, description="a device with traffic on fewer days is not judged by its profile"
    )
    profile_alarms: float = Field(
        default=1.0, gt=0, description="alarms per device and month that limits of volume allow if nothing changes"
    )
    profile_packets: float = Field(
        default=400.0, ge=0,
        description="limits of an hour are not below this many packets, half as many flows and 1,500 times the octets",
    )  # fmt: skip
    repeat_s: float = Field(
        default=86_400.0, ge=0, description="a cause that ends and returns within this time opens its alert again"
    )
    group_from: int = Field(default=10, gt=1, description="this many alerts of one kind at once are one alert")
    hourly: int = Field(default=30, gt=0, description="new alerts of one kind in an hour; beyond, they are one alert")
    open_days: int = Field(default=7, gt=0, description="alerts of what happened once are closed after this time")
    keep_days: int = Field(default=90, gt=0, description="days that closed alerts are kept")
    max_alerts: int = Field(default=20_000, gt=0, description="alerts that are kept; beyond, the oldest are removed")
    interval_s: float = Field(default=30.0, gt=0, description="time between two looks at what holds")
