"""Build the identifier of a method; a list of ports is learnt during ``fit``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.bench.counts.task import CountMethod
from ethogram.fingerprint.key import learn_ports
from ethogram.identify.identifier import Identifier, Term
from ethogram.pipeline import verdicts
from ethogram.schema import Windows

__all__ = ["WithLearntPorts", "build"]


def build(method: CountMethod) -> Identifier:
    """An unfitted identifier for a method."""
    if method.learn_ports:
        return WithLearntPorts(method)
    return verdicts.build(method.identify, method.key, method.representation)


class WithLearntPorts(Identifier):
    """An identifier that keeps only ports that enrolled items use on several days, and merges all others."""

    def __init__(self, method: CountMethod) -> None:
        self.method = method

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Learn the list of ports, then fit the identifier with it."""
        named = windows.counts.join(windows.items.select("item", "device"), on="item").drop("item")
        key = self.method.key.model_copy(update={"ports": learn_ports(named)})
        inner = verdicts.build(self.method.identify, key, self.method.representation)
        self.inner_ = inner.fit(windows, labels)
        self.labels_ = inner.labels_
        return self

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Scores of the fitted identifier."""
        self.require_fit()
        return self.inner_.decision_function(windows)

    def explain(self, windows: Windows, labels: Sequence[str]) -> Sequence[Sequence[Term]]:
        """Terms of the fitted identifier."""
        self.require_fit()
        return self.inner_.explain(windows, labels)
