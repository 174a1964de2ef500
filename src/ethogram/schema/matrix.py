"""Sparse matrix of fingerprints by services, with the names of the services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import EthogramError

__all__ = ["ServiceMatrix"]


@dataclass(frozen=True, eq=False)
class ServiceMatrix:
    """N items by S services in compressed sparse rows; a row is one fingerprint.

    Parameters
    ----------
    indptr
        (N + 1) row ``i`` is ``indices[indptr[i]:indptr[i + 1]]``, with as many ``weights``.
    indices
        (Z) column of each weight; strictly ascending inside a row.
    weights
        (Z) finite and not negative.
    services
        (S) the name of each column; names are distinct.

    Examples
    --------
    >>> m = ServiceMatrix.from_rows([{"TCP/443": 0.75, "UDP/53": 0.25}, {}])
    >>> len(m), m.services, m.row(0), m.row(1)
    (2, ['TCP/443', 'UDP/53'], {'TCP/443': 0.75, 'UDP/53': 0.25}, {})
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float64]
    services: list[str]

    def __post_init__(self) -> None:
        indptr, indices, weights = self.indptr, self.indices, self.weights
        if indptr.dtype != np.int64 or indices.dtype != np.int32 or weights.dtype != np.float64:
            raise EthogramError("service matrix: wrong types of its arrays")
        if indptr.ndim != 1 or len(indptr) == 0 or indptr[0] != 0 or np.any(np.diff(indptr) < 0):
            raise EthogramError("service matrix: row pointers do not ascend from 0")
        if not len(indices) == len(weights) == indptr[-1]:
            raise EthogramError("service matrix: lengths do not agree")
        if len(set(self.services)) != len(self.services):
            raise EthogramError("service matrix: a service has two columns")
        if len(indices):
            if indices.min() < 0 or indices.max() >= len(self.services):
                raise EthogramError("service matrix: a column without a service")
            row = np.repeat(np.arange(len(self)), np.diff(indptr))
            if np.any((np.diff(indices) <= 0) & (np.diff(row) == 0)):
                raise EthogramError("service matrix: columns do not ascend inside a row")
            if not np.all(np.isfinite(weights)) or weights.min() < 0:
                raise EthogramError("service matrix: a weight is negative or not finite")

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, float]], services: Sequence[str] | None = None) -> Self:
        """Create from one mapping per item; by default the columns are all names, sorted."""
        names = sorted({name for row in rows for name in row}) if services is None else list(services)
        column = {name: i for i, name in enumerate(names)}
        lengths = [len(row) for row in rows]
        pairs = [sorted((column[name], float(weight)) for name, weight in row.items()) for row in rows]
        return cls(
            np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
            np.array([c for row in pairs for c, _ in row], dtype=np.int32),
            np.array([w for row in pairs for _, w in row], dtype=np.float64),
            names,
        )

    @classmethod
    def from_coordinates(
        cls, items: NDArray[np.integer], columns: NDArray[np.integer], weights: NDArray[np.float64],
        services: Sequence[str], n_items: int,
    ) -> Self:  # fmt: skip
        """Create from three arrays of equal length, in any order; pairs (item, column) must be distinct."""
        order = np.lexsort((columns, items))
        counts = np.bincount(items, minlength=n_items) if len(items) else np.zeros(n_items, dtype=np.int64)
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            columns[order].astype(np.int32),
            weights[order].astype(np.float64),
            list(services),
        )

    def row(self, i: int) -> dict[str, float]:
        """One fingerprint as service to weight."""
        part = slice(self.indptr[i], self.indptr[i + 1])
        names = self.services
        return {names[c]: float(w) for c, w in zip(self.indices[part], self.weights[part], strict=True)}

    def take(self, items: Sequence[int] | NDArray[np.integer]) -> Self:
        """Select items, in the given order, with the same columns."""
        rows = np.asarray(items, dtype=np.int64)
        lengths = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - self.indptr[rows], lengths)
        return type(self)(indptr, self.indices[source], self.weights[source], self.services)

    def with_services(self, services: Sequence[str]) -> Self:
        """The same items with other columns, which must include all services that are used."""
        if list(services) == self.services:
            return self
        column = {name: i for i, name in enumerate(services)}
        lookup = np.array([column.get(name, -1) for name in self.services], dtype=np.int64)
        columns = lookup[self.indices] if len(self.indices) else np.zeros(0, dtype=np.int64)
        if len(columns) and columns.min() < 0:
            raise EthogramError("service matrix: a used service is not among the new columns")
        items = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        return type(self).from_coordinates(items, columns, self.weights, services, len(self))

    def aligned(self, other: ServiceMatrix) -> tuple[ServiceMatrix, ServiceMatrix]:
        """Both matrices with the sorted union of their services as columns."""
        if self.services == other.services:
            return self, other
        union = sorted(set(self.services) | set(other.services))
        return self.with_services(union), other.with_services(union)
