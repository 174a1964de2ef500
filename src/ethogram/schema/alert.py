"""Alerts of the live service: their kinds, their rows, and what a pass of the rules found.

A kind that is added to :data:`ALERT_KINDS` is stored, listed, muted and shown like the others; rules give
:class:`AlertSighting` for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

__all__ = [
    "ALERT_KINDS", "ALERT_STATES", "SEVERITIES", "AlertKind", "AlertPage", "AlertPass", "AlertRow", "AlertSighting",
    "AlertState", "MuteRow", "Severity",
]  # fmt: skip

Severity = Literal["info", "warning", "critical"]
AlertState = Literal["open", "acknowledged", "closed"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
"""The most severe first."""
ALERT_STATES: tuple[AlertState, ...] = ("open", "acknowledged", "closed")


class AlertKind(NamedTuple):
    """A kind of alert.

    Parameters
    ----------
    title
        Name to show.
    severity
        Of all alerts of this kind.
    about
        What it is about: a device, or the service.
    many
        Text of one alert for many devices; ``{count}`` is their number.
    meaning
        When it is raised, and when it is closed.
    lasts
        Whether it is closed when its cause ends; others are closed by age.
    """

    title: str
    severity: Severity
    about: Literal["device", "service"]
    many: str
    meaning: str
    lasts: bool = True


ALERT_KINDS: dict[str, AlertKind] = {
    "new device": AlertKind(
        "New device", "info", "device", "{count} new devices",
        "A device appeared after the time of learning. Closed after `open_days`.", lasts=False,
    ),
    "changed verdict": AlertKind(
        "Changed verdict", "warning", "device", "What is stated about {count} devices has changed",
        "Another kind, vendor or model is stated about a device than before; not when more is known about the same. "
        "Closed after `open_days`.", lasts=False,
    ),
    "unusual device": AlertKind(
        "Unusual device", "warning", "device", "{count} devices do not behave like their labels",
        "A device no longer behaves like its label. Closed when it does again.",
    ),
    "identity conflict": AlertKind(
        "Behaves like another", "critical", "device", "{count} devices do not behave like what they are labelled",
        "A device that a user labelled has, for longer than `conflict_s`, the traffic of another kind or vendor: "
        "another device may use its address, name or MAC. Closed when it does not.",
    ),
    "outside profile": AlertKind(
        "Outside its profile", "warning", "device", "{count} devices do what they never did",
        "In an hour, or since midnight UTC, a device has much traffic of services or with other ends that it did not "
        "have in `profile_days`. Closed on a day without.",
    ),
    "unusual volume": AlertKind(
        "Unusual volume", "warning", "device", "{count} devices have far more traffic than usual",
        "In an hour, or since midnight UTC, a device has far more traffic of a usual service than on other days. "
        "Closed on a day without.",
    ),
    "unknown device": AlertKind(
        "Unknown device", "info", "device", "{count} devices stay unknown",
        "A device with traffic is unknown for longer than `unknown_s`. Closed when something is stated about it.",
    ),
    "unknown group": AlertKind(
        "Unknown group", "info", "service", "{count} groups of unknown devices have grown",
        "More unknown devices than before behave alike. Closed when the group is named or gone.",
    ),
    "silent device": AlertKind(
        "Silent device", "warning", "device", "{count} devices that were regular are silent",
        "A device that had traffic on most days has none any more. Closed when it has traffic again.",
    ),
    "name conflict": AlertKind(
        "Two devices, one name", "warning", "device", "{count} host names are used by several devices",
        "Devices with different MACs or addresses use one host name at the same time. Closed when they do not.",
    ),
    "address conflict": AlertKind(
        "Two devices, one address", "critical", "device", "{count} addresses are used by several devices",
        "Two devices use one IPv4 address at the same time. Closed when they do not.",
    ),
    "several addresses": AlertKind(
        "One MAC, two addresses", "info", "device", "{count} devices use several addresses at once",
        "A MAC uses two IPv4 addresses or more at the same time. Closed when it does not.",
    ),
    "collector loss": AlertKind(
        "Lost on the way", "warning", "service", "{count} counters of losses move",
        "A counter of what was lost or dropped has moved. Closed when it rests.",
    ),
    "clock error": AlertKind(
        "Clock of an exporter", "warning", "service", "{count} clocks are wrong",
        "Flows come with times that cannot be right. Closed when none comes.",
    ),
    "silent exporter": AlertKind(
        "Silent exporter", "critical", "service", "{count} exporters are silent",
        "An exporter that sent messages has sent none for longer than `exporter_s`. Closed when it sends again.",
    ),
    "service trouble": AlertKind(
        "Part of the service", "critical", "service", "{count} parts of the service do not work",
        "A part of the service has not worked for longer than `trouble_s`. Closed when it works.",
    ),
    "disk space": AlertKind(
        "Disk space", "critical", "service", "{count} disks are nearly full",
        "Less than `disk_octets` are free on the disk of the data folder. Closed when more are.",
    ),
}  # fmt: skip
"""All kinds of alerts by their names."""


@dataclass(frozen=True, slots=True)
class AlertSighting:
    """What a rule found.

    Parameters
    ----------
    kind
        Of :data:`ALERT_KINDS`.
    subject
        Distinguishes alerts of a kind: the id of a device, an exporter, a part. One alert is open for each.
    text
        What happened, in one line.
    evidence
        Further lines.
    device, name
        Id and name of the device; empty if it is about none.
    count
        How many times it happened.
    """

    kind: str
    subject: str
    text: str
    evidence: tuple[str, ...] = ()
    device: str = ""
    name: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class AlertPass:
    """What one pass of the rules found, stored in one transaction.

    Parameters
    ----------
    time
        Of this pass.
    after, event
        Latest event before and after this pass; the store refuses the pass if it has another one.
    raised
        What happened once.
    holding
        What holds now, by kind; alerts of these kinds about anything else are closed.
    ended
        Kind and subject of alerts whose cause has ended.
    totals
        How many hold by kind, where ``holding`` has only some of them.
    counters
        What was left out, by reason.
    state
        What the rules need in the next pass.
    """

    time: datetime
    after: int
    event: int
    raised: tuple[AlertSighting, ...] = ()
    holding: Mapping[str, tuple[AlertSighting, ...]] = field(default_factory=dict)
    ended: tuple[tuple[str, str], ...] = ()
    totals: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert.

    Parameters
    ----------
    id
        Of the alert.
    kind, severity, subject, text, evidence
        As :class:`AlertSighting` and :class:`AlertKind` have them.
    device, device_name, device_kind
        Device that it is about; empty if none.
    state
        ``open``, ``acknowledged`` by a user, or ``closed``.
    first, last
        When it was raised first and latest.
    count
        How many times it happened.
    changed
        When it was acknowledged or closed; None while it is open.
    user
        User who acknowledged it; empty if none.
    """

    id: int
    kind: str
    severity: Severity
    subject: str
    text: str
    evidence: tuple[str, ...]
    device: str
    device_name: str
    device_kind: str
    state: AlertState
    first: datetime
    last: datetime
    count: int
    changed: datetime | None
    user: str


@dataclass(frozen=True, slots=True)
class AlertPage:
    """A part of a list of alerts, how many the filters leave, and how many are open by severity."""

    rows: tuple[AlertRow, ...]
    total: int
    open: dict[str, int]


@dataclass(frozen=True, slots=True)
class MuteRow:
    """No alerts of a kind, about a device, or both; empty means any.

    Parameters
    ----------
    until
        When it ends; None: it stays until it is removed.
    """

    id: int
    kind: str
    device: str
    device_name: str
    until: datetime | None
    user: str
    time: datetime
