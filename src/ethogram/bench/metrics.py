"""Figures of merit: pure functions over arrays, each with a plain twin in the tests.

Shapes: n items, L labels. Scores: higher is more alike. Strangeness: higher is stranger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from ethogram.errors import UsageError
from ethogram.identify import probe_figures
from ethogram.identify.probe_figures import calibration_error, confusion_of, interval

__all__ = [
    "accuracy",
    "area_under_roc",
    "bootstrap_interval",
    "calibration_error",
    "false_positive_rate",
    "macro_f1",
    "merge",
    "open_set_curve_area",
    "reliability",
    "seed_interval",
    "top_label",
]

Strings = NDArray[np.str_]
Floats = NDArray[np.float64]

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
    chosen: Strings = names[scores.argmax(axis=1)].copy()
    tied = at_top.sum(axis=1) > 1
    if truth is None:
        chosen[tied] = TIE
        return chosen
    hit = (at_top & (names[None, :] == truth[:, None])).any(axis=1)
    return np.where(tied & hit, truth, chosen).astype(np.str_)


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
    return probe_figures.macro_f1(confusion_of(codes[: truth.size], codes[truth.size :], names.size))


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
    return interval(drawn, level)


def seed_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Two-sided t-interval of a mean over seeds; one seed gives none.

    >>> low, high = seed_interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    found = np.asarray(values, np.float64)
    if found.size < 2:
        return math.nan, math.nan
    half = float(t.ppf((1 + level) / 2, found.size - 1) * found.std(ddof=1) / math.sqrt(found.size))
    return float(found.mean()) - half, float(found.mean()) + half
