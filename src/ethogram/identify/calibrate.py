"""Calibrate raw scores: of the labels with score 0.9, nine in ten are right on held-out enrolment items.

Temperature scaling turns raw scores into probabilities; it has one parameter, so few items suffice. From ``ENOUGH``
held-out items on, isotonic regression corrects the remaining error. Both preserve the order of the labels.

References
----------
C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017; B. Zadrozny and C. Elkan, KDD 2002.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import UsageError
from ethogram.identify.isotonic import IsotonicCurve

__all__ = ["ENOUGH", "Calibration", "softmax"]

ENOUGH = 200
"""Minimum number of held-out items for isotonic regression."""


def softmax(scores: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax along the last axis; a NaN score gets probability 0, and a row of NaN becomes zeros."""
    scaled = np.where(np.isnan(scores), -np.inf, scores) / temperature
    top = scaled.max(axis=-1, keepdims=True)
    shifted = np.exp(scaled - np.where(np.isfinite(top), top, 0.0))
    total = shifted.sum(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted / np.where(total > 0, total, 1.0)
    return result


class Calibration:
    """Temperature scaling and, with enough data, isotonic regression of raw scores (n, L).

    Parameters
    ----------
    temperature
        Temperature learnt elsewhere, in raw score units per nat; None: a quarter of the scores' standard deviation.
    cases
        Number of held-out items that it weighs as much as. It also counts as evidence: with m held-out items no score
        exceeds (m + cases + 1) / (m + cases + 2).
    """

    temperature: float | None = None
    cases: float = 0.0
    temperature_: float
    held_out_: int

    def __init__(self, temperature: float | None = None, cases: float = 0.0) -> None:
        self.temperature = temperature
        self.cases = cases

    def fit(self, scores: NDArray[np.float64], names: Sequence[str], labels: Sequence[str]) -> Self:
        """Fit on held-out scores.

        Parameters
        ----------
        scores
            Shape (n, L), as :meth:`ethogram.identify.identifier.Identifier.cross_val` returns them; NaN where a
            label has no training item.
        names, labels
            Label of each column, and true label of each item.
        """
        column = {name: j for j, name in enumerate(names)}
        truth = np.array([column[label] for label in labels], dtype=np.int64)
        usable = np.isfinite(scores[np.arange(len(truth)), truth]) if len(truth) else np.zeros(0, dtype=bool)
        x, y = scores[usable], truth[usable]
        self.held_out_ = int(usable.sum())
        self.temperature_ = self._temperature(x, y)
        self._curve: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if self.held_out_ >= ENOUGH and len(names) > 1:
            top = softmax(x, self.temperature_)
            predicted = top.argmax(axis=1)
            fit = IsotonicCurve.fit(top.max(axis=1), (predicted == y).astype(float))
            # Mixed with the identity, because isotonic steps would turn different scores into ties.
            grid = np.linspace(0.0, 1.0, 201)
            low = top.max(axis=1).min()
            bent = np.where(grid < low, grid * float(fit(low)) / max(low, 1e-9), fit(grid))
            self._curve = (grid, np.maximum.accumulate(0.95 * bent + 0.05 * grid))
        return self

    def _temperature(self, x: NDArray[np.float64], y: NDArray[np.int64]) -> float:
        rows = np.arange(len(y))
        finite = x[np.isfinite(x)]
        spread = float(np.std(finite)) if finite.size > 1 else 1.0
        start = max(spread, 1e-6) / 4 if self.temperature is None else self.temperature
        if len(y) == 0 or x.shape[1] < 2:
            return start
        from scipy.optimize import minimize_scalar

        def loss(log_t: float) -> float:
            p = softmax(x, start * np.exp(log_t))[rows, y]
            # The penalty weighs as much as one item: without errors the best temperature would be 0. A temperature
            # learnt elsewhere weighs as much as its cases: log T has variance 1 per case, roughly.
            return float(-np.log(np.maximum(p, 1e-12)).sum() + 0.5 * max(self.cases, 1.0) * log_t**2)

        best = minimize_scalar(loss, bounds=(-6.0, 6.0), method="bounded")
        return float(start * np.exp(best.x))

    def predict_proba(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated scores, shape (n, L), each in [0, 1], in the order of the raw scores.

        With m held-out items (and cases) no score exceeds (m + 1) / (m + 2) (the rule of succession).

        Raises
        ------
        UsageError
            When the calibration is not fitted.
        """
        if not hasattr(self, "temperature_"):
            raise UsageError("Calibration is not fitted yet; call fit first")
        p = softmax(scores, self.temperature_)
        if self._curve is not None:
            p = np.interp(p, *self._curve)
        known = (self.held_out_ + self.cases) / (self.held_out_ + self.cases + 2)
        result: NDArray[np.float64] = known * p + (1 - known) / max(p.shape[1], 2)
        return result
