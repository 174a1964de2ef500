"""All the evidence there is, added up: how much a device does of each service, what the services are, and the names.

    score = mean of the likelihood ratios over windows of one and of six hours     (how much of what, how steadily)
          + half the ratio of services and their packet sizes                      (what the nearest window was like)
          + half the ratio of names, asked for or talked to

The second and third look at the same traffic again, so they count half. They carry what the first cannot say: a day on
which a device does nothing that it did before, and yet asks for the same names. Where no label was seen twice there is
no spread to learn; then the cross-network ratio stands alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.identify.aggregate import Averaged
from ethogram.identify.cross_network import PARTS, CrossNetwork
from ethogram.identify.identifier import Identifier, Term, require_labels
from ethogram.identify.likelihood import LikelihoodRatios
from ethogram.schema import Windows

__all__ = ["WeightOfEvidence"]


class WeightOfEvidence(Identifier):
    """Weighted sum of identifiers whose raw scores are log likelihood ratios.

    Parameters
    ----------
    scales_s
        Windows in seconds that the likelihood ratios are learnt on; items that are shorter stay whole.
    nearest
        Weight of each ratio to the nearest window.
    """

    def __init__(self, scales_s: Sequence[int] = (3600, 21_600), nearest: float = 0.5) -> None:
        self.scales_s = tuple(scales_s)
        self.nearest = nearest

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Learn every part from the same items."""
        self.labels_ = require_labels(windows, labels)
        self.parts_: list[tuple[float, Identifier]] = [
            (weight, part.fit(windows, labels)) for weight, part in self._unfitted(labels)
        ]
        return self

    def _unfitted(self, labels: Sequence[str]) -> Iterator[tuple[float, Identifier]]:
        _, seen = np.unique(np.array(labels), return_counts=True)
        # Half of the labels must have been seen twice before a spread that is pooled over them means anything.
        if np.median(seen) < 2:
            yield 1.0, CrossNetwork()
            return
        for scale in self.scales_s:
            yield 1.0 / len(self.scales_s), Averaged(LikelihoodRatios(), scale)
        for part in PARTS:
            yield self.nearest, CrossNetwork(name_sizes=False, asked=True, parts=(part,))

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Sum of the parts' scores, shape (n, L)."""
        self.require_fit()
        total = np.zeros((len(windows), len(self.labels_)))
        for weight, part in self.parts_:
            total += weight * part.decision_function(windows)
        return total

    def cross_val(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Sum of what each part says without the group."""
        names = require_labels(windows, labels)
        total = np.zeros((len(windows), len(names)))
        for weight, part in self._unfitted(labels):
            total += weight * part.cross_val(windows, labels, groups)[1]
        return names, total

    def explain(self, windows: Windows, labels: Sequence[str]) -> list[list[Term]]:
        """The parts' terms, each with its part's weight; the same term of two parts is one."""
        self.require_fit()
        merged: list[dict[tuple[str, str], Term]] = [{} for _ in range(len(windows))]
        for weight, part in self.parts_:
            for mine, terms in zip(merged, part.explain(windows, labels), strict=True):
                for term in terms:
                    key = (term.service, term.quantity)
                    before = mine[key].contribution if key in mine else 0.0
                    mine[key] = replace(term, contribution=before + weight * term.contribution)
        return [list(terms.values()) for terms in merged]
