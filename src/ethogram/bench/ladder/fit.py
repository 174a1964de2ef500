"""Fit the weights of the ladder: maximum a posteriori around the prior means, on devices whose network was left out.

With prior means w0 and precision r, the weights of vendors maximise

    sum over devices of  a log P(true vendor)  -  r/2 |w - w0|^2

where a device whose vendor is no candidate counts as *none of them*. Those of platforms maximise the log probability of
what is publicly known of the product's platforms (:mod:`ethogram.corpora.platforms`), those of kinds the log
probability of the true kind, summed over the candidates for the vendor. Thresholds maximise right - cost * wrong on the
same devices: at :data:`SHOWN_COST` for what is shown as probable, at :data:`SURE_COST` for what a device is said to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ethogram.bench.ladder.items import Truth
from ethogram.identify.ladder import (
    KIND_PRIORS,
    MODEL_PRIORS,
    NONE,
    PLATFORM_PRIORS,
    VENDOR_PRIORS,
    LadderDecision,
    LadderWeights,
    kind_features,
    platform_features,
    platform_shares,
    softmax,
    vector,
    vendor_features,
)
from ethogram.schema import LadderEvidence

__all__ = [
    "KIND_PRECISION", "PLATFORM_PRECISION", "SHOWN_COST", "SURE_COST", "VENDOR_PRECISION", "Example", "SameVendor",
    "fit_weights", "thresholds_for",
]  # fmt: skip

VENDOR_PRECISION, KIND_PRECISION = 2.0, 32.0
"""Precision of the prior around the prior means of vendors and of kinds.

Of 2, 8 and 32, these give the largest log probability of the truth when each site is left out of the fit, in ten of ten
selections for vendors and eight of ten for kinds: what tells kinds differs more between sites.
"""

PLATFORM_PRECISION = 2.0
"""That of vendors: there are too few products with a known platform to choose one."""

SHOWN_COST = {"vendor": 2.0, "kind": 4.0, "kinds": 2.0, "family": 2.0, "model": 8.0, "platform": 2.0}
"""What a wrong label that is shown as probable costs, in right ones: 2, as in the utility of a statement.

One kind alone costs more, since two kinds may be shown instead, and a wrong model hides a family that may be right.
"""

SURE_COST = dict.fromkeys(SHOWN_COST, 19.0)
"""What a wrong statement costs: one in twenty breaks even."""

SameVendor = Callable[[str, str], bool]
"""Whether two vendors count as one: the same brand, or a brand and its owner."""


@dataclass(frozen=True)
class Example:
    """Evidence about a device whose truth is known.

    Parameters
    ----------
    evidence, truth
        What is at hand about the device, and what it is.
    weight
        Of the device in the fit.
    site
        Where it was recorded. Claims of one platform by the same evidence at one site hold or fail together, so that
        they count as one.
    """

    evidence: LadderEvidence
    truth: Truth
    weight: float = 1.0
    site: str = ""


def fit_weights(examples: Sequence[Example], same: SameVendor) -> LadderWeights:
    """Fit all weights; thresholds are left empty."""
    platform = _fit_platforms(examples, PLATFORM_PRECISION)
    platform_weights = dict(zip(PLATFORM_PRIORS, platform.tolist(), strict=True))
    vendor_sets = []
    kind_sets = []
    for example in examples:
        vendors, features = vendor_features(example.evidence)
        platforms = platform_shares(example.evidence, platform_weights)
        kinds, of_kinds = kind_features(example.evidence, vendors, platforms)
        true = [i for i, name in enumerate(vendors) if name != NONE and same(name, example.truth.vendor)] or [0]
        vendor_sets.append((features, true if example.truth.vendor else None, example.weight))
        kind_sets.append((of_kinds, kinds.index(example.truth.kind) if example.truth.kind in kinds else None))
    vendor = _fit_vendors(vendor_sets, VENDOR_PRECISION)
    shares = [softmax(features @ vendor) for features, _, _ in vendor_sets]
    kind = _fit_kinds([(f, k, p, w) for (f, k), p, (_, _, w) in zip(kind_sets, shares, vendor_sets, strict=True)],
                      KIND_PRECISION)  # fmt: skip
    weights = LadderWeights(
        vendor=dict(zip(VENDOR_PRIORS, vendor.tolist(), strict=True)),
        kind=dict(zip(KIND_PRIORS, kind.tolist(), strict=True)),
        platform=platform_weights,
    )
    return replace(weights, model=_fit_models(examples))


Floats = NDArray[np.float64]


def _minimum(loss: Callable[[Floats], tuple[float, Floats]], start: Floats) -> Floats:
    result: Floats = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return result


def _fit_vendors(sets: Sequence[tuple[Floats, list[int] | None, float]], precision: float) -> Floats:
    means = vector({}, VENDOR_PRIORS)

    def loss(weights: Floats) -> tuple[float, Floats]:
        difference = weights - means
        value, gradient = 0.5 * precision * float(difference @ difference), precision * difference
        for features, true, weight in sets:
            if true is None:
                continue
            shares = softmax(features @ weights)
            posterior = np.zeros_like(shares)
            posterior[true] = shares[true]
            total = max(float(posterior.sum()), 1e-12)
            value -= weight * float(np.log(total))
            gradient = gradient - weight * ((posterior / total - shares) @ features)
        return value, gradient

    return _minimum(loss, means)


def _fit_kinds(sets: Sequence[tuple[Floats, int | None, Floats, float]], precision: float) -> Floats:
    means = vector({}, KIND_PRIORS)

    def loss(weights: Floats) -> tuple[float, Floats]:
        difference = weights - means
        value, gradient = 0.5 * precision * float(difference @ difference), precision * difference
        for features, true, vendors, weight in sets:
            if true is None:
                continue
            shares = softmax(features @ weights)
            joint = vendors * shares[:, true]
            total = max(float(joint.sum()), 1e-12)
            value -= weight * float(np.log(total))
            expected = np.einsum("vk,vkf->vf", shares, features)
            gradient = gradient - weight * ((joint / total) @ (features[:, true, :] - expected))
        return value, gradient

    return _minimum(loss, means)


def _fit_platforms(examples: Sequence[Example], precision: float) -> Floats:
    """Weights of a logistic regression over the platforms whose truth is known.

    Claims of one platform by the same evidence at one site share one vote: all devices of a scanned network answer on
    the scanner's port, and all devices of one app use its cloud.
    """
    means = vector({}, PLATFORM_PRIORS)
    features, holds, claims = [np.zeros((0, len(PLATFORM_PRIORS)))], [], []
    for example in examples:
        platforms, rows = platform_features(example.evidence)
        known = [i for i, platform in enumerate(platforms) if platform in example.truth.platforms]
        features.append(rows[known])
        holds += [example.truth.platforms[platforms[i]] for i in known]
        claims += [(example.site, platforms[i], *rows[i].tolist()) for i in known]
    together = Counter(claims)
    table, true = np.concatenate(features), np.array(holds, dtype=float)
    weight = np.array([1.0 / together[claim] for claim in claims])

    def loss(weights: Floats) -> tuple[float, Floats]:
        difference, logits = weights - means, table @ weights
        value = 0.5 * precision * float(difference @ difference)
        value += float(weight @ (np.logaddexp(0.0, logits) - true * logits))
        gradient = precision * difference + (weight * (1.0 / (1.0 + np.exp(-logits)) - true)) @ table
        return value, gradient

    return _minimum(loss, means)


def _fit_models(examples: Sequence[Example]) -> dict[str, float]:
    """Slope and offset of the log odds of an enrolled model, given its vendor and kind."""
    sets = []
    for example in examples:
        terms = [t for t in example.evidence.terms if t.level == "model"]
        family = [t for t in terms if (t.vendor, t.kind) == (example.truth.vendor, example.truth.kind)]
        true = next((i for i, term in enumerate(family) if term.label == example.truth.model), None)
        if family:
            sets.append((np.array([term.value for term in family]), true, example.weight))
    means = vector({}, MODEL_PRIORS)

    def loss(weights: Floats) -> tuple[float, Floats]:
        difference = weights - means
        value, gradient = 0.5 * float(difference @ difference), difference.copy()
        for ratios, true, weight in sets:
            logits = np.concatenate([[0.0], weights[0] * ratios + weights[1]])
            shares = softmax(logits)
            at = 0 if true is None else true + 1
            value -= weight * float(np.log(max(shares[at], 1e-12)))
            pull = -shares[1:]
            if true is not None:
                pull[true] += 1.0
            gradient = gradient - weight * np.array([float(pull @ ratios), float(pull.sum())])
        return value, gradient

    return dict(zip(MODEL_PRIORS, _minimum(loss, means).tolist(), strict=True))


def thresholds_for(
    decisions: Sequence[LadderDecision], truth: Sequence[Truth], same: SameVendor,
    same_kind: Callable[[str, str], bool], cost: Mapping[str, float] = SHOWN_COST,
) -> dict[str, float]:  # fmt: skip
    """The least probability of each level at which right - cost * wrong is largest."""
    scored: dict[str, list[tuple[float, bool]]] = {level: [] for level in cost}
    for decision, true in zip(decisions, truth, strict=True):
        if true.vendor and decision.vendors:
            label, p = next(iter(decision.vendors.items()))
            scored["vendor"].append((p, same(label, true.vendor)))
        kinds = list(decision.kinds.items())[:2]
        scored["kind"].append((kinds[0][1], same_kind(kinds[0][0], true.kind)))
        scored["kinds"].append((sum(p for _, p in kinds), any(same_kind(label, true.kind) for label, _ in kinds)))
        if true.vendor and decision.families:
            (vendor, kind), p = next(iter(decision.families.items()))
            scored["family"].append((p, same(vendor, true.vendor) and same_kind(kind, true.kind)))
        scored["platform"] += [(p, true.platforms[label]) for label, p in decision.platforms.items()
                               if label in true.platforms]  # fmt: skip
        if decision.models:
            label, p = next(iter(decision.models.items()))
            scored["model"].append((p, label == true.model))
    return {level: _threshold(pairs, cost[level]) for level, pairs in scored.items()}


def _threshold(pairs: Sequence[tuple[float, bool]], cost: float) -> float:
    """Threshold of the largest right - cost * wrong."""
    grid = np.arange(0.5, 0.996, 0.01)
    if not pairs:
        return 2 / 3
    scores, right = np.array([p for p, _ in pairs]), np.array([ok for _, ok in pairs])
    utility = np.array([(right & (scores >= t)).sum() - cost * (~right & (scores >= t)).sum() for t in grid])
    # Smoothed, since one device more or less must not move the threshold.
    smooth = np.convolve(np.pad(utility, 3, mode="edge"), np.ones(7) / 7, mode="valid")
    return round(float(grid[int(smooth.argmax())]), 2)
