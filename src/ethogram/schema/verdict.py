"""The verdict: label, confidence and evidence of a device, as data for renderers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["UNKNOWN", "Evidence", "Fallback", "Inventory", "MethodShare", "Verdict", "Window"]

UNKNOWN = "unknown"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evidence(_Record):
    """One term of the score, named by its service."""

    service: str = Field(description="the service, as TCP/443 with role, scope and name where they are in the key")
    quantity: str = Field(description="what is compared: share, log flows, log octets out ...")
    observed: float = Field(description="the device's weight")
    expected: float = Field(description="the library's weight")
    contribution: float = Field(description="this term's part of the raw score; the terms add up to it")
    note: Literal["", "missing", "extra"] = Field(default="", description="expected and absent, or not expected")


class MethodShare(_Record):
    """What one method said by itself, and how much it weighed in the verdict."""

    method: Literal["fingerprints", "embeddings"] = Field(
        description="service-level fingerprints, or embeddings of single flows"
    )
    weight: float = Field(description="of its log probability; 0: it saw nothing of the device, 1: it stands alone")
    label: str = Field(description="the label it finds likeliest by itself")
    score: float = Field(description="its own calibrated probability of that label, 0 to 1")
    strangeness: float = Field(description="its own open-set score of the verdict's label: above 1 is strange")
    flows: int = Field(default=0, description="flows it looked at")


class Fallback(_Record):
    """What can be said at a coarser level when the label is unknown."""

    level: Literal["model", "family", "type", "coarse"]
    label: str
    score: float = Field(description="calibrated on enrolled products that were left out whole, 0 to 1")


class Window(_Record):
    """The time a verdict looks at."""

    start: datetime
    end: datetime


class Verdict(_Record):
    """What one device is."""

    device: str
    verdict: str = Field(description="the label, or 'unknown'")
    score: float = Field(description="calibrated score of the label, 0 to 1: higher is more alike")
    margin: float = Field(description="score less that of the second label; 0 on a tie")
    raw_score: float = Field(
        default=0.0,
        description="the method's own score of the best label before calibration; the evidence adds up to it",
    )
    nearest: str = Field(default="", description="the best label, also where the verdict is 'unknown'")
    reason: str = Field(default="", description="the evidence in one short sentence")
    known_types: dict[str, float] = Field(description="score of every label considered")
    strangeness: float = Field(
        description="distance from a typical held-out window of the label: 0 typical, above 1 beyond the threshold"
    )
    evidence: list[Evidence]
    window: Window
    flows: int
    converged: bool = Field(description="whether the fingerprint had converged; else the verdict is provisional")
    expected_s: float | None = Field(default=None, description="time still needed for a final verdict, when known")
    level: Literal["model", "family", "type", "coarse", "label"] = "label"
    simulated: bool = False
    methods: list[MethodShare] = Field(
        default=[], description="what each method said, where fingerprints and embeddings were fused"
    )
    fallback: Fallback | None = Field(
        default=None, description="where the verdict is 'unknown': the finest coarser level that is sure enough"
    )


class Inventory(_Record):
    """The object that ``ethogram identify --format json`` prints."""

    format: Literal["ethogram.inventory/1"] = "ethogram.inventory/1"
    library: str = Field(description="the library's name and digest")
    devices: list[Verdict]
    encoder: str = Field(
        default="", description="digest of the encoder whose embeddings were used; empty: fingerprints alone"
    )
