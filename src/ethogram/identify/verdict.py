"""Turn raw scores into verdicts: best label or unknown, calibrated score, margin, evidence and time still needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import IdentifySettings
from ethogram.errors import UsageError
from ethogram.identify.calibrate import Calibration
from ethogram.identify.explain import evidence, new_services, sentence, share_of_new
from ethogram.identify.identifier import Identifier, folds_by_time
from ethogram.identify.leave_group_out import grouped_cross_val
from ethogram.identify.openset import Coverage, Thresholds
from ethogram.identify.recognition import POOLED_CASES, PooledFigures, Recognition, pooled_figures
from ethogram.schema import UNKNOWN, ServiceMatrix, Verdict, Window, Windows

__all__ = ["Decision", "VerdictModel", "stranger_probability", "tied_labels", "verdict_scores"]

MOSTLY, LEAST_S = 0.5, 43_200
"""A device is unusual if more than this share of its flows, over at least so many seconds, uses new services.

No day of a known device in three corpora and three simulated homes passed it (``benchmarks/own_library.py``)."""
MOST_TIED = 5
"""Maximum number of tied labels that a verdict lists beside the best one."""
TIE = 0.5
"""Labels with at least this share of the best label's probability cannot be told from it."""
UNTESTED_CASES = 8.0
"""Held-out items that the default temperature counts as, where nothing could be held out."""
STEEPNESS = 7.0
"""Log odds of an enrolled device per unit of strangeness, for methods without pooled figures; 0 at strangeness 1."""


@dataclass(frozen=True)
class Decision:
    """Decisions on n items over L labels as arrays, without evidence; read by the benchmark.

    Parameters
    ----------
    labels
        (L) labels of the columns.
    raw, calibrated
        (n, L) scores; higher is more alike. Calibrated scores add up to the probability of an enrolled device where
        the method estimates it, else to 1.
    best
        (n) column of the best label.
    tied
        (n, L) labels that cannot be told from the best label, which is one of them.
    strangeness
        (n) strangeness of the best label; above 1 the item is unknown.
    unknown
        (n) whether the verdict is unknown.
    score
        (n) probability of the verdict: of the best label, or of *unknown*.
    """

    labels: list[str]
    raw: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    best: NDArray[np.int64]
    tied: NDArray[np.bool_]
    strangeness: NDArray[np.float64]
    unknown: NDArray[np.bool_]
    score: NDArray[np.float64]

    @property
    def verdicts(self) -> list[str]:
        """The label of each item, or ``unknown``."""
        return [UNKNOWN if u else self.labels[b] for u, b in zip(self.unknown, self.best, strict=True)]


def tied_labels(raw: NDArray[np.float64], calibrated: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Labels that cannot be told from the best one, (n, L): at least half as probable, or with the same raw score.

    Where more than :data:`MOST_TIED` others are as probable, nothing is known about the item: only the best is marked.

    >>> tied_labels(np.array([[3.0, 3.0, 0.0]]), np.array([[0.5, 0.4, 0.1]])).tolist()
    [[True, True, False]]
    """
    if not raw.size:
        return np.zeros(raw.shape, dtype=bool)
    rows, best = np.arange(len(raw)), raw.argmax(axis=1)
    least = TIE * calibrated[rows, best]
    result: NDArray[np.bool_] = (calibrated >= least[:, None]) | (raw == raw[rows, best][:, None])
    result[result.sum(axis=1) > MOST_TIED + 1] = False
    result[rows, best] = True
    return result


def stranger_probability(strangeness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that items are none of the labels, by their strangeness alone, (n): 1/2 at 1.

    >>> stranger_probability(np.array([0.0, 1.0, 2.0])).round(3)
    array([0.001, 0.5  , 0.999])
    """
    result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(np.clip(STEEPNESS * (1.0 - strangeness), -50.0, 50.0)))
    return result


def verdict_scores(
    stated: NDArray[np.float64], strangeness: NDArray[np.float64], unknown: NDArray[np.bool_],
    none: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """How sure each verdict is, (n).

    Parameters
    ----------
    stated
        (n) probability of the best label.
    strangeness, unknown
        (n) as in :class:`Decision`.
    none
        (n) probability that the item is none of the labels; default: by its strangeness.

    >>> verdict_scores(np.array([0.9, 0.4, 0.9]), np.array([0.2, 0.5, 2.0]), np.array([False, True, True])).round(2)
    array([0.9, 0.6, 1. ])
    """
    if none is None:
        none = stranger_probability(strangeness)
    of_unknown = np.where(strangeness > 1.0, np.maximum(none, 0.5), 1.0 - stated)
    return np.where(unknown, of_unknown, stated)


class VerdictModel:
    """An identifier with calibration and thresholds, all fitted on enrolment items alone.

    Parameters
    ----------
    identifier
        Any method.
    settings
        Level, quantile, folds and so on.
    pooled
        Figures of the method that were learnt on other networks; default: those of the package, if there are any.

    Attributes
    ----------
    held_
        Held-out raw scores of the enrolment items, (n, L).
    calibration_
        Fitted on those.
    recognition_
        Fitted on those, if figures of the method were learnt on other networks; else None.
    coverage_, thresholds_
        Fitted on those, if there is no ``recognition_``.
    """

    pooled: PooledFigures | None = None
    recognition_: Recognition | None = None

    def __init__(
        self, identifier: Identifier, settings: IdentifySettings | None = None, pooled: PooledFigures | None = None
    ) -> None:
        self.identifier = identifier
        self.settings = settings or IdentifySettings()
        self.pooled = pooled

    def fit(
        self,
        windows: Windows,
        labels: Sequence[str],
        groups: NDArray[np.int64] | None = None,
        needed_s: Mapping[str, float] | None = None,
        *,
        units: Sequence[str] | None = None,
    ) -> Self:
        """Fit on labelled items.

        Parameters
        ----------
        windows, labels
            Enrolment items.
        groups
            Items of one group are held out together; default: blocks of time within each device.
        needed_s
            Seconds that a fingerprint takes to converge, by label, where known.
        units
            Device of each item. If given, items of the held-out devices in other groups are excluded from training.
        """
        folds = folds_by_time(windows, self.settings.folds) if groups is None else groups
        if units is None:
            names, held = self.identifier.cross_val(windows, labels, folds)
        else:
            names, held = grouped_cross_val(self.identifier, windows, labels, folds, units)
        self.groups_ = folds
        self.identifier.fit(windows, labels)
        enrolled = self.identifier.decision_function(windows)
        return self.fit_scores(names, held, labels, enrolled, needed_s)

    def refit(
        self, windows: Windows, labels: Sequence[str], changed: Set[str], needed_s: Mapping[str, float] | None = None
    ) -> Self:
        """Fit on the items of the last fit and a few more; calibration and the weights of the method stay.

        Nothing is held out again, so that this takes a fraction of the time of :meth:`fit`.

        Parameters
        ----------
        windows, labels
            All enrolment items.
        changed
            Labels that have new items.
        needed_s
            As for :meth:`fit`.

        Raises
        ------
        UsageError
            If the model is not fitted, or its method has no figures of other networks (:attr:`recognition_`).
        """
        self._require_fit()
        if self.recognition_ is None:
            raise UsageError("only methods with figures of other networks can be fitted on more items")
        before = list(self.identifier.labels_)
        self.identifier.refit(windows, labels)
        names = self.identifier.labels_
        changed_items = [i for i, label in enumerate(labels) if label in changed]
        scores = self.identifier.decision_function(windows.take(changed_items))
        of_label: dict[str, list[float]] = {}
        for row, i in enumerate(changed_items):
            of_label.setdefault(labels[i], []).append(float(scores[row, names.index(labels[i])]))
        medians = {label: float(np.median(values)) for label, values in of_label.items()}
        self.recognition_.refit(names, medians, before)
        self.needed_.clear()
        self.needed_.update(needed_s or {})
        return self

    def fit_scores(
        self,
        names: Sequence[str],
        held: NDArray[np.float64],
        labels: Sequence[str],
        enrolled: NDArray[np.float64],
        needed_s: Mapping[str, float] | None = None,
    ) -> Self:
        """Fit calibration and thresholds on scores alone; the identifier is fitted already.

        Parameters
        ----------
        names
            Label of each column, as the identifier's ``labels_``.
        held
            Held-out scores (n, L) of the enrolment items; NaN where a label has no other item.
        labels
            Label of each item.
        enrolled
            Scores (n, L) of the same items without holding out.
        needed_s
            As for :meth:`fit`.
        """
        column = {name: j for j, name in enumerate(names)}
        truth = np.array([column[label] for label in labels], dtype=np.int64)
        pooled = self.pooled
        if pooled is None and self.identifier.pooled_:
            pooled = pooled_figures(self.identifier.pooled_)
        self.held_ = held
        self.needed_: dict[str, float] = dict(needed_s or {})
        self.recognition_ = None
        if pooled is not None:
            self.calibration_ = Calibration(pooled.temperature, POOLED_CASES).fit(held, names, labels)
            self.recognition_ = Recognition(pooled).fit(held, truth, enrolled)
            return self
        tested = bool(np.isfinite(held[np.arange(len(truth)), truth]).any())
        self.calibration_ = Calibration(cases=0.0 if tested else UNTESTED_CASES)
        self.calibration_.fit(held if tested else np.where(np.isnan(held), enrolled, held), names, labels)
        if not tested:
            self.calibration_.held_out_ = 0
        self.coverage_ = Coverage().fit(held, names, labels)
        own_scores = self._familiarity(enrolled)[np.arange(len(truth)), truth]
        known = self._familiarity(held)
        self.thresholds_ = Thresholds(self.settings.quantile, self.settings.few).fit(known, names, labels, own_scores)
        return self

    def _require_fit(self) -> None:
        if not hasattr(self, "calibration_"):
            raise UsageError("VerdictModel is not fitted yet; call fit first")

    def _familiarity(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        calibrated = self.calibration_.predict_proba(raw)
        filled = np.where(np.isnan(raw), -np.inf, raw)
        # A tie is no sign of a stranger: labels that share the best score share their probability.
        same = (filled == filled.max(axis=1, initial=-np.inf)[:, None]) & np.isfinite(filled)
        together = np.where(same, (calibrated * same).sum(axis=1)[:, None], calibrated)
        return self.coverage_.transform(raw, together)

    def strangeness(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Strangeness under each label, (n, L), of raw scores: 0 typical, above 1 unknown."""
        if self.recognition_ is not None:
            return self.recognition_.strangeness(raw, min(self.settings.least_score, 0.5))
        return self.thresholds_.strangeness(self._familiarity(raw))

    def decide(self, windows: Windows) -> Decision:
        """Decide on n items.

        Raises
        ------
        UsageError
            When the model is not fitted.
        """
        self._require_fit()
        return self.decide_scores(self.identifier.decision_function(windows))

    def decide_scores(self, raw: NDArray[np.float64]) -> Decision:
        """Decide on n items by their raw scores (n, L).

        Raises
        ------
        UsageError
            When the model is not fitted.
        """
        self._require_fit()
        rows = np.arange(len(raw))
        best = raw.argmax(axis=1) if raw.size else np.zeros(0, dtype=np.int64)
        strangeness = self.strangeness(raw)[rows, best]
        calibrated = self.calibration_.predict_proba(raw)
        tied = tied_labels(raw, calibrated)
        # Across networks near-ties are no twins: there only equal scores count together.
        together = tied if self.recognition_ is not None else tied & (raw == raw[rows, best][:, None])
        unsure = (calibrated * together).sum(axis=1) < self.settings.least_score
        none = None
        if self.recognition_ is not None and not self.settings.closed:
            enrolled = self.recognition_.predict_proba(raw)[rows, best]
            calibrated = calibrated * enrolled[:, None]
            none, unsure = 1.0 - enrolled, unsure | (enrolled < self.settings.least_score)
        unknown = np.zeros(len(raw), dtype=bool) if self.settings.closed else (strangeness > 1.0) | unsure
        return Decision(
            labels=self.identifier.labels_,
            raw=raw,
            calibrated=calibrated,
            best=best,
            tied=tied,
            strangeness=strangeness,
            unknown=unknown,
            score=verdict_scores(calibrated[rows, best], strangeness, unknown, none),
        )

    def _still_needed(self, label: str, observed_s: float) -> float | None:
        """Seconds until the verdict is expected to be final; None if no fingerprint of the label has converged."""
        return max(0.0, self.needed_[label] - observed_s) if label in self.needed_ else None

    def verdicts(
        self,
        windows: Windows,
        *,
        converged: Sequence[bool] | None = None,
        presence: ServiceMatrix | None = None,
        usual: Mapping[str, Collection[str]] | None = None,
        flow_shares: ServiceMatrix | None = None,
        simulated: bool = False,
        decision: Decision | None = None,
    ) -> list[Verdict]:
        """Verdicts on n items, with evidence.

        Parameters
        ----------
        windows
            The items.
        converged
            Whether each item's fingerprint has converged; default: none has.
        presence
            Share of active hours per item and service, for the reason in words.
        usual
            Services of the enrolled windows by label; others are reported as new.
        flow_shares
            Share of the flows per item and service; with ``usual`` it tells how much of the traffic is new.
        simulated
            Mark the verdicts as made on simulated traffic.
        decision
            A decision made with more evidence than these counts; default: that of :meth:`decide`.
        """
        decision = self.decide(windows) if decision is None else decision
        flows, hours = _flows(windows), _active_hours(windows)
        why = self.identifier.explain(windows, [decision.labels[b] for b in decision.best])
        result = []
        for item, device, start, end in windows.items.select("item", "device", "start", "end").iter_rows():
            best = int(decision.best[item])
            nearest = decision.labels[best]
            scores = decision.calibrated[item]
            done = bool(converged[item]) if converged is not None else False
            silent = flows[item] == 0
            label = UNKNOWN if decision.unknown[item] or (silent and not self.settings.closed) else nearest
            terms = [] if silent else evidence(why[item], self.settings.terms)
            times: Mapping[str, float] = presence.row(item) if presence is not None else {}
            if usual is not None and not silent:
                terms += new_services(times, usual.get(nearest, ()))
            others = np.delete(scores, best)
            strange = bool(decision.strangeness[item] > 1.0)
            new_share = 0.0
            if usual is not None and flow_shares is not None and not silent:
                new_share = share_of_new(flow_shares.row(item), usual.get(nearest, ()))
            mostly_new = new_share > MOSTLY and (end - start).total_seconds() >= LEAST_S
            order = np.argsort(-scores, kind="stable")
            # A tie is worth a word if the device is probably one of the tied labels.
            tie = not silent and not strange and scores[decision.tied[item]].sum() >= TIE
            tied = [decision.labels[j] for j in order if tie and decision.tied[item, j] and j != best]
            same = decision.raw[item] == decision.raw[item, best]
            result.append(
                Verdict(
                    device=device,
                    verdict=label,
                    score=0.0 if silent and not self.settings.closed else float(decision.score[item]),
                    margin=0.0 if same.sum() > 1 else float(scores[best] - others.max(initial=0.0)),
                    raw_score=float(decision.raw[item, best]),
                    nearest=nearest,
                    tied_with=tied,
                    known_types=dict(zip(decision.labels, scores.tolist(), strict=True)),
                    strangeness=float(decision.strangeness[item]),
                    evidence=terms,
                    unusual=not silent and (strange or mostly_new),
                    new_share=new_share,
                    reason="silent: nothing was seen"
                    if silent
                    else sentence(label, nearest, terms, times, strange=strange, hours=int(hours[item]), tied=tied,
                                  new_share=new_share if mostly_new else 0.0),
                    window=Window(start=start, end=end),
                    flows=int(flows[item]),
                    converged=done,
                    expected_s=None if done else self._still_needed(nearest, (end - start).total_seconds()),
                    level=self.settings.level,
                    simulated=simulated,
                )
            )
        return result


def _active_hours(windows: Windows) -> NDArray[np.int64]:
    """Number of hours with traffic of each item, (n); 0 for items counted in intervals other than hours."""
    hours = np.zeros(len(windows), dtype=np.int64)
    time = pl.col("time")
    active = windows.counts.group_by("item").agg(time.n_unique(), (time.dt.truncate("1h") == time).all().alias("whole"))
    hours[active["item"].to_numpy()] = (active["time"] * active["whole"]).to_numpy()
    return hours


def _flows(windows: Windows) -> NDArray[np.int64]:
    flows = np.zeros(len(windows), dtype=np.int64)
    sums = windows.totals.group_by("item").agg(pl.col("flows").sum())
    flows[sums["item"].to_numpy()] = sums["flows"].to_numpy()
    return flows
