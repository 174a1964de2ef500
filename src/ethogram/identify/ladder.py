"""Combine evidence at several levels into one consistent answer: vendor, kind, family and model with probabilities.

With candidates v (and *none of them*), kinds k, enrolled models m of a vendor and kind, and platforms q, of which
several may hold at once:

    P(q)        1 / (1 + exp(-z . x_q))
    P(v)        softmax over candidates of  w . x_v,  against  b . (1, named, MAC)  for none of them
    P(k | v)    softmax over kinds of       u . x_vk,  where x_vk holds the log share of kind k among devices of v,
                and how much likelier k is among the devices of an operating system q, as far as P(q) goes
    P(m | v, k) exp(a r_m + c) / (1 + sum over models of v and k of the same)         r_m: log likelihood ratio
    P(k) = sum over v of P(v) P(k | v)     P(v, k) = P(v) P(k | v)     P(m) = P(v, k) P(m | v, k)

so that no label is more probable than the labels above it. The weights are shared by all vendors and all kinds (a
conditional logit), hence they hold for vendors that no network of the training data had. They are fitted by maximum a
posteriori on networks and vendors left out, around stated prior means; a feature that the training data lacks keeps its
prior mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.schema import NETWORK_EQUIPMENT, LadderEvidence, LadderTerm

__all__ = [
    "KIND_PRIORS", "MODEL_PRIORS", "NONE", "PLATFORM_PRIORS", "VENDOR_PRIORS", "Ladder", "LadderDecision",
    "LadderWeights",
]  # fmt: skip

NONE = ""
"""Label of *none of the candidates*."""
LEAST_SHARE = 0.01
"""A kind that a vendor is not known to make keeps this share."""
_MOST_LOGIT = 5.0  # no platform is surer than .993: the logarithms of shares stay finite
LEAST_BASE = 1e-4
"""A kind has at least this share among devices of unknown vendor."""

VENDOR_PRIORS: dict[str, float] = {
    "name strong": 4.0, "name fair": 3.0, "name weak": 1.0, "own domain": 2.0, "share of names": 2.0,
    "owner": 1.0, "mac vendor": 4.0, "host name vendor": 6.0, "announced vendor": 6.0,
    "port vendor": 1.0, "group vendor": 1.0, "stated": 8.0, "library": 0.4,
    "none": 2.5, "none named": 0.0, "none mac": 0.0,
}  # fmt: skip
"""Prior mean of each weight of vendors, in nats. ``none`` is the offset of no candidate.

No corpus holds what devices call themselves, so the priors of host names and announcements stay: a strong row of the
pack, alone, makes a vendor as sure as rows are meant to (above nine in ten).
"""

KIND_PRIORS: dict[str, float] = {
    "share": 1.0, "port strong": 2.0, "port fair": 1.0, "port weak": 0.3, "group strong": 2.0, "group fair": 1.0,
    "group weak": 0.3, "word strong": 2.0, "word fair": 1.0, "word weak": 0.3, "name kind strong": 2.0,
    "name kind fair": 1.0, "name kind weak": 0.3, "host name strong": 5.0, "host name fair": 1.5, "host name weak": 0.5,
    "announced strong": 5.0, "announced fair": 1.5, "announced weak": 0.5, "mac strong": 2.0, "mac fair": 1.0,
    "mac weak": 0.3, "stated": 8.0, "breadth": 0.7, "behaviour": 0.5, "library": 0.2, "library family": 0.4,
    "network equipment": -1.0, "equipment port": 6.0,
    "platform share": 1.25,
}  # fmt: skip
"""Prior mean of each weight of kinds, in nats.

Those of host names and announcements stay as they are, as those of vendors do. A share of an operating system is one of
a vendor's in all but name, hence it begins at what the weight of these turned out to be.
"""

PLATFORM_PRIORS: dict[str, float] = {
    "offset": -1.5, "name platform": 5.0, "host name platform": 5.0, "announced platform": 5.0, "mac platform": 4.0,
    "port platform": 3.0, "group platform": 3.0,
}  # fmt: skip
"""Prior mean of each weight of platforms, in nats; a row of the pack is worth 1, 0.6 or 0.3 of it by its weight."""
MODULE_MAKER = "module-maker"
"""The MAC is of a maker of radio modules: that tells no platform."""

MODEL_PRIORS: dict[str, float] = {"ratio": 0.4, "offset": -1.5}
"""Prior mean of slope and offset of the log likelihood ratio of a model."""

_VENDOR_PLACE, _KIND_PLACE, _PLATFORM_PLACE = (
    {name: j for j, name in enumerate(priors)} for priors in (VENDOR_PRIORS, KIND_PRIORS, PLATFORM_PRIORS)
)


@dataclass(frozen=True)
class LadderWeights:
    """Weights of the ladder.

    Parameters
    ----------
    vendor, kind, model, platform
        By feature; see :data:`VENDOR_PRIORS`, :data:`KIND_PRIORS`, :data:`MODEL_PRIORS`, :data:`PLATFORM_PRIORS`.
    thresholds
        By level: the least probability at which a label is probable enough to be shown.
    sure
        By level: the least probability at which a label is stated as what the device is. It allows one wrong statement
        in twenty, and a missing one is that of ``thresholds``.
    """

    vendor: Mapping[str, float] = field(default_factory=lambda: dict(VENDOR_PRIORS))
    kind: Mapping[str, float] = field(default_factory=lambda: dict(KIND_PRIORS))
    model: Mapping[str, float] = field(default_factory=lambda: dict(MODEL_PRIORS))
    platform: Mapping[str, float] = field(default_factory=lambda: dict(PLATFORM_PRIORS))
    thresholds: Mapping[str, float] = field(default_factory=dict)
    sure: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LadderDecision:
    """Probabilities of one device at each level, most probable first.

    Parameters
    ----------
    vendors, kinds, models
        Probability by label. What is missing to 1 is *none of them*.
    families
        Probability by vendor and kind.
    platforms
        Probability by platform; several may hold at once.
    """

    vendors: dict[str, float]
    kinds: dict[str, float]
    families: dict[tuple[str, str], float]
    models: dict[str, float]
    platforms: dict[str, float]


class Ladder:
    """Probabilities of vendors, kinds, families and models from evidence.

    Examples
    --------
    >>> evidence = LadderEvidence(
    ...     terms=[LadderTerm("vendor", "maker", "name strong", 1.0)],
    ...     vendor_kinds={"maker": {"camera": 1.0}},
    ...     base_kinds={"camera": 0.5, "plug": 0.5},
    ... )
    >>> decision = Ladder().decide([evidence])[0]
    >>> decision.vendors["maker"] > 0.5, decision.kinds["camera"] > 0.5
    (True, True)
    """

    def __init__(self, weights: LadderWeights | None = None) -> None:
        self.weights = weights or LadderWeights()

    def decide(self, evidence: Sequence[LadderEvidence]) -> list[LadderDecision]:
        """Probabilities of n devices."""
        of_vendor = vector(self.weights.vendor, VENDOR_PRIORS)
        of_kind = vector(self.weights.kind, KIND_PRIORS)
        logs = _KindLogs()
        return [self._decide(item, of_vendor, of_kind, logs) for item in evidence]

    def _decide(
        self, item: LadderEvidence, of_vendor: NDArray[np.float64], of_kind: NDArray[np.float64], logs: _KindLogs
    ) -> LadderDecision:  # fmt: skip
        vendors, of_vendors = vendor_features(item)
        vendor_p = softmax(of_vendors @ of_vendor)
        platforms = platform_shares(item, self.weights.platform)
        kinds, of_kinds = kind_features(item, vendors, platforms, logs)
        kind_p = softmax(of_kinds @ of_kind)
        family_p = vendor_p[:, None] * kind_p
        by_kind = family_p.sum(axis=0)
        families = _ranked_families(vendors, tuple(kinds), family_p)
        return LadderDecision(
            vendors=_ranked({v: p for v, p in zip(vendors, vendor_p.tolist(), strict=True) if v != NONE}),
            kinds=_ranked(dict(zip(kinds, by_kind.tolist(), strict=True))),
            families=families,
            models=_ranked(self._models(item, families)),
            platforms=_ranked(platforms),
        )

    def explain_vendor(self, item: LadderEvidence, vendor: str) -> list[tuple[LadderTerm, float]]:
        """Terms that speak for a vendor, each with its nats, the largest first."""
        terms = [term for term in item.terms if term.level == "vendor" and term.label == vendor]
        return _weighed(terms, self.weights.vendor, VENDOR_PRIORS)

    def explain_kind(
        self, item: LadderEvidence, kind: str, vendor: str = NONE, platforms: Mapping[str, float] | None = None
    ) -> list[tuple[LadderTerm, float]]:  # fmt: skip
        """Terms that speak for a kind of a vendor, each with its nats relative to an average kind.

        ``platforms`` are those of the decision; by default they are computed.
        """
        terms = [
            term for term in item.terms
            if term.label == kind and (term.level == "kind" or (term.level == "family" and term.vendor == vendor))
        ]  # fmt: skip
        share = item.vendor_kinds.get(vendor, {}).get(kind, 0.0)
        if share > 0.0:
            usual = np.log(share + LEAST_SHARE) - np.log(item.base_kinds.get(kind, 0.0) + LEAST_SHARE)
            terms.append(LadderTerm("kind", kind, "share", float(usual), f"{share:.0%} of its vendor's devices"))
        if platforms is None:
            platforms = platform_shares(item, self.weights.platform)
        for system, p in platforms.items():
            of_system = item.platform_kinds.get(system, {}).get(kind, 0.0)
            if of_system > 0.0:
                value = float(_log_ratio(p, of_system, item.base_kinds.get(kind, 0.0)))
                terms.append(LadderTerm("kind", kind, "platform share", value, system))
        return _weighed(terms, self.weights.kind, KIND_PRIORS)

    def _models(self, item: LadderEvidence, families: Mapping[tuple[str, str], float]) -> dict[str, float]:
        slope, offset = self.weights.model["ratio"], self.weights.model["offset"]
        terms = [term for term in item.terms if term.level == "model"]
        odds = {term.label: float(np.exp(min(slope * term.value + offset, 30.0))) for term in terms}
        total: dict[tuple[str, str], float] = {}
        for term in terms:
            family = (term.vendor, term.kind)
            total[family] = total.get(family, 0.0) + odds[term.label]
        return {
            term.label: families.get((term.vendor, term.kind), 0.0)
            * odds[term.label] / (1.0 + total[term.vendor, term.kind])
            for term in terms
        }  # fmt: skip


def _weighed(
    terms: Sequence[LadderTerm], weights: Mapping[str, float], priors: Mapping[str, float]
) -> list[tuple[LadderTerm, float]]:
    weighed = [(term, weights.get(term.feature, priors[term.feature]) * term.value) for term in terms]
    return sorted(weighed, key=lambda pair: (-pair[1], pair[0].text))


def _ranked(probabilities: Mapping[str, float]) -> dict[str, float]:
    """The most probable label first, and labels of equal probability in order."""
    labels = sorted(sorted(probabilities), key=probabilities.__getitem__, reverse=True)
    return {label: probabilities[label] for label in labels}


def _ranked_families(
    vendors: Sequence[str], kinds: tuple[str, ...], probabilities: NDArray[np.float64]
) -> dict[tuple[str, str], float]:
    """Families of probabilities (V, K), the most probable one first; equal ones in order of their text."""
    named = sorted((v for v, vendor in enumerate(vendors) if vendor != NONE), key=lambda v: repr(vendors[v]))
    columns = _order_of_texts(kinds)
    flat = probabilities[np.ix_(named, columns)].ravel()
    labels = [(vendors[v], kinds[k]) for v in named for k in columns]
    order = np.argsort(-flat, kind="stable")
    return dict(zip([labels[i] for i in order.tolist()], flat[order].tolist(), strict=True))


@lru_cache(maxsize=16)
def _order_of_texts(labels: tuple[str, ...]) -> list[int]:
    return sorted(range(len(labels)), key=lambda i: repr(labels[i]))


class _KindLogs:
    """Logarithms of the shares of kinds, computed once for each table of shares."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[Mapping[str, float], NDArray[np.float64]]] = {}

    def of(self, shares: Mapping[str, float], kinds: Sequence[str]) -> NDArray[np.float64]:
        """Shares of kinds, (K)."""
        row = self._rows.get(id(shares))
        if row is None or len(row[1]) != len(kinds):
            values = np.log(np.array([shares.get(kind, 0.0) for kind in kinds]) + LEAST_SHARE)
            row = self._rows[id(shares)] = (shares, values)  # the table stays alive, hence its id is its own
        return row[1]


def vector(weights: Mapping[str, float], priors: Mapping[str, float]) -> NDArray[np.float64]:
    """Weights in the order of their priors; a missing one has its prior mean."""
    return np.array([weights.get(name, prior) for name, prior in priors.items()])


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def vendor_features(item: LadderEvidence) -> tuple[list[str], NDArray[np.float64]]:
    """Candidates, :data:`NONE` first, and their features (V, F) in the order of :data:`VENDOR_PRIORS`."""
    terms = [term for term in item.terms if term.level == "vendor"]
    vendors = [NONE, *sorted({term.label for term in terms})]
    row = {vendor: i for i, vendor in enumerate(vendors)}
    column = _VENDOR_PLACE
    features = np.zeros((len(vendors), len(VENDOR_PRIORS)))
    for term in terms:
        at = row[term.label], column[term.feature]
        features[at] = max(features[at], term.value)
    named = [column[name] for name in ("name strong", "name fair", "name weak")]
    for vendor in vendors[1:]:
        owner = item.owners.get(vendor, vendor)
        if owner != vendor and owner in row:
            features[row[vendor], column["owner"]] = features[row[owner], named].max()
    features[0, column["none"]] = 1.0
    features[0, column["none named"]] = float(item.named)
    features[0, column["none mac"]] = float(item.has_mac)
    return vendors, features


def kind_features(
    item: LadderEvidence, vendors: Sequence[str], platforms: Mapping[str, float], logs: _KindLogs | None = None
) -> tuple[list[str], NDArray[np.float64]]:
    """Kinds, and their features (V, K, F) for each candidate, in the order of :data:`KIND_PRIORS`.

    ``platforms`` has the probability of each platform; ``logs`` is shared by items of the same kinds.
    """
    logs = logs or _KindLogs()
    kinds = sorted(item.base_kinds)
    column = {kind: k for k, kind in enumerate(kinds)}
    row = {vendor: i for i, vendor in enumerate(vendors)}
    place = _KIND_PLACE
    features = np.zeros((len(vendors), len(kinds), len(KIND_PRIORS)))
    base = np.array([item.base_kinds[kind] for kind in kinds])
    for vendor, v in row.items():
        features[v, :, place["share"]] = logs.of(item.vendor_kinds.get(vendor) or item.base_kinds, kinds)
    equipment = [column[kind] for kind in NETWORK_EQUIPMENT if kind in column]
    features[:, equipment, place["network equipment"]] = 1.0
    systems = [system for system in platforms if system in item.platform_kinds]
    if systems:  # of several, the likeliest one
        system = max(systems, key=lambda name: (platforms[name], name))
        of_system = np.array([item.platform_kinds[system].get(kind, 0.0) for kind in kinds])
        features[:, :, place["platform share"]] = _log_ratio(platforms[system], of_system, base)
    for term in item.terms:
        if term.label not in column:
            continue
        k = column[term.label]
        if term.level == "kind":
            features[:, k, place[term.feature]] += term.value
        elif term.level == "family" and term.vendor in row:
            at = row[term.vendor], k, place[term.feature]
            features[at] = max(features[at], term.value)
    return kinds, features


def _log_ratio(p: float, of_system: NDArray[np.float64] | float, base: NDArray[np.float64] | float) -> Any:
    """Log of how much likelier kinds are with an operating system of probability p than without."""
    usual = np.maximum(base, LEAST_BASE)
    return np.log(p * np.asarray(of_system) + (1.0 - p) * usual) - np.log(usual)


def platform_features(item: LadderEvidence) -> tuple[list[str], NDArray[np.float64]]:
    """Candidates for the platform and their features (P, F) in the order of :data:`PLATFORM_PRIORS`.

    Several ports of one platform support each other, so their strengths add up.
    """
    terms = [term for term in item.terms if term.level == "platform" and term.label != MODULE_MAKER]
    platforms = sorted({term.label for term in terms})
    row = {platform: i for i, platform in enumerate(platforms)}
    column = _PLATFORM_PLACE
    features = np.zeros((len(platforms), len(PLATFORM_PRIORS)))
    features[:, column["offset"]] = 1.0
    for term in terms:
        features[row[term.label], column[term.feature]] += term.value
    return platforms, features


def platform_shares(item: LadderEvidence, weights: Mapping[str, float]) -> dict[str, float]:
    """Probability of each platform; several may hold at once."""
    platforms, features = platform_features(item)
    if not platforms:
        return {}
    logits = np.clip(features @ vector(weights, PLATFORM_PRIORS), -_MOST_LOGIT, _MOST_LOGIT)
    shares = 1.0 / (1.0 + np.exp(-logits))
    return dict(zip(platforms, shares.tolist(), strict=True))
