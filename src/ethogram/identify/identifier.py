"""What an identifier is: it learns labelled windows and scores new ones. Every method of the house is one.

Shapes: n items, L labels.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import LibraryError, UsageError
from ethogram.schema import ServiceMatrix, Windows

__all__ = ["Identifier", "Represent", "Term", "folds_by_time", "require_labels"]

Represent = Callable[[Windows], ServiceMatrix]
"""How counts become weights per service; the pipeline gives it, since identifying knows no fingerprints."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a raw score.

    Parameters
    ----------
    service, quantity
        What is compared, as TCP/443 and *share*.
    observed, expected
        The item's value and the library's, in the quantity's own unit; NaN where there is none.
    contribution
        This term's part of the raw score.
    """

    service: str
    quantity: str
    observed: float
    expected: float
    contribution: float


class Identifier(ABC):
    """Base of all methods.

    The constructor only stores; ``fit`` returns self; what is learnt ends in an underscore. Raw scores may have any
    unit, but a higher one is always more alike, and they are comparable between the labels of one item.
    """

    labels_: list[str]

    @abstractmethod
    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Learn n labelled items."""

    def fit_parts(self, windows: Windows, labels: Sequence[str], owner: NDArray[np.int64]) -> Self:  # noqa: ARG002
        """Learn parts of items; ``owner`` says whose part each is, for methods that hold out while they learn."""
        return self.fit(windows, labels)

    @abstractmethod
    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Raw scores, shape (n, L), columns in the order of ``labels_``; all finite."""

    def explain(self, windows: Windows, labels: Sequence[str]) -> list[list[Term]]:  # noqa: ARG002
        """For each item the terms that add up to its raw score of the label given for it; empty without any."""
        self.require_fit()
        return [[] for _ in range(len(windows))]

    def require_fit(self) -> None:
        """Raise unless something was learnt."""
        if not getattr(self, "labels_", None):
            raise UsageError(f"{type(self).__name__} scores nothing before it is fitted")

    def cross_val(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Scores of enrolment items by what was learnt without their group.

        Parameters
        ----------
        windows, labels
            The enrolment items.
        groups
            Shape (n,): items of one group leave together.

        Returns
        -------
        tuple
            The labels (columns), and scores of shape (n, L). Where a label has no item outside the group, its column
            is NaN: nothing is known of how it would have scored.
        """
        names = sorted(set(labels))
        column = {name: j for j, name in enumerate(names)}
        scores = np.full((len(windows), len(names)), np.nan)
        for group in np.unique(groups):
            inside = np.flatnonzero(groups == group)
            outside = np.flatnonzero(groups != group)
            if outside.size == 0:
                continue
            twin = copy.deepcopy(self).fit(windows.take(outside.tolist()), [labels[int(i)] for i in outside])
            columns = np.array([column[name] for name in twin.labels_], dtype=np.int64)
            scores[np.ix_(inside, columns)] = twin.decision_function(windows.take(inside.tolist()))
        return names, scores


def require_labels(windows: Windows, labels: Sequence[str]) -> list[str]:
    """Check what ``fit`` was given and return the labels in order, each once."""
    if len(labels) != len(windows):
        raise UsageError(f"{len(windows)} items and {len(labels)} labels do not fit together")
    if not labels:
        raise LibraryError("nothing to learn from: the library is empty")
    return sorted(set(labels))


def folds_by_time(windows: Windows, folds: int) -> NDArray[np.int64]:
    """Groups of enrolment items for holding out: successive blocks of time within each device.

    Each device's items are cut into at most ``folds`` blocks, so neighbours in time leave together; the first blocks of
    all devices are one group, and so on, so twin units cannot stand for each other at the same time.
    """
    device = windows.items["device"].to_numpy()
    start = windows.items["start"].to_physical().to_numpy()
    order = np.lexsort((start, device))
    groups = np.zeros(len(windows), dtype=np.int64)
    for block in np.split(order, np.flatnonzero(device[order][1:] != device[order][:-1]) + 1):
        groups[block] = np.arange(block.size) * min(folds, block.size) // max(block.size, 1)
    return groups
