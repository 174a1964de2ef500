"""Terms of a raw score in columns: thousands for each item, of which a verdict shows a dozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ethogram.identify.identifier import Term

__all__ = ["TermTable", "merge_terms"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class TermTable(Sequence[Term]):
    """A sequence of terms, kept as columns.

    Parameters
    ----------
    kinds
        Services and quantities by code, shared by many tables.
    code
        (T) service and quantity of each term.
    columns
        (3, T) observed, expected and contribution.
    """

    def __init__(self, kinds: Sequence[tuple[str, str]], code: Ints, columns: Floats) -> None:
        self.kinds, self.code, self.columns = kinds, code, columns

    def __len__(self) -> int:
        return len(self.code)

    @overload
    def __getitem__(self, index: int) -> Term: ...
    @overload
    def __getitem__(self, index: slice) -> TermTable: ...
    def __getitem__(self, index: int | slice) -> Term | TermTable:
        if isinstance(index, slice):
            return TermTable(self.kinds, self.code[index], self.columns[:, index])
        return Term(*self.kinds[int(self.code[index])], *self.columns[:, index].tolist())

    def split_largest(self, most: int) -> tuple[list[Term], TermTable]:
        """Terms among which the ``most`` with the largest contribution are, and all others.

        More than ``most`` are returned where contributions are equal.
        """
        size = np.abs(self.columns[2])
        if len(size) <= most:
            return list(self), self[:0]
        large = size >= np.partition(size, len(size) - most)[len(size) - most]
        rest = TermTable(self.kinds, self.code[~large], self.columns[:, ~large])
        return list(TermTable(self.kinds, self.code[large], self.columns[:, large])), rest


def merge_terms(parts: Sequence[tuple[float, Sequence[Sequence[Term]]]]) -> list[Sequence[Term]]:
    """Weighted terms of several parts of a score, for each item; equal terms are merged.

    Parameters
    ----------
    parts
        Weight and terms of each item, by part. Observed and expected are those of the last part with the term.
    """
    place: dict[tuple[str, str], int] = {}
    kinds: list[tuple[str, str]] = []
    translated: dict[int, Ints] = {}

    def number(kind: tuple[str, str]) -> int:
        if kind not in place:
            place[kind] = len(kinds)
            kinds.append(kind)
        return place[kind]

    def columns_of(terms: Sequence[Term]) -> tuple[Ints, Floats]:
        if isinstance(terms, TermTable):
            if id(terms.kinds) not in translated:
                translated[id(terms.kinds)] = np.array([number(kind) for kind in terms.kinds], np.int64)
            return translated[id(terms.kinds)][terms.code], terms.columns
        code = np.array([number((term.service, term.quantity)) for term in terms], np.int64)
        rows = [(term.observed, term.expected, term.contribution) for term in terms]
        return code, np.array(rows, np.float64).reshape(-1, 3).T

    merged: list[Sequence[Term]] = []
    for of_item in zip(*(terms for _, terms in parts), strict=True):
        codes, columns = [], []
        for (weight, _), terms in zip(parts, of_item, strict=True):
            code, values = columns_of(terms)
            codes.append(code)
            columns.append(values * np.array([[1.0], [1.0], [weight]]))
        code, values = np.concatenate(codes), np.concatenate(columns, axis=1)
        there = np.zeros(len(kinds), bool)
        there[code] = True
        distinct = np.flatnonzero(there)
        at = np.searchsorted(distinct, code) if len(distinct) < len(kinds) else code
        result = np.zeros((3, distinct.size))
        result[:2, at] = values[:2]  # the last one stays
        result[2] = np.bincount(at, weights=values[2], minlength=distinct.size)
        merged.append(TermTable(kinds, distinct, result))
    return merged
