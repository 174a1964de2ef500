"""What the live service stores and shows: devices, their history, labels, events, exporters and health.

All times are in UTC. Texts that devices or users gave are foreign text, exactly as they were read; renderers make them
safe (:mod:`ethogram._text`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

__all__ = [
    "DEVICE_STATES",
    "AuditRow",
    "ConfirmedStatement",
    "CounterSample",
    "DeviceDetail",
    "DeviceFact",
    "DeviceKey",
    "DevicePage",
    "DevicePeer",
    "DeviceRow",
    "DeviceSighting",
    "DeviceState",
    "DueDevice",
    "EventRow",
    "ExporterRow",
    "ExporterSample",
    "GroupRow",
    "Judgement",
    "LabelRow",
    "NoteRow",
    "Overview",
    "RoundResult",
    "ServiceHealth",
    "SessionRow",
    "UserRow",
    "VerdictChange",
]

DeviceState = Literal["ignored", "silent", "new", "changed", "several", "unknown", "known"]
DEVICE_STATES: tuple[DeviceState, ...] = ("ignored", "silent", "new", "changed", "several", "unknown", "known")
"""States of a device; ``state`` of a row is the first of them that applies, and filters accept any that applies."""


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device in a list.

    Parameters
    ----------
    id
        Random, stable over changes of addresses.
    name
        The user's name, else the host name, else the address, else the MAC.
    address, mac
        Latest address and MAC; empty if not known.
    network
        Network of the address: an IPv4 /24 or an IPv6 /64; empty if no address is known.
    kind, vendor, model
        As far as they are sure, or the user's; empty if not known. Kinds are keys of :data:`ethogram.schema.KINDS`.
    statement, level
        The deepest level that is sure, in words, and its name; ``unknown`` if none is.
    score
        Calibrated probability of the statement, 0 to 1; 1 for a label of the user.
    state
        First of :data:`DEVICE_STATES` that applies.
    states
        All states that apply.
    first_seen, last_seen
        First and last flow.
    octets_a_day
        IP octets of both directions per day; None before the first judgement.
    flows
        Flows since the device was first seen.
    pinned
        Whether a label of the user holds.
    unusual
        Whether the device does not behave like its label.
    provisional
        Whether the verdict rests on less than one whole epoch.
    seen_s
        Seconds from the first flow to the latest one that the verdict rests on; None before the first judgement.
    judged
        Time of the data behind the latest judgement; None before the first.
    changed
        Time of the latest change of the statement; None if it never changed.
    """

    id: str
    name: str
    address: str
    mac: str
    network: str
    kind: str
    vendor: str
    model: str
    statement: str
    level: str
    score: float
    state: DeviceState
    states: tuple[DeviceState, ...]
    first_seen: datetime
    last_seen: datetime
    octets_a_day: float | None
    flows: int
    pinned: bool
    unusual: bool
    provisional: bool
    seen_s: float | None
    judged: datetime | None
    changed: datetime | None


@dataclass(frozen=True, slots=True)
class DevicePage:
    """A part of a list of devices, and how many the filters leave."""

    rows: tuple[DeviceRow, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Numbers of all devices that are neither ignored nor merged into others.

    Parameters
    ----------
    devices
        Number of devices.
    by_kind, by_vendor, by_state, by_network
        Devices by kind, vendor, state and network, the largest first; the empty key is *not known*. A device counts
        once for every state that applies.
    judged
        Time of the latest round; None before the first.
    clock
        Time up to which data has been judged.
    library
        Name and digest of the library of the latest round.
    """

    devices: int
    by_kind: dict[str, int]
    by_vendor: dict[str, int]
    by_state: dict[str, int]
    by_network: dict[str, int]
    judged: datetime | None
    clock: datetime | None
    library: str


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """Something by which a device is recognised.

    Parameters
    ----------
    kind
        ``flow`` (name in the flow table), ``mac``, ``hostname`` or ``address``.
    value
        As it was read.
    first, last
        Times at which the device had it.
    by_user
        Whether the user assigned it, by merging or splitting.
    """

    kind: str
    value: str
    first: datetime
    last: datetime
    by_user: bool = False


@dataclass(frozen=True, slots=True)
class DeviceFact:
    """An identity fact (:data:`ethogram.schema.FACT`) with its source."""

    fact: str
    value: str
    source: str
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, slots=True)
class DevicePeer:
    """Another end that a device talks to.

    Parameters
    ----------
    name
        Domain or multicast group; empty if no name is known.
    network
        IPv4 /24 or IPv6 /48 of its addresses, where they are known.
    scope
        ``wan``, ``lan`` or ``multicast``.
    services
        Services with most octets, the largest first.
    flows, octets_out, octets_in
        Volumes; out is what the device sent.
    first, last
        Time of the first and latest flow, or of their hours.
    """

    name: str
    network: str
    scope: str
    services: tuple[str, ...]
    flows: int
    octets_out: int
    octets_in: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """One change of what is stated about a device.

    Parameters
    ----------
    id, device, device_name
        Of the change and the device.
    time
        Time of the data behind it.
    before, after
        Statements; ``before`` is empty for the first.
    level, score
        Of the new statement.
    reason
        Why it changed.
    evidence
        Facts that came with the change.
    library
        Name and digest of the library.
    """

    id: int
    device: str
    device_name: str
    time: datetime
    before: str
    after: str
    level: str
    score: float
    reason: str
    evidence: tuple[str, ...]
    library: str


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A label that a user gave.

    Parameters
    ----------
    value
        What the device is called.
    kind, vendor, model
        What it is, where the user said so.
    user, time
        Who gave it, and when.
    removed
        When it was removed or replaced; None while it holds.
    """

    id: int
    device: str
    value: str
    kind: str
    vendor: str
    model: str
    user: str
    time: datetime
    removed: datetime | None


@dataclass(frozen=True, slots=True)
class NoteRow:
    """A note of a user about a device, or a confirmation or rejection of its verdict (``kind``)."""

    id: int
    device: str
    kind: Literal["note", "confirm", "reject"]
    text: str
    user: str
    time: datetime


@dataclass(frozen=True, slots=True)
class DeviceDetail:
    """Everything stored about one device.

    Parameters
    ----------
    row
        As in lists.
    verdict
        The verdict of ``ethogram.inventory/2`` for this device, with its ladder and evidence; None before the first
        judgement.
    candidate
        Another statement that recent judgements gave and that does not hold long enough yet: ``statement``, ``level``,
        ``score``, ``since``, ``times``; None if there is none.
    keys
        What it is recognised by, the latest first.
    facts
        Identity facts, the latest first.
    history
        Changes of the statement, the latest first, at most 200.
    labels, notes
        Of users, the latest first.
    merged
        Devices that were merged into this one.
    """

    row: DeviceRow
    verdict: dict[str, Any] | None
    candidate: dict[str, Any] | None
    keys: tuple[DeviceKey, ...]
    facts: tuple[DeviceFact, ...]
    history: tuple[VerdictChange, ...]
    labels: tuple[LabelRow, ...]
    notes: tuple[NoteRow, ...]
    merged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Unknown devices that behave alike.

    Parameters
    ----------
    id
        Random.
    name
        Given by the user; empty before.
    shares
        What the devices share, in words.
    devices
        Members.
    """

    id: str
    name: str
    shares: tuple[str, ...]
    devices: tuple[DeviceRow, ...]
    first_seen: datetime


@dataclass(frozen=True, slots=True)
class ExporterSample:
    """Totals of one exporter as its collector counts them.

    Parameters
    ----------
    messages
        Messages received.
    records, gaps
        Received, and sent but not received, in the unit of the exporter's sequence numbers: flows (NetFlow v5),
        messages (v9) or data records (IPFIX).
    detail
        Further sums of its sequence numbers.
    """

    address: str
    port: int
    transport: str
    messages: int
    records: int
    gaps: int
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExporterRow:
    """A flow exporter that has sent messages; its numbers are those of :class:`ExporterSample`."""

    address: str
    port: int
    transport: str
    first_seen: datetime
    last_seen: datetime
    messages: int
    records: int
    gaps: int
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CounterSample:
    """A counter of the service at one time.

    Parameters
    ----------
    stage, outcome, reason
        Stage of the pipeline; ``read``, ``used``, ``ignored``, ``dropped`` or ``corrected``; why, for the last three.
    unit
        What is counted.
    value
        Total since the folder or database was created.
    """

    time: datetime
    stage: str
    outcome: str
    reason: str
    unit: str
    value: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened, for live updates and replay.

    Parameters
    ----------
    id
        Increases with every event.
    kind
        ``device new``, ``verdict changed``, ``label``, ``merge``, ``split``, ``state``, ``group`` or ``health``.
    device
        Device that it is about; empty if none.
    data
        Details.
    """

    id: int
    time: datetime
    kind: str
    device: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change that a user made."""

    id: int
    time: datetime
    user: str
    action: str
    device: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user of the page and the API; the token itself is not stored."""

    name: str
    role: Literal["viewer", "editor"]
    created: datetime


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session of a browser."""

    user: UserRow
    csrf: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """State of one part of the service.

    Parameters
    ----------
    part
        ``collector``, ``store``, ``library``, ``judge``, ``alerts`` or ``web``, or ``sink`` and its name.
    state
        ``starting``, ``running``, ``degraded`` (works, with a problem), ``stopped`` or ``failed``.
    message
        What is wrong, in one line; empty if nothing is.
    since
        Time of the latest change of ``state``.
    figures
        Numbers that describe it, as ``lag_s``.
    """

    part: str
    state: Literal["starting", "running", "degraded", "stopped", "failed"]
    message: str
    since: datetime
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceSighting:
    """Traffic and identity facts of one device name in the segments of a round.

    Parameters
    ----------
    name
        As in the flow table.
    mac
        Its MAC, if known.
    addresses, host_names
        The latest first.
    first, last
        First start and last end of its flows.
    flows, octets
        Of these segments.
    due
        When to judge the device, if it is new.
    facts
        Identity facts.
    hours
        Octets by hour.
    """

    name: str
    mac: str
    addresses: tuple[str, ...]
    host_names: tuple[str, ...]
    first: datetime
    last: datetime
    flows: int
    octets: int
    due: datetime
    facts: tuple[DeviceFact, ...] = ()
    hours: tuple[tuple[datetime, int], ...] = ()


@dataclass(frozen=True, slots=True)
class DueDevice:
    """A device that is due to be judged.

    Parameters
    ----------
    id
        Of the device.
    names
        Names in the flow table, and the times between which they mean this device.
    first_seen, last_seen, due
        First and last flow; when it is due, None if that follows from its next flow.
    facts
        Identity facts.
    """

    id: str
    names: tuple[tuple[str, datetime, datetime], ...]
    first_seen: datetime
    last_seen: datetime
    due: datetime | None
    facts: tuple[DeviceFact, ...]


@dataclass(frozen=True)
class ConfirmedStatement:
    """A statement that a user confirmed, and did not take back.

    Parameters
    ----------
    device
        The device, with its names and times.
    statement, user, time
        What was confirmed, by whom, and when.
    verdict
        The latest verdict on the device.
    """

    device: DueDevice
    statement: str
    user: str
    time: datetime
    verdict: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge decided about a device.

    Parameters
    ----------
    device
        Id of the device.
    verdict
        Its verdict as in ``ethogram.inventory/2``.
    provisional
        Whether it rests on less than one whole epoch.
    due
        When to judge it again; None: at the end of the epoch in which it next has traffic.
    hours
        Octets of the hours that the verdict rests on, which follow the device to another kind.
    """

    device: str
    verdict: dict[str, Any]
    provisional: bool
    due: datetime | None
    hours: Iterable[tuple[datetime, int]] = ()


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What one round of the judge found, stored in one transaction.

    Parameters
    ----------
    source
        Whose segments are counted: a collector folder or a watched folder.
    after, segment
        Last segment before and after this round; equal if no segment was read.
    clock
        Time up to which the source has data.
    library
        Name and digest of the library.
    sightings
        Devices with traffic in these segments.
    epoch_due
        When devices with traffic are judged that are neither new nor due already.
    judgements
        Decisions.
    files
        Watched files that are complete: path, octets, modification time in nanoseconds, and message.
    counters
        Counters of the service after this round.
    exporters
        Exporters, as the collector counts them.
    again
        Whether devices were judged again on request: what is stated now holds at once.
    """

    source: str
    after: int
    segment: int
    clock: datetime
    library: str
    sightings: tuple[DeviceSighting, ...] = ()
    epoch_due: datetime | None = None
    judgements: tuple[Judgement, ...] = ()
    files: tuple[tuple[str, int, int, str], ...] = ()
    counters: tuple[CounterSample, ...] = ()
    exporters: tuple[ExporterSample, ...] = ()
    again: bool = False
