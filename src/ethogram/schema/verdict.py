"""The verdict: label, confidence and evidence of a device, as data for renderers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import polars as pl
from pydantic import Field

from ethogram.schema.ladder_verdict import IdentityFact, LadderVerdict
from ethogram.schema.record import Record

__all__ = ["UNKNOWN", "Evidence", "Fallback", "Inventory", "MethodShare", "Verdict", "Window"]

UNKNOWN = "unknown"


class Evidence(Record):
    """One term of the score, named by its service."""

    service: str = Field(description="the service, as TCP/443 with role, scope and name where they are in the key")
    quantity: str = Field(description="what is compared: share, log flows, log octets out ...")
    observed: float = Field(description="the device's weight")
    expected: float = Field(description="the library's weight")
    contribution: float = Field(description="this term's part of the raw score; the terms add up to it")
    note: Literal["", "missing", "extra"] = Field(default="", description="expected and absent, or not expected")


class MethodShare(Record):
    """Result of a single method, and its weight in the verdict."""

    method: Literal["fingerprints", "embeddings"] = Field(
        description="service-level fingerprints, or embeddings of single flows"
    )
    weight: float = Field(description="weight of its log probability; 0: no data of the device, 1: the only method")
    label: str = Field(description="the label it considers most likely")
    score: float = Field(description="its calibrated probability of that label, 0 to 1")
    strangeness: float = Field(description="its open-set score of the verdict's label; above 1 is strange")
    flows: int = Field(default=0, description="number of flows it used")


class Fallback(Record):
    """Result at a coarser level, if the label is unknown."""

    level: Literal["model", "family", "type", "coarse"]
    label: str
    score: float = Field(description="score, 0 to 1, calibrated on enrolled products that were held out completely")


class Window(Record):
    """Time span of the data behind a verdict."""

    start: datetime
    end: datetime


class Verdict(Record):
    """Result of identifying one device."""

    device: str
    verdict: str = Field(description="the label, or 'unknown'")
    score: float = Field(
        description="how sure the verdict is, 0 to 1: of the label, or, if the verdict is 'unknown', of that"
    )
    margin: float = Field(description="score minus that of the second label; 0 on a tie")
    raw_score: float = Field(
        default=0.0,
        description="score of the best label before calibration; the evidence adds up to it",
    )
    nearest: str = Field(default="", description="the best label, even if the verdict is 'unknown'")
    tied_with: list[str] = Field(
        default=[], description="other labels that cannot be told from the nearest one, such as twins; at most five"
    )
    reason: str = Field(default="", description="summary of the evidence in one sentence")
    known_types: dict[str, float] = Field(
        description="score of every label considered; the command prints the five highest, and all with --all"
    )
    strangeness: float = Field(
        description="distance from a typical held-out window of the label: 0 typical, above 1 beyond the threshold"
    )
    pinned: bool = Field(
        default=False, description="whether the verdict is a label that you gave for the device; the score is then 1"
    )
    unusual: bool = Field(
        default=False,
        description="the device does not behave like the nearest (or pinned) label: strangeness is above 1, or, over "
        "half a day or more, most of its flows use services that the label never used when it was enrolled",
    )
    new_share: float = Field(
        default=0.0, description="share of its flows on services that the nearest label never used when it was enrolled"
    )
    evidence: list[Evidence]
    window: Window
    flows: int
    converged: bool = Field(description="whether the fingerprint has converged; if not, the verdict is provisional")
    expected_s: float | None = Field(default=None, description="time until a final verdict is expected, if known")
    level: Literal["model", "family", "type", "coarse", "label"] = "label"
    simulated: bool = False
    methods: list[MethodShare] = Field(
        default=[], description="result of each method, if fingerprints and embeddings were fused"
    )
    library: str = Field(
        default="", description="the library that the verdict (or the nearest label) is of, if several are used"
    )
    name: str = Field(default="", description="the user's name of the device, else its host name, else its address")
    first_seen: datetime | None = Field(default=None, description="start of the first hour with traffic")
    last_seen: datetime | None = Field(default=None, description="end of the last hour with traffic")
    octets_a_day: float | None = Field(default=None, description="IP octets sent and received, per day of the window")
    identity: list[IdentityFact] = Field(default=[], description="MACs, addresses and names, with their sources")
    ladder: LadderVerdict | None = Field(
        default=None, description="what is known at every level: kind, vendor, platform, family, model and device"
    )
    fallback: Fallback | None = Field(
        default=None, description="if the verdict is 'unknown': the finest coarser level with sufficient confidence"
    )


class Inventory(Record):
    """The object that ``ethogram identify --format json`` prints."""

    format: Literal["ethogram.inventory/2"] = "ethogram.inventory/2"
    library: str = Field(description="name and digest of the library, or of each, with ' + ' between them")
    devices: list[Verdict]
    encoder: str = Field(
        default="", description="digest of the encoder whose embeddings were used; empty if only fingerprints were used"
    )

    def to_frame(self) -> pl.DataFrame:
        """One row for each verdict, without its evidence."""
        nested = ("known_types", "evidence", "methods", "tied_with", "ladder", "identity")
        columns = [name for name in Verdict.model_fields if name not in nested]
        rows = []
        for verdict in self.devices:
            row = {name: getattr(verdict, name) for name in columns if name not in ("window", "fallback")}
            fallback, ladder = verdict.fallback, verdict.ladder
            rows.append(row | {
                "statement": None if ladder is None else ladder.statement,
                "stated_level": None if ladder is None else ladder.level,
                "stated_score": None if ladder is None else ladder.score,
                **{name: None if ladder is None else getattr(ladder, name) for name in ("kind", "vendor", "model")},
                "start": verdict.window.start, "end": verdict.window.end,
                "fallback": None if fallback is None else fallback.label,
                "fallback_level": None if fallback is None else fallback.level,
            })  # fmt: skip
        texts = ("statement", "stated_level", "kind", "vendor", "model", "fallback", "fallback_level")
        times = dict.fromkeys(("first_seen", "last_seen"), pl.Datetime("us", "UTC"))
        numbers = dict.fromkeys(("expected_s", "stated_score", "octets_a_day"), pl.Float64)
        schema: dict[str, pl.DataType | type[pl.DataType]] = {**times, **numbers, **dict.fromkeys(texts, pl.String)}
        return pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
