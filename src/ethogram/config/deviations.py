"""Settings of the scores of behaviour."""

from __future__ import annotations

from pydantic import Field

from ethogram.config._base import Settings

__all__ = ["DeviationSettings"]


class DeviationSettings(Settings):
    """How behaviour is learnt, and when an epoch deviates from it."""

    epoch_s: int = Field(default=86_400, ge=3600, le=30 * 86_400, description="length of an epoch")
    threshold: float = Field(
        default=0.8, ge=0, le=1, description="similarity of the halves of a window from which behaviour is stable"
    )
    least_epochs: int = Field(default=4, ge=2, description="epochs with traffic before behaviour can be stable")
    most_epochs: int = Field(
        default=10, ge=2, description="epochs with traffic after which unstable behaviour is exported as it is"
    )
    least_flows: int = Field(default=50, ge=0, description="flows before behaviour can be stable")
    alarms_a_month: float = Field(
        default=1.0, gt=0, le=1000, description="deviations per device and month that limits allow if nothing changes"
    )
