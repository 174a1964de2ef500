"""What changed on a network between two spans of time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import polars as pl
from pydantic import Field

from ethogram.schema.record import Record

__all__ = ["CHANGE_KINDS", "ChangeKind", "ChangedSpan", "NetworkChange", "NetworkChanges"]

ChangeKind = Literal[
    "new device", "silent device", "verdict", "service appeared", "service vanished", "service grew", "service shrank",
    "peer appeared", "peer vanished", "peer grew", "peer shrank",
]  # fmt: skip
CHANGE_KINDS: tuple[ChangeKind, ...] = (
    "new device", "silent device", "verdict", "service appeared", "service grew", "peer appeared", "peer grew",
    "service vanished", "service shrank", "peer vanished", "peer shrank",
)  # fmt: skip
"""Kinds of changes, in the order in which they are shown."""


class ChangedSpan(Record):
    """One of the two spans that are compared."""

    start: datetime = Field(description="start of its first hour with traffic")
    end: datetime = Field(description="end of its last hour with traffic")
    hours: int = Field(description="hours with traffic of any device")
    devices: int = Field(description="devices with traffic")
    flows: int = Field(description="flows counted")


class NetworkChange(Record):
    """One thing that changed about one device."""

    device: str = Field(description="the device, as in the inventory")
    change: ChangeKind = Field(description="what changed")
    subject: str = Field(default="", description="the service or the name of the other end, in words")
    service: str = Field(default="", description="the service as it stands in fingerprints; empty for names")
    before: float = Field(description="octets in an hour in which the device has traffic, before")
    after: float = Field(description="the same, after")
    hours_before: int = Field(description="hours before in which this was seen")
    hours_after: int = Field(description="hours after in which this was seen")
    first: datetime | None = Field(default=None, description="start of the first hour in which it was seen after")
    probability: float = Field(
        description="probability that so much differs by chance if nothing changed, corrected for the number of "
        "comparisons; 0 where there is nothing to compare"
    )
    also: list[str] = Field(default=[], description="other devices with the same change")
    reason: str = Field(description="what is different, in words")


class NetworkChanges(Record):
    """The object that ``ethogram changes --format json`` prints."""

    format: Literal["ethogram.changes/1"] = "ethogram.changes/1"
    before: ChangedSpan
    after: ChangedSpan
    unchanged: int = Field(description="devices in both spans without a change")
    compared: int = Field(description="services and names of devices that were compared")
    changes: list[NetworkChange]

    def to_frame(self) -> pl.DataFrame:
        """One row for each change."""
        rows: list[dict[str, Any]] = [change.model_dump() for change in self.changes]
        schema: dict[str, Any] = {
            "device": pl.String, "change": pl.String, "subject": pl.String, "service": pl.String, "before": pl.Float64,
            "after": pl.Float64, "hours_before": pl.Int64, "hours_after": pl.Int64,
            "first": pl.Datetime("us", "UTC"), "probability": pl.Float64, "also": pl.List(pl.String),
            "reason": pl.String,
        }  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row")
