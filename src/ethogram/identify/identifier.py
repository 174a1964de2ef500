"""Interface of identification methods: fit on labelled windows, score new ones.

Shapes: n items, L labels.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import LibraryError, UsageError
from ethogram.schema import ServiceMatrix, Windows

__all__ = ["Identifier", "Represent", "Term", "average", "folds_by_time", "mean_of_sums", "require_labels"]

Represent = Callable[[Windows], ServiceMatrix]
"""Turns counts into weights per service; passed in by the pipeline, as this package does not import fingerprinting."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a raw score.

    Parameters
    ----------
    service, quantity
        What is compared, such as TCP/443 and *share*.
    observed, expected
        Value of the item and of the library, in the unit of the quantity; NaN where there is none.
    contribution
        Part of the raw score due to this term.
    """

    service: str
    quantity: str
    observed: float
    expected: float
    contribution: float


def average(scores: NDArray[np.float64], owner: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Mean row of each owner, shape (count, L); NaN for an owner without rows."""
    sums = np.zeros((count, scores.shape[1]))
    np.add.at(sums, owner, scores)
    return mean_of_sums(sums, owner)


def mean_of_sums(sums: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide the sum of each owner, shape (count, L), by its number of rows; NaN for an owner without rows."""
    sizes = np.bincount(owner, minlength=len(sums))[:, None].astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = sums / np.where(sizes > 0, sizes, np.nan)
    return mean


class Identifier(ABC):
    """Base class of all methods.

    As in scikit-learn, the constructor only stores its arguments, ``fit`` returns self, and fitted attributes end in
    an underscore. Raw scores may have any unit; higher is more alike, and scores of one item are comparable between
    labels.
    """

    labels_: list[str]
    pooled_: str = ""
    """Name of the method's figures that were learnt on other networks; '' where there are none."""

    @abstractmethod
    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Fit on n labelled items."""

    def fit_parts(self, windows: Windows, labels: Sequence[str], owner: NDArray[np.int64]) -> Self:  # noqa: ARG002
        """Fit on parts of items; ``owner`` is the item of each part, for methods that hold out items while they fit."""
        return self.fit(windows, labels)

    def refit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Fit on the items of the last fit and a few more; what few items hardly change may be kept."""
        return self.fit(windows, labels)

    def refit_parts(self, windows: Windows, labels: Sequence[str], owner: NDArray[np.int64]) -> Self:
        """As :meth:`refit`, on parts of items; see :meth:`fit_parts`."""
        return self.fit_parts(windows, labels, owner)

    @abstractmethod
    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Raw scores, shape (n, L), columns in the order of ``labels_``; all finite."""

    def decision_parts(self, windows: Windows, owner: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """Mean raw scores of parts, (count, L); NaN for an item without parts. See :meth:`explain_parts`."""
        return average(self.decision_function(windows), owner, count)

    def explain(self, windows: Windows, labels: Sequence[str]) -> Sequence[Sequence[Term]]:  # noqa: ARG002
        """Terms that add up to the raw score of the given label, for each item; empty if the method has none."""
        self.require_fit()
        return [[] for _ in range(len(windows))]

    def explain_parts(
        self, windows: Windows, labels: Sequence[str], owner: NDArray[np.int64], count: int
    ) -> Sequence[Sequence[Term]]:
        """Terms of parts averaged over ``count`` items; a term that is absent in a part counts as 0.

        Parameters
        ----------
        windows, labels
            The parts, and the label to explain each with.
        owner
            Item of each part, shape (parts,), ascending; every item has a part.
        count
            Number of items.
        """
        sums: list[dict[tuple[str, str], list[float]]] = [{} for _ in range(count)]
        for item, terms in zip(owner, self.explain(windows, labels), strict=True):
            for term in terms:
                total = sums[item].setdefault((term.service, term.quantity), [0.0, 0.0, 0.0])
                total[0] += 0.0 if math.isnan(term.observed) else term.observed
                total[1] += 0.0 if math.isnan(term.expected) else term.expected
                total[2] += term.contribution
        sizes = np.bincount(owner, minlength=count).tolist()
        return [
            [Term(*key, *(value / size for value in total)) for key, total in totals.items()]
            for totals, size in zip(sums, sizes, strict=True)
        ]

    def require_fit(self) -> None:
        """Raise :class:`~ethogram.errors.UsageError` unless fitted."""
        if not getattr(self, "labels_", None):
            raise UsageError(f"{type(self).__name__} is not fitted yet; call fit first")

    def cross_val(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Scores of enrolment items by models fitted without their group.

        Parameters
        ----------
        windows, labels
            Enrolment items.
        groups
            Group of each item, shape (n,); the items of one group are held out together.

        Returns
        -------
        tuple
            Labels of the columns, and scores (n, L); NaN where a label has no item outside the group.
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
    """Check the arguments of ``fit``; return the distinct labels, sorted."""
    if len(labels) != len(windows):
        raise UsageError(f"{len(windows)} items, but {len(labels)} labels")
    if not labels:
        raise LibraryError("nothing to fit on: the library is empty")
    return sorted(set(labels))


def folds_by_time(windows: Windows, folds: int) -> NDArray[np.int64]:
    """Assign enrolment items to folds: consecutive blocks of time within each device.

    The items of a device are cut into at most ``folds`` blocks, so that items close in time are held out together. Fold
    k holds block k of every device, so that one unit of a product cannot stand in for another at the same time.
    """
    device = windows.items["device"].to_numpy()
    start = windows.items["start"].to_physical().to_numpy()
    order = np.lexsort((start, device))
    groups = np.zeros(len(windows), dtype=np.int64)
    for block in np.split(order, np.flatnonzero(device[order][1:] != device[order][:-1]) + 1):
        groups[block] = np.arange(block.size) * min(folds, block.size) // max(block.size, 1)
    return groups
