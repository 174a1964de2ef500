"""How far each epoch of a device is from the behaviour that its exported fingerprints show."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import polars as pl
from pydantic import Field

from ethogram.schema.record import Record

__all__ = [
    "DEVIATION_PARTS", "BehaviourEpoch", "BehaviourReport", "Deviation", "DeviationPart", "DeviceBehaviour",
    "ExportedBehaviour",
]  # fmt: skip

DeviationPart = Literal["service", "name", "hour"]
DEVIATION_PARTS: tuple[DeviationPart, ...] = ("service", "name", "hour")
"""Services with their direction, names of other ends, hours of the day (UTC)."""


class Deviation(Record):
    """One thing that is outside what the fingerprint had."""

    part: DeviationPart = Field(description="what is compared: a service and direction, a name, an hour of the day")
    subject: str = Field(description="the service with role and scope, the name of the other end, or the hour (UTC)")
    direction: Literal["from", "to", ""] = Field(
        description="from or to the device; empty where both directions are added"
    )
    change: Literal["appeared", "vanished", "grew", "shrank"] = Field(description="how it differs")
    octets: float = Field(description="octets in this epoch")
    least: float = Field(description="least octets in an epoch of the fingerprint")
    most: float = Field(description="most octets in an epoch of the fingerprint")
    share: float = Field(description="its part of 1 - score; the shares of an epoch add up to it")
    reason: str = Field(description="the same in words")


class BehaviourEpoch(Record):
    """One epoch of a device against the fingerprints that were exported before it."""

    start: datetime = Field(description="start of the epoch")
    score: float | None = Field(description="1: nothing is outside; none: no fingerprint was exported before it")
    limit: float | None = Field(description="a lower score is a deviation; learnt from the fingerprint's own epochs")
    deviates: bool = Field(description="whether the score is below the limit")
    fingerprint: int | None = Field(description="number of the device's fingerprint that is nearest")
    label_score: float | None = Field(default=None, description="the same against fingerprints of its label's others")
    label_limit: float | None = Field(default=None, description="limit of the score by label")
    deviations: list[Deviation] = Field(
        default=[], description="what is outside, the largest share first: of its own fingerprint, else of its label's"
    )
    reason: str = Field(description="the same in words")


class ExportedBehaviour(Record):
    """A fingerprint that the exporter exported because behaviour was stable, had changed, or did not become stable."""

    number: int = Field(description="in order of time")
    start: datetime = Field(description="start of its first epoch")
    end: datetime = Field(description="end of its last epoch")
    epochs: int = Field(description="active epochs, those of later windows that were unchanged included")
    status: Literal["converged", "change", "unconverged"] = Field(
        description="the first stable one; one unlike the last one exported; or the first, not stable in `most_epochs`"
    )
    deviations: list[Deviation] = Field(default=[], description="how it differs from the fingerprint before it")


class DeviceBehaviour(Record):
    """Fingerprints and scored epochs of one device."""

    device: str = Field(description="the device")
    label: str = Field(default="", description="label whose other devices it is also compared with")
    epoch_s: int = Field(description="length of an epoch in seconds")
    fingerprints: list[ExportedBehaviour] = Field(description="its behaviours, in order of time")
    epochs: list[BehaviourEpoch] = Field(description="epochs with traffic, in order of time")


class BehaviourReport(Record):
    """The object that ``ethogram deviations --format json`` prints."""

    format: Literal["ethogram.deviations/1"] = "ethogram.deviations/1"
    epoch_s: int = Field(description="length of an epoch in seconds")
    devices: list[DeviceBehaviour]

    def to_frame(self) -> pl.DataFrame:
        """One row for each device and epoch."""
        rows: list[dict[str, Any]] = [
            {"device": device.device, "label": device.label, **epoch.model_dump(exclude={"deviations"})}
            for device in self.devices for epoch in device.epochs
        ]  # fmt: skip
        schema: dict[str, Any] = {
            "device": pl.String, "label": pl.String, "start": pl.Datetime("us", "UTC"), "score": pl.Float64,
            "limit": pl.Float64, "deviates": pl.Boolean, "fingerprint": pl.Int64, "label_score": pl.Float64,
            "label_limit": pl.Float64, "reason": pl.String,
        }  # fmt: skip
        return pl.DataFrame(rows, schema=schema, orient="row")
