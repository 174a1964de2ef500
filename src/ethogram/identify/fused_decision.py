"""Decide on fused scores: the most probable label, or unknown if it is strange or not probable enough.

Shapes: n items, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.config import IdentifySettings
from ethogram.identify.calibrate import Calibration
from ethogram.identify.fusion import Fused
from ethogram.identify.openset import Coverage, Thresholds
from ethogram.identify.verdict import tied_labels
from ethogram.schema import UNKNOWN

__all__ = ["FusedDecision", "SideStrangeness", "decide"]

Floats = NDArray[np.float64]
STRANGEST = 20.0
"""Strangeness is clipped at this value before it is averaged over modalities."""
UNOBSERVED = 2.0
"""Strangeness of an item that no modality observes."""


class SideStrangeness:
    """Strangeness of an item under each label by one modality, fitted on held-out scores of enrolled items.

    Parameters
    ----------
    settings
        Quantile, and the minimum number of windows for a threshold of a label's own.
    """

    def __init__(self, settings: IdentifySettings | None = None) -> None:
        self.settings = settings or IdentifySettings()

    def fit(
        self, held: Floats, names: Sequence[str], truth: Sequence[str], enrolled: Floats | None = None
    ) -> Self:  # fmt: skip
        """Fit thresholds.

        Parameters
        ----------
        held
            Held-out scores (n, L); rows of NaN, of items that the modality does not observe, are ignored.
        names, truth
            Label of each column and of each item.
        enrolled
            Scores (n, L) of the same items without holding out; used where no held-out score exists.
        """
        observed = np.flatnonzero(np.isfinite(held).any(axis=1))
        column = {name: j for j, name in enumerate(names)}
        labels = [truth[int(i)] for i in observed]
        self.calibration_ = Calibration().fit(held[observed], names, labels)
        self.coverage_ = Coverage().fit(held[observed], names, labels)
        own_scores = None
        if enrolled is not None:
            seen = np.flatnonzero(np.isfinite(enrolled).any(axis=1))
            own_scores = self._known(enrolled[seen])[np.arange(seen.size), [column[truth[int(i)]] for i in seen]]
        self.thresholds_ = Thresholds(self.settings.quantile, self.settings.few).fit(
            self._known(held[observed]), names, labels, own_scores
        )
        return self

    def _known(self, scores: Floats) -> Floats:
        return self.coverage_.transform(scores, self.calibration_.predict_proba(scores))

    def transform(self, scores: Floats) -> Floats:
        """Strangeness under each label, (n, L): above 1 is strange; NaN where the score is NaN."""
        return np.where(np.isfinite(scores), self.thresholds_.strangeness(self._known(scores)), np.nan)


@dataclass(frozen=True)
class FusedDecision:
    """Decisions on n items as arrays.

    Parameters
    ----------
    labels
        (L) labels of the columns.
    fused
        Fused probabilities and weights, and those of each modality.
    best
        (n) column of the most probable label.
    strangeness
        (n) strangeness of that label; above 1 the item is unknown.
    side_strangeness
        Per modality (n): strangeness of that label; NaN where the modality does not observe the item.
    unknown
        (n) whether the item is unknown.
    tied
        (n, L) labels that cannot be told from the most probable one, which is one of them.
    """

    labels: list[str]
    fused: Fused
    best: NDArray[np.int64]
    strangeness: Floats
    side_strangeness: dict[str, Floats]
    unknown: NDArray[np.bool_]
    tied: NDArray[np.bool_]

    @property
    def verdicts(self) -> list[str]:
        """The label of each item, or ``unknown``."""
        return [UNKNOWN if u else self.labels[b] for u, b in zip(self.unknown, self.best, strict=True)]


def decide(
    fused: Fused, strangeness: Mapping[str, Floats], settings: IdentifySettings, unobserved: Floats | None = None
) -> FusedDecision:
    """Decide on n items: unknown if the weighted mean strangeness exceeds 1, or the best label is not probable enough.

    Labels that cannot be told apart count together.

    Parameters
    ----------
    fused
        Result of the fusion.
    strangeness
        Per modality, strangeness under each label (n, L); NaN where it does not observe the item or know the label.
    settings
        ``least_score`` is the minimum probability; with ``closed`` no item is unknown.
    unobserved
        Strangeness under each label (n, L) of items that no modality observes; default: all are strange.
    """
    rows = np.arange(len(fused.logs))
    best = fused.logs.argmax(axis=1) if fused.logs.size else np.zeros(len(rows), np.int64)
    of_best = {side: values[rows, best] for side, values in strangeness.items()}
    total, weight = np.zeros(len(rows)), np.zeros(len(rows))
    for side, values in of_best.items():
        observed = np.isfinite(values)
        side_weight = np.where(observed, fused.weights[side], 0.0)
        total += np.where(observed, np.clip(values, -5.0, STRANGEST), 0.0) * side_weight
        weight += side_weight
    default = np.full(len(rows), UNOBSERVED) if unobserved is None else unobserved[rows, best]
    mean = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), default)
    tied = tied_labels(fused.logs, fused.probabilities)
    unsure = (fused.probabilities * tied).sum(axis=1) < settings.least_score
    unknown = np.zeros(len(rows), bool) if settings.closed else (mean > 1.0) | unsure
    return FusedDecision(fused.labels, fused, best, mean, of_best, unknown, tied)
