"""Verdicts from fingerprints and embedded flows together, learnt from a library's entries alone.

A device that one method does not see gets the other's verdict. It is unknown when the methods that see it find it
strange on the whole (their strangeness, weighed as they are fused), or when no label is likely enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.config import IdentifySettings
from ethogram.errors import UsageError
from ethogram.identify.apart import left_out
from ethogram.identify.flow_experts import EXPERTS, Expert, Way
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.fused_decision import FusedDecision, SideStrangeness, decided
from ethogram.identify.fusion import Fusion, align, even_cases, fused_side
from ethogram.identify.identifier import Identifier, folds_by_time
from ethogram.identify.judge import Judge
from ethogram.schema import Windows

__all__ = ["EXPERTS_USED", "FlowSide", "FusedDecision", "FusedJudge"]

EXPERTS_USED: tuple[Way, ...] = ("pooled", "probe", "nearest")
"""Windows as a whole, single flows by a line, single flows by their like: none was best on all networks left out."""
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
        self, flows: FlowWindows, labels: Sequence[str], groups: NDArray[np.int64], units: Sequence[str],
        *, apart: bool = False,
    ) -> Self:  # fmt: skip
        """Learn n items, of which some may have no flow; ``groups`` leave together when scores are held out.

        With ``apart`` their units leave with them, from all groups.
        """
        self.labels_ = sorted(set(labels))
        codes = np.searchsorted(self.labels_, np.asarray(labels, np.str_)).astype(np.int64)
        count = len(self.labels_)
        have = np.flatnonzero(flows.flows > 0)
        if not have.size:
            raise UsageError("no flow to learn from")
        self.seen_ = np.unique(codes[have])
        own = [units[int(i)] for i in have] if apart else None
        held = {name: np.full((len(flows), count), np.nan) for name in self.experts}
        for inside, outside in left_out(groups[have], own):
            if outside.size:
                teach, ask = flows.take(have[outside]), flows.take(have[inside])
                for name in self.experts:
                    fitted = EXPERTS[name]().fit(teach, codes[have[outside]], count)
                    held[name][have[inside]] = fitted.scores(ask)
        self.fitted_: dict[str, Expert] = {
            name: EXPERTS[name]().fit(flows.take(have), codes[have], count) for name in self.experts
        }
        case = even_cases(units, groups)
        self.fusion_ = Fusion(further=1.0).fit(held, self.labels_, labels, case, units)
        self.held_ = self._together(held)
        self.strangeness_ = SideStrangeness(self.settings).fit(self.held_, self.labels_, labels, self.scores(flows))
        return self

    def _together(self, given: Mapping[str, Floats]) -> Floats:
        return given[self.experts[0]] if len(self.experts) == 1 else fused_side(self.fusion_, given)

    def scores(self, flows: FlowWindows) -> Floats:
        """Scores of new items, (n, L): NaN where a label was never seen with flows, or an item has none."""
        return self._together({name: expert.scores(flows) for name, expert in self.fitted_.items()})

    def strangeness(self, scores: Floats) -> Floats:
        """Under each label, (n, L): above 1 is strange; NaN where the side says nothing."""
        return self.strangeness_.under(scores)


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
            Which items leave together when scores are held out, as networks, and their units with them; by default
            blocks of time within each device.
        units
            The device of each item.
        needed_s
            As for the judge.
        """
        chosen = folds_by_time(windows, self.settings.folds) if groups is None else groups
        own = windows.items["device"].to_list() if units is None else list(units)
        apart = groups is not None
        self.judge.fit(windows, labels, chosen, needed_s, units=own if apart else None)
        self.labels_ = list(self.judge.identifier.labels_)
        self.side.fit(flows, labels, chosen, own, apart=apart)
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
            scores = self.side.scores(flows)
            given[EMBEDDINGS] = align(self.labels_, self.side.labels_, scores)
            strange[EMBEDDINGS] = align(self.labels_, self.side.labels_, self.side.strangeness(scores))
        # Of an item that nothing sees the counts' own word stands, as in a verdict without flows.
        return decided(self.fusion_.apply(given), strange, self.settings, self._counts_strangeness(raw))

    def _counts_strangeness(self, raw: Floats) -> Floats:
        return self.judge.thresholds_.strangeness(self.judge.coverage_.apply(raw, self.judge.calibration_.apply(raw)))
