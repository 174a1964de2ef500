"""Settings of the alerts of the live service, and the file of their rules."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from ethogram.config._base import Settings
from ethogram.config._toml import read_toml
from ethogram.errors import ConfigurationError
from ethogram.schema.alert import ALERT_KINDS, Severity
from ethogram.schema.kind import KINDS

__all__ = ["AlertRule", "AlertSettings", "read_alert_rules"]

MOST_RULES_OCTETS = 1 << 20


def _known_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [kind for kind in kinds if kind not in ALERT_KINDS]:
        raise ValueError(f"there is no kind of alert {unknown[0]!r}; kinds are {', '.join(ALERT_KINDS)}")
    return kinds


class AlertRule(Settings):
    """What happens to some alerts. The first rule that fits an alert decides."""

    kinds: tuple[str, ...] = Field(default=(), description="kinds of alerts; none: all")
    device_kinds: tuple[str, ...] = Field(
        default=(), description="kinds of devices, as `camera`; none: all, and alerts about no device"
    )
    severity: Severity | None = Field(default=None, description="severity instead of that of the kind of alert")
    mute: bool = Field(default=False, description="whether the alert is only counted")

    @field_validator("kinds")
    @classmethod
    def _alerts(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        return _known_kinds(kinds)

    @field_validator("device_kinds")
    @classmethod
    def _devices(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise ValueError(f"there is no kind of device {unknown[0]!r}")
        return kinds

    def fits(self, kind: str, device_kind: str) -> bool:
        """Whether it is about an alert; devices of one of two kinds fit a rule for either.

        >>> rule = AlertRule(device_kinds=("camera",))
        >>> rule.fits("silent device", "camera or doorbell"), rule.fits("silent device", "")
        (True, False)
        """
        of_device = not self.device_kinds or bool(set(device_kind.split(" or ")) & set(self.device_kinds))
        return of_device and (not self.kinds or kind in self.kinds)


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
    rule: tuple[AlertRule, ...] = Field(
        default=(), description="rules for severity and muting, in order; each `[[rule]]` in the file `alert_rules`"
    )

    @field_validator("off")
    @classmethod
    def _off(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        return _known_kinds(kinds)


def read_alert_rules(file: Path, defaults: AlertSettings | None = None) -> AlertSettings:
    """Read a file of rules (TOML): any setting of :class:`AlertSettings`, and rules as tables ``[[rule]]``.

    Parameters
    ----------
    file
        The file.
    defaults
        Values of settings that are not in it.

    Raises
    ------
    InputError
        If the file cannot be read.
    ConfigurationError
        With the file, the line and the reason, if a name is unknown or a value cannot be.
    """
    text, values = read_toml(file, MOST_RULES_OCTETS)
    try:
        return AlertSettings.model_validate({**(defaults or AlertSettings()).model_dump(), **values})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        reason = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"]
        raise ConfigurationError(f"{file}: line {_line_of(text, first['loc'])}: {name}: {reason}") from None


def _line_of(text: str, place: tuple[int | str, ...]) -> int:
    """Line of a setting, or of the rule that it is in.

    >>> _line_of('open_days = 3\\n[[rule]]\\nmute = true\\n[[rule]]\\nmute = 5', ("rule", 1, "mute"))
    5
    """
    lines = text.splitlines()
    begin = 0
    if len(place) > 1 and isinstance(place[1], int):
        header = re.compile(rf"\s*\[\[\s*{re.escape(str(place[0]))}\s*\]\]")
        headers = [at for at, line in enumerate(lines) if header.match(line)]
        begin = headers[place[1]] if place[1] < len(headers) else 0
        place = place[2:]
    for at, line in enumerate(lines[begin:], begin):
        if place and re.match(rf"\s*[\[\"']*{re.escape(str(place[0]))}\b", line):
            return at + 1
    return begin + 1
