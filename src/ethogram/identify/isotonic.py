"""Isotonic regression: the non-decreasing curve through (x, y) with the least squared error.

The same curve as ``sklearn.isotonic.IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")``, which takes a second
to import. SciPy is imported when a curve is fitted: a library that was learnt before is read without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["IsotonicCurve"]

Floats = NDArray[np.float64]
SAME = 1e-15  # values of x closer than this are one value


@dataclass(frozen=True)
class IsotonicCurve:
    """A non-decreasing piecewise linear curve with values in [0, 1].

    Parameters
    ----------
    x, y
        (K) points; constant before the first and after the last.

    Examples
    --------
    >>> curve = IsotonicCurve.fit(np.array([0.1, 0.2, 0.3]), np.array([0.0, 1.0, 0.0]))
    >>> curve(np.array([0.0, 0.15, 1.0])).tolist()
    [0.0, 0.25, 0.5]
    """

    x: Floats
    y: Floats

    @classmethod
    def fit(cls, x: Floats, y: Floats) -> Self:
        """Fit n points, n >= 1, with finite x and y; points with one x are averaged first."""
        from scipy.optimize import isotonic_regression

        order = np.lexsort((y, x))
        x, y = x[order], y[order]
        first = np.concatenate([[0], np.flatnonzero(np.diff(x) >= SAME) + 1])
        weight = np.diff([*first, x.size]).astype(np.float64)
        levels = isotonic_regression(np.add.reduceat(y, first) / weight, weights=weight).x
        return cls(x[first], np.clip(levels, 0.0, 1.0))

    def __call__(self, x: Floats) -> Floats:
        """Values of the curve at x, of the same shape."""
        return np.asarray(np.interp(x, self.x, self.y), np.float64)
