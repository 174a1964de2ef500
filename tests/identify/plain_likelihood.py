"""The likelihood ratios over dense arrays, as their formulas say: slow, and with memory for groups x labels x keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ethogram.identify.density import CLIP, HEIGHTS, SCALES, WIDE
from ethogram.identify.identifier import Identifier, Term, require_labels
from ethogram.identify.likelihood import FLOOR, LEARN, OWN, POOL, Q
from ethogram.identify.quantities import QUANTITIES, Quantities, ServiceVocabulary
from ethogram.schema import Windows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PlainLikelihoodRatios(Identifier):
    """Twin of :class:`ethogram.identify.likelihood.LikelihoodRatios`."""

    def __init__(self, ridge: float = 0.02, pseudo: float = 1.0) -> None:
        self.ridge, self.pseudo = ridge, pseudo

    def fit(self, windows: Windows, labels: Sequence[str], groups: Ints | None = None) -> Self:
        self.labels_ = require_labels(windows, labels)
        self.vocabulary_ = ServiceVocabulary(3).fit(windows)
        self.known_ = self.vocabulary_.quantities(windows)
        self.y_ = np.searchsorted(self.labels_, np.array(labels)).astype(np.int64)
        given = np.arange(len(windows)) if groups is None else groups
        self.groups_ = np.unique(given, return_inverse=True)[1].astype(np.int64)
        self.keys_ = len(self.known_.keys)
        self.present_ = self._presence(self.known_)
        self._bandwidths()
        self.weights_ = np.full(self.keys_ * (Q + 1), 1.5 / np.sqrt(self.keys_ * (Q + 1)))
        self._fit_weights()
        return self

    def fit_parts(self, windows: Windows, labels: Sequence[str], owner: Ints) -> Self:
        return self.fit(windows, labels, owner)

    def _presence(self, quantities: Quantities) -> Floats:
        present = np.zeros((len(quantities), self.keys_))
        owner = np.repeat(np.arange(len(quantities)), np.diff(quantities.indptr))
        present[owner, quantities.features // Q] = 1.0
        return present

    def _bandwidths(self) -> None:
        shape = len(self.labels_), self.keys_ * Q
        size, spread, self.median_ = np.zeros(shape), np.zeros(shape), np.full(shape, np.nan)
        self.window_ = np.repeat(np.arange(len(self.known_)), np.diff(self.known_.indptr))
        for c in range(shape[0]):
            for f in range(shape[1]):
                values = self.known_.values[(self.known_.features == f) & (self.y_[self.window_] == c)]
                if values.size:
                    size[c, f], self.median_[c, f] = values.size, np.median(values)
                    spread[c, f] = np.abs(values - self.median_[c, f]).mean()
        weight = np.where(size >= 2, size, 0.0)
        pooled = ((weight * spread).sum(axis=0) + POOL[0] * POOL[1]) / (weight.sum(axis=0) + POOL[0])
        shrunk = (1.2 * weight * spread + OWN * pooled) / (weight + OWN)
        self.bandwidth_ = np.maximum(shrunk * np.maximum(size, 1.0) ** -0.2, FLOOR)

    def _ratios(self, group: int = -1) -> tuple[Floats, Floats]:
        inside = self.groups_ != group
        member = np.zeros((len(self.labels_), len(self.y_)))
        member[self.y_[inside], np.flatnonzero(inside)] = 1.0
        windows = member.sum(axis=1, keepdims=True)
        seen = member @ self.present_
        rate = ((seen / np.maximum(windows, 1.0)).sum(axis=0) + 0.5) / (len(self.labels_) + 1)
        label_rate = (seen + self.pseudo * rate) / (windows + self.pseudo)
        there, absent = np.log(label_rate / rate), np.log((1 - label_rate) / (1 - rate))
        return np.clip(there, -CLIP, CLIP), np.clip(absent, -CLIP, CLIP)

    def _terms(self, quantities: Quantities, held: Ints) -> Floats:
        """Terms of the values, (Z, C), by the sum over all points."""
        owner = np.repeat(np.arange(len(quantities)), np.diff(quantities.indptr))
        out = np.zeros((len(owner), len(self.labels_)))
        label, group = self.y_[self.window_], self.groups_[self.window_]
        for z, (f, x, i) in enumerate(zip(quantities.features, quantities.values, owner, strict=True)):
            points = np.flatnonzero((self.known_.features == f) & (group != held[i]))
            h = self.bandwidth_[label[points], f]
            d = np.abs(self.known_.values[points] - x) / h
            kernel = sum(a * np.exp(-d / b) for a, b in zip(HEIGHTS, SCALES, strict=True)) / (2 * h)
            density = np.bincount(label[points], weights=kernel, minlength=len(self.labels_))
            number = np.bincount(label[points], minlength=len(self.labels_))
            have = number > 0
            background = (1 / WIDE + (density[have] / number[have]).sum()) / (have.sum() + 1)
            term = np.log((density[have] + self.pseudo * background) / (number[have] + self.pseudo) / background)
            out[z, have] = np.clip(term, -CLIP, CLIP)
        return out

    def _fit_weights(self) -> None:
        count, keys = len(self.labels_), self.keys_
        useful = [len(set(self.groups_[self.y_ == c])) > 1 for c in range(count)]
        rows = np.flatnonzero(np.array(useful)[self.y_])
        if count < 2 or rows.size <= count:
            return
        assert rows.size <= LEARN
        inside = np.isin(self.window_, rows)
        part = Quantities(
            np.append(0, np.cumsum(np.diff(self.known_.indptr)[rows])), self.known_.features[inside],
            self.known_.values[inside], self.known_.keys,
        )  # fmt: skip
        y, groups, present = self.y_[rows], self.groups_[rows], self.present_[rows]
        terms = self._terms(part, groups).astype(np.float32)
        owner = np.repeat(np.arange(rows.size), np.diff(part.indptr))
        names, of = np.unique(groups, return_inverse=True)
        ratios = [self._ratios(int(group)) for group in names]
        case = 1.0 / np.bincount(y, minlength=count)[y]
        case /= case.sum()
        start, index = self.weights_.copy(), np.arange(rows.size)

        def loss(w: Floats) -> tuple[float, Floats]:
            logits = np.zeros((rows.size, count))
            np.add.at(logits, owner, terms * w[keys + part.features][:, None])
            for g, (there, absent) in enumerate(ratios):
                logits[of == g] += present[of == g] @ ((there - absent) * w[:keys]).T + absent @ w[:keys]
            logits -= logits.max(axis=1, keepdims=True)
            logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            rest = np.exp(logs)
            rest[index, y] -= 1.0
            rest *= case[:, None]
            slope = np.zeros_like(w)
            np.add.at(slope, keys + part.features, (terms * rest[owner]).sum(axis=1))
            for g, (there, absent) in enumerate(ratios):
                slope[:keys] += ((rest[of == g].T @ present[of == g]) * (there - absent)).sum(axis=0)
                slope[:keys] += (rest[of == g].sum(axis=0)[:, None] * absent).sum(axis=0)
            pull = w - start
            value = -(case * logs[index, y]).sum() + self.ridge * (pull**2).sum()
            return float(value), slope + 2.0 * self.ridge * pull

        bounds = [(0.0, None)] * start.size
        self.weights_ = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 80}).x

    def _scores(self, quantities: Quantities, held: Ints) -> Floats:
        owner = np.repeat(np.arange(len(quantities)), np.diff(quantities.indptr))
        w, keys = self.weights_, self.keys_
        result = np.zeros((len(quantities), len(self.labels_)))
        np.add.at(result, owner, self._terms(quantities, held) * w[keys + quantities.features][:, None])
        present = self._presence(quantities)
        for group in np.unique(held):
            there, absent = self._ratios(int(group))
            inside = held == group
            result[inside] += present[inside] @ ((there - absent) * w[:keys]).T + absent @ w[:keys]
        return result

    def decision_function(self, windows: Windows) -> Floats:
        return self._scores(self.vocabulary_.quantities(windows), np.full(len(windows), -1))

    def cross_val(self, windows: Windows, labels: Sequence[str], groups: Ints) -> tuple[list[str], Floats]:
        self.fit(windows, labels, groups)
        scores = self._scores(self.known_, self.groups_)
        for c in range(len(self.labels_)):
            for group in np.unique(self.groups_):
                if not np.any((self.y_ == c) & (self.groups_ != group)):
                    scores[self.groups_ == group, c] = np.nan
        return self.labels_, scores

    def explain(self, windows: Windows, labels: Sequence[str]) -> list[list[Term]]:
        quantities = self.vocabulary_.quantities(windows)
        keys, w = self.keys_, self.weights_
        terms = self._terms(quantities, np.full(len(quantities), -1))
        present = self._presence(quantities).astype(bool)
        there, absent = self._ratios()
        rate = np.stack([self.present_[self.y_ == c].mean(axis=0) for c in range(len(self.labels_))])
        result = []
        for i, label in enumerate(labels):
            c = self.labels_.index(label)
            ratio = np.where(present[i], there[c], absent[c]) * w[:keys]
            made = [
                Term(quantities.keys[k], "presence", float(present[i, k]), float(rate[c, k]), float(ratio[k]))
                for k in np.flatnonzero(present[i] | (ratio != 0))
            ]
            for z in range(quantities.indptr[i], quantities.indptr[i + 1]):
                f = int(quantities.features[z])
                made.append(
                    Term(quantities.keys[f // Q], QUANTITIES[f % Q], float(np.expm1(quantities.values[z])),
                         float(np.expm1(self.median_[c, f])), float(w[keys + f] * terms[z, c]))
                )  # fmt: skip
            result.append(made)
        return result
