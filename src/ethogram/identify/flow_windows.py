"""Embedded flows of items, the input of flow classifiers. N flows, n items, D dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import UsageError

__all__ = ["FlowWindows"]


@dataclass(frozen=True)
class FlowWindows:
    """Embeddings of the custom flows of n items.

    Parameters
    ----------
    z
        float32 [N, D].
    owner
        [N] item of each flow.
    items
        n; an item may have no flow.

    Examples
    --------
    >>> some = FlowWindows(np.eye(3, dtype=np.float32), np.array([0, 2, 2]), 3)
    >>> some.flows.tolist(), len(some.take([2, 1]).z)
    ([1, 0, 2], 2)
    """

    z: NDArray[np.float32]
    owner: NDArray[np.int64]
    items: int

    def __post_init__(self) -> None:
        if self.z.ndim != 2 or self.owner.shape != (len(self.z),):
            raise UsageError(f"embeddings {list(self.z.shape)} and owners {list(self.owner.shape)} differ in length")
        if len(self.owner) and (self.owner.min() < 0 or self.owner.max() >= self.items):
            raise UsageError(f"a flow belongs to none of the {self.items} items")

    def __len__(self) -> int:
        return self.items

    @property
    def flows(self) -> NDArray[np.int64]:
        """Number of flows of each item, [n]."""
        return np.bincount(self.owner, minlength=self.items).astype(np.int64)

    def take(self, items: Sequence[int] | NDArray[np.integer]) -> FlowWindows:
        """A subset of the items, renumbered from 0 in the given order."""
        numbers = np.asarray(items, dtype=np.int64)
        order = np.argsort(self.owner, kind="stable")
        first = np.searchsorted(self.owner[order], np.arange(self.items + 1))
        lengths = (first[1:] - first[:-1])[numbers]
        new = np.repeat(np.arange(numbers.size), lengths)
        offsets = first[:-1][numbers] - (np.cumsum(lengths) - lengths)
        source = np.arange(int(lengths.sum())) + np.repeat(offsets, lengths)
        return FlowWindows(self.z[order[source]], new, int(numbers.size))

    def rows(self, most: int, seed: int = 0) -> NDArray[np.int64]:
        """Rows of at most ``most`` flows of each item, drawn uniformly with a fixed seed; ascending."""
        random = np.random.default_rng([seed, 0xF10])
        shuffled = random.permutation(len(self.owner))
        owner = self.owner[shuffled]
        order = np.argsort(owner, kind="stable")
        place = np.empty(len(owner), np.int64)
        place[order] = np.arange(len(owner)) - np.searchsorted(owner[order], owner[order])
        return np.sort(shuffled[place < most])

    def capped(self, most: int, seed: int = 0) -> FlowWindows:
        """The same items with at most ``most`` flows each."""
        rows = self.rows(most, seed)
        return FlowWindows(self.z[rows], self.owner[rows], self.items)

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of values [N, K] over the flows of each item; NaN for items without flows."""
        sums = np.zeros((self.items, values.shape[1]))
        np.add.at(sums, self.owner, values)
        count = self.flows[:, None].astype(np.float64)
        with np.errstate(invalid="ignore"):
            result: NDArray[np.float64] = sums / np.where(count > 0, count, np.nan)
        return result
