"""What is known of a device at every level, from its kind to the unit that was enrolled."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from ethogram.schema.record import Record

__all__ = ["DevicePart", "IdentityFact", "LadderLevel", "LadderVerdict", "LevelEvidence", "LevelVerdict"]

LadderLevel = Literal["kind", "vendor", "platform", "family", "model", "device"]


class LevelEvidence(Record):
    """One fact that speaks for a label."""

    text: str = Field(description="the fact in words")
    source: str = Field(description="where it is from: a source of the knowledge pack, the library, a protocol")
    nats: float = Field(description="its part of the label's log odds")


class LevelVerdict(Record):
    """The most probable labels at one level."""

    level: LadderLevel
    label: str = Field(description="the most probable label; empty if there is no candidate")
    name: str = Field(description="the label as it is shown to people")
    score: float = Field(description="calibrated probability that the label is right, 0 to 1")
    stated: bool = Field(description="whether the label is probable enough to be shown")
    sure: bool = Field(default=False, description="whether it is sure enough to be what the device is said to be")
    top: dict[str, float] = Field(description="the five most probable labels; the remainder is none of them")
    evidence: list[LevelEvidence] = Field(default=[], description="facts that speak for the label, the largest first")


class DevicePart(Record):
    """One of several devices behind an address: the traffic with the cloud of one vendor, or a host name."""

    name: str = Field(description="vendor and kind in words, and the host name if it has one")
    vendor: str = Field(description="the vendor; empty if it is not known")
    kind: str = Field(default="", description="the probable kind; empty if none is")
    share: float | None = Field(
        default=None, description="its part of the octets with the clouds of the parts, 0 to 1; null if not known"
    )


class LadderVerdict(Record):
    """One answer over all levels: the deepest level that is sure enough, and everything above it."""

    statement: str = Field(
        description="the answer in words, as 'TP-Link device, probably a plug'; what is not sure follows 'probably'"
    )
    level: LadderLevel | Literal["several", "unknown"] = Field(
        description="level of what is sure; 'unknown' if nothing is; 'several' if several devices use the address"
    )
    labels: list[str] = Field(description="labels of the statement: one, or two that cannot be told apart")
    score: float = Field(
        description="calibrated probability that the statement is right, 0 to 1; of 'unknown', of what is probable"
    )
    kind: str = Field(default="", description="the probable kind; two kinds are separated by ' or '")
    vendor: str = Field(default="", description="the probable vendor")
    model: str = Field(default="", description="the model, if it is stated")
    levels: list[LevelVerdict] = Field(description="from kind to device; levels without a candidate are left out")
    several: list[DevicePart] = Field(
        default=[], description="devices behind one address, the largest share first; empty if it is one device"
    )
    missing: list[str] = Field(
        default=[], description="what is not at hand and would help: names of remote ends, the MAC, more hours"
    )


class IdentityFact(Record):
    """What a device says of itself, or a file of the user says of it."""

    fact: str = Field(description="kind of fact: mac, address, host_name, dhcp_vendor_class, mdns_model ...")
    value: str = Field(description="as it was read")
    source: str = Field(description="where it was read: flows, DHCP, mDNS, a file")
    first: datetime | None = Field(default=None, description="first time it was seen, if the source has times")
    last: datetime | None = Field(default=None, description="last time it was seen, if the source has times")
