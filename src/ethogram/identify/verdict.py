"""From scores to verdicts: best label or unknown, calibrated, with margin, ties, evidence and time still needed."""

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
    """All verdicts as arrays, without evidence: what evaluation reads. n items, L labels.

    Parameters
    ----------
    labels
        (L) the columns.
    raw, calibrated
        (n, L) scores: higher is more alike.
    best
        (n) column of the best label.
    tied
        (n) whether another label has exactly the best raw score.
    strangeness
        (n) of the best label: higher is stranger, above 1 unknown.
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
        """The label of each item, or unknown."""
        return [UNKNOWN if u else self.labels[b] for u, b in zip(self.unknown, self.best, strict=True)]


class VerdictModel:
    """An identifier with what turns its scores into verdicts, all learnt from enrolment items alone.

    Parameters
    ----------
    identifier
        Any method.
    settings
        Level, quantile, folds and so on.
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
        """Learn the labelled items.

        Parameters
        ----------
        windows, labels
            Enrolment items.
        groups
            Which items leave together when scores are held out; by default blocks of time within each device.
        needed_s
            Seconds that a fingerprint of a label takes to converge, where that is known.
        units
            The device of each item: where given, those of a group are left out of all groups.
        """
        chosen = folds_by_time(windows, self.settings.folds) if groups is None else groups
        if units is None:
            names, held = self.identifier.cross_val(windows, labels, chosen)
        else:
            names, held = grouped_cross_val(self.identifier, windows, labels, chosen, units)
        self.held_, self.groups_ = held, chosen
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
        """Scores and verdicts of items; a silent item is unknown, also in a closed set it has no evidence."""
        if not hasattr(self, "calibration_"):
            raise UsageError("nothing can be judged before the judge is fitted")
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
        """Seconds until a verdict is expected to be final; None when no fingerprint of the label has converged."""
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
        """Verdicts with their evidence.

        Parameters
        ----------
        windows
            The items.
        converged
            Whether each item's fingerprint had converged; by default none had.
        presence
            Share of active hours per item and service, for the sentence.
        usual
            Services of each label's enrolled windows: what is not among them is said to be extra.
        simulated
            Marks verdicts over simulated traffic.
        decision
            What was decided already, with more than these counts; by default :meth:`decide`.
        """
        decision = self.decide(windows) if decision is None else decision
        flows = _flows(windows)
        why = self.identifier.explain(windows, [decision.labels[b] for b in decision.best])
        result = []
        for item, device, start, end in windows.items.select("item", "device", "start", "end").iter_rows():
            best = int(decision.best[item])
            nearest = decision.labels[best]
            scores = decision.calibrated[item]
            done = bool(converged[item]) if converged is not None else False
            silent = flows[item] == 0
            label = UNKNOWN if decision.unknown[item] or (silent and not self.settings.closed) else nearest
            found = [] if silent else evidence(why[item], self.settings.terms)
            times: Mapping[str, float] = presence.row(item) if presence is not None else {}
            if usual is not None and not silent:
                found += new_services(times, usual.get(nearest, ()))
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
                    evidence=found,
                    reason="silent: nothing was seen"
                    if silent
                    else sentence(label, nearest, found, times, strange=bool(decision.strangeness[item] > 1.0)),
                    window=Window(start=start, end=end),
                    flows=int(flows[item]),
                    converged=done,
                    expected_s=None if done else self._still_needed(nearest, (end - start).total_seconds()),
                    level=self.settings.level,
                    simulated=simulated,
                )
            )
        return result


def _flows(windows: Windows) -> NDArray[np.int64]:
    flows = np.zeros(len(windows), dtype=np.int64)
    sums = windows.counts.group_by("item").agg(pl.col("flows").sum())
    flows[sums["item"].to_numpy()] = sums["flows"].to_numpy()
    return flows
