"""What is not enrolled: a threshold per label, learnt from how its own windows score when they are held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import UsageError

__all__ = ["Coverage", "Thresholds"]


class Coverage:
    """How known a window looks: the share of the score its label usually reaches, times its calibrated score.

    A stranger falls short in one of two ways: it fits no label well, or several equally; the product sees both.
    """

    def fit(self, scores: NDArray[np.float64], names: Sequence[str], labels: Sequence[str]) -> Self:
        """Learn each label's usual score from held-out ones: its median, with the median of all as one more window."""
        column = {name: j for j, name in enumerate(names)}
        truth = np.array([column[label] for label in labels], dtype=np.int64)
        mine = scores[np.arange(len(truth)), truth] if len(truth) else np.zeros(0)
        usable = np.isfinite(mine)
        everyone = float(np.median(mine[usable])) if usable.any() else np.nan
        self.usual_ = np.full(len(names), everyone)
        for j in range(len(names)):
            own = mine[usable & (truth == j)]
            if own.size:
                self.usual_[j] = (own.size * float(np.median(own)) + everyone) / (own.size + 1)
        return self

    def transform(self, scores: NDArray[np.float64], calibrated: NDArray[np.float64]) -> NDArray[np.float64]:
        """Known scores, shape (n, L), 0 to 1.5: higher is more alike; NaN stays NaN."""
        if not hasattr(self, "usual_"):
            raise UsageError("Coverage knows nothing before it is fitted")
        # Where nothing was held out, or a usual score is not above 0, a share means nothing: the distance stands in.
        positive = self.usual_ > 1e-6
        share = np.where(positive, scores / np.where(positive, self.usual_, 1.0), 1.0 + scores - self.usual_)
        share = np.where(np.isnan(self.usual_), scores, share)
        result: NDArray[np.float64] = np.clip(share, 0.0, 1.5) * calibrated
        return result


class Thresholds:
    """Unknown below the label's threshold.

    Parameters
    ----------
    quantile
        Share of a label's own held-out windows that fall below: higher calls more unknown.
    few
        A label with fewer held-out windows uses the distribution of all labels together: a 5 % quantile of seven
        windows is their least, and calls a quarter of the later ones unknown.

    Notes
    -----
    *Strangeness* is (typical - score) / (typical - threshold): 0 for a typical window of the label, above 1 unknown.
    It has no unit, so labels can be compared. Where nothing could be held out (one window per label), a window must
    reach half of what an enrolled one scores against itself.
    """

    def __init__(self, quantile: float = 0.05, few: int = 20) -> None:
        self.quantile = quantile
        self.few = few

    def fit(
        self,
        scores: NDArray[np.float64],
        names: Sequence[str],
        labels: Sequence[str],
        own: NDArray[np.float64] | None = None,
    ) -> Self:
        """Learn from held-out scores.

        Parameters
        ----------
        scores, names, labels
            As for :meth:`ethogram.identify.calibrate.Calibration.fit`.
        own
            Shape (n,): score of each enrolled window when it is *not* held out; used where nothing else is known.
        """
        self.names_ = list(names)
        column = {name: j for j, name in enumerate(names)}
        truth = np.array([column[label] for label in labels], dtype=np.int64)
        mine = scores[np.arange(len(truth)), truth] if len(truth) else np.zeros(0)
        usable = np.isfinite(mine)
        everyone = np.sort(mine[usable])
        others = scores[np.isfinite(scores)]
        # A label that always scores the same would take every other score for strange: keep a minimal width.
        floor = 0.02 * float(np.ptp(others)) if others.size else 0.0
        self.known_: list[NDArray[np.float64]] = []
        self.typical_ = np.zeros(len(names))
        self.threshold_ = np.zeros(len(names))
        for j in range(len(names)):
            known = np.sort(mine[usable & (truth == j)])
            known = known if known.size >= self.few else everyone
            self.known_.append(known)
            if known.size == 0:
                top = 1.0 if own is None or own.size == 0 else float(np.median(own))
                self.typical_[j], self.threshold_[j] = top, top - 0.5 * max(abs(top), 1e-9)
                continue
            typical = float(np.median(known))
            self.typical_[j] = typical
            self.threshold_[j] = min(float(np.quantile(known, self.quantile)), typical - max(floor, 1e-9))
        return self

    def strangeness(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Strangeness under each label, shape (n, L): higher is stranger, above 1 is unknown."""
        if not hasattr(self, "names_"):
            raise UsageError("Thresholds know nothing before they are fitted")
        result: NDArray[np.float64] = (self.typical_ - scores) / (self.typical_ - self.threshold_)
        return result

    def p_values(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Conformal p-value of each label, shape (n, L): share of its held-out windows that score no better.

        Valid when a new window of the label is exchangeable with those held out: days of one device nearly are,
        another network's are not.

        References
        ----------
        V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, 2005.
        """
        if not hasattr(self, "names_"):
            raise UsageError("Thresholds know nothing before they are fitted")
        columns = [
            (1 + np.searchsorted(known, scores[:, j], side="right")) / (known.size + 1)
            for j, known in enumerate(self.known_)
        ]
        return np.stack(columns, axis=1) if columns else np.empty((len(scores), 0))
