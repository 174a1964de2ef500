"""The table of methods: every identifier by name, so that tasks and commands choose by name and tests find them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ethogram.config import IdentifySettings
from ethogram.errors import ConfigurationError
from ethogram.identify.aggregate import Averaged
from ethogram.identify.cross_network import CrossNetwork
from ethogram.identify.cross_network_kind import CrossNetworkKind
from ethogram.identify.evidence import WeightOfEvidence
from ethogram.identify.forest import FourTotals, GradientBoosting, RandomForest
from ethogram.identify.identifier import Identifier, Represent
from ethogram.identify.likelihood import LikelihoodRatios
from ethogram.identify.mud import MudContainment
from ethogram.identify.nearest import Compare, NearestFingerprint
from ethogram.identify.nilsimsa import LocalitySensitiveHash
from ethogram.identify.ports import BagOfPorts

__all__ = ["METHODS", "NEED_STATISTICS", "Featurizer", "identifier"]


@dataclass(frozen=True)
class Featurizer:
    """What fingerprinting lends to identification: how to represent counts, and how to compare what comes of it."""

    represent: Represent
    compare: Compare
    similarity: str = "ruzicka"
    quantity: str = "weight"


METHODS: dict[str, Callable[[Featurizer, IdentifySettings], Identifier]] = {
    "nearest": lambda kit, s: NearestFingerprint(
        kit.represent, kit.compare, kit.similarity, s.best_of, kit.quantity, idf=s.idf
    ),
    "evidence": lambda _, _s: WeightOfEvidence(),
    "likelihood": lambda _, _s: LikelihoodRatios(),
    "cross-network": lambda _, _s: CrossNetwork(),
    "cross-network-families": lambda _, _s: CrossNetwork(name_sizes=False),
    "cross-network-kinds": lambda _, _s: CrossNetworkKind(),
    "random-forest": lambda _, s: RandomForest(s.seed),
    "gradient-boosting": lambda _, s: GradientBoosting(s.seed),
    "four-totals": lambda _, s: FourTotals(s.seed),
    "bag-of-ports": lambda _, _s: BagOfPorts(),
    "mud": lambda _, _s: MudContainment(),
    "locality-sensitive-hash": lambda _, _s: LocalitySensitiveHash(),
}
"""Method name to what builds it. Only ``four-totals`` needs an optional extra."""

NEED_STATISTICS = frozenset({"random-forest", "gradient-boosting"})
"""Methods that read the flow statistics of windows, which counts alone do not give."""


def identifier(kit: Featurizer, settings: IdentifySettings | None = None) -> Identifier:
    """Build the method that the settings name; with ``window_s`` it is averaged over windows of that length."""
    chosen = settings or IdentifySettings()
    if chosen.method not in METHODS:
        raise ConfigurationError(f"no method {chosen.method!r}; there are {', '.join(METHODS)}")
    if chosen.window_s is not None and chosen.method in NEED_STATISTICS:
        raise ConfigurationError(f"{chosen.method} reads flow statistics, which belong to whole windows: no window_s")
    method = METHODS[chosen.method](kit, chosen)
    return method if chosen.window_s is None else Averaged(method, chosen.window_s)
