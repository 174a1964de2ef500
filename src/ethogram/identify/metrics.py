"""Figures of merit: pure functions over arrays, each with a plain twin in the tests.

Functions of labels take names. Functions whose name ends in ``_of`` take a confusion matrix; with one matrix per
device-day (:func:`confusions`), :func:`bootstrap_macro_f1` resamples device-days without reading items again.

Shapes: n items, L labels, T types, C clusters. Scores: higher is more alike. Strangeness: higher is stranger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import UsageError

__all__ = [
    "accuracy",
    "accuracy_of",
    "area_under_roc",
    "balanced_accuracy",
    "balanced_accuracy_of",
    "bootstrap_interval",
    "bootstrap_macro_f1",
    "calibration_error",
    "completeness",
    "confusion_of",
    "confusions",
    "false_positive_rate",
    "macro_f1",
    "macro_f1_of",
    "merge",
    "most_confident",
    "open_set_curve_area",
    "per_type",
    "percentile_interval",
    "purity",
    "reliability",
    "seed_interval",
    "top_label",
]

Strings = NDArray[np.str_]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

TIE = ""
"""What :func:`top_label` writes for an item whose best label is not alone; it equals no label."""


def top_label(scores: Floats, labels: Sequence[str], truth: Strings | None = None) -> Strings:
    """The best label of each item.

    Parameters
    ----------
    scores
        Shape (n, L).
    labels
        L names.
    truth
        Shape (n,). Given, a tie goes to the truth when it is among the best (lenient); else a tie is ``""`` and
        therefore an error (strict).

    >>> top_label(np.array([[1.0, 1.0], [0.0, 2.0]]), ["a", "b"]).tolist()
    ['', 'b']
    """
    names = np.asarray(labels, dtype=np.str_)
    best = scores.max(axis=1, keepdims=True)
    at_top = scores == best
    best_label: Strings = names[scores.argmax(axis=1)].copy()
    tied = at_top.sum(axis=1) > 1
    if truth is None:
        best_label[tied] = TIE
        return best_label
    hit = (at_top & (names[None, :] == truth[:, None])).any(axis=1)
    return np.where(tied & hit, truth, best_label).astype(np.str_)


def merge(labels: Strings, together: dict[str, str]) -> Strings:
    """Write one name for labels that count as one (twin units, one platform)."""
    return np.asarray([together.get(str(label), str(label)) for label in labels], dtype=np.str_)


def accuracy(truth: Strings, predicted: Strings) -> float:
    """Share of items whose label is right."""
    return float(np.mean(truth == predicted)) if truth.size else float("nan")


def macro_f1(truth: Strings, predicted: Strings) -> float:
    """Mean over the labels that occur in ``truth`` of 2 TP / (2 TP + FP + FN).

    >>> macro_f1(np.array(["a", "a", "b"]), np.array(["a", "b", "b"]))
    0.6666666666666666
    """
    if not truth.size:
        return float("nan")
    names, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    codes = codes.astype(np.int64)
    return macro_f1_of(confusion_of(codes[: truth.size], codes[truth.size :], names.size))


def balanced_accuracy(truth: Strings, predicted: Strings) -> float:
    """Mean recall over the labels that occur in ``truth``.

    >>> balanced_accuracy(np.array(["a", "a", "b"]), np.array(["a", "b", "b"]))
    0.75
    """
    return float(np.mean([np.mean(predicted[truth == label] == label) for label in np.unique(truth)]))


def purity(truth: Strings, group: Codes) -> float:
    """Share of items whose label is the most frequent one of their group.

    >>> purity(np.array(["a", "a", "b"]), np.array([0, 0, 0]))
    0.6666666666666666
    """
    right = 0
    for code in np.unique(group):
        right += int(np.unique(truth[group == code], return_counts=True)[1].max())
    return right / len(truth) if len(truth) else float("nan")


def completeness(truth: Strings, group: Codes) -> float:
    """Share of items that are in the largest group of their label.

    >>> completeness(np.array(["a", "a", "b"]), np.array([0, 1, 2]))
    0.6666666666666666
    """
    right = 0
    for label in np.unique(truth):
        right += int(np.unique(group[truth == label], return_counts=True)[1].max())
    return right / len(truth) if len(truth) else float("nan")


def area_under_roc(known: Floats, unknown: Floats) -> float:
    """Chance that an unknown item is stranger than a known one; a tie counts one half (Mann-Whitney)."""
    if not known.size or not unknown.size:
        return float("nan")
    values = np.concatenate([known, unknown])
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    # Equal values share the mean of their ranks.
    first = np.searchsorted(ranked, values, side="left")
    last = np.searchsorted(ranked, values, side="right")
    rank = (first + last + 1) / 2
    above = rank[known.size :].sum() - unknown.size * (unknown.size + 1) / 2
    return float(above / (known.size * unknown.size))


def false_positive_rate(known: Floats, unknown: Floats, accepted: float = 0.95) -> float:
    """Share of unknown items accepted at the threshold that accepts this share of the known ones."""
    if not known.size or not unknown.size:
        return float("nan")
    ordered = np.sort(known)
    threshold = ordered[min(int(np.ceil(accepted * ordered.size)) - 1, ordered.size - 1)]
    return float(np.mean(unknown <= threshold))


def open_set_curve_area(strangeness: Floats, correct: NDArray[np.bool_], unknown: Floats) -> float:
    """Area under the OSCR curve: share of known items accepted with the right label, over accepted unknowns.

    Parameters
    ----------
    strangeness, correct
        Of the known items, shape (n,).
    unknown
        Strangeness of the unknown items.

    References
    ----------
    A. Dhamija, M. Günther, T. Boult: Reducing Network Agnostophobia. NeurIPS 2018.
    """
    if not strangeness.size or not unknown.size:
        return float("nan")
    right = np.sort(strangeness[correct])
    steps = np.unique(np.concatenate([strangeness, unknown]))
    rate = np.searchsorted(right, steps, side="right") / strangeness.size
    false = np.searchsorted(np.sort(unknown), steps, side="right") / unknown.size
    rate, false = np.concatenate([[0.0], rate]), np.concatenate([[0.0], false])
    return float(np.sum((false[1:] - false[:-1]) * (rate[1:] + rate[:-1]) / 2))


def reliability(confidence: Floats, correct: NDArray[np.bool_], bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and number of items of each bin of equal width that holds any."""
    where = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    rows = []
    for k in range(bins):
        inside = where == k
        if inside.any():
            rows.append((float(confidence[inside].mean()), float(correct[inside].mean()), int(inside.sum())))
    return rows


def most_confident(confidence: Floats, sizes: Sequence[int]) -> list[Codes]:
    """Indices of the most confident items, for each of several numbers of items; equal confidence keeps the order.

    >>> [rows.tolist() for rows in most_confident(np.array([0.2, 0.9, 0.5]), [1, 2])]
    [[1], [1, 2]]
    """
    order = np.argsort(-confidence, kind="stable")
    return [order[:size] for size in sizes]


def calibration_error(probability: Floats, right: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: mean distance of probability and accuracy over bins, weighted by items."""
    if not probability.size:
        return float("nan")
    where = np.clip((probability * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(where, minlength=bins)
    gaps = np.bincount(where, probability, bins) - np.bincount(where, right.astype(np.float64), bins)
    return float(np.abs(gaps[count > 0]).sum() / probability.size)


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


def macro_f1_of(confusion: NDArray[Any]) -> float:
    """Mean F1 over the types present, from a confusion matrix.

    >>> round(macro_f1_of(np.array([[1, 1], [0, 1]])), 4)
    0.6667
    """
    return float(_mean(*_f1(confusion)))


def balanced_accuracy_of(confusion: NDArray[Any]) -> float:
    """Mean recall over the types present, from a confusion matrix."""
    true = confusion.sum(-1)
    return float(_mean(np.diagonal(confusion) / np.maximum(true, 1), true > 0))


def accuracy_of(confusion: NDArray[Any]) -> float:
    """Share of correct items, from a confusion matrix."""
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


def bootstrap_macro_f1(parts: NDArray[np.int64], *, seed: int = 0, draws: int = 1000) -> NDArray[np.float64]:
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


def percentile_interval(drawn: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of resamples."""
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    figure: Callable[[NDArray[np.int64]], float], clusters: Sequence[str], *, seed: int = 0, draws: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:  # fmt: skip
    """Percentile interval of a figure when whole clusters (device-days) are drawn with replacement.

    Parameters
    ----------
    figure
        Takes item indices, shape (m,), and gives the figure.
    clusters
        Cluster of each of the n items.
    seed, draws, level
        Of the random generator; number of resamples; coverage.

    Returns
    -------
    tuple
        Lower and upper bound; draws that give no figure are left out.
    """
    if draws < 1 or not 0 < level < 1:
        raise UsageError("a bootstrap needs draws and a level between 0 and 1")
    _, codes = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    count = int(codes.max()) + 1 if codes.size else 0
    if count == 0:
        return float("nan"), float("nan")
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    random = np.random.default_rng(seed)
    drawn = np.asarray(
        [figure(np.concatenate([members[k] for k in random.integers(0, count, count)])) for _ in range(draws)]
    )
    return percentile_interval(drawn, level)


def seed_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Two-sided t-interval of a mean over seeds; one seed gives none.

    >>> low, high = seed_interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    by_seed = np.asarray(values, np.float64)
    if by_seed.size < 2:
        return math.nan, math.nan
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, by_seed.size - 1) * by_seed.std(ddof=1) / math.sqrt(by_seed.size))
    return float(by_seed.mean()) - half, float(by_seed.mean()) + half
