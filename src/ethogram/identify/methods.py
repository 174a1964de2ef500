"""The registry of identification methods by name, used by commands, benchmark tasks and contract tests."""

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
    """Fingerprint representation and similarity, passed in because this package does not import fingerprinting.

    Parameters
    ----------
    represent
        Turns counts into weights per service.
    compare
        Similarities of two weight matrices, block by block.
    similarity, quantity
        Names of the similarity and of the weights in evidence.
    """

    represent: Represent
    compare: Compare
    similarity: str = "ruzicka"
    quantity: str = "weight"


METHODS: dict[str, Callable[[Featurizer, IdentifySettings], Identifier]] = {
    "nearest": lambda features, s: NearestFingerprint(
        features.represent, features.compare, features.similarity, s.best_of, features.quantity, idf=s.idf
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
"""Factories by method name. Only ``four-totals`` needs an optional extra."""

NEED_STATISTICS = frozenset({"random-forest", "gradient-boosting"})
"""Methods that need flow statistics of windows, which counts alone do not provide."""


def identifier(featurizer: Featurizer, settings: IdentifySettings | None = None) -> Identifier:
    """Build the method of the settings; with ``window_s``, average it over windows of that length.

    Raises
    ------
    ConfigurationError
        When the method is unknown or cannot be averaged.
    """
    options = settings or IdentifySettings()
    if options.method not in METHODS:
        raise ConfigurationError(f"no method {options.method!r}; there are {', '.join(METHODS)}")
    if options.window_s is not None and options.method in NEED_STATISTICS:
        raise ConfigurationError(f"{options.method} reads flow statistics, which belong to whole windows: no window_s")
    method = METHODS[options.method](featurizer, options)
    return method if options.window_s is None else Averaged(method, options.window_s)
