"""Several ways to tell a device, one verdict: late fusion of calibrated scores, with a weight for each side.

Each side (service-level fingerprints, embedded flows) is first calibrated by itself: its raw score of a label, over a
temperature, gives a log probability; a label that the side does not know takes a fixed raw score, learnt too. The first
side says how likely each label is; every further side moves probability among the labels that it knows, and among them
alone, for of the others it cannot speak:

    log p(label) = weight_1 log p_1(label) + weight_2 log p_2(label) + c     labels that side 2 knows
    log p(label) = log p_1(label)                                           all others

where c is such that the former keep together what side 1 gave them.

Temperatures and the score of a stranger are learnt on enrolment items that were held out (a network or a block of time
in turn), where units weigh alike. Weights are given: sides look at the same traffic, and few networks tell how much
each is worth. They can be learnt, and so can how much what comes of several sides is to be softened (log p * s + c with
s at most 1: a new network is no easier than those left out). On networks that were left out of learning them neither
was better. An item that one side does not see gets the other's own probabilities.

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
from scipy.optimize import minimize, minimize_scalar

from ethogram.errors import UsageError
from ethogram.identify.leave_group_out import connected_groups

__all__ = ["SECOND_WEIGHT", "Calibrator", "Fused", "Fusion", "align", "balanced_case_weights", "fuse_classifiers"]

Floats = NDArray[np.float64]
MIN_PROBABILITY = 1e-12
MIN_LOG = -30.0  # nats: less likely than this is all the same
SECOND_WEIGHT = 0.25
"""Weight of a further side, where the first weighs 1: it looks at the same traffic again, and moves what is near."""
PRIOR_SD = 0.3
"""How far learnt weights are believed to be from that (one deviation), before any held-out unit was seen."""
SOFTNESS_SD = 0.5
"""The same of the logarithm of softness, from 0."""


@dataclass(frozen=True)
class Calibrator:
    """How one side's raw scores become probabilities.

    Parameters
    ----------
    temperature
        Raw units of one nat.
    stranger
        Raw score of a label that the side does not know.
    held_out
        Items it was learnt on.
    """

    temperature: float
    stranger: float
    held_out: int

    def logs(self, scores: Floats, usable: NDArray[np.bool_]) -> Floats:
        """Log probabilities, (n, L): over the labels that are usable for an item; rows without scores are NaN."""
        there = np.isfinite(scores).any(axis=1)
        raw = np.where(np.isfinite(scores), scores, self.stranger) / self.temperature
        raw = np.where(usable, raw, -np.inf)
        result = np.full(scores.shape, np.nan)
        result[there] = log_softmax(raw[there])
        return result


@dataclass(frozen=True)
class Fused:
    """What came of fusing n items.

    Parameters
    ----------
    labels
        (L) the columns.
    logs
        (n, L) log probabilities; a row is uniform where no side was there.
    sides
        Names of the sides.
    side_logs
        Per side (n, L): its own log probabilities; NaN where it was not there.
    weights
        Per side (n): the weight it had for each item; 0 where it was not there.
    """

    labels: list[str]
    logs: Floats
    sides: tuple[str, ...]
    side_logs: dict[str, Floats]
    weights: dict[str, Floats]

    @property
    def probabilities(self) -> Floats:
        """(n, L); rows sum to 1."""
        result: Floats = np.exp(self.logs)
        return result


def log_softmax(raw: Floats) -> Floats:
    """Logarithm of the softmax along the last axis; a row that is all -inf is uniform."""
    top = raw.max(axis=-1, keepdims=True, initial=-np.inf)
    flat = ~np.isfinite(top)
    shifted = np.where(flat, 0.0, raw - np.where(flat, 0.0, top))
    with np.errstate(divide="ignore"):
        result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def align(labels: Sequence[str], names: Sequence[str], scores: Floats) -> Floats:
    """Columns of ``names`` in the order of ``labels``; NaN where a label is not among them."""
    place = {name: j for j, name in enumerate(names)}
    out = np.full((len(scores), len(labels)), np.nan)
    for j, label in enumerate(labels):
        if label in place:
            out[:, j] = scores[:, place[label]]
    return out


def balanced_case_weights(units: Sequence[str], groups: Sequence[object] | NDArray[np.int64]) -> Floats:
    """Weights of items: laboratories weigh by the root of their units, units of one alike; the sum is 1.

    Groups (networks) that share a unit are one laboratory: the same lamp seen through ten tunnels is one lamp.
    """
    _, unit = np.unique(np.asarray([str(u) for u in units]), return_inverse=True)
    group = connected_groups(groups, units)
    if not unit.size:
        return np.zeros(0)
    case = 1.0 / np.bincount(unit)[unit]
    case /= np.sqrt(np.bincount(group, weights=case))[group]
    return np.asarray(case / case.sum(), np.float64)


class Fusion:
    """Fuse any number of sides.

    Parameters
    ----------
    within
        A further side moves probability only among labels it knows; else all sides are one opinion pool, in which a
        label that a side does not know has its stranger's score.
    learn
        Learn the weights; else the first side weighs 1 and every further one ``second_weight``.
    soften
        Learn how sure fused probabilities may be; else they are taken as they come.
    second_weight
        Weight of every further side, or where it is believed to be before anything is learnt.
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
        """Learn from held-out scores.

        Parameters
        ----------
        sides
            Name to raw scores (n, L): NaN where a side does not know a label, a row of NaN where it does not see an
            item.
        names, truth
            Labels of the columns, and the true label of each item.
        case
            Weight of each item; by default alike.
        units
            The device of each item: so many independent observations there are; by default every item is one.
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
        for one in logs.values():
            both &= _there(one)
        self.fused_items_ = int(both.sum())
        seen = int(both.sum()) if units is None else len({u for u, b in zip(units, both, strict=True) if b})
        known = {side: np.isfinite(scores)[both] for side, scores in sides.items()}
        some = {side: one[both] for side, one in logs.items()}
        self._weigh(some, known, y[both], weight[both], seen)
        self.softness_ = self._softness(some, known, y[both], weight[both], seen)
        return self

    def _weigh(
        self, logs: Mapping[str, Floats], known: Mapping[str, NDArray[np.bool_]], y: NDArray[np.int64],
        weight: Floats, seen: int,
    ) -> None:  # fmt: skip
        """Weights where all sides are there; learnt, the likeliest under a normal prior around those that are not."""
        count = len(self.sides_)
        start = np.array([self.second_weight if i else 1.0 for i in range(count)])
        self.weights_ = dict(zip(self.sides_, start.tolist(), strict=True))
        if not self.learn or count == 1 or len(y) < 2 or len(self.labels_) < 2:
            return
        rows, share = np.arange(len(y)), weight / weight.sum()
        ridge = 0.5 / (PRIOR_SD**2 * max(seen, 1))

        def loss(values: Floats) -> float:
            own = {side: np.full(len(y), values[i]) for i, side in enumerate(self.sides_)}
            said = self._combined(logs, known, own)[rows, y]
            doubt = ridge * np.sum((values - start) ** 2)
            return float(-(share * np.maximum(said, np.log(MIN_PROBABILITY))).sum() + doubt)

        found = minimize(loss, start, method="L-BFGS-B", bounds=[(0.0, 3.0)] * count)
        self.weights_ = {side: float(found.x[i]) for i, side in enumerate(self.sides_)}

    def _softness(
        self, logs: Mapping[str, Floats], known: Mapping[str, NDArray[np.bool_]], y: NDArray[np.int64],
        weight: Floats, seen: int,
    ) -> float:  # fmt: skip
        """What fused log probabilities are multiplied by, above 0 and at most 1: the likeliest."""
        if not self.soften or len(self.sides_) == 1 or len(y) < 2 or len(self.labels_) < 2:
            return 1.0
        own = {side: np.full(len(y), self.weights_[side]) for side in self.sides_}
        fused = self._combined(logs, known, own)
        rows, share = np.arange(len(y)), weight / weight.sum()

        def loss(value: float) -> float:
            said = log_softmax(fused * np.exp(value))[rows, y]
            doubt = 0.5 * (value / SOFTNESS_SD) ** 2 / max(seen, 1)
            return float(-(share * np.maximum(said, np.log(MIN_PROBABILITY))).sum() + doubt)

        found = minimize_scalar(loss, bounds=(-3.0, 0.0), method="bounded", options={"xatol": 1e-3})
        return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0

    def _combined(
        self, logs: Mapping[str, Floats], known: Mapping[str, NDArray[np.bool_]], weights: Mapping[str, Floats]
    ) -> Floats:
        """Log probabilities (n, L) from those of each side; a row that no side sees is uniform."""
        shape = next(iter(logs.values())).shape
        current, begun = np.full(shape, np.nan), np.zeros(shape[0], bool)
        base = np.ones(shape[0])
        for side, one in logs.items():
            there = _there(one)
            further = np.flatnonzero(there & begun)
            first = there & ~begun
            current[first], base[first] = one[first], weights[side][first]
            begun |= there
            if not further.size:
                continue
            among = known[side][further] if self.within else np.isfinite(one[further])
            before = np.where(among, current[further], -np.inf)
            mass = _log_sum(before)
            can = np.isfinite(mass)
            # -inf times a weight of 0 would be no number.
            said = np.where(np.isfinite(before), before, 0.0) * base[further][:, None]
            said += np.where(np.isfinite(one[further]), one[further], 0.0) * weights[side][further][:, None]
            said = np.where(np.isfinite(before) & np.isfinite(one[further]), said, -np.inf)
            moved = log_softmax(said) + np.where(can, mass, 0.0)[:, None]
            current[further] = np.where(among & can[:, None], moved, current[further])
            base[further] = 1.0
        current[~begun] = 0.0
        return log_softmax(current)

    def transform(self, sides: Mapping[str, Floats]) -> Fused:
        """Fuse raw scores of new items, columns in the order of ``labels_``; a side may be left out altogether.

        The weights of the sides that are there are used as they were learnt together; a side that is there alone has
        weight 1.
        """
        if not hasattr(self, "models_"):
            raise UsageError("nothing can be fused before the fusion is fitted")
        given = {side: sides[side] for side in self.sides_ if side in sides}
        if not given:
            raise UsageError("nothing to fuse: no side was given")
        shape = next(iter(given.values())).shape
        usable = _usable(given, shape)
        logs = {side: self.models_[side].logs(scores, usable) for side, scores in given.items()}
        known = {side: np.isfinite(scores) for side, scores in given.items()}
        number = np.sum([_there(one) for one in logs.values()], axis=0)
        weights: dict[str, Floats] = {}
        for side, one in logs.items():
            weights[side] = np.where(_there(one), np.where(number == 1, 1.0, self.weights_[side]), 0.0)
        # A side alone is calibrated by itself already.
        soft = np.where(number > 1, self.softness_, 1.0)[:, None]
        fused = log_softmax(self._combined(logs, known, weights) * soft)
        return Fused(self.labels_, fused, self.sides_, logs, weights)


def _log_sum(logs: Floats) -> Floats:
    """Logarithm of the sum of exponentials of each row; -inf where all are."""
    top = logs.max(axis=1, initial=-np.inf)
    flat = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(logs - flat[:, None]).sum(axis=1)) + flat, np.float64)


def fuse_classifiers(
    held: Mapping[str, Floats], scores: Mapping[str, Floats], names: Sequence[str], truth: Sequence[str],
    case: Floats | None = None, units: Sequence[str] | None = None,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Experts on flows to one side: all weigh alike; held-out scores and new ones, as log probabilities.

    A single expert's scores are returned as they are. Labels that no expert knows, and items without flows, are NaN.
    """
    if len(held) == 1:
        name = next(iter(held))
        return held[name], scores[name]
    fusion = Fusion(second_weight=1.0).fit(held, names, truth, case, units)
    return fused_scores(fusion, held), fused_scores(fusion, scores)


def fused_scores(fusion: Fusion, given: Mapping[str, Floats]) -> Floats:
    """Log probabilities of fused sides as the scores of one."""
    known = _usable(given, next(iter(given.values())).shape)
    result: Floats = np.where(known, np.maximum(fusion.transform(given).logs, MIN_LOG), np.nan)
    return result


def _there(scores: Floats) -> NDArray[np.bool_]:
    """Items that a side sees, (n)."""
    return np.asarray(np.isfinite(scores).any(axis=1), np.bool_)


def _usable(sides: Mapping[str, Floats], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Labels that some side knows, (n, L)."""
    known = np.zeros(shape, bool)
    for scores in sides.values():
        known |= np.isfinite(scores)
    return known


def _calibrate(
    scores: Floats, usable: NDArray[np.bool_], y: NDArray[np.int64], weight: Floats, can: NDArray[np.bool_]
) -> Calibrator:
    """Temperature, and the raw score of a label the side does not know, of the likeliest."""
    there = np.isfinite(scores).any(axis=1) & can
    x, mine, ok = scores[there], y[there], usable[there]
    finite = x[np.isfinite(x)]
    spread = max(float(np.std(finite)) if finite.size > 1 else 1.0, 1e-6)
    usual = float(np.median(finite)) if finite.size else 0.0
    if len(mine) == 0 or scores.shape[1] < 2:
        return Calibrator(spread / 4, usual, 0)
    share = weight[there] / weight[there].sum()
    rows = np.arange(len(mine))
    strange = bool((~np.isfinite(x) & ok).any())

    def loss(values: Floats) -> float:
        model = Calibrator(spread / 4 * np.exp(values[0]), usual + spread * values[1], 0)
        said = model.logs(x, ok)[rows, mine]
        # One item's worth of doubt: without errors the best temperature would be 0.
        doubt = (0.5 * values[0] ** 2 + 0.1 * values[1] ** 2) / len(mine)
        return float(-(share * np.maximum(said, np.log(MIN_PROBABILITY))).sum() + doubt)

    best, found = np.inf, np.zeros(2)
    for begin in (-1.0, 0.5, 2.0):
        tried = minimize(loss, np.array([begin, 0.0]), method="Nelder-Mead", options={"maxiter": 200, "xatol": 1e-3,
                                                                                      "fatol": 1e-6})  # fmt: skip
        if tried.fun < best:
            best, found = float(tried.fun), tried.x
    return Calibrator(
        float(spread / 4 * np.exp(np.clip(found[0], -6, 6))),
        float(usual + spread * np.clip(found[1], -8, 8)) if strange else usual,
        len(mine),
    )
