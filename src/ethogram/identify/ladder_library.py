"""What a library of known products says of the levels of the ladder: vendor, kind, family and model.

The raw score of :class:`~ethogram.identify.cross_network.CrossNetwork` is the log likelihood ratio to the nearest
window of a product. The best product of a vendor speaks for that vendor, the best product of a kind for that kind.
:class:`~ethogram.identify.behaviour.Behaviour` speaks for kinds alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from ethogram.errors import UsageError
from ethogram.identify.behaviour import Behaviour
from ethogram.identify.cross_network import CrossNetwork
from ethogram.identify.library import Identity
from ethogram.schema import LadderEvidence, LadderTerm, Windows

__all__ = ["LadderLibrary"]

MOST_RATIO = 12.0
"""Nats beyond which a larger log likelihood ratio says nothing more."""
BEHAVIOUR_TEXT = "volumes, packet sizes and directions of its traffic"
MOST_MODELS = 12
"""Models considered of one item, the nearest first."""


class LadderLibrary:
    """Terms of the ladder from a library.

    Parameters
    ----------
    behaviour
        Fitted behaviour of kinds; None: fit it on the library, which takes longer.

    Attributes
    ----------
    models_
        (L) Model, vendor and kind of each column; empty where the library does not name them.
    """

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour_ = behaviour

    def fit(self, windows: Windows, identities: Sequence[Identity]) -> Self:
        """Fit on the windows of a library and the identity of each."""
        names = [(who.at("model"), who.vendor, who.type) for who in identities]
        self.models_ = sorted(set(names))
        number = {name: f"{i:06}" for i, name in enumerate(self.models_)}
        self.products_ = CrossNetwork().fit(windows, [number[name] for name in names])
        kinds = [kind for _, _, kind in names]
        known = [i for i, kind in enumerate(kinds) if kind]
        if self.behaviour_ is None and known:
            self.behaviour_ = Behaviour().fit(windows.take(known), [kinds[i] for i in known])
        return self

    @classmethod
    def of_fitted(
        cls, products: CrossNetwork, models: Sequence[tuple[str, str, str]], behaviour: Behaviour | None
    ) -> Self:
        """A library from its fitted parts: products, the model, vendor and kind of each, and the behaviour of kinds.

        Raises
        ------
        UsageError
            When the parts do not belong together.
        """
        if len(models) != len(products.labels_):
            raise UsageError(f"{len(products.labels_):,} products, but {len(models):,} models")
        library = cls(behaviour)
        library.models_, library.products_ = list(models), products
        return library

    def add_terms(self, evidence: Sequence[LadderEvidence], windows: Windows) -> None:
        """Add terms to the evidence of n items.

        Raises
        ------
        UsageError
            When the library is not fitted.
        """
        if not hasattr(self, "models_"):
            raise UsageError("LadderLibrary is not fitted yet; call fit first")
        ratios = self.products_.decision_function(windows)
        nearest = np.argsort(-ratios, axis=1, kind="stable")[:, :MOST_MODELS]
        values = np.take_along_axis(ratios, nearest, axis=1)
        for item, columns, row in zip(evidence, nearest.tolist(), values.tolist(), strict=True):
            self._add_products(item, columns, row)
        if self.behaviour_ is not None:
            logs = self.behaviour_.predict_log_proba(windows) + np.log(len(self.behaviour_.kinds_))
            for item, kinds in zip(evidence, logs.tolist(), strict=True):
                item.terms += [
                    LadderTerm("kind", kind, "behaviour", value, BEHAVIOUR_TEXT, "library")
                    for kind, value in zip(self.behaviour_.kinds_, kinds, strict=True)
                ]

    def _add_products(self, item: LadderEvidence, columns: Sequence[int], ratios: Sequence[float]) -> None:
        """Terms of the nearest models, each with its log likelihood ratio."""
        vendors: dict[str, LadderTerm] = {}
        kinds: dict[str, LadderTerm] = {}
        families: dict[tuple[str, str], LadderTerm] = {}
        for column, ratio in zip(columns, ratios, strict=True):
            model, vendor, kind = self.models_[column]
            text = f"traffic like {model}"
            item.terms.append(LadderTerm("model", model, "ratio", ratio, text, "library", vendor, kind))
            if ratio <= 0.0:
                continue
            value = min(ratio, MOST_RATIO)
            if vendor:
                vendors.setdefault(vendor, LadderTerm("vendor", vendor, "library", value, text, "library"))
            if kind:
                kinds.setdefault(kind, LadderTerm("kind", kind, "library", value, text, "library"))
            if vendor and kind:
                term = LadderTerm("family", kind, "library family", value, text, "library", vendor)
                families.setdefault((vendor, kind), term)
        item.terms += [*vendors.values(), *kinds.values(), *families.values()]
