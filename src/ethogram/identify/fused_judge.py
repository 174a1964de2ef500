"""Verdicts from fingerprints and embedded flows together, learnt from a library's entries alone.

A device that one method does not see gets the other's verdict. It is unknown when the methods that see it find it
strange on the whole (their strangeness, weighed as they are fused), or when no label is likely enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.config import IdentifySettings
from ethogram.errors import UsageError
from ethogram.identify.calibrate import Calibration
from ethogram.identify.flow_experts import EXPERTS, Expert
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fusion import Fused, Fusion, align, even_cases, fused_side
from ethogram.identify.identifier import Identifier, folds_by_time
from ethogram.identify.judge import Judge
from ethogram.identify.openset import Coverage, Thresholds
from ethogram.schema import UNKNOWN, Windows

__all__ = ["EXPERTS_USED", "FlowSide", "FusedDecision", "FusedJudge"]

EXPERTS_USED = ("pooled",)
"""Of learnt encoders the one that did no harm on any task across networks."""
FINGERPRINTS, EMBEDDINGS = "fingerprints", "embeddings"
Floats = NDArray[np.float64]


class FlowSide:
    """Experts on embedded flows as one side: fused among themselves, with thresholds of its own.

    Parameters
    ----------
    experts
        Names of :data:`ethogram.identify.flow_experts.EXPERTS`.
    settings
        Quantile and so on.
    """

    def __init__(self, experts: Sequence[str] = EXPERTS_USED, settings: IdentifySettings | None = None) -> None:
        self.experts = tuple(experts)
        self.settings = settings or IdentifySettings()

    def fit(
        self, flows: FlowWindows, labels: Sequence[str], groups: NDArray[np.int64], units: Sequence[str]
    ) -> Self:  # fmt: skip
        """Learn n items, of which some may have no flow; ``groups`` leave together when scores are held out."""
        self.labels_ = sorted(set(labels))
        codes = np.searchsorted(self.labels_, np.asarray(labels, np.str_)).astype(np.int64)
        count = len(self.labels_)
        have = np.flatnonzero(flows.flows > 0)
        if not have.size:
            raise UsageError("no flow to learn from")
        self.seen_ = np.unique(codes[have])
        held = {name: np.full((len(flows), count), np.nan) for name in self.experts}
        for group in np.unique(groups[have]):
            inside, outside = have[groups[have] == group], have[groups[have] != group]
            if outside.size:
                for name in self.experts:
                    fitted = EXPERTS[name]().fit(flows.take(outside), codes[outside], count)
                    held[name][inside] = fitted.scores(flows.take(inside))
        self.fitted_: dict[str, Expert] = {
            name: EXPERTS[name]().fit(flows.take(have), codes[have], count) for name in self.experts
        }
        case = even_cases(units, groups)
        self.fusion_ = Fusion().fit(held, self.labels_, labels, case, units)
        self.held_ = self._together(held)
        known = self.held_.copy()
        self.calibration_ = Calibration().fit(known[have], self.labels_, [labels[int(i)] for i in have])
        mine = [labels[int(i)] for i in have]
        self.coverage_ = Coverage().fit(known[have], self.labels_, mine)
        own = self._known(self.scores(flows)[have])[np.arange(have.size), codes[have]]
        self.thresholds_ = Thresholds(self.settings.quantile, self.settings.few).fit(
            self._known(known[have]), self.labels_, mine, own
        )
        return self

    def _together(self, given: Mapping[str, Floats]) -> Floats:
        return given[self.experts[0]] if len(self.experts) == 1 else fused_side(self.fusion_, given)

    def _known(self, scores: Floats) -> Floats:
        return self.coverage_.apply(scores, self.calibration_.apply(scores))

    def scores(self, flows: FlowWindows) -> Floats:
        """Scores of new items, (n, L): NaN where a label was never seen with flows, or an item has none."""
        return self._together({name: expert.scores(flows) for name, expert in self.fitted_.items()})

    def strangeness(self, scores: Floats) -> Floats:
        """Under each label, (n, L): above 1 is strange; NaN where the side says nothing."""
        return np.where(np.isfinite(scores), self.thresholds_.strangeness(self._known(scores)), np.nan)


@dataclass(frozen=True)
class FusedDecision:
    """All verdicts as arrays.

    Parameters
    ----------
    labels
        (L) the columns.
    fused
        Probabilities, weights, and those of each side.
    best
        (n) column of the best label.
    strangeness
        (n) of the best label: above 1 unknown.
    side_strangeness
        Per side (n): of the fused best label; NaN where the side is not there.
    unknown
        (n).
    """

    labels: list[str]
    fused: Fused
    best: NDArray[np.int64]
    strangeness: Floats
    side_strangeness: dict[str, Floats]
    unknown: NDArray[np.bool_]

    @property
    def verdicts(self) -> list[str]:
        """The label of each item, or unknown."""
        return [UNKNOWN if u else self.labels[b] for u, b in zip(self.unknown, self.best, strict=True)]


class FusedJudge:
    """An identifier on counts and experts on flows, fused.

    Parameters
    ----------
    identifier
        Any method on counts.
    settings
        Level, quantile, folds and so on.
    experts
        On flows.
    """

    def __init__(
        self, identifier: Identifier, settings: IdentifySettings | None = None,
        experts: Sequence[str] = EXPERTS_USED,
    ) -> None:  # fmt: skip
        self.judge = Judge(identifier, settings)
        self.settings = self.judge.settings
        self.side = FlowSide(experts, self.settings)

    def fit(
        self, windows: Windows, labels: Sequence[str], flows: FlowWindows, groups: NDArray[np.int64] | None = None,
        units: Sequence[str] | None = None, needed_s: Mapping[str, float] | None = None,
    ) -> Self:  # fmt: skip
        """Learn the labelled items; see :meth:`ethogram.identify.judge.Judge.fit`.

        Parameters
        ----------
        windows, labels
            Enrolment items.
        flows
            Embedded flows of the same items.
        groups
            Which items leave together when scores are held out.
        units
            The device of each item.
        needed_s
            As for the judge.
        """
        chosen = folds_by_time(windows, self.settings.folds) if groups is None else groups
        own = windows.items["device"].to_list() if units is None else list(units)
        self.judge.fit(windows, labels, chosen, needed_s)
        self.labels_ = list(self.judge.identifier.labels_)
        self.side.fit(flows, labels, chosen, own)
        held = {
            FINGERPRINTS: align(self.labels_, sorted(set(labels)), self.judge.held_),
            EMBEDDINGS: align(self.labels_, self.side.labels_, self.side.held_),
        }
        self.fusion_ = Fusion().fit(held, self.labels_, labels, even_cases(own, chosen), own)
        return self

    def decide(self, windows: Windows, flows: FlowWindows | None = None) -> FusedDecision:
        """Verdicts of items, by what is there of each."""
        raw = self.judge.identifier.scores(windows)
        silent = ~np.isin(np.arange(len(windows)), windows.counts["item"].unique().to_numpy())
        given = {FINGERPRINTS: np.where(silent[:, None], np.nan, raw)}
        strange = {FINGERPRINTS: np.where(silent[:, None], np.nan, self._counts_strangeness(raw))}
        if flows is not None:
            scores = align(self.labels_, self.side.labels_, self.side.scores(flows))
            given[EMBEDDINGS] = scores
            strange[EMBEDDINGS] = align(self.labels_, self.side.labels_, self.side.strangeness(
                self.side.scores(flows)))  # fmt: skip
        fused = self.fusion_.apply(given)
        rows = np.arange(len(windows))
        best = fused.logs.argmax(axis=1)
        own = {side: values[rows, best] for side, values in strange.items()}
        total, weight = np.zeros(len(rows)), np.zeros(len(rows))
        for side, values in own.items():
            there = np.isfinite(values)
            total += np.where(there, np.clip(values, -5.0, 20.0), 0.0) * np.where(there, fused.weights[side], 0.0)
            weight += np.where(there, fused.weights[side], 0.0)
        # Of an item that nothing sees the counts' own word stands, as in a verdict without flows.
        nothing = self._counts_strangeness(raw)[rows, best]
        strangeness = np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), nothing)
        unsure = fused.probabilities[rows, best] < self.settings.least_score
        unknown = np.zeros(len(rows), bool) if self.settings.closed else (strangeness > 1.0) | unsure
        return FusedDecision(self.labels_, fused, best, strangeness, own, unknown)

    def _counts_strangeness(self, raw: Floats) -> Floats:
        return self.judge.thresholds_.strangeness(self.judge.coverage_.apply(raw, self.judge.calibration_.apply(raw)))
