"""Fused verdicts with one enrolled day per device: known devices are named, a stranger is not."""

from __future__ import annotations

import numpy as np
import pytest

from ethogram.config import IdentifySettings
from ethogram.identify.evidence import WeightOfEvidence
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fused_verdict import FusedVerdictModel
from ethogram.schema import UNKNOWN

from .traffic import days, windows_of

CENTRE = {"camera": 0, "plug": 1, "speaker": 2}


def flows(labels: list[str], each: int = 30) -> FlowWindows:
    """Embedded flows around one point per label."""
    rng = np.random.default_rng(0)
    z = [rng.normal(3.0 * (np.arange(8) == CENTRE[label]), 1.0, (each, 8)) for label in labels]
    return FlowWindows(np.concatenate(z).astype(np.float32), np.repeat(np.arange(len(labels)), each), len(labels))


@pytest.mark.parametrize("enrolled", [1, 2, 5])
def test_one_day_names_the_next_and_no_stranger(enrolled: int) -> None:
    labels = [label for label in ("camera", "plug") for _ in range(enrolled)]
    windows = windows_of(days("camera", "a", enrolled), days("plug", "b", enrolled))
    settings = IdentifySettings(method="evidence")
    model = FusedVerdictModel(WeightOfEvidence(), settings).fit(windows, labels, flows(labels))
    later = windows_of(*(days(label, label, 2, first=30) for label in CENTRE))
    verdicts = model.decide(later, flows([label for label in CENTRE for _ in range(2)]))
    assert verdicts.verdicts == ["camera"] * 2 + ["plug"] * 2 + [UNKNOWN] * 2
