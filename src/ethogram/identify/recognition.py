"""Whether an item is one of the enrolled devices at all: a probability that works from one enrolled window on.

The score of a label is compared with the score that the label's own windows reach against the library (not held out):

    x = score / own score                                   1: as alike as an enrolled window, 0: no evidence
    P(enrolled) = 1 / (1 + exp(-(intercept + slope * x)))   strangers and enrolled devices equally frequent

``x`` has no unit, and hardly depends on the number of labels or windows, so intercept and slope can be learnt on other
networks (:class:`PooledFigures`). The library's own held-out cases then move them by maximum a posteriori: the pooled
figures weigh as much as :data:`POOLED_CASES` cases, so they decide with one window per device and fade with thirty.

Own cases are the held-out windows: under their label as enrolled devices, and under the best of the other labels as
strangers, except labels that the library itself cannot tell apart (twins).

Shapes: n items, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Self

import numpy as np
import orjson
from numpy.typing import NDArray

from ethogram.errors import UsageError

__all__ = [
    "FIGURES_FILE", "POOLED_CASES", "PooledFigures", "Recognition", "fit_figures", "own_scores", "pooled_figures",
]  # fmt: skip

Floats = NDArray[np.float64]
FIGURES_FILE = "recognition.json"
"""Pooled figures by method, in ``ethogram/data``; written by ``benchmarks/recognition_data.py``."""
POOLED_CASES = 50.0
"""Number of own held-out cases that the pooled figures weigh as much as."""
LEAST_OWN = 1.0  # nats: minimum own score, so that a label with hardly any traffic does not divide by 0
ALIKE = 0.5  # a label whose windows reach this share of their own score under another label is its twin
RIDGE = 1e-3


@dataclass(frozen=True)
class PooledFigures:
    """Figures of one method, learnt on corpora where devices were left out whole.

    Parameters
    ----------
    intercept, slope
        Of the log odds of an enrolled device, per share of the own score.
    precision
        (2, 2) Fisher information of both per case.
    typical
        Median share of the own score of enrolled devices.
    temperature
        Raw score units per nat between labels.
    provenance
        Corpora, numbers of cases, and the program that computed the figures.
    """

    intercept: float
    slope: float
    precision: tuple[tuple[float, float], tuple[float, float]]
    typical: float
    temperature: float
    provenance: dict[str, object] = field(default_factory=dict)


@cache
def pooled_figures(method: str) -> PooledFigures | None:
    """The pooled figures of a method; None where there are none.

    >>> pooled_figures("evidence").slope > 0, pooled_figures("mud")
    (True, None)
    """
    text = (resources.files("ethogram") / "data" / FIGURES_FILE).read_bytes()
    figures = orjson.loads(text)["methods"].get(method)
    if figures is None:
        return None
    precision = tuple(tuple(row) for row in figures.pop("precision"))
    return PooledFigures(precision=precision, **figures)  # type: ignore[arg-type]


def own_scores(enrolled: Floats, truth: NDArray[np.int64]) -> Floats:
    """Median score of each label's own windows, (L); ``enrolled`` (n, L) is not held out, ``truth`` (n) a column."""
    own_score = enrolled[np.arange(len(truth)), truth]
    medians = [np.median(own_score[truth == c]) if np.any(truth == c) else LEAST_OWN for c in range(enrolled.shape[1])]
    return np.maximum(np.array(medians, dtype=np.float64), LEAST_OWN)


def fit_figures(
    shares: Floats, known: NDArray[np.bool_], weight: Floats, prior: Floats | None = None,
    precision: Floats | None = None,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Logistic regression of *enrolled* on the share of the own score, by maximum a posteriori.

    Parameters
    ----------
    shares, known, weight
        (n) share of the own score, whether the device is enrolled, and weight of each case.
    prior, precision
        (2) and (2, 2): normal prior of intercept and slope; default: weak, around 0.

    Returns
    -------
    tuple
        Intercept and slope (2), the slope not negative; Fisher information of both (2, 2), without the prior.
    """
    x = np.column_stack([np.ones(len(shares)), shares])
    middle = np.zeros(2) if prior is None else prior
    around = np.eye(2) * RIDGE if precision is None else precision
    y = known.astype(np.float64)

    def loss(w: Floats) -> tuple[float, Floats]:
        z, off = x @ w, w - middle
        value = float((weight * (np.logaddexp(0.0, z) - y * z)).sum() + 0.5 * off @ around @ off)
        return value, x.T @ (weight * (_logistic(z) - y)) + around @ off

    from scipy.optimize import minimize  # late: what was learnt before is read without SciPy

    fitted = minimize(loss, middle, jac=True, method="L-BFGS-B", bounds=[(None, None), (1e-6, None)]).x
    p = _logistic(x @ fitted)
    return fitted, (x * (weight * p * (1.0 - p))[:, None]).T @ x


def _logistic(z: Floats) -> Floats:
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * z))
    return result


class Recognition:
    """Probability that an item is an enrolled device, from pooled figures and the library's own held-out scores.

    Parameters
    ----------
    pooled
        Figures of the method.
    cases
        Number of own cases that they weigh as much as.
    """

    def __init__(self, pooled: PooledFigures, cases: float = POOLED_CASES) -> None:
        self.pooled = pooled
        self.cases = cases

    def fit(self, held: Floats, truth: NDArray[np.int64], enrolled: Floats) -> Self:
        """Fit on the enrolment items.

        Parameters
        ----------
        held
            (n, L) held-out scores; NaN where a label has no other item.
        truth
            (n) column of each item's label.
        enrolled
            (n, L) scores of the same items, not held out.
        """
        rows = np.arange(len(truth))
        self.own_ = own_scores(enrolled, truth)
        known = held[rows, truth] / self.own_[truth]
        usable = np.isfinite(known)
        self.held_out_ = int(usable.sum())
        self.coefficients_ = np.array([self.pooled.intercept, self.pooled.slope])
        self.typical_ = self.pooled.typical
        if not self.held_out_:
            return self
        strangers = self._strangers(np.where(np.isfinite(held), held, enrolled), truth)[usable]
        # A case that was held out of m windows was compared with m - 1: with few, less than a new window is.
        count = np.bincount(truth, minlength=enrolled.shape[1])[truth][usable]
        case = (count - 1.0) / np.maximum(count, 1.0)
        compared = np.isfinite(strangers)
        balance = case.sum() / max(case[compared].sum(), 1e-9)
        shares = np.concatenate([known[usable], strangers[compared]])
        is_known = np.concatenate([np.ones(self.held_out_, bool), np.zeros(int(compared.sum()), bool)])
        weight = np.concatenate([case, case[compared] * balance])
        prior = self.coefficients_
        precision = np.array(self.pooled.precision) * self.cases
        self.coefficients_, _ = fit_figures(shares, is_known, weight, prior, precision)
        total = case.sum() + self.cases
        median = float(np.median(known[usable]))
        self.typical_ = (case.sum() * median + self.cases * self.pooled.typical) / total
        return self

    def refit(self, names: Sequence[str], own_medians: Mapping[str, float], before: Sequence[str]) -> Self:
        """Take new own scores of some labels, and keep coefficients and all other scores.

        Parameters
        ----------
        names
            Labels of the columns from now on.
        own
            Median own score of the labels that changed, and of new ones.
        before
            Labels of the columns until now.
        """
        earlier = dict(zip(before, self.own_.tolist(), strict=True))
        medians = [own_medians.get(name, earlier.get(name, LEAST_OWN)) for name in names]
        self.own_ = np.maximum(np.array(medians), LEAST_OWN)
        return self

    def _strangers(self, scores: Floats, truth: NDArray[np.int64]) -> Floats:
        """Share of the own score under the best label that is neither the item's own nor its twin, (n); -inf: none."""
        shares = scores / self.own_
        count = scores.shape[1]
        alike = np.eye(count, dtype=bool)
        for c in range(count):
            if np.any(truth == c):
                alike[c] |= np.median(scores[truth == c], axis=0) >= ALIKE * self.own_[c]
        result: Floats = np.where(alike[truth], -np.inf, shares).max(axis=1, initial=-np.inf)
        return result

    def log_odds(self, scores: Floats) -> Floats:
        """Log odds that an item is an enrolled device, if it is one with this label, (n, L)."""
        if not hasattr(self, "own_"):
            raise UsageError("Recognition is not fitted yet; call fit first")
        result: Floats = self.coefficients_[0] + self.coefficients_[1] * scores / self.own_
        return result

    def predict_proba(self, scores: Floats) -> Floats:
        """Probability that an item is an enrolled device, by its score under each label, (n, L)."""
        return _logistic(self.log_odds(scores))

    def strangeness(self, scores: Floats, least: float = 0.5) -> Floats:
        """Strangeness under each label, (n, L): 0 typical, 1 where the probability of *enrolled* is ``least``."""
        if not hasattr(self, "own_"):
            raise UsageError("Recognition is not fitted yet; call fit first")
        share = scores / self.own_
        log_odds = math.log(least / (1.0 - least)) if 0.0 < least < 1.0 else math.copysign(np.inf, least - 0.5)
        limit = (log_odds - self.coefficients_[0]) / self.coefficients_[1]
        if not np.isfinite(limit):
            return np.full(scores.shape, 2.0 if limit > 0 else 0.0)
        width = max(self.typical_ - limit, 0.05)
        result: Floats = 1.0 - (share - limit) / width
        return result
