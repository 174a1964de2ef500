"""Several ways to tell a device, one verdict: late fusion of calibrated scores, with a weight for each side.

Each side (service-level fingerprints, embedded flows) is first calibrated by itself: its raw score of a label, over a
temperature, gives a log probability; a label that the side does not know takes a fixed raw score, learnt too. Then

    log p(label) = sum over the sides that are there of weight * log p_side(label)     + what makes them sum to 1

Temperatures, that fixed score and the weights are learnt on enrolment items that were held out (a network or a block of
time in turn), where units weigh alike. An item that one side does not see gets the other side's own probabilities.

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
from scipy.optimize import minimize

from ethogram.errors import UsageError

__all__ = ["Fused", "Fusion", "SideModel", "align", "even_cases", "flow_side"]

Floats = NDArray[np.float64]
LEAST = 1e-12
FAR = -30.0  # nats: less likely than this is all the same
START = 0.7
"""Weight of a side before anything is known: two sides that look at the same traffic are not independent."""
DOUBT = 0.3
"""How far weights are believed to be from that (one deviation), before any held-out unit was seen."""


@dataclass(frozen=True)
class SideModel:
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


def even_cases(units: Sequence[str], groups: Sequence[object] | NDArray[np.int64]) -> Floats:
    """Weights of items: groups (networks) weigh by the root of their units, units of a group alike; the sum is 1."""
    _, unit = np.unique(np.asarray([str(u) for u in units]), return_inverse=True)
    _, group = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)
    if not unit.size:
        return np.zeros(0)
    case = 1.0 / np.bincount(unit)[unit]
    case /= np.sqrt(np.bincount(group, weights=case))[group]
    return np.asarray(case / case.sum(), np.float64)


class Fusion:
    """Fuse any number of sides.

    Parameters
    ----------
    learn
        Learn the weights; else both sides weigh :data:`START`.
    by_confidence
        Let a side that is sure of an item weigh more than one that is not: the weight is multiplied by
        (largest probability) ** gamma, and gamma is learnt.
    """

    def __init__(self, *, learn: bool = True, by_confidence: bool = False) -> None:
        self.learn = learn
        self.by_confidence = by_confidence

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
        self._weigh({side: one[both] for side, one in logs.items()}, y[both], weight[both], seen)
        return self

    def _weigh(self, logs: Mapping[str, Floats], y: NDArray[np.int64], weight: Floats, seen: int) -> None:
        """Weights where all sides are there: the likeliest under a normal prior around :data:`START`."""
        count = len(self.sides_)
        self.gamma_ = 0.0
        self.weights_ = dict.fromkeys(self.sides_, 1.0 if count == 1 else START)
        if not self.learn or count == 1 or len(y) < 2 or len(self.labels_) < 2:
            return
        stacked = np.stack([np.where(np.isfinite(logs[side]), logs[side], -50.0) for side in self.sides_])
        rows = np.arange(len(y))
        share = weight / weight.sum()
        surest = np.exp(stacked.max(axis=2))
        ridge = 0.5 / (DOUBT**2 * max(seen, 1))

        def loss(values: Floats) -> float:
            w = values[:count, None] * (surest ** max(values[count], 0.0) if self.by_confidence else 1.0)
            said = log_softmax(np.einsum("sn,snl->nl", w, stacked))[rows, y]
            doubt = ridge * (np.sum((values[:count] - START) ** 2) + np.sum(values[count:] ** 2))
            return float(-(share * np.maximum(said, np.log(LEAST))).sum() + doubt)

        start = np.concatenate([np.full(count, START), np.zeros(int(self.by_confidence))])
        found = minimize(loss, start, method="L-BFGS-B", bounds=[(0.0, 3.0)] * start.size)
        self.weights_ = {side: float(found.x[i]) for i, side in enumerate(self.sides_)}
        if self.by_confidence:
            self.gamma_ = float(found.x[count])

    def apply(self, sides: Mapping[str, Floats]) -> Fused:
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
        there: dict[str, NDArray[np.bool_]] = {side: _there(one) for side, one in logs.items()}
        number = np.sum(list(there.values()), axis=0)
        weights: dict[str, Floats] = {}
        total = np.zeros(shape)
        for side, one in logs.items():
            alone = number == 1
            learnt = self.weights_[side] * np.ones(shape[0])
            if self.by_confidence:
                learnt *= np.exp(np.where(there[side][:, None], one, -50.0).max(axis=1, initial=-50.0)) ** self.gamma_
            weights[side] = np.where(there[side], np.where(alone, 1.0, learnt), 0.0)
            # A label that no side knows stays out: -inf times a weight of 0 would be no number.
            part = np.where(np.isfinite(one), one, 0.0) * weights[side][:, None]
            total += part
        total = np.where(usable | ~usable.any(axis=1, keepdims=True), total, -np.inf)
        return Fused(self.labels_, log_softmax(total), self.sides_, logs, weights)


def flow_side(
    held: Mapping[str, Floats], scores: Mapping[str, Floats], names: Sequence[str], truth: Sequence[str],
    case: Floats | None = None, units: Sequence[str] | None = None,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Experts on flows to one side: fused among themselves, held-out scores and new ones, as log probabilities.

    A single expert's scores are returned as they are. Labels that no expert knows, and items without flows, are NaN.
    """
    if len(held) == 1:
        name = next(iter(held))
        return held[name], scores[name]
    fusion = Fusion().fit(held, names, truth, case, units)
    return fused_side(fusion, held), fused_side(fusion, scores)


def fused_side(fusion: Fusion, given: Mapping[str, Floats]) -> Floats:
    """Log probabilities of fused sides as the scores of one."""
    known = _usable(given, next(iter(given.values())).shape)
    result: Floats = np.where(known, np.maximum(fusion.apply(given).logs, FAR), np.nan)
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
) -> SideModel:
    """Temperature, and the raw score of a label the side does not know, of the likeliest."""
    there = np.isfinite(scores).any(axis=1) & can
    x, mine, ok = scores[there], y[there], usable[there]
    finite = x[np.isfinite(x)]
    spread = max(float(np.std(finite)) if finite.size > 1 else 1.0, 1e-6)
    usual = float(np.median(finite)) if finite.size else 0.0
    if len(mine) == 0 or scores.shape[1] < 2:
        return SideModel(spread / 4, usual, 0)
    share = weight[there] / weight[there].sum()
    rows = np.arange(len(mine))
    strange = bool((~np.isfinite(x) & ok).any())

    def loss(values: Floats) -> float:
        model = SideModel(spread / 4 * np.exp(values[0]), usual + spread * values[1], 0)
        said = model.logs(x, ok)[rows, mine]
        # One item's worth of doubt: without errors the best temperature would be 0.
        doubt = (0.5 * values[0] ** 2 + 0.1 * values[1] ** 2) / len(mine)
        return float(-(share * np.maximum(said, np.log(LEAST))).sum() + doubt)

    best, found = np.inf, np.zeros(2)
    for begin in (-1.0, 0.5, 2.0):
        tried = minimize(loss, np.array([begin, 0.0]), method="Nelder-Mead", options={"maxiter": 200, "xatol": 1e-3,
                                                                                      "fatol": 1e-6})  # fmt: skip
        if tried.fun < best:
            best, found = float(tried.fun), tried.x
    return SideModel(
        float(spread / 4 * np.exp(np.clip(found[0], -6, 6))),
        float(usual + spread * np.clip(found[1], -8, 8)) if strange else usual,
        len(mine),
    )
