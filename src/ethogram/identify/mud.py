"""Baseline: share of the behaviour of a device that the profile of a label permits (MUD similarity).

References
----------
RFC 8520; A. Hamza, D. Ranathunga, H. Habibi Gharakheili, M. Roughan, V. Sivaraman, Clear as MUD: Generating,
Validating and Applying IoT Behavioral Profiles, 2018 (dynamic and static similarity).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.identify.identifier import Identifier, Term, require_labels
from ethogram.identify.ports import port_matrix, port_name
from ethogram.schema import Windows

__all__ = ["MudContainment"]

_TIE = 1e-3


def _rule() -> pl.Expr:
    """A profile rule: a service with the role of the device and the scope of the remote."""
    return pl.concat_str(port_name(), pl.col("role").cast(pl.String), pl.col("scope").cast(pl.String), separator=" ")


class MudContainment(Identifier):
    """Dynamic similarity |R and M| / |R| of the observed rules (R) and the profile of the label (M).

    A profile is the union of the rules of all windows. Large profiles often tie; then the static similarity
    |R and M| / |M| decides, with weight 1/1000.
    """

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Collect the rules of each label."""
        self.labels_ = require_labels(windows, labels)
        matrix = port_matrix(windows, _rule())
        self.rules_ = matrix.services
        owner = np.searchsorted(self.labels_, np.array(labels))
        self.profile_ = np.zeros((len(self.labels_), len(self.rules_)), dtype=bool)
        self.profile_[np.repeat(owner, np.diff(matrix.indptr)), matrix.indices] = True
        return self

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Containment, shape (n, L), in [0, 1 + 1/1000]."""
        self.require_fit()
        matrix = port_matrix(windows, _rule())
        ran = np.diff(matrix.indptr)
        at = {name: j for j, name in enumerate(self.rules_)}
        columns = np.array([at.get(name, -1) for name in matrix.services], dtype=np.int64)
        used = np.zeros((len(windows), len(self.rules_)))
        target = columns[matrix.indices] if matrix.indices.size else np.zeros(0, dtype=np.int64)
        known = target >= 0
        used[np.repeat(np.arange(len(windows)), ran)[known], target[known]] = 1.0
        shared = used @ self.profile_.T.astype(np.float64)
        dynamic = shared / np.maximum(ran, 1)[:, None]
        static = shared / np.maximum(self.profile_.sum(axis=1), 1)[None, :]
        result: NDArray[np.float64] = dynamic + _TIE * static
        return result

    def explain(self, windows: Windows, labels: Sequence[str]) -> list[list[Term]]:
        """One term per observed or permitted rule."""
        self.require_fit()
        matrix = port_matrix(windows, _rule())
        explained = []
        for item, label in enumerate(labels):
            ran = set(matrix.row(item))
            allowed = {self.rules_[j] for j in np.flatnonzero(self.profile_[self.labels_.index(label)])}
            each = 1.0 / max(len(ran), 1) + _TIE / max(len(allowed), 1)
            explained.append(
                [
                    Term(
                        rule, "rule", float(rule in ran), float(rule in allowed), each if rule in ran & allowed else 0.0
                    )
                    for rule in sorted(ran | allowed)
                ]
            )
        return explained
