"""Turn raw scores into verdicts: best label or unknown, calibrated score, margin, evidence and time still needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import IdentifySettings
from ethogram.errors import UsageError
from ethogram.identify.calibrate import Calibration
from ethogram.identify.explain import evidence, new_services, sentence
from ethogram.identify.identifier import Identifier, folds_by_time
from ethogram.identify.leave_group_out import grouped_cross_val
from ethogram.identify.openset import Coverage, Thresholds
from ethogram.schema import UNKNOWN, ServiceMatrix, Verdict, Window, Windows

__all__ = ["Decision", "VerdictModel"]


@dataclass(frozen=True)
class Decision:
    """Decisions on n items over L labels as arrays, without evidence; read by the benchmark.

    Parameters
    ----------
    labels
        (L) labels of the columns.
    raw, calibrated
        (n, L) scores; higher is more alike.
    best
        (n) column of the best label.
    tied
        (n) whether another label has exactly the same raw score as the best.
    strangeness
        (n) strangeness of the best label; above 1 the item is unknown.
    unknown
        (n) whether the verdict is unknown.
    """

    labels: list[str]
    raw: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    best: NDArray[np.int64]
    tied: NDArray[np.bool_]
    strangeness: NDArray[np.float64]
    unknown: NDArray[np.bool_]

    @property
    def verdicts(self) -> list[str]:
        """The label of each item, or ``unknown``."""
        return [UNKNOWN if u else self.labels[b] for u, b in zip(self.unknown, self.best, strict=True)]


class VerdictModel:
    """An identifier with calibration and thresholds, all fitted on enrolment items alone.

    Parameters
    ----------
    identifier
        Any method.
    settings
        Level, quantile, folds and so on.

    Attributes
    ----------
    held_
        Held-out raw scores of the enrolment items, (n, L).
    calibration_, coverage_, thresholds_
        Fitted on those.
    """

    def __init__(self, identifier: Identifier, settings: IdentifySettings | None = None) -> None:
        self.identifier = identifier
        self.settings = settings or IdentifySettings()

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
        self.held_, self.groups_ = held, folds
        self.identifier.fit(windows, labels)
        column = {name: j for j, name in enumerate(self.identifier.labels_)}
        self.calibration_ = Calibration().fit(held, names, labels)
        self.coverage_ = Coverage().fit(held, names, labels)
        known = self.coverage_.transform(held, self.calibration_.predict_proba(held))
        enrolled = self._known(self.identifier.decision_function(windows))
        own_scores = enrolled[np.arange(len(labels)), [column[label] for label in labels]]
        self.thresholds_ = Thresholds(self.settings.quantile, self.settings.few).fit(known, names, labels, own_scores)
        self.needed_: dict[str, float] = dict(needed_s or {})
        return self

    def _known(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.coverage_.transform(raw, self.calibration_.predict_proba(raw))

    def decide(self, windows: Windows) -> Decision:
        """Decide on n items.

        Raises
        ------
        UsageError
            When the model is not fitted.
        """
        if not hasattr(self, "calibration_"):
            raise UsageError("VerdictModel is not fitted yet; call fit first")
        raw = self.identifier.decision_function(windows)
        best = raw.argmax(axis=1) if raw.size else np.zeros(0, dtype=np.int64)
        top = raw[np.arange(len(raw)), best]
        strangeness = self.thresholds_.strangeness(self._known(raw))[np.arange(len(raw)), best]
        calibrated = self.calibration_.predict_proba(raw)
        unsure = calibrated[np.arange(len(raw)), best] < self.settings.least_score
        return Decision(
            labels=self.identifier.labels_,
            raw=raw,
            calibrated=calibrated,
            best=best,
            tied=(raw == top[:, None]).sum(axis=1) > 1,
            strangeness=strangeness,
            unknown=np.zeros(len(raw), dtype=bool) if self.settings.closed else (strangeness > 1.0) | unsure,
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
            result.append(
                Verdict(
                    device=device,
                    verdict=label,
                    score=float(scores[best]),
                    margin=0.0 if decision.tied[item] else float(scores[best] - others.max(initial=0.0)),
                    raw_score=float(decision.raw[item, best]),
                    nearest=nearest,
                    known_types=dict(zip(decision.labels, scores.tolist(), strict=True)),
                    strangeness=float(decision.strangeness[item]),
                    evidence=terms,
                    reason="silent: nothing was seen"
                    if silent
                    else sentence(label, nearest, terms, times, strange=bool(decision.strangeness[item] > 1.0),
                                  hours=int(hours[item])),
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
    sums = windows.counts.group_by("item").agg(pl.col("flows").sum())
    flows[sums["item"].to_numpy()] = sums["flows"].to_numpy()
    return flows
