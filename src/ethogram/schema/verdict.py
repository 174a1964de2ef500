"""The verdict: what a device is, how sure that is, and the evidence as data. Renderers only read it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["UNKNOWN", "Evidence", "Inventory", "Verdict", "Window"]

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
    strangeness: float = Field(description="open-set score: higher is stranger; 'unknown' above the threshold")
    evidence: list[Evidence]
    window: Window
    flows: int
    converged: bool = Field(description="whether the fingerprint had converged; else the verdict is provisional")
    expected_s: float | None = Field(default=None, description="time still needed for a final verdict, when known")
    level: Literal["model", "family", "type", "coarse", "label"] = "label"
    simulated: bool = False


class Inventory(_Record):
    """The object that ``ethogram identify --format json`` prints."""

    format: Literal["ethogram.inventory/1"] = "ethogram.inventory/1"
    library: str = Field(description="the library's name and digest")
    devices: list[Verdict]
