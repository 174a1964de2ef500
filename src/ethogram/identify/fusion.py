"""Late fusion of calibrated scores from several modalities ("sides"), with one weight for each.

Each side (service-level fingerprints, embedded flows) is calibrated separately: raw score over temperature gives a log
probability, and a label that the side does not know takes a fitted constant raw score. The first side gives the prior
over all labels. Every further side redistributes probability among the labels that it knows, and leaves the others
unchanged:

    log p(label) = weight_1 log p_1(label) + weight_2 log p_2(label) + c     labels that side 2 knows
    log p(label) = log p_1(label)                                           all others

where c preserves the total probability that side 1 gave to the known labels.

Temperatures and the score of unknown labels are fitted on held-out enrolment items (a network or a block of time at a
time), with equal weight for each unit. The fusion weights are fixed by default: the sides observe the same traffic, and
few networks are available to estimate them from. They can be fitted, and so can a softening factor s <= 1
(log p * s + c); on networks that were held out from fitting, neither improved the result. An item that only one side
observes takes that side's probabilities.

Shapes: n items, L labels.

References
----------
C. Genest, J. V. Zidek: Combining Probability Distributions. Statistical Science 1986 (the logarithmic opinion pool).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import UsageError
from ethogram.identify.leave_group_out import connected_groups

__all__ = ["SECOND_WEIGHT", "Calibrator", "Fused", "Fusion", "align", "balanced_case_weights", "fused_scores"]

Floats = NDArray[np.float64]
MIN_PROBABILITY = 1e-12
MIN_LOG = -30.0  # nats: log probabilities are clipped here
SECOND_WEIGHT = 0.25
"""Weight of every side after the first, which has weight 1: it observes the same traffic, and decides near-ties."""
PRIOR_SD = 0.3
"""Standard deviation of the normal prior of a fitted weight around its fixed value."""
SOFTNESS_SD = 0.5
"""Standard deviation of the normal prior of the logarithm of the softening factor around 0."""


@dataclass(frozen=True)
class Calibrator:
    """Maps raw scores of one side to log probabilities.

    Parameters
    ----------
    temperature
        Raw score units per nat.
    stranger
        Raw score of labels that the side does not know.
    held_out
        Number of items that it was fitted on.
    """

    temperature: float
    stranger: float
    held_out: int

    def logs(self, scores: Floats, usable: NDArray[np.bool_]) -> Floats:
        """Log probabilities, (n, L), over the usable labels of each item; rows without scores are NaN."""
        observed = np.isfinite(scores).any(axis=1)
        raw = np.where(np.isfinite(scores), scores, self.stranger) / self.temperature
        raw = np.where(usable, raw, -np.inf)
        result = np.full(scores.shape, np.nan)
        result[observed] = log_softmax(raw[observed])
        return result


@dataclass(frozen=True)
class Fused:
    """Result of fusing the scores of n items.

    Parameters
    ----------
    labels
        (L) labels of the columns.
    logs
        (n, L) log probabilities; uniform for items that no side observes.
    sides
        Names of the sides.
    side_logs
        Per side (n, L): its own log probabilities; NaN for items that it does not observe.
    weights
        Per side (n): its weight for each item; 0 for items that it does not observe.
    """

    labels: list[str]
    logs: Floats
    sides: tuple[str, ...]
    side_logs: dict[str, Floats]
    weights: dict[str, Floats]

    @property
    def probabilities(self) -> Floats:
        """Probabilities (n, L); rows sum to 1."""
        result: Floats = np.exp(self.logs)
        return result


def log_softmax(raw: Floats) -> Floats:
    """Log softmax along the last axis; a row of -inf becomes uniform."""
    top = raw.max(axis=-1, keepdims=True, initial=-np.inf)
    flat = ~np.isfinite(top)
    shifted = np.where(flat, 0.0, raw - np.where(flat, 0.0, top))
    with np.errstate(divide="ignore"):
        result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def align(labels: Sequence[str], names: Sequence[str], scores: Floats) -> Floats:
    """Reorder columns from ``names`` to ``labels``; labels that are not in ``names`` get NaN."""
    place = {name: j for j, name in enumerate(names)}
    out = np.full((len(scores), len(labels)), np.nan)
    for j, label in enumerate(labels):
        if label in place:
            out[:, j] = scores[:, place[label]]
    return out


def balanced_case_weights(units: Sequence[str], groups: Sequence[object] | NDArray[np.int64]) -> Floats:
    """Weights of items that sum to 1.

    Units of one laboratory weigh the same; a laboratory weighs the square root of its number of units. Groups
    (networks) that share a unit form one laboratory: a lamp that is seen through ten tunnels is one lamp.
    """
    _, unit = np.unique(np.asarray([str(u) for u in units]), return_inverse=True)
    group = connected_groups(groups, units)
    if not unit.size:
        return np.zeros(0)
    case = 1.0 / np.bincount(unit)[unit]
    case /= np.sqrt(np.bincount(group, weights=case))[group]
    return np.asarray(case / case.sum(), np.float64)


class Fusion:
    """Fusion of any number of sides.

    Parameters
    ----------
    within
        Further sides redistribute probability among the labels that they know. Otherwise all sides form one
        logarithmic opinion pool, in which a label that a side does not know takes its stranger score.
    learn
        Fit the weights; otherwise the first side has weight 1 and every further side ``second_weight``.
    soften
        Fit a factor that limits the confidence of fused probabilities.
    second_weight
        Weight of every further side; the mean of the prior when weights are fitted.
    """

    def __init__(
        self, *, within: bool = True, learn: bool = False, soften: bool = False, second_weight: float = SECOND_WEIGHT
    ) -> None:  # fmt: skip
        self.within = within
        self.learn = learn
        self.soften = soften
        self.second_weight = second_weight

    def fit(
        self, sides: Mapping[str, Floats], names: Sequence[str], truth: Sequence[str], case: Floats | None = None,
        units: Sequence[str] | None = None,
    ) -> Self:  # fmt: skip
        """Fit on held-out scores.

        Parameters
        ----------
        sides
            Raw scores (n, L) by side: NaN for labels that a side does not know, rows of NaN for items that it does not
            observe.
        names, truth
            Label of each column, and true label of each item.
        case
            Weight of each item; default: equal weights.
        units
            Device of each item; the number of devices is the number of independent observations. Default: every item
            is independent.
        """
        self.labels_ = list(names)
        self.sides_ = tuple(sides)
        place = {name: j for j, name in enumerate(names)}
        y = np.array([place.get(label, -1) for label in truth], dtype=np.int64)
        shape = (len(y), len(self.labels_))
        for side, scores in sides.items():
            if scores.shape != shape:
                raise UsageError(f"{side}: scores {list(scores.shape)} for {shape[0]} items and {shape[1]} labels")
        weight = np.full(len(y), 1.0) if case is None else np.asarray(case, np.float64) * len(y)
        usable = _usable(sides, shape)
        can = (y >= 0) & usable[np.arange(len(y)), y] if len(y) else np.zeros(0, bool)
        self.models_ = {side: _calibrate(scores, usable, y, weight, can) for side, scores in sides.items()}
        logs = {side: self.models_[side].logs(scores, usable) for side, scores in sides.items()}
        both = can.copy()
        for side_logs in logs.values():
            both &= _observed(side_logs)
        self.fused_items_ = int(both.sum())
        seen = int(both.sum()) if units is None else len({u for u, b in zip(units, both, strict=True) if b})
        known = {side: np.isfinite(scores)[both] for side, scores in sides.items()}
        complete = {side: side_logs[both] for side, side_logs in logs.items()}
        self._fit_weights(complete, known, y[both], weight[both], seen)
        self.softness_ = self._fit_softness(complete, known, y[both], weight[both], seen)
        return self

    def _fit_weights(
        self, logs: Mapping[str, Floats], known: Mapping[str, NDArray[np.bool_]], y: NDArray[np.int64],
        weight: Floats, seen: int,
    ) -> None:  # fmt: skip
        """Weights where all sides observe an item: fixed, or maximum a posteriori under a normal prior around those."""
        count = len(self.sides_)
        start = np.array([self.second_weight if i else 1.0 for i in range(count)])
        self.weights_ = dict(zip(self.sides_, start.tolist(), strict=True))
        if not self.learn or count == 1 or len(y) < 2 or len(self.labels_) < 2:
            return
        from scipy.optimize import minimize

        rows, share = np.arange(len(y)), weight / weight.sum()
        ridge = 0.5 / (PRIOR_SD**2 * max(seen, 1))

        def loss(values: Floats) -> float:
            weights = {side: np.full(len(y), values[i]) for i, side in enumerate(self.sides_)}
            true_logs = self._combined(logs, known, weights)[rows, y]
            penalty = ridge * np.sum((values - start) ** 2)
            return float(-(share * np.maximum(true_logs, np.log(MIN_PROBABILITY))).sum() + penalty)

        optimum = minimize(loss, start, method="L-BFGS-B", bounds=[(0.0, 3.0)] * count)
        self.weights_ = {side: float(optimum.x[i]) for i, side in enumerate(self.sides_)}

    def _fit_softness(
        self, logs: Mapping[str, Floats], known: Mapping[str, NDArray[np.bool_]], y: NDArray[np.int64],
        weight: Floats, seen: int,
    ) -> float:  # fmt: skip
        """Maximum a posteriori factor of fused log probabilities, in (0, 1]."""
        if not self.soften or len(self.sides_) == 1 or len(y) < 2 or len(self.labels_) < 2:
            return 1.0
        from scipy.optimize import minimize_scalar

        weights = {side: np.full(len(y), self.weights_[side]) for side in self.sides_}
        fused = self._combined(logs, known, weights)
        rows, share = np.arange(len(y)), weight / weight.sum()

        def loss(value: float) -> float:
            true_logs = log_softmax(fused * np.exp(value))[rows, y]
            penalty = 0.5 * (value / SOFTNESS_SD) ** 2 / max(seen, 1)
            return float(-(share * np.maximum(true_logs, np.log(MIN_PROBABILITY))).sum() + penalty)

        optimum = minimize_scalar(loss, bounds=(-3.0, 0.0), method="bounded", options={"xatol": 1e-3})
        return float(np.exp(optimum.x)) if optimum.fun < loss(0.0) else 1.0

    def _combined(
        self, logs: Mapping[str, Floats], known: Mapping[str, NDArray[np.bool_]], weights: Mapping[str, Floats]
    ) -> Floats:
        """Fused log probabilities (n, L); rows that no side observes are uniform."""
        shape = next(iter(logs.values())).shape
        current, begun = np.full(shape, np.nan), np.zeros(shape[0], bool)
        base = np.ones(shape[0])
        for side, side_logs in logs.items():
            observed = _observed(side_logs)
            further = np.flatnonzero(observed & begun)
            first = observed & ~begun
            current[first], base[first] = side_logs[first], weights[side][first]
            begun |= observed
            if not further.size:
                continue
            added = side_logs[further]
            among = known[side][further] if self.within else np.isfinite(added)
            before = np.where(among, current[further], -np.inf)
            mass = _log_sum(before)
            can = np.isfinite(mass)
            # -inf times a weight of 0 would be NaN.
            pooled = np.where(np.isfinite(before), before, 0.0) * base[further][:, None]
            pooled += np.where(np.isfinite(added), added, 0.0) * weights[side][further][:, None]
            pooled = np.where(np.isfinite(before) & np.isfinite(added), pooled, -np.inf)
            moved = log_softmax(pooled) + np.where(can, mass, 0.0)[:, None]
            current[further] = np.where(among & can[:, None], moved, current[further])
            base[further] = 1.0
        current[~begun] = 0.0
        return log_softmax(current)

    def transform(self, sides: Mapping[str, Floats]) -> Fused:
        """Fuse raw scores of new items, with columns in the order of ``labels_``; sides may be missing.

        Sides keep the weights that were fitted for all of them together; a side that alone observes an item has
        weight 1.

        Raises
        ------
        UsageError
            When the fusion is not fitted, or no side is given.
        """
        if not hasattr(self, "models_"):
            raise UsageError("Fusion is not fitted yet; call fit first")
        given = {side: sides[side] for side in self.sides_ if side in sides}
        if not given:
            raise UsageError("nothing to fuse: no side is given")
        shape = next(iter(given.values())).shape
        usable = _usable(given, shape)
        logs = {side: self.models_[side].logs(scores, usable) for side, scores in given.items()}
        known = {side: np.isfinite(scores) for side, scores in given.items()}
        number = np.sum([_observed(side_logs) for side_logs in logs.values()], axis=0)
        weights: dict[str, Floats] = {}
        for side, side_logs in logs.items():
            weights[side] = np.where(_observed(side_logs), np.where(number == 1, 1.0, self.weights_[side]), 0.0)
        # The probabilities of a single side are calibrated already.
        soft = np.where(number > 1, self.softness_, 1.0)[:, None]
        fused = log_softmax(self._combined(logs, known, weights) * soft)
        return Fused(self.labels_, fused, self.sides_, logs, weights)


def _log_sum(logs: Floats) -> Floats:
    """Log of the sum of exponentials of each row; -inf for a row of -inf."""
    top = logs.max(axis=1, initial=-np.inf)
    flat = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(logs - flat[:, None]).sum(axis=1)) + flat, np.float64)


def fused_scores(fusion: Fusion, given: Mapping[str, Floats]) -> Floats:
    """Fused log probabilities as the scores of one side; NaN for labels that no side knows."""
    known = _usable(given, next(iter(given.values())).shape)
    result: Floats = np.where(known, np.maximum(fusion.transform(given).logs, MIN_LOG), np.nan)
    return result


def _observed(scores: Floats) -> NDArray[np.bool_]:
    """Whether a side observes each item, (n)."""
    return np.asarray(np.isfinite(scores).any(axis=1), np.bool_)


def _usable(sides: Mapping[str, Floats], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Whether some side knows each label, (n, L)."""
    known = np.zeros(shape, bool)
    for scores in sides.values():
        known |= np.isfinite(scores)
    return known


def _calibrate(
    scores: Floats, usable: NDArray[np.bool_], y: NDArray[np.int64], weight: Floats, can: NDArray[np.bool_]
) -> Calibrator:
    """Fit the temperature and the raw score of unknown labels by maximum a posteriori."""
    rated = np.isfinite(scores).any(axis=1) & can
    x, target, ok = scores[rated], y[rated], usable[rated]
    finite = x[np.isfinite(x)]
    spread = max(float(np.std(finite)) if finite.size > 1 else 1.0, 1e-6)
    usual = float(np.median(finite)) if finite.size else 0.0
    if len(target) == 0 or scores.shape[1] < 2:
        return Calibrator(spread / 4, usual, 0)
    from scipy.optimize import minimize

    share = weight[rated] / weight[rated].sum()
    rows = np.arange(len(target))
    strange = bool((~np.isfinite(x) & ok).any())

    def loss(values: Floats) -> float:
        model = Calibrator(spread / 4 * np.exp(values[0]), usual + spread * values[1], 0)
        true_logs = model.logs(x, ok)[rows, target]
        # The penalty weighs as much as one item: without errors the best temperature would be 0.
        penalty = (0.5 * values[0] ** 2 + 0.1 * values[1] ** 2) / len(target)
        return float(-(share * np.maximum(true_logs, np.log(MIN_PROBABILITY))).sum() + penalty)

    best, parameters = np.inf, np.zeros(2)
    for begin in (-1.0, 0.5, 2.0):
        tried = minimize(loss, np.array([begin, 0.0]), method="Nelder-Mead", options={"maxiter": 200, "xatol": 1e-3,
                                                                                      "fatol": 1e-6})  # fmt: skip
        if tried.fun < best:
            best, parameters = float(tried.fun), tried.x
    return Calibrator(
        float(spread / 4 * np.exp(np.clip(parameters[0], -6, 6))),
        float(usual + spread * np.clip(parameters[1], -8, 8)) if strange else usual,
        len(target),
    )
