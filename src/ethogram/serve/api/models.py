"""Bodies of the API. Responses mirror :mod:`ethogram.schema.live`; every field has a description and an example."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from ethogram.schema import ALERT_KINDS, KINDS, AlertState, ChangeKind, DeviceState, Severity

__all__ = [
    "DEVICE_OR_NONE", "LARGEST_ID", "USER_NAME", "AcknowledgeRequest", "Acknowledged", "AlertItem", "AlertKindItem",
    "AlertKinds", "AlertList", "AuditList", "BehaviourDocument", "CaptureStatus", "ChangeList", "CollectorStatus",
    "ConfirmedList", "DeviceDocument",
    "DeviceItem", "DeviceList", "DifferenceItem", "DifferenceList", "GroupLabel", "GroupList", "HealthItem",
    "HourItem", "KnowledgeAnswer", "LabelRequest", "LibraryStatus", "MergeRequest", "MuteItem", "MuteList",
    "MuteRequest", "NamedGroup", "NoteRequest", "OverviewDocument", "PeerList", "Readiness", "SimilarityList",
    "SplitRequest", "Timeline", "UserItem", "UserList", "UserRequest", "UserToken", "WhoAmI",
]  # fmt: skip


def _kind(text: str) -> str:
    if text and text not in KINDS:
        raise ValueError("there is no such kind")
    return text


Kind = Annotated[str, AfterValidator(_kind), Field(json_schema_extra={"enum": ["", *KINDS]})]
Text = Annotated[str, StringConstraints(min_length=1, max_length=255, strip_whitespace=True)]
_SEEN = "2026-11-30T08:12:44.120000Z"
LARGEST_ID = (1 << 53) - 1
"""The largest integer that JavaScript represents exactly."""
DEVICE_OR_NONE = "^([0-9a-f]{16})?$"
USER_NAME = "^[A-Za-z0-9_.@-]{1,64}$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class DeviceItem(_Answer):
    """One device of the inventory."""

    id: str = Field(description="stable over changes of addresses", examples=["8c1f00aa52d3be97"])
    name: str = Field(description="the user's name, else host name, address or MAC", examples=["Hall camera"])
    address: str = Field(description="latest address; empty if none is known", examples=["192.168.1.20"])
    mac: str = Field(description="latest MAC; empty if none is known", examples=["3c:cd:5d:a2:a9:d7"])
    network: str = Field(description="IPv4 /24 or IPv6 /64 of the address", examples=["192.168.1.0/24"])
    kind: str = Field(description="kind as far as it is sure; empty if it is not", examples=["camera"])
    vendor: str = Field(description="vendor as far as it is sure", examples=["D-Link"])
    model: str = Field(description="model as far as it is sure", examples=[""])
    statement: str = Field(description="the deepest level that is sure, in words", examples=["D-Link camera"])
    level: str = Field(description="level of the statement; `label` for a label of the user", examples=["family"])
    score: float = Field(description="calibrated probability that the statement is right", examples=[0.93])
    state: DeviceState = Field(description="the most important state", examples=["known"])
    states: list[DeviceState] = Field(description="all states that apply", examples=[["known"]])
    first_seen: datetime = Field(description="first flow", examples=[_SEEN])
    last_seen: datetime = Field(description="latest flow", examples=[_SEEN])
    octets_a_day: float | None = Field(description="IP octets of both directions per day", examples=[4812.0])
    flows: int = Field(description="flows since the device was first seen", examples=[1240])
    pinned: bool = Field(description="whether a label of the user holds", examples=[False])
    unusual: bool = Field(description="whether it does not behave like its label", examples=[False])
    provisional: bool = Field(description="whether the verdict rests on less than an epoch", examples=[False])
    seen_s: float | None = Field(
        description="seconds from the first to the latest flow that the verdict rests on: for a provisional verdict, "
                    "how long the device was seen; null before the first judgement",
        examples=[240.0],
    )  # fmt: skip
    judged: datetime | None = Field(description="time of the data of the latest judgement", examples=[_SEEN])
    changed: datetime | None = Field(description="latest change of the statement", examples=[None])


def _all_optional(schema: dict[str, Any]) -> None:
    schema.pop("required", None)


class ListedDevice(DeviceItem):
    """A device, or only the fields that `fields` names."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra=_all_optional)


class DeviceList(_Answer):
    """A part of the inventory."""

    total: int = Field(description="devices that the filters leave", examples=[1])
    offset: int = Field(description="position of the first row", examples=[0])
    rows: list[ListedDevice]


class KeyItem(_Answer):
    """Something by which a device is recognised."""

    kind: str = Field(description="`flow`, `mac`, `hostname` or `address`", examples=["mac"])
    value: str = Field(examples=["3c:cd:5d:a2:a9:d7"])
    first: datetime = Field(examples=[_SEEN])
    last: datetime = Field(examples=[_SEEN])
    by_user: bool = Field(description="assigned by merging or splitting", examples=[False])


class FactItem(_Answer):
    """An identity fact."""

    fact: str = Field(examples=["dhcp_vendor_class"])
    value: str = Field(examples=["udhcp 1.24.2"])
    source: str = Field(examples=["DHCP"])
    first: datetime | None = Field(examples=[_SEEN])
    last: datetime | None = Field(examples=[_SEEN])


class ChangeItem(_Answer):
    """A change of what is stated about a device."""

    id: int = Field(examples=[17])
    device: str = Field(examples=["8c1f00aa52d3be97"])
    device_name: str = Field(examples=["192.168.1.20"])
    time: datetime = Field(examples=[_SEEN])
    before: str = Field(description="empty for the first", examples=["camera"])
    after: str = Field(examples=["D-Link camera"])
    level: str = Field(examples=["family"])
    score: float = Field(examples=[0.93])
    reason: str = Field(examples=["a deeper level is sure"])
    evidence: list[str] = Field(examples=[["MAC of D-Link International"]])
    library: str = Field(examples=["library.jsonl.gz d6c10b4ac510"])


class GivenLabel(_Answer):
    """A label that a user gave."""

    id: int = Field(examples=[17])
    device: str = Field(description="id of the device", examples=["8c1f00aa52d3be97"])
    value: str = Field(examples=["Hall camera"])
    kind: str = Field(examples=["camera"])
    vendor: str = Field(examples=["D-Link"])
    model: str = Field(examples=["DCS-8000LH"])
    user: str = Field(examples=["admin"])
    time: datetime = Field(examples=[_SEEN])
    removed: datetime | None = Field(description="null while it holds")


class GivenNote(_Answer):
    """A note, confirmation or rejection."""

    id: int = Field(examples=[17])
    device: str = Field(description="id of the device", examples=["8c1f00aa52d3be97"])
    kind: Literal["note", "confirm", "reject", "withdraw"]
    text: str = Field(examples=["moved to the garage"])
    user: str = Field(examples=["admin"])
    time: datetime = Field(examples=[_SEEN])


class DeviceDocument(_Answer):
    """Everything about one device."""

    device: DeviceItem
    verdict: dict[str, Any] | None = Field(description="verdict of `ethogram.inventory/2`, with ladder and evidence")
    candidate: dict[str, Any] | None = Field(description="another statement that does not hold long enough yet")
    keys: list[KeyItem]
    facts: list[FactItem]
    history: list[ChangeItem]
    labels: list[GivenLabel]
    notes: list[GivenNote]
    merged: list[str] = Field(description="devices that were merged into this one", examples=[[]])


class PeerItem(_Answer):
    """Another end that a device talks to."""

    name: str = Field(description="domain or multicast group; empty if not known", examples=["tplinkcloud.com"])
    network: str = Field(description="network of what has no name", examples=[""])
    scope: str = Field(description="`wan`, `lan` or `multicast`", examples=["wan"])
    services: list[str] = Field(description="services with most octets", examples=[["TCP/443"]])
    flows: int = Field(description="flows", examples=[31])
    octets_out: int = Field(description="IP octets that the device sent", examples=[40211])
    octets_in: int = Field(description="IP octets that the device received", examples=[123456])
    first: datetime = Field(description="first flow, or its hour", examples=[_SEEN])
    last: datetime = Field(description="latest flow, or its hour", examples=[_SEEN])


class PeerList(_Answer):
    """Other ends by name in the latest week; of what has no name, by network in the latest hour of flows."""

    rows: list[PeerItem]


class HourItem(_Answer):
    """Octets of one service in one hour."""

    hour: datetime = Field(description="begin of the hour", examples=["2026-11-30T08:00:00Z"])
    service: str = Field(description="transport protocol and service port", examples=["TCP/443"])
    octets: float = Field(description="IP octets of both directions", examples=[12044.0])


class Timeline(_Answer):
    """Traffic of a device in its latest week."""

    rows: list[HourItem]


class DeviationItem(_Answer):
    """One thing that is outside what a fingerprint had."""

    part: Literal["service", "name", "hour"] = Field(
        description="a service and direction, the name of an other end, an hour of the day (UTC)", examples=["service"]
    )
    subject: str = Field(description="which one", examples=["TCP/23 client wan"])
    direction: Literal["from", "to", ""] = Field(description="from or to the device; empty: both", examples=["from"])
    change: Literal["appeared", "vanished", "grew", "shrank"] = Field(
        description="how it differs", examples=["appeared"]
    )
    octets: float = Field(description="octets in this epoch", examples=[410958.0])
    least: float = Field(description="least octets in an epoch of the fingerprint", examples=[0.0])
    most: float = Field(description="most octets in an epoch of the fingerprint", examples=[0.0])
    share: float = Field(description="its part of 1 - score; the shares add up to it", examples=[0.21])
    reason: str = Field(
        description="the same in words", examples=["Telnet from the device: 411 kB, before never"]
    )


class BehaviourItem(_Answer):
    """One epoch of a device against the fingerprints that were exported before it."""

    start: datetime = Field(description="begin of the epoch", examples=["2026-11-30T00:00:00Z"])
    score: float | None = Field(description="1: nothing is outside; null: no fingerprint yet", examples=[0.79])
    limit: float | None = Field(description="a lower score is a deviation; null: not learnt yet", examples=[0.91])
    deviates: bool = Field(description="whether the score is below the limit", examples=[True])
    fingerprint: int | None = Field(description="number of the nearest fingerprint", examples=[0])
    label_score: float | None = Field(description="the same against others of its model or label", examples=[0.81])
    label_limit: float | None = Field(description="limit of that score", examples=[0.88])
    deviations: list[DeviationItem] = Field(description="what is outside, the largest share first")
    reason: str = Field(
        description="the same in words", examples=["Telnet from the device: 411 kB, before never (0.21)"]
    )


class FingerprintItem(_Answer):
    """A behaviour that the fingerprint exporter exported."""

    number: int = Field(description="in order of time", examples=[0])
    start: datetime = Field(description="begin of its first epoch", examples=["2026-11-01T00:00:00Z"])
    end: datetime = Field(description="end of its last epoch", examples=["2026-11-05T00:00:00Z"])
    epochs: int = Field(description="epochs, those of later unchanged windows included", examples=[12])
    status: Literal["converged", "change", "unconverged"] = Field(
        description="stable, stable and unlike the one before, or never stable", examples=["converged"]
    )
    deviations: list[DeviationItem] = Field(description="how it differs from the one before")


class BehaviourDocument(_Answer):
    """How a device keeps to its own behaviour, epoch by epoch."""

    device: str = Field(description="id of the device", examples=["8c1f00aa52d3be97"])
    label: str = Field(description="model or label of the devices that it is also compared with", examples=[""])
    epoch_s: int = Field(description="length of an epoch in seconds", examples=[86400])
    fingerprints: list[FingerprintItem]
    epochs: list[BehaviourItem]


class SimilarityItem(_Answer):
    """Similarity of one epoch of a device to its earlier ones."""

    start: datetime = Field(description="begin of the epoch", examples=["2026-11-30T00:00:00Z"])
    score: float = Field(description="mean similarity to the earlier epochs, 0 to 1", examples=[0.87])
    earlier: int = Field(description="number of earlier epochs, at most 7", examples=[7])
    new: list[str] = Field(description="services that none of them has", examples=[["UDP/123 client wan"]])


class SimilarityList(_Answer):
    """Similarity of a device to its own fingerprints over time."""

    epoch_s: int = Field(description="length of an epoch in seconds", examples=[86400])
    rows: list[SimilarityItem]


class OverviewDocument(_Answer):
    """Numbers of all devices; the empty key is *not known*."""

    devices: int = Field(examples=[15])
    by_kind: dict[str, int] = Field(examples=[{"camera": 4, "": 2}])
    by_vendor: dict[str, int] = Field(examples=[{"D-Link": 3}])
    by_state: dict[str, int] = Field(examples=[{"known": 13, "unknown": 2}])
    by_network: dict[str, int] = Field(examples=[{"192.168.1.0/24": 15}])
    judged: datetime | None
    clock: datetime | None = Field(description="time up to which data has been judged", examples=[_SEEN])
    library: str = Field(examples=["library.jsonl.gz d6c10b4ac510"])


class ChangeList(_Answer):
    """Changes of all devices, the latest first."""

    rows: list[ChangeItem]


class SpanItem(_Answer):
    """One of the two spans that are compared."""

    start: datetime = Field(description="start of its first hour", examples=[_SEEN])
    end: datetime = Field(description="end of its last hour", examples=[_SEEN])
    hours: int = Field(description="its hours", examples=[24])
    devices: int = Field(description="devices with traffic", examples=[15])
    flows: int = Field(description="flows counted", examples=[24980])


class DifferenceItem(_Answer):
    """One thing that changed about one device."""

    device: str = Field(description="id of the device", examples=["8c1f00aa52d3be97"])
    device_name: str = Field(description="name of the device", examples=["Hall camera"])
    device_kind: str = Field(description="kind of the device as far as it is sure", examples=["camera"])
    change: ChangeKind = Field(description="what changed", examples=["service appeared"])
    subject: str = Field(
        description="the service or the name of the other end, in words; of a verdict, the new statement",
        examples=["Telnet"],
    )  # fmt: skip
    service: str = Field(
        description="the service as it stands in fingerprints; empty for names", examples=["TCP/23 client wan"]
    )
    before: float = Field(description="octets in an hour in which the device has traffic, before", examples=[0.0])
    after: float = Field(description="the same, after; of a verdict, its probability", examples=[1630.0])
    hours_before: int = Field(description="hours before in which this was seen", examples=[0])
    hours_after: int = Field(description="hours after in which this was seen", examples=[23])
    first: datetime | None = Field(
        description="start of the first hour in which it was seen after; of a verdict, when it changed",
        examples=[_SEEN],
    )  # fmt: skip
    probability: float = Field(
        description="probability that so much differs by chance if nothing changed, corrected for the number of "
        "comparisons; 0 where there is nothing to compare", examples=[0.0004],
    )  # fmt: skip
    reason: str = Field(
        description="what is different, in words",
        examples=["in 0 of 169 hours with traffic before, in 23 of 24 after"],
    )  # fmt: skip


class DifferenceList(_Answer):
    """A part of the list of changes, by kind of change, the surest first."""

    before: SpanItem
    after: SpanItem
    unchanged: int = Field(description="devices in both spans without a change of services or names", examples=[14])
    compared: int = Field(description="services and names of devices that were compared", examples=[212])
    by_kind: dict[str, dict[str, int]] = Field(
        description="devices that changed, by their kind and by kind of change",
        examples=[{"camera": {"service appeared": 1}}],
    )  # fmt: skip
    total: int = Field(description="changes that the filters leave", examples=[1])
    offset: int = Field(description="position of the first row", examples=[0])
    rows: list[DifferenceItem]


class GroupItem(_Answer):
    """Unknown devices that behave alike."""

    id: str = Field(examples=["52d3be978c1f00aa"])
    name: str = Field(examples=["Garden lights"])
    shares: list[str] = Field(description="what they share", examples=[["UDP/5353 to multicast"]])
    devices: list[DeviceItem]
    first_seen: datetime = Field(examples=[_SEEN])


class GroupList(_Answer):
    """Groups of unknown devices, the largest first."""

    rows: list[GroupItem]


class NamedGroup(_Answer):
    """Devices that got a label with their group."""

    devices: list[str] = Field(description="ids", examples=[["8c1f00aa52d3be97"]])


class _LabelBody(_Body):
    value: Text = Field(description="what the device is called", examples=["Hall camera"])
    kind: Kind = Field(default="", description="what kind it is, if you know", examples=["camera"])
    vendor: str = Field(default="", max_length=255, examples=["D-Link"])
    model: str = Field(default="", max_length=255, examples=["DCS-8000LH"])


class LabelRequest(_LabelBody):
    """A label for a device."""


class GroupLabel(_LabelBody):
    """A label for all devices of a group."""


class NoteRequest(_Body):
    """A note."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=4000, strip_whitespace=True)] = Field(
        examples=["moved to the garage"]
    )


class MergeRequest(_Body):
    """The device that another one is merged into."""

    into: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")] = Field(examples=["52d3be978c1f00aa"])


class SplitRequest(_Body):
    """Keys of a device that are another device."""

    keys: list[Annotated[str, StringConstraints(min_length=1, max_length=1024)]] = Field(
        min_length=1, max_length=100, examples=[["192.168.1.21"]]
    )


class AlertItem(_Answer):
    """One alert: a cause that holds, or that happened."""

    id: int = Field(description="of the alert", examples=[31])
    kind: str = Field(description="kind of alert, as `/alerts/kinds` lists them", examples=["changed verdict"])
    severity: Severity = Field(description="of all alerts of this kind", examples=["warning"])
    subject: str = Field(
        description="tells alerts of one kind apart: a device, an exporter, a part; empty for many at once",
        examples=["8c1f00aa52d3be97"],
    )  # fmt: skip
    text: str = Field(description="what happened", examples=["D-Link camera → TP-Link plug"])
    evidence: list[str] = Field(description="further lines", examples=[["three judgements in a row say so"]])
    device: str = Field(description="id of the device; empty if it is about none", examples=["8c1f00aa52d3be97"])
    device_name: str = Field(description="name of the device", examples=["Hall camera"])
    device_kind: str = Field(description="kind of the device", examples=["camera"])
    state: AlertState = Field(description="state", examples=["open"])
    first: datetime = Field(description="when it was raised first", examples=[_SEEN])
    last: datetime = Field(description="when it was raised or changed latest", examples=[_SEEN])
    count: int = Field(description="how many times it happened", examples=[1])
    changed: datetime | None = Field(description="when it was acknowledged or closed", examples=[None])
    user: str = Field(description="user who acknowledged it; empty: none", examples=[""])


class AlertList(_Answer):
    """A part of the list of alerts, the latest first."""

    total: int = Field(description="alerts that the filters leave", examples=[1])
    offset: int = Field(description="position of the first row", examples=[0])
    open: dict[str, int] = Field(
        description="open alerts by severity, whatever the filters", examples=[{"critical": 0, "warning": 1, "info": 0}]
    )
    rows: list[AlertItem]


class AlertKindItem(_Answer):
    """A kind of alert."""

    kind: str = Field(description="its name", examples=["changed verdict"])
    title: str = Field(description="name to show", examples=["Changed verdict"])
    severity: Severity = Field(description="of all alerts of this kind", examples=["warning"])
    about: Literal["device", "service"] = Field(description="what it is about", examples=["device"])
    meaning: str = Field(description="when it is raised and closed", examples=["Another kind is stated."])
    open: int = Field(description="open alerts of this kind", examples=[1])


class AlertKinds(_Answer):
    """All kinds of alerts."""

    rows: list[AlertKindItem]


class AcknowledgeRequest(_Body):
    """Alerts to acknowledge."""

    alerts: list[Annotated[int, Field(ge=1, le=LARGEST_ID)]] = Field(
        min_length=1, max_length=1000, description="ids of alerts", examples=[[31, 32]]
    )


class Acknowledged(_Answer):
    """How many alerts were open, and are acknowledged now."""

    acknowledged: int = Field(description="number of alerts", examples=[2])


def _alert_kind(text: str) -> str:
    if text and text not in ALERT_KINDS:
        raise ValueError("there is no such kind of alert")
    return text


class MuteRequest(_Body):
    """What to mute: a kind of alert, a device, a kind about a device, or, without both, all."""

    kind: Annotated[str, AfterValidator(_alert_kind), Field(json_schema_extra={"enum": ["", *ALERT_KINDS]})] = Field(
        default="", description="kind of alert; empty: any", examples=["silent device"]
    )
    device: Annotated[str, StringConstraints(pattern=DEVICE_OR_NONE)] = Field(
        default="", description="id of a device; empty: any", examples=["8c1f00aa52d3be97"]
    )
    hours: int | None = Field(
        default=None, ge=1, le=24 * 366, description="how long; null: until it is removed", examples=[24]
    )


class MuteItem(_Answer):
    """Something that is muted."""

    id: int = Field(description="of the mute", examples=[3])
    kind: str = Field(description="kind of alert; empty: any", examples=["silent device"])
    device: str = Field(description="id of the device; empty: any", examples=["8c1f00aa52d3be97"])
    device_name: str = Field(description="name of the device", examples=["Hall camera"])
    until: datetime | None = Field(description="when it ends; null: when it is removed", examples=[_SEEN])
    user: str = Field(description="who muted it", examples=["admin"])
    time: datetime = Field(description="when", examples=[_SEEN])


class MuteList(_Answer):
    """What is muted, the latest first."""

    rows: list[MuteItem]


class UserItem(_Answer):
    """A user of the page and the API."""

    name: str = Field(description="name", examples=["admin"])
    role: Literal["viewer", "editor"] = Field(description="an editor may change things", examples=["editor"])
    created: datetime = Field(description="when it was added", examples=[_SEEN])


class UserList(_Answer):
    """All users."""

    rows: list[UserItem]


class UserRequest(_Body):
    """A user to add."""

    name: Annotated[str, StringConstraints(pattern=USER_NAME)] = Field(
        description="letters, digits, dots, hyphens, underscores and @", examples=["grafana"]
    )
    role: Literal["viewer", "editor"] = Field(
        default="viewer", description="an editor may change things", examples=["viewer"]
    )


class UserToken(_Answer):
    """A token: it is shown once, and only its digest is stored."""

    name: str = Field(description="user", examples=["grafana"])
    token: str = Field(description="256 random bits", examples=["3Jx2…"])


class AuditEntry(_Answer):
    """One change that a user made."""

    id: int = Field(examples=[17])
    time: datetime = Field(examples=[_SEEN])
    user: str = Field(examples=["admin"])
    action: str = Field(examples=["label"])
    device: str = Field(description="id of the device", examples=["8c1f00aa52d3be97"])
    detail: dict[str, Any]


class AuditList(_Answer):
    """Changes by users, the latest first."""

    rows: list[AuditEntry]


class ExporterItem(_Answer):
    """A flow exporter that has sent messages."""

    address: str = Field(examples=["192.168.1.1"])
    port: int = Field(examples=[51822])
    transport: str = Field(examples=["udp"])
    first_seen: datetime = Field(examples=[_SEEN])
    last_seen: datetime = Field(examples=[_SEEN])
    messages: int = Field(examples=[1204])
    records: int = Field(examples=[24980])
    gaps: int = Field(description="units that the exporter sent and that did not arrive", examples=[0])
    detail: dict[str, Any] = Field(
        description="further sums of its sequence numbers; `templates` in force; `clock_error_s`, the seconds by which "
        "the export time of its latest message is ahead of its arrival",
        examples=[{"templates": 4, "clock_error_s": -0.4, "sent": 24980, "duplicates": 0, "resets": 0}],
    )


class CounterItem(_Answer):
    """A counter of the pipeline."""

    time: datetime = Field(examples=[_SEEN])
    stage: str = Field(examples=["records"])
    outcome: str = Field(description="`read`, `used`, `ignored`, `dropped` or `corrected`", examples=["dropped"])
    reason: str = Field(examples=["no template"])
    unit: str = Field(examples=["records"])
    value: int = Field(description="total since the data folder was created", examples=[0])


class HealthItem(_Answer):
    """State of one part of the service."""

    part: str = Field(examples=["collector"])
    state: Literal["starting", "running", "degraded", "stopped", "failed"]
    message: str = Field(description="what is wrong; empty if nothing is", examples=[""])
    since: datetime = Field(examples=[_SEEN])
    figures: dict[str, float]


class CollectorStatus(_Answer):
    """Where flows come from, and every counter."""

    listening: list[str] = Field(description="addresses or folders", examples=[["udp://127.0.0.1:4739"]])
    health: list[HealthItem]
    exporters: list[ExporterItem]
    counters: list[CounterItem]
    live: dict[str, Any] | None = Field(description="counters of the collector in this process, as in `counters.json`")


class LibraryStatus(_Answer):
    """The library that devices are compared with, and the knowledge pack."""

    name: str = Field(examples=["library.jsonl.gz"])
    digest: str = Field(examples=["d6c10b4ac510"])
    windows: int = Field(examples=[213])
    labels: list[str] = Field(examples=[["ring-doorbell-stevens"]])
    knowledge: dict[str, int] = Field(
        description="rows of each table of the knowledge pack", examples=[{"vendors": 1318}]
    )


class ConfirmedItem(_Answer):
    """A statement that a user confirmed."""

    device: str = Field(description="id of the device", examples=["8c1f00aa52d3be97"])
    device_name: str = Field(description="name of the device", examples=["192.168.1.20"])
    device_kind: str = Field(description="kind of the device as far as it is sure", examples=["camera"])
    statement: str = Field(description="what was confirmed", examples=["D-Link camera"])
    user: str = Field(description="who confirmed it", examples=["admin"])
    time: datetime = Field(description="when", examples=[_SEEN])
    enrolled: bool = Field(
        description="whether it joins the library: it names vendor and kind, and is still stated", examples=[True]
    )


class ConfirmedList(_Answer):
    """Statements that users confirmed, the latest first."""

    rows: list[ConfirmedItem]


class KnowledgeAnswer(_Answer):
    """What is known about a name, port, MAC or vendor, for each way of reading the query."""

    query: str = Field(examples=["tcp/9100"])
    answers: list[dict[str, Any]] = Field(examples=[[{"query": "tcp/9100", "form": "port", "facts": []}]])


class CaptureStatus(_Answer):
    """An uploaded capture."""

    id: str = Field(examples=["1f2e3d4c5b6a7988"])
    name: str = Field(examples=["home.pcap"])
    created: datetime = Field(examples=[_SEEN])
    octets: int = Field(examples=[482_113])
    state: Literal["waiting", "reading", "done", "failed"]
    records: int = Field(description="records read so far", examples=[2448])
    messages: list[str] = Field(
        description="what was used, ignored and dropped", examples=[["2,448 packets read, 2,448 used"]]
    )
    problem: str = Field(description="why it failed; empty otherwise", examples=[""])


class WhoAmI(_Answer):
    """The user of the token or session."""

    user: str = Field(examples=["admin"])
    role: Literal["viewer", "editor"]


class Readiness(_Answer):
    """Whether the service can do its work."""

    ready: bool = Field(examples=[True])
    parts: dict[str, str] = Field(description="state of each part", examples=[{"judge": "running"}])
