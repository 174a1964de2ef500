"""Default method: sum of three kinds of evidence, on service volumes, on services with packet sizes, and on names.

    score = mean of the likelihood ratios over windows of one and of six hours     (volume and regularity per service)
          + 1/2 ratio of services and their packet sizes                           (nearest window)
          + 1/2 ratio of names, queried or contacted                               (nearest window)

The second and third use the same traffic as the first, so they have half its weight. They help on days when a device
behaves differently but queries the same names. One day of a device is cut into hours, so that variation within a label
is estimated from a single window, too. Where no window has volumes, as in MUD profiles, the cross-network ratio is used
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.identify.aggregate import Averaged
from ethogram.identify.cross_network import PARTS, CrossNetwork
from ethogram.identify.identifier import Identifier, Term, require_labels
from ethogram.identify.likelihood import LikelihoodRatios
from ethogram.identify.terms import merge_terms
from ethogram.schema import Windows

__all__ = ["WeightOfEvidence"]


class WeightOfEvidence(Identifier):
    """Weighted sum of identifiers whose raw scores are log likelihood ratios.

    Parameters
    ----------
    scales_s
        Window lengths in seconds of the likelihood ratios; shorter items are not cut.
    nearest
        Weight of each nearest-window ratio.
    """

    def __init__(self, scales_s: Sequence[int] = (3600, 21_600), nearest: float = 0.5) -> None:
        self.scales_s = tuple(scales_s)
        self.nearest = nearest

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Fit every part on the same items."""
        self.labels_ = require_labels(windows, labels)
        self.pooled_ = "evidence" if _has_volumes(windows) else ""
        self.parts_: list[tuple[float, Identifier]] = [
            (weight, part.fit(windows, labels)) for weight, part in self._unfitted(windows)
        ]
        return self

    def refit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """As :meth:`fit`; the likelihood ratios keep their weights. Of another kind of items, everything is fitted."""
        if not hasattr(self, "parts_") or self.pooled_ != ("evidence" if _has_volumes(windows) else ""):
            return self.fit(windows, labels)
        self.labels_ = require_labels(windows, labels)
        for _, part in self.parts_:
            part.refit(windows, labels)
        return self

    def _unfitted(self, windows: Windows) -> Iterator[tuple[float, Identifier]]:
        if not _has_volumes(windows):
            yield 1.0, CrossNetwork()
            return
        for scale in self.scales_s:
            yield 1.0 / len(self.scales_s), Averaged(LikelihoodRatios(), scale)
        for part in PARTS:
            yield self.nearest, CrossNetwork(name_sizes=False, asked=True, parts=(part,), bounded=False)

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Weighted sum of the scores of the parts, shape (n, L)."""
        self.require_fit()
        total = np.zeros((len(windows), len(self.labels_)))
        for weight, part in self.parts_:
            total += weight * part.decision_function(windows)
        return total

    def cross_val(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Weighted sum of the held-out scores of the parts."""
        names = require_labels(windows, labels)
        total = np.zeros((len(windows), len(names)))
        for weight, part in self._unfitted(windows):
            total += weight * part.cross_val(windows, labels, groups)[1]
        return names, total

    def explain(self, windows: Windows, labels: Sequence[str]) -> Sequence[Sequence[Term]]:
        """Weighted terms of the parts; equal terms of two parts are merged."""
        self.require_fit()
        return merge_terms([(weight, part.explain(windows, labels)) for weight, part in self.parts_])


def _has_volumes(windows: Windows) -> bool:
    """Whether any window has octets; a profile lists services without volumes."""
    return bool((windows.counts["octets_out"] > 0).any() or (windows.counts["octets_in"] > 0).any())
