"""Calibrated scores: 0.9 means that nine of ten such labels are right, on what was held out at enrolment.

Raw scores become probabilities by a temperature (one number, so few data suffice); from ``ENOUGH`` held-out items on,
isotonic regression then bends the curve where it is still wrong. Both keep the order of the labels.

References
----------
C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017; B. Zadrozny and C. Elkan, KDD 2002.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from ethogram.errors import UsageError

__all__ = ["ENOUGH", "Calibration", "softmax"]

ENOUGH = 200
"""Held-out items from which isotonic regression is fitted."""


def softmax(scores: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities along the last axis; a NaN score gets none, and a row without any score is all zeros."""
    scaled = np.where(np.isnan(scores), -np.inf, scores) / temperature
    top = scaled.max(axis=-1, keepdims=True)
    shifted = np.exp(scaled - np.where(np.isfinite(top), top, 0.0))
    total = shifted.sum(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted / np.where(total > 0, total, 1.0)
    return result


class Calibration:
    """Raw scores (n, L) to calibrated ones."""

    temperature_: float
    held_out_: int

    def fit(self, scores: NDArray[np.float64], names: Sequence[str], labels: Sequence[str]) -> Self:
        """Learn from held-out scores.

        Parameters
        ----------
        scores
            Shape (n, L), as :meth:`ethogram.identify.identifier.Identifier.cross_val` gives them: NaN where nothing
            was learnt of a label.
        names, labels
            The labels of the columns, and the true label of each item.
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
            chosen = top.argmax(axis=1)
            fit = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
            fit.fit(top.max(axis=1), (chosen == y).astype(float))
            # A little of the straight line is kept: isotonic steps would make ties out of different scores.
            grid = np.linspace(0.0, 1.0, 201)
            low = top.max(axis=1).min()
            bent = np.where(grid < low, grid * float(fit.predict([low])[0]) / max(low, 1e-9), fit.predict(grid))
            self._curve = (grid, np.maximum.accumulate(0.95 * bent + 0.05 * grid))
        return self

    @staticmethod
    def _temperature(x: NDArray[np.float64], y: NDArray[np.int64]) -> float:
        rows = np.arange(len(y))
        finite = x[np.isfinite(x)]
        spread = float(np.std(finite)) if finite.size > 1 else 1.0
        start = max(spread, 1e-6) / 4
        if len(y) == 0 or x.shape[1] < 2:
            return start

        def loss(log_t: float) -> float:
            p = softmax(x, start * np.exp(log_t))[rows, y]
            # The second term stands for one item's worth of doubt: without errors the best temperature would be 0.
            return float(-np.log(np.maximum(p, 1e-12)).sum() + 0.5 * log_t**2)

        best = minimize_scalar(loss, bounds=(-6.0, 6.0), method="bounded")
        return float(start * np.exp(best.x))

    def predict_proba(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated scores, shape (n, L), each 0 to 1, in the order of the raw ones.

        With n held-out items nothing can be surer than (n + 1) of (n + 2) (the rule of succession).
        """
        if not hasattr(self, "temperature_"):
            raise UsageError("Calibration turns no scores before it is fitted")
        p = softmax(scores, self.temperature_)
        if self._curve is not None:
            p = np.interp(p, *self._curve)
        known = self.held_out_ / (self.held_out_ + 2)
        result: NDArray[np.float64] = known * p + (1 - known) / max(p.shape[1], 2)
        return result
