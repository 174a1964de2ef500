"""Similarity of fingerprints: a plain implementation as reference, and a compiled one for many at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.errors import EthogramError
from ethogram.schema import ServiceMatrix

__all__ = ["Similarity", "blocks", "pairwise", "similarity"]

COMPILER = Compiler.of(__file__)

Similarity = Literal["ruzicka", "cosine", "total_variation", "containment_dynamic", "containment_static"]

_RUZICKA, _COSINE, _TOTAL_VARIATION, _CONTAINMENT_DYNAMIC, _CONTAINMENT_STATIC = range(5)
_KINDS: dict[str, int] = {
    "ruzicka": _RUZICKA, "cosine": _COSINE, "total_variation": _TOTAL_VARIATION,
    "containment_dynamic": _CONTAINMENT_DYNAMIC, "containment_static": _CONTAINMENT_STATIC,
}  # fmt: skip

Number = int | float | Fraction


def similarity(a: Mapping[str, Number], b: Mapping[str, Number], kind: Similarity = "ruzicka") -> Number:
    """Compare two fingerprints; exact for weights that are integers or fractions, except for cosine.

    Parameters
    ----------
    a, b
        Non-negative weight of each service. For containment ``a`` is what was observed (R), ``b`` the profile (M).
    kind
        ``ruzicka``: sum of minima over sum of maxima; ``cosine``; ``total_variation``: 1 - half the sum of
        differences of the weights scaled to add up to 1; ``containment_dynamic``: share of R that is in M;
        ``containment_static``: share of M that is in R.

    Returns
    -------
    similarity
        0 to 1. Two empty fingerprints have similarity 1, an empty and a non-empty one 0.

    Examples
    --------
    >>> a = {"UDP/53": Fraction(60, 100), "TCP/443": Fraction(35, 100), "UDP/123": Fraction(5, 100)}
    >>> b = {"UDP/53": Fraction(40, 100), "TCP/443": Fraction(55, 100), "TCP/8883": Fraction(5, 100)}
    >>> similarity(a, b)
    Fraction(3, 5)
    """
    services = sorted(set(a) | set(b))
    pairs = [(a.get(name, 0), b.get(name, 0)) for name in services]
    total_a, total_b = sum(x for x, _ in pairs), sum(y for _, y in pairs)
    if total_a == 0 or total_b == 0:
        return int(total_a == total_b)
    if kind == "cosine":
        norm = sqrt(sum(float(x) ** 2 for x, _ in pairs)) * sqrt(sum(float(y) ** 2 for _, y in pairs))
        return min(1.0, sum(float(x) * float(y) for x, y in pairs) / norm)
    if kind == "total_variation":
        return sum(min(_over(x, total_a), _over(y, total_b)) for x, y in pairs)
    shared = sum(min(x, y) for x, y in pairs)
    if kind == "ruzicka":
        return _over(shared, sum(max(x, y) for x, y in pairs))
    return _over(shared, total_a if kind == "containment_dynamic" else total_b)


def _over(x: Number, y: Number) -> Number:
    return x / y if isinstance(x, float) or isinstance(y, float) else Fraction(x) / Fraction(y)


def pairwise(a: ServiceMatrix, b: ServiceMatrix | None = None, kind: Similarity = "ruzicka") -> NDArray[np.float64]:
    """Compare every fingerprint of ``a`` (N) with every one of ``b`` (M; by default ``a`` itself).

    For integer weights the sums are exact and only the last division rounds; pass levels instead of shares where that
    matters.

    Returns
    -------
    similarities
        (N, M) float64; as :func:`similarity` for each pair.

    Examples
    --------
    >>> m = ServiceMatrix.from_rows([{"UDP/53": 3, "TCP/443": 2}, {"UDP/53": 2, "TCP/443": 3}])
    >>> pairwise(m).round(3).tolist()
    [[1.0, 0.667], [0.667, 1.0]]
    """
    left, right = (a, a) if b is None else a.aligned(b)
    result = np.empty((len(left), len(right)), dtype=np.float64)
    for start, block in blocks(left, right, kind):
        result[start : start + len(block)] = block
    return result


def blocks(
    a: ServiceMatrix, b: ServiceMatrix, kind: Similarity = "ruzicka", rows: int = 4096
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """As :func:`pairwise`, ``rows`` rows of ``a`` at a time, so that memory does not grow with ``a``.

    Yields
    ------
    start, similarities
        First row of the block, and its similarities (rows, M).
    """
    if kind not in _KINDS:
        raise EthogramError(f"no similarity {kind!r}")
    left, right = a.aligned(b)
    weights_a = _scaled(left, kind)
    weights_b = _scaled(right, kind)
    pointer, items, posted = _postings(right.indptr, right.indices, weights_b, len(right.services))
    totals_a, totals_b = _totals(left.indptr, weights_a), _totals(right.indptr, weights_b)
    for start in range(0, len(left), rows):
        end = min(start + rows, len(left))
        block = np.zeros((end - start, len(right)), dtype=np.float64)
        _compare(
            left.indptr[start : end + 1], left.indices, weights_a, totals_a[start:end],
            pointer, items, posted, totals_b, _KINDS[kind], block,
        )  # fmt: skip
        yield start, block


def _scaled(matrix: ServiceMatrix, kind: Similarity) -> NDArray[np.float64]:
    """Weights for the kernel: scaled to unit length for cosine, to unit sum for total variation."""
    if kind not in ("cosine", "total_variation"):
        return matrix.weights
    powered = matrix.weights**2 if kind == "cosine" else matrix.weights
    norm = _totals(matrix.indptr, powered)
    norm = np.sqrt(norm) if kind == "cosine" else norm
    scaled: NDArray[np.float64] = matrix.weights / np.repeat(np.where(norm > 0, norm, 1.0), np.diff(matrix.indptr))
    return scaled


@COMPILER.checked
def _totals(indptr: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of each row, in the order of its columns, as in the comparison."""
    totals = np.zeros(len(indptr) - 1)
    for i in range(len(totals)):
        for z in range(indptr[i], indptr[i + 1]):
            totals[i] += weights[z]
    return totals


@COMPILER.checked
def _postings(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], weights: NDArray[np.float64], services: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Invert the matrix: for each service, the rows that have it, and their weights."""
    pointer = np.zeros(services + 1, dtype=np.int64)
    for z in range(len(indices)):
        pointer[indices[z] + 1] += 1
    for s in range(services):
        pointer[s + 1] += pointer[s]
    place = pointer[:-1].copy()
    items = np.empty(len(indices), dtype=np.int32)
    posted = np.empty(len(indices), dtype=np.float64)
    for i in range(len(indptr) - 1):
        for z in range(indptr[i], indptr[i + 1]):
            at = place[indices[z]]
            items[at] = i
            posted[at] = weights[z]
            place[indices[z]] += 1
    return pointer, items, posted


@COMPILER.checked
def _compare(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], weights: NDArray[np.float64], totals: NDArray[np.float64],
    pointer: NDArray[np.int64], items: NDArray[np.int32], posted: NDArray[np.float64], totals_b: NDArray[np.float64],
    kind: int, out: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill ``out`` (N, M), zeros on entry: sum what is shared over the services, then divide."""
    for i in range(out.shape[0]):
        row = out[i]
        for z in range(indptr[i], indptr[i + 1]):
            w = weights[z]
            for p in range(pointer[indices[z]], pointer[indices[z] + 1]):
                if kind == _COSINE:
                    row[items[p]] += w * posted[p]
                else:
                    row[items[p]] += min(w, posted[p])
        for j in range(out.shape[1]):
            a, b = totals[i], totals_b[j]
            if a == 0 or b == 0:
                row[j] = 1.0 if a == b else 0.0
            elif kind == _RUZICKA:
                # sum of maxima = sum of both totals - sum of minima
                row[j] = min(1.0, row[j] / (a + b - row[j]))
            elif kind == _CONTAINMENT_DYNAMIC:
                row[j] = min(1.0, row[j] / a)
            elif kind == _CONTAINMENT_STATIC:
                row[j] = min(1.0, row[j] / b)
            else:
                row[j] = min(1.0, row[j])
