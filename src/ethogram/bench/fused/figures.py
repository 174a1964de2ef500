"""Figures of one row from the verdicts on items of all folds and seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.identify import metrics

__all__ = ["ItemPredictions", "coverage_curve", "figures_of"]

COVERAGES = tuple(round(0.1 * i, 1) for i in range(1, 11))
Floats = NDArray[np.float64]
Strings = NDArray[np.str_]


@dataclass
class ItemPredictions:
    """Verdicts of one seed in all folds; every seed has the same items in the same order.

    ``strangers_…`` are of items whose label is not enrolled, for which the only right verdict is unknown.
    """

    truth: list[str] = field(default_factory=list)
    best: list[str] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    cluster: list[str] = field(default_factory=list)
    network: list[str] = field(default_factory=list)
    weights: dict[str, dict[str, float]] = field(default_factory=dict)
    softness: dict[str, float] = field(default_factory=dict)
    unknown: list[bool] = field(default_factory=list)
    strangers_unknown: list[bool] = field(default_factory=list)
    strangers_confidence: list[float] = field(default_factory=list)

    @property
    def columns(self) -> tuple[Strings, Strings, Floats]:
        """True label, verdict and confidence of each item."""
        return np.array(self.truth, np.str_), np.array(self.best, np.str_), np.array(self.confidence)


def coverage_curve(truth: Strings, best: Strings, confidence: Floats) -> list[tuple[float, float, float]]:
    """Coverage, macro-F1 and accuracy of the most confident items, for each of ten shares.

    Items of equal confidence keep their order.

    >>> two = np.array(["a", "b"])
    >>> coverage_curve(two, np.array(["a", "a"]), np.array([0.9, 0.2]))[4]
    (0.5, 1.0, 1.0)
    """
    sizes = [max(1, int(np.ceil(share * len(confidence) - 1e-9))) for share in COVERAGES]
    return [
        (share, metrics.macro_f1(truth[rows], best[rows]), metrics.accuracy(truth[rows], best[rows]))
        for share, rows in zip(COVERAGES, metrics.most_confident(confidence, sizes), strict=True)
    ]


def figures_of(seeds: Sequence[ItemPredictions], seed: int) -> dict[str, Any]:
    """Values, intervals and details over all seeds: means, with one bootstrap over all seeds together.

    Parameters
    ----------
    seeds
        Verdicts of each seed.
    seed
        Seed of the bootstrap.
    """
    values = [_values(predictions) for predictions in seeds]
    truth = seeds[0].columns[0]
    by_seed = [predictions.columns[1] for predictions in seeds]
    names = sorted(set(seeds[0].network))
    where = {net: np.flatnonzero([network == net for network in seeds[0].network]) for net in names}
    intervals = {
        name: metrics.bootstrap_interval(_over(of, truth, by_seed), seeds[0].cluster, seed=seed, draws=500)
        for name, of in (("macro_f1", metrics.macro_f1), ("accuracy", metrics.accuracy))
    }
    labels, matrix = _confusion(truth, by_seed)
    curves = np.array([coverage_curve(*predictions.columns) for predictions in seeds])
    return {
        "values": {name: _mean([by_name[name] for by_name in values]) for name in values[0]},
        "intervals": intervals,
        "details": {
            "seeds": {name: [by_name[name] for by_name in values] for name in values[0]},
            "coverage": [(share, *means) for share, means in zip(COVERAGES, curves[:, :, 1:].mean(axis=0).tolist(),
                                                                 strict=True)],
            "reliability": metrics.reliability(
                np.concatenate([part.columns[2] for part in seeds]), np.concatenate([truth == best for best in by_seed])
            ),
            "confusion": {"labels": labels, "matrix": matrix},
            "accuracy_by_network": {
                net: [rows.size, *(_over(of, truth, by_seed)(rows) for of in (metrics.accuracy, metrics.macro_f1))]
                for net, rows in where.items()
            },
            "weights": {
                net: {side: round(_mean([part.weights[net][side] for part in seeds]), 4) for side in sides}
                for net, sides in seeds[0].weights.items()
            },
            "softness": {net: round(_mean([part.softness[net] for part in seeds]), 4) for net in seeds[0].softness},
        },
    }  # fmt: skip


def _values(predictions: ItemPredictions) -> dict[str, float]:
    truth, best, confidence = predictions.columns
    curve = coverage_curve(truth, best, confidence)
    return {
        "macro_f1": metrics.macro_f1(truth, best), "accuracy": metrics.accuracy(truth, best),
        "balanced_accuracy": metrics.balanced_accuracy(truth, best),
        "calibration_error": metrics.calibration_error(confidence, truth == best),
        "coverage_macro_f1": float(np.mean([f1 for share, f1, _ in curve if share >= 0.5])),
        "coverage_accuracy": float(np.mean([right for share, _, right in curve if share >= 0.5])),
        **_open_set(predictions),
    }  # fmt: skip


def _open_set(predictions: ItemPredictions) -> dict[str, float]:
    """Shares of known and of not enrolled items called unknown, accuracy of the rest of the known, and AUROC.

    Without items of labels that are not enrolled, only the figures of known ones.
    """
    truth, best, confidence = predictions.columns
    unknown, strange = np.array(predictions.unknown, bool), np.array(predictions.strangers_unknown, bool)
    labelled = ~unknown
    values = {
        "known_unknown": float(unknown.mean()),
        "right_of_said": float((truth == best)[labelled].mean()) if labelled.any() else 0.0,
    }
    if strange.size:
        # Higher means more likely unknown.
        sure = np.array(predictions.strangers_confidence, np.float64)
        values |= {"strangers_unknown": float(strange.mean()), "auroc_open": metrics.area_under_roc(-confidence, -sure)}
    return values


def _over(
    figure: Callable[[Strings, Strings], float], truth: Strings, by_seed: Sequence[Strings]
) -> Callable[[NDArray[np.int64]], float]:
    """A function of item indices that gives the mean of a figure over the seeds."""
    return lambda rows: _mean([figure(truth[rows], best[rows]) for best in by_seed])


def _confusion(truth: Strings, by_seed: Sequence[Strings]) -> tuple[list[str], list[Any]]:
    """Labels, and the mean confusion matrix over the seeds."""
    names, codes = np.unique(np.concatenate([truth, *by_seed]), return_inverse=True)
    count, size = len(names), len(truth)
    pairs = np.concatenate([codes[:size] * count + codes[size * (k + 1) : size * (k + 2)] for k in range(len(by_seed))])
    matrix = np.bincount(pairs, minlength=count * count).reshape(count, count)
    if len(by_seed) == 1:
        return names.tolist(), matrix.tolist()
    return names.tolist(), (matrix / len(by_seed)).round(2).tolist()


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
