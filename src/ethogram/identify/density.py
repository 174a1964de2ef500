"""Kernel densities per label and feature, evaluated in logarithmic time.

The kernel is a mixture of Laplace densities of one, four and sixteen bandwidths: a sharp peak with a heavy tail for
unusual days. Sums of Laplace kernels over sorted points follow a recurrence, forwards and backwards, so a value costs
one binary search per label instead of one exponential per point, and the result is exact.

Shapes: P known points, C labels, F features, Z values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler

__all__ = ["CLIP", "WIDE", "Densities"]

COMPILER = Compiler.of(__file__)

WIDE = 8.0  # range of the uniform part of the background, in log units
CLIP = 3.0  # terms are clipped to this many nats, so that no single value decides
SCALES = (1.0, 4.0, 16.0)
HEIGHTS = (0.5, 0.075, 0.0125)  # weight over scale of each Laplace density; weights .5, .3, .2


class Densities:
    """Log ratio of the density of each label and that of the background.

    Parameters
    ----------
    feature, label, group, value
        (P) the known points; points of one group can be held out together.
    bandwidth
        (C, F).
    pseudo
        Pseudo-count of background points added to each label.
    """

    def __init__(
        self,
        feature: NDArray[np.int64],
        label: NDArray[np.int64],
        group: NDArray[np.int64],
        value: NDArray[np.float64],
        bandwidth: NDArray[np.float64],
        pseudo: float,
    ) -> None:
        count, features = bandwidth.shape
        self.bandwidth = bandwidth
        self.pseudo = pseudo
        order = np.lexsort((value, label, feature))
        cell = feature[order] * count + label[order]
        self._pointer = np.searchsorted(cell, np.arange(features * count + 1)).astype(np.int64)
        self._value = value[order]
        width = bandwidth[label[order], feature[order]]
        self._left, self._right = _carried(self._pointer, self._value, width)
        # The same points by feature and group, to subtract a held-out group.
        self._groups = int(group.max(initial=0)) + 1
        away = np.lexsort((group, feature))
        self._away_key = feature[away] * self._groups + group[away]
        self._away_label, self._away_value = label[away], value[away]

    def terms(
        self, indptr: NDArray[np.int64], features: NDArray[np.int64], values: NDArray[np.float64],
        held: NDArray[np.int64],
    ) -> NDArray[np.float32]:  # fmt: skip
        """Terms of the values, (Z, C), clipped; 0 for a label without the feature.

        Parameters
        ----------
        indptr, features, values
            Windows in sparse rows.
        held
            Group to hold out, per window; -1 for none.
        """
        out: NDArray[np.float32] = _terms(
            indptr, features, values, held, self._pointer, self._value, self._left, self._right, self._away_key,
            self._groups, self._away_label, self._away_value, self.bandwidth, self.pseudo,
        )  # fmt: skip
        return out


@COMPILER.checked
def _carried(
    pointer: NDArray[np.int64], value: NDArray[np.float64], width: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the kernels of all points up to each point, and from each point on, at that point; (P, 3) each."""
    left, right = np.ones((len(value), 3)), np.ones((len(value), 3))
    for cell in range(len(pointer) - 1):
        first, last = pointer[cell], pointer[cell + 1]
        for k in range(3):
            for i in range(first + 1, last):
                left[i, k] += left[i - 1, k] * np.exp((value[i - 1] - value[i]) / (SCALES[k] * width[i]))
            for i in range(last - 2, first - 1, -1):
                right[i, k] += right[i + 1, k] * np.exp((value[i] - value[i + 1]) / (SCALES[k] * width[i]))
    return left, right


@COMPILER.checked
def _terms(
    indptr: NDArray[np.int64], features: NDArray[np.int64], values: NDArray[np.float64], held: NDArray[np.int64],
    pointer: NDArray[np.int64], value: NDArray[np.float64], left: NDArray[np.float64], right: NDArray[np.float64],
    away_key: NDArray[np.int64], groups: int, away_label: NDArray[np.int64], away_value: NDArray[np.float64],
    bandwidth: NDArray[np.float64], pseudo: float,
) -> NDArray[np.float32]:  # fmt: skip
    count = bandwidth.shape[0]
    out = np.zeros((len(values), count), dtype=np.float32)
    density, number = np.zeros(count), np.zeros(count)
    for i in range(len(indptr) - 1):
        for z in range(indptr[i], indptr[i + 1]):
            f, x = features[z], values[z]
            for c in range(count):
                first, last = pointer[f * count + c], pointer[f * count + c + 1]
                number[c] = last - first
                density[c] = 0.0
                if last == first:
                    continue
                after = first + np.searchsorted(value[first:last], x, side="right")
                for k in range(3):
                    h = SCALES[k] * bandwidth[c, f]
                    if after > first:
                        density[c] += HEIGHTS[k] * left[after - 1, k] * np.exp((value[after - 1] - x) / h)
                    if after < last:
                        density[c] += HEIGHTS[k] * right[after, k] * np.exp((x - value[after]) / h)
                density[c] /= 2.0 * bandwidth[c, f]
            if 0 <= held[i] < groups:
                key = f * groups + held[i]
                p = np.searchsorted(away_key, key)
                while p < len(away_key) and away_key[p] == key:
                    c = away_label[p]
                    d = abs(x - away_value[p]) / bandwidth[c, f]
                    kernel = 0.0
                    for k in range(3):
                        kernel += HEIGHTS[k] * np.exp(-d / SCALES[k])
                    density[c] = max(density[c] - kernel / (2.0 * bandwidth[c, f]), 0.0)
                    number[c] -= 1.0
                    p += 1
            total, have = 1.0 / WIDE, 1.0
            for c in range(count):
                if number[c] > 0:
                    total += density[c] / number[c]
                    have += 1.0
            background = total / have
            for c in range(count):
                if number[c] > 0:
                    term = np.log((density[c] + pseudo * background) / (number[c] + pseudo) / background)
                    out[z, c] = min(max(term, -CLIP), CLIP)
    return out
