"""Fits of the probabilities of platforms, each laboratory left out: a part of the page of the first minute.

The first line is what ships (:func:`ethogram.bench.ladder.fit.fit_weights`); the others change the votes or the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ethogram.bench.ladder.items import CONDITIONS
from ethogram.bench.ladder.measure import LadderMeasurement
from ethogram.identify import metrics
from ethogram.identify.ladder import PLATFORM_PRIORS, platform_features
from ethogram.report.tables import table_lines

__all__ = ["platform_fit_lines"]

Floats = NDArray[np.float64]
_TOLD = ("name platform", "host name platform", "announced platform", "mac platform")
_MOST_LOGIT = 8.0


@dataclass(frozen=True)
class _Claims:
    """Claims whose truth is known.

    Parameters
    ----------
    features, holds
        (N, F) Evidence in the order of :data:`PLATFORM_PRIORS`, and (N) whether the claim holds.
    site, platform
        (N) Where the device was recorded, and what is claimed.
    tested
        (N) Whether all sources were at hand; the others are only fitted on.
    """

    features: Floats
    holds: Floats
    site: NDArray[np.str_]
    platform: NDArray[np.str_]
    tested: NDArray[np.bool_]

    def shared_votes(self, rows: NDArray[np.bool_]) -> Floats:
        """One vote for the claims of one platform by the same evidence at one site."""
        at = np.flatnonzero(rows)
        keys = [(str(self.site[i]), str(self.platform[i]), *self.features[i].tolist()) for i in at]
        return np.array([1 / keys.count(key) for key in keys])

    def device_votes(self, rows: NDArray[np.bool_]) -> Floats:
        """One vote for each device, shared by the conditions."""
        return np.full(int(rows.sum()), 1 / len(CONDITIONS))


Votes = Callable[[NDArray[np.bool_]], Floats]
Fit = Callable[[NDArray[np.bool_], NDArray[np.bool_]], Floats]


def platform_fit_lines(measurement: LadderMeasurement) -> list[str]:
    """Table of the fits."""
    claims = _claims(measurement)
    shared, each = claims.shared_votes, claims.device_votes
    fits: dict[str, Fit] = {
        "one vote per laboratory, platform and evidence (taken)": _regression(claims, shared, 2.0),
        "the same, precision 0.5": _regression(claims, shared, 0.5),
        "every device has a vote": _regression(claims, each, 2.0),
        "every device has a vote, precision 0.1": _regression(claims, each, 0.1),
        "share right by class of evidence: name or MAC, several ports, one port": _class_shares(claims),
        "share right of the platform, shrunk to that of its class with strength 2": _class_shares(claims, 2.0),
    }
    right = claims.holds[claims.tested] > 0
    body = []
    for name, fit in fits.items():
        p = np.zeros(len(claims.holds))
        for site in np.unique(claims.site):
            mine = claims.tested & (claims.site == site)
            p[mine] = fit(claims.site != site, mine)
        stated = p[claims.tested].clip(1e-6, 1 - 1e-6)
        loss = -np.mean(np.where(right, np.log(stated), np.log(1 - stated)))
        body.append([name, f"{metrics.calibration_error(stated, right):.2f}", f"{np.mean((stated - right) ** 2):.3f}",
                     f"{loss:.3f}"])  # fmt: skip
    return table_lines(["fit", "calibration error", "Brier score", "log loss"], body)


def _claims(measurement: LadderMeasurement) -> _Claims:
    items = measurement.items
    rows = []
    for condition in CONDITIONS:
        for site in items.tested_sites:
            for item in items.tested(site):
                platforms, features = platform_features(measurement.public(condition)[item])
                known = items.truth[item].platforms
                rows += [(row, known[platform], site, platform, condition == CONDITIONS[0])
                         for platform, row in zip(platforms, features, strict=True) if platform in known]  # fmt: skip
    features, holds, sites, platforms, tested = zip(*rows, strict=True)
    return _Claims(np.array(features), np.array(holds, float), np.array(sites), np.array(platforms), np.array(tested))


def _regression(claims: _Claims, votes: Votes, precision: float) -> Fit:
    means = np.array(list(PLATFORM_PRIORS.values()))

    def fit(rows: NDArray[np.bool_], asked: NDArray[np.bool_]) -> Floats:
        x, y, weight = claims.features[rows], claims.holds[rows], votes(rows)

        def loss(at: Floats) -> float:
            logits, moved = x @ at, at - means
            return float(0.5 * precision * moved @ moved + weight @ (np.logaddexp(0, logits) - y * logits))

        logits = claims.features[asked] @ minimize(loss, means).x
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -_MOST_LOGIT, _MOST_LOGIT))))

    return fit


def _class_shares(claims: _Claims, strength: float | None = None) -> Fit:
    names = list(PLATFORM_PRIORS)
    told = claims.features[:, [names.index(name) for name in _TOLD]].max(axis=1) > 0
    ports = claims.features[:, [names.index("port platform"), names.index("group platform")]].sum(axis=1)
    classes = np.where(told, 0, np.where(ports > 0.9, 1, 2))

    def fit(rows: NDArray[np.bool_], asked: NDArray[np.bool_]) -> Floats:
        weight = 1 / len(CONDITIONS)
        shares = []
        for i in np.flatnonzero(asked):
            alike = rows & (classes == classes[i])
            share = (weight * claims.holds[alike].sum() + 1) / (weight * alike.sum() + 2)
            if strength is not None:
                same = alike & (claims.platform == claims.platform[i])
                share = (weight * claims.holds[same].sum() + strength * share) / (weight * same.sum() + strength)
            shares.append(share)
        return np.array(shares)

    return fit
