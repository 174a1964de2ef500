"""Nearest-neighbour identification: a label scores as its most similar known fingerprint.

Shapes: n items, m library fingerprints, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from ethogram.identify.identifier import Identifier, Represent, Term, require_labels
from ethogram.schema import ServiceMatrix, Windows

__all__ = ["Compare", "NearestFingerprint", "best_of_labels", "similarity_terms"]

Compare = Callable[[ServiceMatrix, ServiceMatrix], Iterator[tuple[int, NDArray[np.float64]]]]
"""Yields similarities block by block: the first row of a block, and (rows, m) similarities."""

BestOf = Literal["best", "mean_of_3", "prototype"]


class NearestFingerprint(Identifier):
    """Score of a label: similarity to its nearest fingerprint.

    Parameters
    ----------
    represent
        Turns counts into weights per service.
    compare
        Similarities of two matrices, block by block, so that memory does not grow with the number of items.
    similarity
        Name of what ``compare`` computes; decides how a similarity is split into terms.
    best_of
        ``best``, ``mean_of_3`` (the three nearest), or ``prototype`` (the mean fingerprint of each label).
    quantity
        Name of the weights in evidence.
    idf
        Multiply the weight of each service by its inverse document frequency over labels.
    """

    def __init__(
        self,
        represent: Represent,
        compare: Compare,
        similarity: str = "ruzicka",
        best_of: BestOf = "best",
        quantity: str = "weight",
        idf: bool = False,
    ) -> None:
        self.represent = represent
        self.compare = compare
        self.similarity = similarity
        self.best_of = best_of
        self.quantity = quantity
        self.idf = idf

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Store the fingerprints, sorted by label."""
        self.labels_ = require_labels(windows, labels)
        matrix = self.represent(windows)
        self.weights_ = inverse_frequency(matrix, labels) if self.idf else None
        matrix = self._weighed(matrix)
        if self.best_of == "prototype":
            self.matrix_ = prototypes(matrix, labels, self.labels_)
            self.starts_ = np.arange(len(self.labels_))
            return self
        order, self.starts_ = _by_label(labels, self.labels_)
        self.matrix_ = matrix.take(order)
        return self

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Similarities to the labels, shape (n, L), in [0, 1]."""
        self.require_fit()
        return self.matrix_scores(self._weighed(self.represent(windows)))

    def _weighed(self, matrix: ServiceMatrix) -> ServiceMatrix:
        """Apply the inverse document frequencies; unseen services get the largest one."""
        if self.weights_ is None:
            return matrix
        most = max(self.weights_.values(), default=1.0)
        factor = np.array([self.weights_.get(name, most) for name in matrix.services])
        return ServiceMatrix(matrix.indptr, matrix.indices, matrix.weights * factor[matrix.indices], matrix.services)

    def matrix_scores(self, items: ServiceMatrix) -> NDArray[np.float64]:
        """Like :meth:`decision_function`, for items that are already represented (and weighted)."""
        self.require_fit()
        result = np.empty((len(items), len(self.labels_)))
        for start, block in self.compare(items, self.matrix_):
            result[start : start + len(block)] = best_of_labels(block, self.starts_, self.best_of)
        return result

    def cross_val(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Held-out scores from one comparison in which fingerprints of the same group are masked."""
        if self.best_of == "prototype" or self.idf:
            return super().cross_val(windows, labels, groups)
        names = require_labels(windows, labels)
        order, starts = _by_label(labels, names)
        matrix = self.represent(windows)
        library, library_groups = matrix.take(order), groups[order]
        result = np.empty((len(windows), len(names)))
        for start, block in self.compare(matrix, library):
            same_group = groups[start : start + len(block), None] == library_groups[None, :]
            masked = np.where(same_group, -np.inf, block)
            result[start : start + len(block)] = best_of_labels(masked, starts, self.best_of)
        return names, np.where(np.isfinite(result), result, np.nan)

    def explain(self, windows: Windows, labels: Sequence[str]) -> list[list[Term]]:
        """One term per service of the item or of the nearest fingerprints of the label."""
        self.require_fit()
        items = self._weighed(self.represent(windows))
        at = {name: j for j, name in enumerate(self.labels_)}
        ends = [*self.starts_[1:], len(self.matrix_)]
        explained: list[list[Term]] = []
        for start, block in self.compare(items, self.matrix_):
            for i, similarities in enumerate(block, start):
                first, end = int(self.starts_[at[labels[i]]]), int(ends[at[labels[i]]])
                count = min(3, end - first) if self.best_of == "mean_of_3" else 1
                nearest = first + np.argsort(-similarities[first:end], kind="stable")[:count]
                explained.append(self._terms(items.row(i), [self.matrix_.row(int(row)) for row in nearest]))
        return explained

    def _terms(self, observed: dict[str, float], nearest: list[dict[str, float]]) -> list[Term]:
        sums: dict[str, list[float]] = {}
        for expected in nearest:
            for service, contribution in similarity_terms(observed, expected, self.similarity).items():
                term = sums.setdefault(service, [0.0, 0.0])
                term[0] += expected.get(service, 0.0) / len(nearest)
                term[1] += contribution / len(nearest)
        return [Term(s, self.quantity, observed.get(s, 0.0), e, c) for s, (e, c) in sums.items()]


def best_of_labels(block: NDArray[np.float64], starts: NDArray[np.int64], best_of: str = "best") -> NDArray[np.float64]:
    """Reduce similarities (n, m) to a library sorted by label to (n, L); -inf marks fingerprints to ignore."""
    if block.shape[0] == 0:
        return np.empty((0, len(starts)))
    if best_of != "mean_of_3":
        best: NDArray[np.float64] = np.maximum.reduceat(block, starts, axis=1)
        return best
    result = np.empty((len(block), len(starts)))
    for at, (start, end) in enumerate(zip(starts, [*starts[1:], block.shape[1]], strict=True)):
        part = -np.partition(-block[:, start:end], min(2, end - start - 1), axis=1)[:, :3]
        known = np.isfinite(part)
        count = known.sum(axis=1)
        total = np.where(known, part, 0.0).sum(axis=1)
        result[:, at] = np.where(count > 0, total / np.maximum(count, 1), -np.inf)
    return result


def prototypes(matrix: ServiceMatrix, labels: Sequence[str], names: Sequence[str]) -> ServiceMatrix:
    """Mean weights of each label, shape (L, services)."""
    column = {name: j for j, name in enumerate(names)}
    owner = np.array([column[name] for name in labels], dtype=np.int64)
    rows = np.repeat(owner, np.diff(matrix.indptr))
    width = max(len(matrix.services), 1)
    cell, inverse = np.unique(rows * width + matrix.indices, return_inverse=True)
    sums = np.bincount(inverse, weights=matrix.weights, minlength=cell.size)
    sizes = np.bincount(owner, minlength=len(names))
    label = cell // width
    return ServiceMatrix.from_coordinates(label, cell % width, sums / sizes[label], matrix.services, len(names))


def inverse_frequency(matrix: ServiceMatrix, labels: Sequence[str]) -> dict[str, float]:
    """log(1 + L / number of labels with the service) by service; positive even for a service that all labels share."""
    owner = np.unique(np.array(labels), return_inverse=True)[1]
    pairs = np.unique(np.repeat(owner, np.diff(matrix.indptr)) * max(len(matrix.services), 1) + matrix.indices)
    labels_with = np.bincount(pairs % max(len(matrix.services), 1), minlength=len(matrix.services))
    count = len(set(labels))
    return {name: float(np.log1p(count / n)) for name, n in zip(matrix.services, labels_with, strict=True) if n}


def similarity_terms(a: dict[str, float], b: dict[str, float], kind: str) -> dict[str, float]:
    """Contribution of each service to the similarity of two fingerprints; they sum to the similarity.

    >>> similarity_terms({"UDP/53": 3.0, "TCP/443": 2.0}, {"UDP/53": 2.0, "TCP/443": 3.0}, "ruzicka")
    {'TCP/443': 0.3333333333333333, 'UDP/53': 0.3333333333333333}
    """
    services = sorted(set(a) | set(b))
    total_a, total_b = sum(a.values()), sum(b.values())
    if total_a == 0 or total_b == 0:
        return dict.fromkeys(services, 0.0)
    x = np.array([a.get(s, 0.0) for s in services])
    y = np.array([b.get(s, 0.0) for s in services])
    if kind == "cosine":
        parts = x * y / np.sqrt((x**2).sum() * (y**2).sum())
    elif kind == "total_variation":
        parts = np.minimum(x / total_a, y / total_b)
    else:
        shared = np.minimum(x, y)
        whole = {"ruzicka": np.maximum(x, y).sum(), "containment_dynamic": total_a, "containment_static": total_b}[kind]
        parts = shared / whole
    return dict(zip(services, parts.tolist(), strict=True))


def _by_label(labels: Sequence[str], names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order of the items by label, and the first position of each label in it."""
    column = {name: j for j, name in enumerate(names)}
    owner = np.array([column[name] for name in labels], dtype=np.int64)
    order = np.argsort(owner, kind="stable")
    return order, np.searchsorted(owner[order], np.arange(len(names)))
