"""Profiles of what a device may do, their volume limits, and what a monitor found.

A rule permits traffic of one or both directions, as an access control entry of a MUD file does. Learnt profiles have
one rule for both directions of a service.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import polars as pl
from pydantic import Field

from ethogram.schema.biflow import TIME
from ethogram.schema.flow import ROLE, SCOPE
from ethogram.schema.record import Record
from ethogram.schema.table import Column, Table

__all__ = [
    "DIRECTION",
    "DIRECTIONS",
    "METRICS",
    "RULE_TRAFFIC",
    "TRAFFIC",
    "BehaviourProfile",
    "BehaviourRule",
    "Direction",
    "Metric",
    "MonitorAlarm",
    "MonitorExcess",
    "MonitorReport",
    "MonitoredDevice",
    "Period",
    "RuleCounter",
    "VolumeLimit",
]  # fmt: skip

Direction = Literal["from", "to"]
DIRECTIONS: tuple[Direction, ...] = ("from", "to")
"""From the device and to the device, as the policies of a MUD file."""
DIRECTION = pl.Enum(DIRECTIONS)
Metric = Literal["flows", "packets", "octets"]
METRICS: tuple[Metric, ...] = ("flows", "packets", "octets")
Period = Literal["epoch", "day"]

TRAFFIC = Table(
    "traffic",
    "One row per device, epoch and service with its other end. Rows with the same key may be added.",
    (
        Column("device", pl.String(), "", "the device's name"),
        Column("time", TIME, "", "start of the epoch"),
        Column("protocol", pl.UInt8(), "", "protocolIdentifier"),
        Column("port", pl.UInt16(), "", "service port; 0 where the protocol has none"),
        Column("role", ROLE, "", "the device's side of the service"),
        Column("scope", SCOPE, "", "wan, lan or multicast"),
        Column("name", pl.String(), "", "domain of the other end, or its group; empty if unknown"),
        Column("flows", pl.Float64(), "flows", "flows that began in the epoch"),
        Column("octets_out", pl.Float64(), "octets", "IP octets the device sent"),
        Column("octets_in", pl.Float64(), "octets", "IP octets the device received"),
        Column("packets_out", pl.Float64(), "packets", "packets the device sent"),
        Column("packets_in", pl.Float64(), "packets", "packets the device received"),
    ),
)  # fmt: skip

RULE_TRAFFIC = Table(
    "rule traffic",
    "One row per device, epoch, rule and direction; traffic outside the profile is counted by its kind.",
    (
        Column("device", pl.String(), "", "the device's name"),
        Column("time", TIME, "", "start of the epoch"),
        Column("inside", pl.Boolean(), "", "whether the profile permits it"),
        Column("rule", pl.String(), "", "name of the rule; outside: protocol, role and scope"),
        Column("direction", DIRECTION, "", "from or to the device"),
        Column("flows", pl.Float64(), "flows", "flows that this side began in the epoch"),
        Column("packets", pl.Float64(), "packets", "packets of this direction"),
        Column("octets", pl.Float64(), "octets", "IP octets of this direction"),
    ),
)  # fmt: skip


class BehaviourRule(Record):
    """What a device may do: all parts that are given must match.

    A rule of a learnt profile has a role, and its service port is the remote port of a client or the local port of a
    server. A rule of a MUD file has ports on both sides, and networks.
    """

    name: str = Field(description="name of the rule")
    direction: Direction | None = Field(default=None, description="direction that it permits; none: both")
    permits: bool = Field(default=True, description="false: what matches is outside the profile")
    protocol: int | None = Field(default=None, ge=0, le=255, description="IP protocol; none: any")
    version: Literal[4, 6] | None = Field(default=None, description="version of IP; none: any")
    local_ports: tuple[tuple[int, int], ...] = Field(default=(), description="ranges of ports; empty: any")
    remote_ports: tuple[tuple[int, int], ...] = Field(default=(), description="the same for the other end")
    role: Literal["client", "server"] | None = Field(default=None, description="side of the service; none: any")
    scope: Literal["wan", "lan", "multicast"] | None = Field(default=None, description="place of the other end")
    remote: str | None = Field(default=None, description="name of the other end; empty: unknown; none: any")
    networks: tuple[str, ...] = Field(default=(), description="prefixes of the other end; empty: any")
    initiated: Literal["device", "remote"] | None = Field(default=None, description="who began; none: either")
    peer: str = Field(default="", description="class of the other end in a MUD file: controller, manufacturer, model")

    @property
    def service_port(self) -> int | None:
        """Port of the service of a learnt rule; None: any."""
        ports = self.remote_ports if self.role == "client" else self.local_ports
        return ports[0][0] if ports else None


class VolumeLimit(Record):
    """The most traffic of a rule in an epoch that is usual."""

    inside: bool = Field(description="whether the profile permits the traffic")
    rule: str = Field(description="name of the rule; outside: protocol, role and scope")
    direction: Direction = Field(description="from or to the device")
    metric: Metric = Field(description="what is limited")
    period: Period = Field(description="in one epoch, or since the start of a day (UTC)")
    usual: float = Field(description="median over days of the largest value")
    limit: float = Field(description="more than this is an alarm")


class BehaviourProfile(Record):
    """What a device, or each device of a label, may do."""

    format: Literal["ethogram.profile/1"] = "ethogram.profile/1"
    device: str = Field(default="", description="the device; empty: any")
    source: str = Field(description="what it was made from")
    label: str = Field(default="", description="label whose devices it is made from; empty: the device's own traffic")
    url: str = Field(default="", description="URL of the MUD file")
    days: int = Field(default=0, description="days of traffic that it was learnt from")
    epoch_s: int = Field(default=0, description="length of the epochs of its limits, in seconds")
    rules: tuple[BehaviourRule, ...] = Field(default=(), description="what is permitted")
    limits: tuple[VolumeLimit, ...] = Field(default=(), description="how much of it is usual")
    notices: tuple[str, ...] = Field(default=(), description="parts of a MUD file that flows cannot show")


class RuleCounter(Record):
    """Traffic of one rule and direction over the whole time."""

    inside: bool = Field(description="whether the profile permits it")
    rule: str = Field(description="name of the rule; outside: the service, its role and scope, and the other end")
    direction: Direction = Field(description="from or to the device")
    epochs: int = Field(description="epochs with this traffic")
    flows: int = Field(description="flows that this side began")
    packets: int = Field(description="packets of this direction")
    octets: int = Field(description="IP octets of this direction")
    first: datetime = Field(description="start of the first epoch with it")
    last: datetime = Field(description="start of the last epoch with it")


class MonitorExcess(Record):
    """One volume above its limit."""

    inside: bool = Field(description="whether the profile permits the traffic")
    rule: str = Field(description="name of the rule; outside: protocol, role and scope")
    direction: Direction = Field(description="from or to the device")
    metric: Metric = Field(description="what is above its limit")
    period: Period = Field(description="in one epoch, or since the start of a day (UTC)")
    value: float = Field(description="the largest value")
    usual: float = Field(description="median over days of the largest value; 0: not seen on most days")
    limit: float = Field(description="the limit")
    reason: str = Field(description="the same in words")


class MonitorAlarm(Record):
    """Epochs of a device, one soon after the other, in which a volume is above its limit."""

    device: str = Field(description="the device")
    start: datetime = Field(description="start of the first epoch")
    end: datetime = Field(description="end of the last epoch")
    epochs: int = Field(description="epochs with a volume above its limit")
    excesses: list[MonitorExcess] = Field(description="what is above its limit, the largest ratio first")
    services: list[str] = Field(description="services outside the profile in these epochs, most packets first")
    reason: str = Field(description="what happened, in words")


class MonitoredDevice(Record):
    """A device, its profile, and its traffic by rule."""

    device: str = Field(description="the device")
    profile: str = Field(description="what its profile was made from; empty: it has none and is not monitored")
    label: str = Field(default="", description="label whose profile it is; empty: its own")
    days: int = Field(description="days of traffic that the profile was learnt from")
    rules: int = Field(description="rules of the profile")
    unused: int = Field(description="rules without traffic")
    flows: int = Field(description="flows in the profile and outside it")
    outside_flows: int = Field(description="flows with traffic outside the profile")
    outside_packets: int = Field(description="packets outside the profile")
    outside_octets: int = Field(description="IP octets outside the profile")
    counters: list[RuleCounter] = Field(description="traffic by rule and direction")


class MonitorReport(Record):
    """The object that ``ethogram monitor --format json`` prints."""

    format: Literal["ethogram.monitor/1"] = "ethogram.monitor/1"
    start: datetime | None = Field(description="start of the first epoch; none: no traffic")
    end: datetime | None = Field(description="end of the last epoch")
    epoch_s: int = Field(description="length of an epoch in seconds")
    devices: list[MonitoredDevice]
    alarms: list[MonitorAlarm]
