"""Settings of identification."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ethogram.config._base import Settings

__all__ = ["IdentifySettings"]


class IdentifySettings(Settings):
    """Fingerprints and a library to verdicts."""

    method: str = Field(default="nearest", description="name of the identification method")
    level: Literal["label", "model", "family", "type", "coarse"] = Field(
        default="label", description="what to identify; twin units are one model"
    )
    closed: bool = Field(default=False, description="always give a label, never unknown")
    quantile: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="share of a label's own held-out windows that may fall below its threshold",
    )
    least_score: float = Field(default=0.5, ge=0, le=1, description="a less likely label is reported as unknown")
    few: int = Field(default=20, ge=1, description="labels with fewer held-out windows use the common threshold")
    folds: int = Field(default=5, ge=2, description="blocks of time held out in turn to fit thresholds and calibration")
    terms: int = Field(default=12, ge=1, description="terms of evidence listed; the others are summed into one")
    best_of: Literal["best", "mean_of_3", "prototype"] = Field(
        default="best", description="score of a label from its fingerprints: the nearest, the nearest three, their mean"
    )
    idf: bool = Field(default=False, description="weight services by how few enrolled labels use them")
    window_s: int | None = Field(
        default=None,
        gt=0,
        description="split fingerprints into windows of this length and average their scores; none: do not split",
    )
    seed: int = Field(default=0, ge=0, description="random seed of methods that use one")
