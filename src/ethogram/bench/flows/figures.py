"""Figures of one row from the verdicts on test flows of all folds and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.identify import metrics

__all__ = ["FlowPredictions", "SeedFigures", "coverage_of", "pooled", "seed_figures", "unknown_figures"]

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
MAIN = ("macro_f1", "balanced_accuracy", "accuracy")

Ints = NDArray[np.int64]


@dataclass
class FlowPredictions:
    """Verdicts of one seed on test items: flows or groups of flows.

    Parameters
    ----------
    truth
        [N] code of the true label in the task; -1: a label without training items.
    best
        [N] code of the most probable label.
    cluster
        [N] device-day.
    probability
        [N] probability of the most probable label.
    unknown
        [N] whether the verdict is unknown; None when no items were held out to set its threshold.
    """

    truth: Ints
    best: Ints
    cluster: Ints
    probability: NDArray[np.float64]
    unknown: NDArray[np.bool_] | None = None

    @classmethod
    def concat(cls, parts: Sequence[FlowPredictions]) -> FlowPredictions:
        """Concatenate the folds of a task; ``unknown`` is None unless every fold has it."""
        with_unknown = [part.unknown for part in parts if part.unknown is not None]
        return cls(
            np.concatenate([part.truth for part in parts]), np.concatenate([part.best for part in parts]),
            np.concatenate([part.cluster for part in parts]), np.concatenate([part.probability for part in parts]),
            np.concatenate(with_unknown) if len(with_unknown) == len(parts) else None,
        )  # fmt: skip

    @property
    def known(self) -> Ints:
        """Items whose label has training items."""
        return np.flatnonzero(self.truth >= 0)

    @property
    def confidence(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Probability of the best label of each known item, and whether that label is right."""
        known = self.known
        return self.probability[known], self.best[known] == self.truth[known]

    def parts(self, types: int) -> NDArray[np.int64]:
        """Confusion matrix of each device-day, [C, T, T]."""
        known = self.known
        _, cluster = np.unique(self.cluster[known], return_inverse=True)
        return metrics.confusions(self.truth[known], self.best[known], cluster, types)


@dataclass
class SeedFigures:
    """Figures by seed: the values of each, and bootstrap draws of those with an interval."""

    values: dict[str, list[float]] = field(default_factory=dict)
    draws: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, name: str, value: float | None) -> None:
        """Add the value of one seed; NaN and None are ignored."""
        if value is not None and not np.isnan(value):
            self.values.setdefault(name, []).append(float(value))

    def means(self) -> dict[str, float]:
        """Mean of each figure over the seeds; main figures first."""
        means = {name: float(np.mean(by_seed)) for name, by_seed in self.values.items()}
        return {name: means[name] for name in (*MAIN, *means) if name in means}

    def intervals(self) -> dict[str, list[float]]:
        """95 % bootstrap intervals, by device-day, of the mean over the seeds."""
        intervals = {name: metrics.percentile_interval(np.mean(drawn, axis=0)) for name, drawn in self.draws.items()}
        return {name: [low, high] for name, (low, high) in intervals.items() if not np.isnan(low + high)}


def seed_figures(
    figures: SeedFigures, name: str, predictions: FlowPredictions, types: int, draws: int, *, whole: bool = False
) -> None:
    """Add macro-F1 of one seed as ``name``, with its draws; ``whole`` adds the other main figures."""
    parts = predictions.parts(types)
    if not len(parts):
        return
    confusion = parts.sum(0)
    figures.add(name, metrics.macro_f1_of(confusion))
    figures.draws.setdefault(name, []).append(metrics.bootstrap_macro_f1(parts, draws=draws))
    if not whole:
        return
    figures.add("balanced_accuracy", metrics.balanced_accuracy_of(confusion))
    figures.add("accuracy", metrics.accuracy_of(confusion))
    figures.add("calibration_error", metrics.calibration_error(*predictions.confidence))
    unknown_figures(figures, "", predictions)


def unknown_figures(figures: SeedFigures, prefix: str, predictions: FlowPredictions) -> None:
    """Add the share of known and of unknown labels that are called unknown, and the accuracy of the rest."""
    if predictions.unknown is None:
        return
    known = predictions.truth >= 0
    labelled = known & ~predictions.unknown
    figures.add(f"{prefix}unknown_share", _share(predictions.unknown[known]))
    figures.add(f"{prefix}right_of_said", _share((predictions.best == predictions.truth)[labelled]))
    figures.add(f"{prefix}strangers_unknown", _share(predictions.unknown[~known]))


def pooled(predictions: Sequence[FlowPredictions], names: Sequence[str]) -> dict[str, Any]:
    """Details over all seeds: confusion, figures per type, reliability, coverage."""
    together = FlowPredictions.concat(predictions)
    known = together.known
    confusion = metrics.confusion_of(together.truth[known], together.best[known], len(names))
    shown = np.flatnonzero((confusion.sum(0) + confusion.sum(1)) > 0)
    return {
        "per_type": {row.pop("type"): row for row in metrics.per_type(confusion, names)},
        "confusion": {
            "labels": [names[i] for i in shown.tolist()],
            # Mean over the seeds, in flows.
            "matrix": (confusion[np.ix_(shown, shown)] / len(predictions)).round(2).tolist(),
        },
        "reliability": metrics.reliability(*together.confidence),
        "coverage": coverage_of(together, len(names)),
    }


def coverage_of(predictions: FlowPredictions, types: int) -> list[list[float | None]]:
    """Macro-F1 and accuracy of the most confident share of the verdicts, for several shares."""
    known = predictions.known
    sizes = [max(1, round(share * known.size)) for share in SHARES]
    rows: list[list[float | None]] = []
    for share, places in zip(SHARES, metrics.most_confident(predictions.probability[known], sizes), strict=True):
        if places.size:
            items = known[places]
            confusion = metrics.confusion_of(predictions.truth[items], predictions.best[items], types)
            rows.append([share, metrics.macro_f1_of(confusion), metrics.accuracy_of(confusion)])
    return rows


def _share(which: NDArray[np.bool_]) -> float | None:
    return float(which.mean()) if which.size else None
