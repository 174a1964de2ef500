"""Figures of probes, all computed from one confusion matrix per device-day; the bootstrap resamples device-days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.identify.calibrate import softmax

__all__ = ["accuracy", "balanced_accuracy", "bootstrap", "calibration_error", "confusion_of", "confusions", "interval",
           "macro_f1", "per_type", "softmax"]  # fmt: skip

Confusion = NDArray[np.int64]
"""[T, T] (true, predicted)."""


def confusion_of(truth: NDArray[np.int64], predicted: NDArray[np.int64], types: int) -> Confusion:
    """Confusion matrix [T, T]: number of items by true (rows) and predicted type (columns).

    >>> confusion_of(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return np.bincount(truth * types + predicted, minlength=types * types).reshape(types, types).astype(np.int64)


def confusions(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], cluster: NDArray[np.int64], types: int
) -> NDArray[np.int64]:
    """One confusion matrix per cluster (device-day), [C, T, T]; clusters are coded 0, 1, ..."""
    count = int(cluster.max(initial=-1)) + 1
    counts = np.bincount((cluster * types + truth) * types + predicted, minlength=count * types * types)
    return counts.reshape(count, types, types).astype(np.int64)


def _f1(confusion: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """F1 of each type, and whether it is present, over the last two axes."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, predicted = confusion.sum(-1), confusion.sum(-2)
    return 2 * hits / np.maximum(true + predicted, 1), true > 0


def _mean(values: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    count = present.sum(-1)
    return np.where(count > 0, np.where(present, values, 0).sum(-1) / np.maximum(count, 1), np.nan)


def macro_f1(confusion: NDArray[Any]) -> float:
    """Mean F1 over the types present in the test set.

    >>> round(macro_f1(np.array([[1, 1], [0, 1]])), 4)
    0.6667
    """
    return float(_mean(*_f1(confusion)))


def balanced_accuracy(confusion: NDArray[Any]) -> float:
    """Mean recall over the types present."""
    true = confusion.sum(-1)
    return float(_mean(np.diagonal(confusion) / np.maximum(true, 1), true > 0))


def accuracy(confusion: NDArray[Any]) -> float:
    """Share of correct items."""
    return float(np.trace(confusion) / confusion.sum()) if confusion.sum() else float("nan")


def per_type(confusion: NDArray[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """F1, precision, recall and number of items of each type present."""
    values, present = _f1(confusion)
    rows = []
    for i in np.flatnonzero(present).tolist():
        hits, predicted, true = int(confusion[i, i]), int(confusion[:, i].sum()), int(confusion[i].sum())
        rows.append({"type": names[i], "f1": float(values[i]), "precision": hits / predicted if predicted else None,
                     "recall": hits / true, "items": true})  # fmt: skip
    return rows


def bootstrap(parts: NDArray[np.int64], *, seed: int = 0, draws: int = 1000) -> NDArray[np.float64]:
    """Macro-F1 of cluster bootstrap resamples, [draws].

    Parameters
    ----------
    parts
        [C, T, T] from :func:`confusions`.
    """
    count = len(parts)
    if not count:
        return np.full(draws, np.nan)
    random = np.random.default_rng([seed, 0xB007])
    flat = parts.reshape(count, -1).astype(np.float64)
    values = np.empty(draws)
    for begin in range(0, draws, 100):
        weights = random.multinomial(count, np.full(count, 1 / count), size=min(100, draws - begin))
        values[begin : begin + len(weights)] = _mean(*_f1((weights @ flat).reshape(-1, *parts.shape[1:])))
    return values


def interval(drawn: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of resamples."""
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def calibration_error(probability: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: mean distance of probability and accuracy over bins, weighted by items."""
    if not probability.size:
        return float("nan")
    where = np.clip((probability * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    gaps = np.bincount(where, probability, bins) - np.bincount(where, right.astype(np.float64), bins)
    return float(np.abs(gaps[count > 0]).sum() / probability.size)
