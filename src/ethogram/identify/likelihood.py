"""Weight of evidence: log likelihood ratios of a label against the background, per service and quantity.

A raw score is a sum of named terms, each weight * log(f_label(x) / f(x)), for the presence of a service and for each of
its quantities. Densities are kernel estimates on the log scale. One weight per term is fitted on held-out windows, so
that redundant terms do not count twice; weights are non-negative, so each term keeps its sign.

Shapes: n windows, C labels, K keys, Q quantities, F = K * Q features, T = K + F terms (presence first, then densities).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.identify.density import CLIP, Densities
from ethogram.identify.identifier import Identifier, Term, require_labels
from ethogram.identify.quantities import QUANTITIES, Quantities, ServiceVocabulary
from ethogram.schema import Windows

__all__ = ["LikelihoodRatios"]

COMPILER = Compiler.of(__file__)

Q = len(QUANTITIES)
FLOOR = 0.03  # minimum bandwidth in log units
POOL = (5.0, 0.3)  # pseudo-windows and bandwidth that pooled bandwidths are shrunk to
OWN = 3.0  # pseudo-windows of the pooled bandwidth that the bandwidth of a label is shrunk to
CHUNK = 2048  # windows scored at once
LEARN = 4000  # maximum number of windows to fit weights on


class LikelihoodRatios(Identifier):
    """Sum of weighted log likelihood ratios per service and quantity.

    Parameters
    ----------
    names
        Treat remote domains as services, too.
    min_items
        See :class:`ethogram.identify.quantities.ServiceVocabulary`.
    ridge
        Strength of the shrinkage of weights to equal ones.
    pseudo
        Pseudo-count of background windows added to each label.
    """

    def __init__(self, *, names: bool = False, min_items: int = 3, ridge: float = 0.02, pseudo: float = 1.0) -> None:
        self.names = names
        self.min_items = min_items
        self.ridge = ridge
        self.pseudo = pseudo

    def fit(self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64] | None = None) -> Self:
        """Fit densities, presence rates and weights.

        Parameters
        ----------
        windows, labels
            Enrolment items.
        groups
            Items that are held out together while weights are fitted; default: each item alone.
        """
        self.labels_ = require_labels(windows, labels)
        self.vocabulary_ = ServiceVocabulary(self.min_items, names=self.names).fit(windows)
        self.known_ = self.vocabulary_.quantities(windows)
        self.y_ = np.searchsorted(self.labels_, np.array(labels)).astype(np.int64)
        given = np.arange(len(windows)) if groups is None else groups
        self.groups_ = np.unique(given, return_inverse=True)[1].astype(np.int64)
        keys = len(self.known_.keys)
        self.present_ = _presence(self.known_, keys)
        self._postings()
        self._bandwidths()
        self.weights_ = np.full(keys * (Q + 1), 1.5 / np.sqrt(max(keys * (Q + 1), 1)))
        self._fit_weights()
        return self

    def fit_parts(self, windows: Windows, labels: Sequence[str], owner: NDArray[np.int64]) -> Self:
        """Fit on parts of items; parts of one item are held out together."""
        return self.fit(windows, labels, owner)

    def _postings(self) -> None:
        """Index the known values by feature: windows and values."""
        features = len(self.known_.keys) * Q
        order = np.argsort(self.known_.features, kind="stable")
        window = np.repeat(np.arange(len(self.known_)), np.diff(self.known_.indptr))
        self.pointer_ = np.searchsorted(self.known_.features[order], np.arange(features + 1)).astype(np.int64)
        self.posted_window_ = window[order]
        self.posted_value_ = self.known_.values[order]

    def _bandwidths(self) -> None:
        """Bandwidth per label and feature (C, F): mean absolute deviation from the median, shrunk to the pooled one."""
        count, features = len(self.labels_), len(self.known_.keys) * Q
        size = np.zeros((count, features))
        spread = np.zeros((count, features))
        self.median_ = np.full((count, features), np.nan)
        _deviations(self.pointer_, self.y_[self.posted_window_], self.posted_value_, size, spread, self.median_)
        weight = np.where(size >= 2, size, 0.0)
        pooled = ((weight * spread).sum(axis=0) + POOL[0] * POOL[1]) / (weight.sum(axis=0) + POOL[0])
        shrunk = (1.2 * weight * spread + OWN * pooled) / (weight + OWN)
        self.bandwidth_ = np.maximum(shrunk * np.maximum(size, 1.0) ** -0.2, FLOOR)
        feature = np.repeat(np.arange(features), np.diff(self.pointer_))
        self.densities_ = Densities(
            feature, self.y_[self.posted_window_], self.groups_[self.posted_window_], self.posted_value_,
            self.bandwidth_, self.pseudo,
        )  # fmt: skip

    def _ratios(self, group: int = -1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Terms of keys that are present and absent, (C, K) each; windows of ``group`` are held out."""
        inside = self.groups_ != group
        member = np.zeros((len(self.labels_), len(self.y_)))
        member[self.y_[inside], np.flatnonzero(inside)] = 1.0
        windows = member.sum(axis=1, keepdims=True)
        seen = member @ self.present_
        rate = ((seen / np.maximum(windows, 1.0)).sum(axis=0) + 0.5) / (len(self.labels_) + 1)
        label_rate = (seen + self.pseudo * rate) / (windows + self.pseudo)
        there, absent = np.log(label_rate / rate), np.log((1 - label_rate) / (1 - rate))
        return np.clip(there, -CLIP, CLIP), np.clip(absent, -CLIP, CLIP)

    def _densities(self, windows: Quantities, held: NDArray[np.int64]) -> NDArray[np.float32]:
        """Terms of the values, (Z, C)."""
        return self.densities_.terms(windows.indptr, windows.features, windows.values, held)

    def _fit_weights(self) -> None:
        """Fit the weights by logistic loss on held-out windows, with equal weight for each label."""
        count, keys = len(self.labels_), len(self.known_.keys)
        useful = [len(set(self.groups_[self.y_ == c])) > 1 for c in range(count)]
        rows = np.flatnonzero(np.array(useful)[self.y_])
        if count < 2 or rows.size <= count:
            return
        rows = rows[:: max(1, -(-rows.size // LEARN))]
        part = _rows(self.known_, rows)
        y, groups, present = self.y_[rows], self.groups_[rows], self.present_[rows]
        terms = self._densities(part, groups)
        owner = np.repeat(np.arange(rows.size), np.diff(part.indptr))
        names, of = np.unique(groups, return_inverse=True)
        ratios = [self._ratios(int(group)) for group in names]
        case = 1.0 / np.bincount(y, minlength=count)[y]
        case /= case.sum()
        start = self.weights_.copy()
        index = np.arange(rows.size)

        def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            logits = _weighted(terms, part.features, owner, w[keys:], rows.size)
            for g, (there, absent) in enumerate(ratios):
                in_group = of == g
                logits[in_group] += present[in_group] @ ((there - absent) * w[:keys]).T + absent @ w[:keys]
            logits -= logits.max(axis=1, keepdims=True)
            logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            rest = np.exp(logs)
            rest[index, y] -= 1.0
            rest *= case[:, None]
            slope = np.empty_like(w)
            slope[keys:] = _slope(terms, part.features, owner, rest, keys * Q)
            slope[:keys] = 0.0
            for g, (there, absent) in enumerate(ratios):
                in_group = of == g
                slope[:keys] += ((rest[in_group].T @ present[in_group]) * (there - absent)).sum(axis=0)
                slope[:keys] += (rest[in_group].sum(axis=0)[:, None] * absent).sum(axis=0)
            pull = w - start
            value = -(case * logs[index, y]).sum() + self.ridge * (pull**2).sum()
            return float(value), slope + 2.0 * self.ridge * pull

        from scipy.optimize import minimize

        optimum = minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * start.size, options={"maxiter": 80}
        )
        self.weights_ = optimum.x

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Weight of evidence for each label in nats, shape (n, C)."""
        self.require_fit()
        return self._scores(self.vocabulary_.quantities(windows), np.full(len(windows), -1, dtype=np.int64))

    def _scores(self, quantities: Quantities, held: NDArray[np.int64]) -> NDArray[np.float64]:
        keys = len(quantities.keys)
        w = self.weights_
        result = np.zeros((len(quantities), len(self.labels_)))
        for start in range(0, len(quantities), CHUNK):
            part = quantities.take(start, min(start + CHUNK, len(quantities)))
            owner = np.repeat(np.arange(len(part)), np.diff(part.indptr))
            away = held[start : start + len(part)]
            block = _weighted(self._densities(part, away), part.features, owner, w[keys:], len(part))
            present = _presence(part, keys)
            for group in np.unique(away):
                there, absent = self._ratios(int(group))
                in_group = away == group
                block[in_group] += present[in_group] @ ((there - absent) * w[:keys]).T + absent @ w[:keys]
            result[start : start + len(part)] = block
        return result

    def cross_val(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Held-out scores; only densities and presence rates exclude the group, weights and bandwidths do not.

        There is one weight per term for all labels, fitted on held-out terms, so a single window has little effect on
        it. A test compares this shortcut with refitting everything.
        """
        self.fit(windows, labels, groups)
        scores = self._scores(self.known_, self.groups_)
        for c in range(len(self.labels_)):
            for group in np.unique(self.groups_):
                if not np.any((self.y_ == c) & (self.groups_ != group)):
                    scores[self.groups_ == group, c] = np.nan
        return self.labels_, scores

    def explain(self, windows: Windows, labels: Sequence[str]) -> list[list[Term]]:
        """For each window one term for the presence of each key and one for each quantity of present keys."""
        self.require_fit()
        quantities = self.vocabulary_.quantities(windows)
        keys, w = len(quantities.keys), self.weights_
        terms = self._densities(quantities, np.full(len(quantities), -1, dtype=np.int64))
        present = _presence(quantities, keys).astype(bool)
        there, absent = self._ratios()
        rate = np.zeros((len(self.labels_), keys))
        np.add.at(rate, self.y_, self.present_)
        rate /= np.bincount(self.y_, minlength=len(self.labels_))[:, None]
        result = []
        for i, label in enumerate(labels):
            c = self.labels_.index(label)
            ratio = np.where(present[i], there[c], absent[c]) * w[:keys]
            window_terms = [
                Term(quantities.keys[k], "presence", float(present[i, k]), float(rate[c, k]), float(ratio[k]))
                for k in np.flatnonzero(present[i] | (ratio != 0))
            ]
            for z in range(quantities.indptr[i], quantities.indptr[i + 1]):
                f = int(quantities.features[z])
                expected = np.expm1(self.median_[c, f])
                observed = float(np.expm1(quantities.values[z]))
                contribution = float(w[keys + f] * terms[z, c])
                window_terms.append(
                    Term(quantities.keys[f // Q], QUANTITIES[f % Q], observed, float(expected), contribution)
                )
            result.append(window_terms)
        return result


def _presence(quantities: Quantities, keys: int) -> NDArray[np.float64]:
    """Whether each key is present, (n, K)."""
    present = np.zeros((len(quantities), keys))
    first = quantities.features % Q == 0
    owner = np.repeat(np.arange(len(quantities)), np.diff(quantities.indptr))
    present[owner[first], quantities.features[first] // Q] = 1.0
    return present


def _rows(quantities: Quantities, rows: NDArray[np.int64]) -> Quantities:
    """A subset of the windows."""
    lengths = np.diff(quantities.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    source = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - quantities.indptr[rows], lengths)
    return Quantities(indptr, quantities.features[source], quantities.values[source], quantities.keys)


@COMPILER.checked
def _deviations(
    pointer: NDArray[np.int64], label: NDArray[np.int64], value: NDArray[np.float64], size: NDArray[np.float64],
    spread: NDArray[np.float64], median: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fill in count, mean absolute deviation from the median, and median of each label and feature."""
    for f in range(len(pointer) - 1):
        labels = label[pointer[f] : pointer[f + 1]]
        values = value[pointer[f] : pointer[f + 1]]
        for c in np.unique(labels):
            of_label = values[labels == c]
            middle = np.median(of_label)
            size[c, f] = len(of_label)
            median[c, f] = middle
            spread[c, f] = np.abs(of_label - middle).mean()


@COMPILER.checked
def _weighted(
    terms: NDArray[np.float32], features: NDArray[np.int64], owner: NDArray[np.int64], weights: NDArray[np.float64],
    rows: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Sum of weighted terms per window, (n, C)."""
    out = np.zeros((rows, terms.shape[1]))
    for z in range(len(features)):
        w = weights[features[z]]
        if w != 0.0:
            for c in range(terms.shape[1]):
                out[owner[z], c] += w * terms[z, c]
    return out


@COMPILER.checked
def _slope(
    terms: NDArray[np.float32], features: NDArray[np.int64], owner: NDArray[np.int64], rest: NDArray[np.float64],
    count: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Gradient of the loss with respect to the weight of each feature, (F,)."""
    out = np.zeros(count)
    for z in range(len(features)):
        total = 0.0
        for c in range(terms.shape[1]):
            total += terms[z, c] * rest[owner[z], c]
        out[features[z]] += total
    return out
