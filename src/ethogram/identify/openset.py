"""Open-set recognition: a threshold for each label, fitted on the held-out scores of its own windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import UsageError

__all__ = ["Coverage", "Thresholds"]


class Coverage:
    """Familiarity of a window under a label: score relative to the label's usual score, times calibrated score.

    An unknown device either fits no label well (the first factor is small) or several labels equally (the second is).
    """

    def fit(self, scores: NDArray[np.float64], names: Sequence[str], labels: Sequence[str]) -> Self:
        """Fit the usual score of each label: its median held-out score, shrunk by one window to the overall median."""
        column = {name: j for j, name in enumerate(names)}
        truth = np.array([column[label] for label in labels], dtype=np.int64)
        true_scores = scores[np.arange(len(truth)), truth] if len(truth) else np.zeros(0)
        usable = np.isfinite(true_scores)
        everyone = float(np.median(true_scores[usable])) if usable.any() else np.nan
        self.usual_ = np.full(len(names), everyone)
        for j in range(len(names)):
            of_label = true_scores[usable & (truth == j)]
            if of_label.size:
                self.usual_[j] = (of_label.size * float(np.median(of_label)) + everyone) / (of_label.size + 1)
        return self

    def transform(self, scores: NDArray[np.float64], calibrated: NDArray[np.float64]) -> NDArray[np.float64]:
        """Familiarity, shape (n, L), in [0, 1.5]; higher is more alike, NaN stays NaN."""
        if not hasattr(self, "usual_"):
            raise UsageError("Coverage is not fitted yet; call fit first")
        # A ratio needs a positive usual score; otherwise the difference replaces it.
        positive = self.usual_ > 1e-6
        share = np.where(positive, scores / np.where(positive, self.usual_, 1.0), 1.0 + scores - self.usual_)
        share = np.where(np.isnan(self.usual_), scores, share)
        result: NDArray[np.float64] = np.clip(share, 0.0, 1.5) * calibrated
        return result


class Thresholds:
    """One threshold per label; an item that scores below it is unknown.

    Parameters
    ----------
    quantile
        Share of a label's held-out windows below its threshold; higher values call more items unknown.
    few
        A label with fewer held-out windows uses the scores of all labels: the 5 % quantile of seven windows is their
        minimum, which a quarter of later windows of the label would not reach.

    Notes
    -----
    *Strangeness* is (typical - score) / (typical - threshold): 0 for a typical window of the label, above 1 for an
    unknown one. It has no unit, so it is comparable between labels. Where nothing could be held out (one window per
    label), the threshold is half of the score of an enrolled window against itself.
    """

    def __init__(self, quantile: float = 0.05, few: int = 20) -> None:
        self.quantile = quantile
        self.few = few

    def fit(
        self,
        scores: NDArray[np.float64],
        names: Sequence[str],
        labels: Sequence[str],
        enrolled: NDArray[np.float64] | None = None,
    ) -> Self:
        """Learn from held-out scores.

        Parameters
        ----------
        scores, names, labels
            As for :meth:`ethogram.identify.calibrate.Calibration.fit`.
        enrolled
            Shape (n,): score of each enrolled window *without* holding out; used where no held-out score exists.
        """
        self.names_ = list(names)
        column = {name: j for j, name in enumerate(names)}
        truth = np.array([column[label] for label in labels], dtype=np.int64)
        true_scores = scores[np.arange(len(truth)), truth] if len(truth) else np.zeros(0)
        usable = np.isfinite(true_scores)
        everyone = np.sort(true_scores[usable])
        others = scores[np.isfinite(scores)]
        # A minimum width, since a label with constant scores would make every other score strange.
        floor = 0.02 * float(np.ptp(others)) if others.size else 0.0
        self.known_: list[NDArray[np.float64]] = []
        self.typical_ = np.zeros(len(names))
        self.threshold_ = np.zeros(len(names))
        for j in range(len(names)):
            known = np.sort(true_scores[usable & (truth == j)])
            known = known if known.size >= self.few else everyone
            self.known_.append(known)
            if known.size == 0:
                top = 1.0 if enrolled is None or enrolled.size == 0 else float(np.median(enrolled))
                self.typical_[j], self.threshold_[j] = top, top - 0.5 * max(abs(top), 1e-9)
                continue
            typical = float(np.median(known))
            self.typical_[j] = typical
            self.threshold_[j] = min(float(np.quantile(known, self.quantile)), typical - max(floor, 1e-9))
        return self

    def strangeness(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Strangeness under each label, shape (n, L): higher is stranger, above 1 is unknown."""
        if not hasattr(self, "names_"):
            raise UsageError("Thresholds are not fitted yet; call fit first")
        result: NDArray[np.float64] = (self.typical_ - scores) / (self.typical_ - self.threshold_)
        return result

    def p_values(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Conformal p-value of each label, shape (n, L): share of its held-out windows with no higher score.

        Valid if a new window of the label is exchangeable with the held-out ones. This holds approximately for days of
        one device, and not for windows of another network.

        References
        ----------
        V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, 2005.
        """
        if not hasattr(self, "names_"):
            raise UsageError("Thresholds are not fitted yet; call fit first")
        columns = [
            (1 + np.searchsorted(known, scores[:, j], side="right")) / (known.size + 1)
            for j, known in enumerate(self.known_)
        ]
        return np.stack(columns, axis=1) if columns else np.empty((len(scores), 0))
