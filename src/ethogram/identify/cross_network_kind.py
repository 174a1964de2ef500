"""Recognise the kind of a device on another network: nearest known product plus kind predicted from behaviour.

    score(label) = log likelihood ratio of the same product, to the nearest window of the label     (known product)
                 + log(K p(kind of the label))                                                      (new product)

p is predicted by a linear classifier over K kinds from behavioural statistics. For an enrolled product the ratio, from
services and names, dominates; a new product has no near window, so behaviour decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.identify.behaviour import Behaviour
from ethogram.identify.cross_network import CrossNetwork
from ethogram.identify.identifier import Identifier, Term, require_labels
from ethogram.schema import Windows

__all__ = ["CrossNetworkKind", "kind_of"]


def kind_of(label: str) -> str:
    """The kind in a label: the part after the last slash (a family is *vendor/type*), or the whole label.

    >>> kind_of("tp-link/plug"), kind_of("camera")
    ('plug', 'camera')
    """
    return label.rsplit("/", 1)[-1]


class CrossNetworkKind(Identifier):
    """:class:`CrossNetwork` without packet sizes of names, plus the log probability of the kind of each label.

    Raw scores are log likelihood ratios, in nats.
    """

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Fit the products and the behaviour of each kind."""
        self.labels_ = require_labels(windows, labels)
        self.products_ = CrossNetwork(name_sizes=False).fit(windows, labels)
        self._fit_behaviour(windows, labels)
        return self

    def _fit_behaviour(self, windows: Windows, labels: Sequence[str]) -> None:
        self.behaviour_ = Behaviour().fit(windows, [kind_of(label) for label in labels])
        kinds = self.behaviour_.kinds_
        self.columns_ = np.array([kinds.index(kind_of(label)) for label in self.labels_], dtype=np.int64)

    def _prior(self, windows: Windows) -> NDArray[np.float64]:
        logs = self.behaviour_.predict_log_proba(windows) + np.log(len(self.behaviour_.kinds_))
        result: NDArray[np.float64] = logs[:, self.columns_]
        return result

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Log likelihood ratio of each label, shape (n, L)."""
        self.require_fit()
        return self.products_.decision_function(windows) + self._prior(windows)

    def explain(self, windows: Windows, labels: Sequence[str]) -> list[list[Term]]:
        """Terms of the nearest window, followed by those of the behaviour."""
        self.require_fit()
        near = self.products_.explain(windows, labels)
        behaves = self.behaviour_.explain(windows, [kind_of(label) for label in labels])
        return [a + b for a, b in zip(near, behaves, strict=True)]
