"""Weight of evidence: log likelihood ratios of a label against the background, per service and quantity.

A raw score is a sum of named terms, each weight * log(f_label(x) / f(x)), for the presence of a service and for each of
its quantities. Densities are kernel estimates on the log scale. One weight per term is fitted on held-out windows, so
that redundant terms do not count twice; weights are non-negative, so each term keeps its sign.

Shapes: n windows, C labels, K keys, Q quantities, F = K * Q features, T = K + F terms (presence first, then densities).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.identify.density import (
    CLIP,
    Densities,
    StoredTerms,
    add_scores,
    distinct_sorted,
    stored_size,
    stored_terms,
    terms_of_labels,
)
from ethogram.identify.identifier import Identifier, Term, mean_of_sums, require_labels
from ethogram.identify.last_seen import LastSeen
from ethogram.identify.quantities import QUANTITIES, Quantities, ServiceVocabulary
from ethogram.identify.terms import TermTable
from ethogram.schema import Windows

__all__ = ["LikelihoodRatios"]

COMPILER = Compiler.of(__file__)

Q = len(QUANTITIES)
FLOOR = 0.03  # minimum bandwidth in log units
POOL = (5.0, 0.3)  # pseudo-windows and bandwidth that pooled bandwidths are shrunk to
OWN = 3.0  # pseudo-windows of the pooled bandwidth that the bandwidth of a label is shrunk to
CHUNK = 1 << 15  # windows scored at once
LEARN = 4000  # maximum number of windows to fit weights on
LEARN_TERMS = 1 << 26  # maximum number of terms to fit weights on; fewer windows are used where it would be exceeded
EXPLAINED = 64  # items explained at once
MOST_KEPT = 1 << 22  # values kept for an explanation, with their background
FEW_GROUPS = 16  # up to this many groups, presence ratios are computed for each group as a whole

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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

    _whole_ratios: tuple[Floats, Floats] | None = None

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
        self._fit_densities(windows, labels, groups)
        self._fit_weights()
        return self

    def _fit_densities(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64] | None
    ) -> None:
        """Fit everything but the weights, which begin as equal."""
        self._forget()
        self.labels_ = require_labels(windows, labels)
        self.vocabulary_ = ServiceVocabulary(self.min_items, names=self.names).fit(windows)
        self.known_ = self.vocabulary_.quantities(windows)
        self.y_ = np.searchsorted(self.labels_, np.array(labels)).astype(np.int64)
        given = np.arange(len(windows)) if groups is None else groups
        self.groups_ = np.unique(given, return_inverse=True)[1].astype(np.int64)
        keys = len(self.known_.keys)
        self.keys_ = self.known_.keys
        self.window_keys_ = _keys_of(self.known_)
        self._count()
        self._bandwidths()
        self.weights_ = np.full(keys * (Q + 1), 1.5 / np.sqrt(max(keys * (Q + 1), 1)))

    def refit_parts(self, windows: Windows, labels: Sequence[str], owner: NDArray[np.int64]) -> Self:
        """Fit densities and rates anew, and keep the weights: each is of one term for all labels, and rests on all.

        Weights of terms that did not occur before are those that a fit begins with.
        """
        self.require_fit()
        before, weights = {key: k for k, key in enumerate(self.keys_)}, self.weights_
        self._fit_densities(windows, labels, owner)
        places = [(k, before[key]) for k, key in enumerate(self.keys_) if key in before]
        now, old = np.array(places, np.int64).reshape(-1, 2).T
        count, earlier = len(self.keys_), len(before)
        self.weights_[now] = weights[old]
        for q in range(Q):
            self.weights_[count + now * Q + q] = weights[earlier + old * Q + q]
        return self

    def _forget(self) -> None:
        """Forget what was computed since the last fit."""
        self._whole_ratios = None
        for name in ("_term_kinds", "_scored"):
            self.__dict__.pop(name, None)

    @cached_property
    def _scored(self) -> LastSeen[_Scored]:
        return LastSeen(_is_small)

    def _score_inputs(self, windows: Windows) -> _Scored:
        """Quantities of windows, computed once for a decision and its explanation."""
        return self._scored.of(windows, lambda: _Scored(self.vocabulary_.quantities(windows)))

    def fit_parts(self, windows: Windows, labels: Sequence[str], owner: NDArray[np.int64]) -> Self:
        """Fit on parts of items; parts of one item are held out together."""
        return self.fit(windows, labels, owner)

    def _count(self) -> None:
        """Number of windows with each key, (C, K), and of all windows, (C), by label."""
        self.seen_ = self._seen(np.arange(len(self.y_)))
        self.windows_ = np.bincount(self.y_, minlength=len(self.labels_)).astype(np.float64)

    def _seen(self, rows: Ints) -> Floats:
        """Number of these windows with each key, by label, (C, K)."""
        keys = max(len(self.known_.keys), 1)
        window, key = _pairs(self.window_keys_, rows)
        cells = np.bincount(self.y_[rows][window] * keys + key, minlength=len(self.labels_) * keys)
        return cells.reshape(len(self.labels_), keys)[:, : len(self.known_.keys)].astype(np.float64)

    def _bandwidths(self) -> None:
        """Bandwidth per label and feature: mean absolute deviation from the median, shrunk to the pooled one."""
        count, features = len(self.labels_), len(self.known_.keys) * Q
        window = np.repeat(np.arange(len(self.known_)), np.diff(self.known_.indptr))
        label = self.y_[window]
        order = np.lexsort((self.known_.values, label, self.known_.features))
        cell = (self.known_.features * count + label)[order]
        self.cell_ = distinct_sorted(cell)
        first = np.append(np.searchsorted(cell, self.cell_), len(cell)).astype(np.int64)
        size = np.diff(first).astype(np.float64)
        spread, self.median_ = np.zeros(len(size)), np.zeros(len(size))
        _deviations(first, self.known_.values[order], spread, self.median_)
        weight = np.where(size >= 2, size, 0.0)
        feature = self.cell_ // count
        sums = np.bincount(feature, weights=weight * spread, minlength=features) + POOL[0] * POOL[1]
        pooled = sums / (np.bincount(feature, weights=weight, minlength=features) + POOL[0])
        shrunk = (1.2 * weight * spread + OWN * pooled[feature]) / (weight + OWN)
        self.densities_ = Densities(
            self.known_.features, label, self.groups_[window], self.known_.values,
            np.maximum(shrunk * np.maximum(size, 1.0) ** -0.2, FLOOR), self.pseudo, count, features,
        )  # fmt: skip
        self.cells_ = self.densities_.cells

    def _ratios(self, group: int = -1) -> tuple[Floats, Floats]:
        """Terms of keys that are present and absent, (C, K) each; windows of ``group`` are held out."""
        if group < 0 and self._whole_ratios is not None:
            return self._whole_ratios
        seen, windows = self.seen_, self.windows_
        if group >= 0:
            rows = np.flatnonzero(self.groups_ == group)
            seen = seen - self._seen(rows)
            windows = windows - np.bincount(self.y_[rows], minlength=len(windows))
        rate = ((seen / np.maximum(windows, 1.0)[:, None]).sum(axis=0) + 0.5) / (len(self.labels_) + 1)
        ratios = _presence_terms(seen, windows[:, None], rate, self.pseudo)
        if group < 0:
            self._whole_ratios = ratios
        return ratios

    def _fit_weights(self) -> None:
        """Fit the weights by logistic loss on held-out windows, with equal weight for each label."""
        count, keys = len(self.labels_), len(self.known_.keys)
        pairs = np.unique(self.y_ * (int(self.groups_.max(initial=0)) + 1) + self.groups_)
        groups_of = np.bincount(pairs // (int(self.groups_.max(initial=0)) + 1), minlength=count)
        rows = np.flatnonzero((groups_of > 1)[self.y_])
        if count < 2 or rows.size <= count:
            return
        size = stored_size(self.cells_, self.known_.features) / max(len(self.known_), 1)
        size += float((self.seen_ > 0).sum(axis=1).mean()) * count
        most = max(1, min(LEARN, int(LEARN_TERMS / max(size, 1.0))))
        rows = rows[:: max(1, -(-rows.size // most))]
        part = _rows(self.known_, rows)
        y, groups = self.y_[rows], self.groups_[rows]
        terms = self._held_out_terms(part, y, groups)
        presence = self._held_out_presence(rows, y, groups)
        case = 1.0 / np.bincount(y, minlength=count)[y]
        case /= case.sum()
        start = self.weights_.copy()
        index = np.arange(rows.size)

        def loss(w: Floats) -> tuple[float, Floats]:
            logits = sum((block.weighted(w[keys:], rows.size) for block in terms), np.zeros((rows.size, count)))
            presence.add(w[:keys], logits)
            logits -= logits.max(axis=1, keepdims=True)
            logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            rest = np.exp(logs)
            rest[index, y] -= 1.0
            rest *= case[:, None]
            slope = np.zeros_like(w)
            for block in terms:
                slope[keys:] += block.slope(rest, keys * Q)
            presence.add_slope(rest, slope[:keys])
            pull = w - start
            value = -(case * logs[index, y]).sum() + self.ridge * (pull**2).sum()
            return float(value), slope + 2.0 * self.ridge * pull

        from scipy.optimize import minimize

        optimum = minimize(
            loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * start.size, options={"maxiter": 80}
        )
        self.weights_ = optimum.x

    def _single_labels(self, groups: Ints) -> bool:
        """Whether all windows of each of these groups have one label."""
        selected = np.isin(self.groups_, groups)
        pairs = np.unique(np.stack([self.groups_[selected], self.y_[selected]]), axis=1)
        return bool(np.unique(pairs[0]).size == pairs.shape[1])

    def _held_out_terms(self, part: Quantities, y: Ints, groups: Ints) -> list[StoredTerms]:
        """Terms of enrolled windows, each without its group."""
        owner = np.repeat(np.arange(len(part)), np.diff(part.indptr))
        names = np.unique(groups)
        if names.size > FEW_GROUPS and self._single_labels(names):
            return [self.densities_.left_out_terms(part.features, part.values, owner, groups, y)]
        blocks = []
        for group in names.tolist():
            mine = np.flatnonzero(groups[owner] == group)
            cells = self.densities_.without(group)
            blocks.append(stored_terms(cells, part.features[mine], part.values[mine], owner[mine], self.pseudo))
        return blocks

    def _held_out_presence(self, rows: Ints, y: Ints, groups: Ints) -> _GroupPresence | _LeftOutPresence:
        """Presence terms of enrolled windows, each without its group."""
        names = np.unique(groups)
        window, key = _pairs(self.window_keys_, rows)
        if names.size <= FEW_GROUPS or not self._single_labels(names):
            return _GroupPresence([(np.flatnonzero(groups == g), *self._ratios(int(g))) for g in names],
                                  window, key, rows.size)  # fmt: skip
        return _LeftOutPresence.of(self, window, key, y, groups)

    def decision_function(self, windows: Windows) -> Floats:
        """Weight of evidence for each label in nats, shape (n, C)."""
        return self._sums(windows, np.arange(len(windows)), len(windows))

    def decision_parts(self, windows: Windows, owner: Ints, count: int) -> Floats:
        """Mean scores of the parts of ``count`` items, shape (count, C)."""
        return mean_of_sums(self._sums(windows, owner, count), owner)

    def _sums(self, windows: Windows, owner: Ints, count: int) -> Floats:
        """Sum of the scores of the windows of each owner, (count, C): there may be many more windows than owners."""
        self.require_fit()
        scored = self._score_inputs(windows)
        quantities = scored.quantities
        result = np.zeros((count, len(self.labels_)))
        background = np.zeros(len(quantities.values))
        there, absent = self._ratios()
        weights = self.weights_[: len(self.keys_)]
        result += np.bincount(owner, minlength=count)[:, None] * (absent @ weights)
        terms = np.ascontiguousarray(((there - absent) * weights).T)
        for start in range(0, len(quantities), CHUNK):
            part = quantities.take(start, min(start + CHUNK, len(quantities)))
            of_part = owner[start : start + len(part)]
            values = slice(quantities.indptr[start], quantities.indptr[start + len(part)])
            background[values] = add_scores(
                self.cells_, part.features, part.values, np.repeat(of_part, np.diff(part.indptr)),
                self._weights_of_values(), self.pseudo, result,
            )  # fmt: skip
            window, key = _pairs(_keys_of(part))
            _add_keys(of_part[window], key, terms, result)
        # An explanation of the same windows goes over the points of one label each, not over all again.
        scored.background = background
        return result

    def _weights_of_values(self) -> Floats:
        return self.weights_[len(self.keys_) :]

    def _held_out_scores(self) -> Floats:
        """Scores of the enrolled windows, each without its group."""
        result = np.zeros((len(self.known_), len(self.labels_)))
        for group in np.unique(self.groups_).tolist():
            rows = np.flatnonzero(self.groups_ == group)
            cells = self.densities_.without(group)
            there, absent = self._ratios(group)
            for start in range(0, rows.size, CHUNK):
                chunk = rows[start : start + CHUNK]
                part = _rows(self.known_, chunk)
                owner = np.repeat(np.arange(len(part)), np.diff(part.indptr))
                block = np.zeros((chunk.size, len(self.labels_)))
                add_scores(cells, part.features, part.values, owner, self._weights_of_values(), self.pseudo, block)
                _add_presence(*_pairs(_keys_of(part)), there, absent, self.weights_[: len(part.keys)], block)
                result[chunk] = block
        return result

    def cross_val(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Held-out scores; only densities and presence rates exclude the group, weights and bandwidths do not.

        There is one weight per term for all labels, fitted on held-out terms, so a single window has little effect on
        it. A test compares this shortcut with refitting everything.
        """
        self.fit(windows, labels, groups)
        scores = self._held_out_scores()
        for group in np.unique(self.groups_):
            inside = self.groups_ == group
            elsewhere = np.bincount(self.y_[~inside], minlength=len(self.labels_)) > 0
            scores[np.ix_(inside, ~elsewhere)] = np.nan
        return self.labels_, scores

    def explain(self, windows: Windows, labels: Sequence[str]) -> Sequence[Sequence[Term]]:
        """For each window one term for the presence of each key and one for each quantity of present keys."""
        return self._explain(windows, labels, np.arange(len(windows)), len(windows), np.nan)

    def explain_parts(
        self, windows: Windows, labels: Sequence[str], owner: Ints, count: int
    ) -> Sequence[Sequence[Term]]:
        """Terms of :meth:`explain`, averaged over the parts of each of ``count`` items."""
        return self._explain(windows, labels, owner, count, 0.0)

    def _explain(
        self, windows: Windows, labels: Sequence[str], owner: Ints, count: int, unknown: float
    ) -> Sequence[Sequence[Term]]:
        """Mean terms; ``unknown`` is the expected value of a quantity that no enrolled window of the label has."""
        self.require_fit()
        code = np.searchsorted(self.labels_, np.array(labels, np.str_)).astype(np.int64)
        scored = self._score_inputs(windows)
        quantities = scored.quantities
        # All at once: each call goes over all known points. Values without weight have no part in the score.
        weighted = np.flatnonzero(self._weights_of_values()[quantities.features] != 0.0)
        label = np.repeat(code, np.diff(quantities.indptr))
        background = None if scored.background is None else scored.background[weighted]
        terms = np.zeros(len(quantities.values))
        terms[weighted] = terms_of_labels(self.cells_, quantities.features[weighted], quantities.values[weighted],
                                          label[weighted], self.pseudo, background)  # fmt: skip
        item_parts = np.bincount(owner, minlength=count)
        ratios = self._ratios()
        bounds = np.append(0, np.cumsum(item_parts))
        result: list[Sequence[Term]] = []
        for item in range(0, count, EXPLAINED):
            stop = min(item + EXPLAINED, count)
            start, end = int(bounds[item]), int(bounds[stop])
            part = quantities.take(start, end)
            local = owner[start:end] - item
            of_part = terms[quantities.indptr[start] : quantities.indptr[end]]
            result += self._explain_block(part, of_part, code[start:end], local, item_parts[item:stop], unknown, ratios)
        return result

    def _explain_block(
        self, part: Quantities, terms: Floats, code: Ints, owner: Ints, sizes: Ints, unknown: float,
        ratios: tuple[Floats, Floats],
    ) -> Sequence[Sequence[Term]]:  # fmt: skip
        """Terms of some items; ``terms`` are those of their values, and ``sizes`` is the number of parts of each.

        All parts of an item are explained with one label; ``ratios`` are those of :meth:`_ratios`.
        """
        keys, w = len(part.keys), self.weights_
        there, absent = ratios
        shape = (len(sizes), keys)
        # Presence: the terms of absent keys, corrected where the key is present.
        first = np.append(0, np.cumsum(sizes))[:-1]
        window, key = _pairs(_keys_of(part))
        label, cell = code[window], owner[window] * keys + key
        of_items = code[np.minimum(first, len(code) - 1)] if len(code) else np.zeros(0, np.int64)
        rate = self.seen_[of_items] / np.maximum(self.windows_[of_items], 1.0)[:, None]
        weighted = absent[of_items] * w[:keys]

        def over_items(values: Floats | None = None) -> Floats:
            return np.bincount(cell, weights=values, minlength=shape[0] * keys).reshape(shape).astype(np.float64)

        observed, expected = over_items(), sizes[:, None] * rate
        ratio = sizes[:, None] * weighted
        ratio += over_items((there[label, key] - absent[label, key]) * w[key])
        shown = (observed > 0) | (weighted != 0)
        who, which = np.nonzero(shown)
        tables = [(who, which, observed[shown], expected[shown], ratio[shown])]
        # Quantities of present keys.
        window = np.repeat(np.arange(len(part)), np.diff(part.indptr))
        label = code[window]
        cell = part.features * len(self.labels_) + label
        place = np.minimum(np.searchsorted(self.cell_, cell), max(len(self.cell_) - 1, 0))
        known = self.cell_[place] == cell
        usual = np.where(known, np.expm1(self.median_[place]), unknown)
        flat = owner[window] * (keys * Q) + part.features
        unique, at = np.unique(flat, return_inverse=True)

        def total(values: Floats) -> Floats:
            return np.bincount(at, weights=values, minlength=unique.size).astype(np.float64)

        tables.append((unique // (keys * Q), keys + unique % (keys * Q), total(np.expm1(part.values)), total(usual),
                       total(w[keys + part.features] * terms)))  # fmt: skip
        item, feature = np.concatenate([t[0] for t in tables]), np.concatenate([t[1] for t in tables])
        columns = np.stack([np.concatenate([t[i] for t in tables]) for i in (2, 3, 4)]) / np.maximum(sizes, 1)[item]
        order = np.argsort(item, kind="stable")
        item, feature, columns = item[order], feature[order], columns[:, order]
        ends = np.searchsorted(item, np.arange(len(sizes) + 1))
        made = TermTable(self._term_kinds, feature, columns)
        return [made[ends[i] : ends[i + 1]] for i in range(len(sizes))]

    @cached_property
    def _term_kinds(self) -> list[tuple[str, str]]:
        """Service and quantity of each term: presence of each key, then its quantities."""
        keys = self.keys_
        return [(key, "presence") for key in keys] + [(key, name) for key in keys for name in QUANTITIES]


@dataclass
class _Scored:
    """Windows that were scored.

    Parameters
    ----------
    quantities
        Their quantities.
    background
        (Z) background of each value; None before they are scored.
    """

    quantities: Quantities
    background: Floats | None = None


def _is_small(scored: _Scored) -> bool:
    return len(scored.quantities.values) <= MOST_KEPT


class _GroupPresence:
    """Presence terms of windows where few groups are held out: ratios of each group as a whole.

    Parameters
    ----------
    groups
        Windows of each group, and its terms of keys that are present and absent, (C, K) each.
    window, key
        Keys of the windows.
    windows
        n.
    """

    def __init__(self, groups: list[tuple[Ints, Floats, Floats]], window: Ints, key: Ints, windows: int) -> None:
        self.parts = []
        for rows, there, absent in groups:
            local = np.full(windows, -1, np.int64)
            local[rows] = np.arange(rows.size)
            inside = local[window] >= 0
            self.parts.append((rows, local[window[inside]], key[inside], there, absent))

    def add(self, weights: Floats, logits: Floats) -> None:
        """Add the weighted terms, (n, C)."""
        for rows, window, key, there, absent in self.parts:
            block = np.zeros((rows.size, logits.shape[1]))
            _add_presence(window, key, there, absent, weights, block)
            logits[rows] += block

    def add_slope(self, rest: Floats, slope: Floats) -> None:
        """Add the sum of term * rest by key, (K); rest is (n, C)."""
        for rows, window, key, there, absent in self.parts:
            inside = rest[rows]
            slope += inside.sum(axis=0) @ absent
            _key_slope(window, key, np.ascontiguousarray((there - absent).T), inside, slope)


class _LeftOutPresence:
    """Presence terms of windows of which each is left out with a group of its own label.

    Leaving out windows of one label changes its own rates, and the background rates of the keys that it has. All other
    terms are those of the whole library, so memory grows with the keys of a label, not with all keys.

    Parameters
    ----------
    absent
        (C, K) terms of absent keys in the whole library.
    window, key, change
        (E) windows and keys, and (E, C) float32 what their terms differ by from ``absent``.
    label, kind, own
        (n) label of each window and row of ``own``, which is (U, K): what terms of the label itself differ by, for keys
        that it does not have.
    """

    def __init__(
        self, absent: Floats, window: Ints, key: Ints, change: NDArray[np.float32], label: Ints, kind: Ints, own: Floats
    ) -> None:
        self.absent, self.window, self.key, self.change = absent, window, key, change
        self.label, self.kind, self.own = label, kind, own

    @classmethod
    def of(cls, model: LikelihoodRatios, window: Ints, key: Ints, y: Ints, groups: Ints) -> _LeftOutPresence:
        """Terms of windows with these keys, labels and groups."""
        seen, windows, count, keys = model.seen_, model.windows_, len(model.labels_), len(model.known_.keys)
        rate = ((seen / np.maximum(windows, 1.0)[:, None]).sum(axis=0) + 0.5) / (count + 1)
        _, absent = _presence_terms(seen, windows[:, None], rate, model.pseudo)
        has = [np.flatnonzero(row) for row in seen]
        sizes = np.array([len(of_label) for of_label in has])[y]
        first = np.append(0, np.cumsum(sizes))
        change = np.empty((int(first[-1]), count), np.float32)
        all_key, all_window = np.empty(len(change), np.int64), np.repeat(np.arange(len(y)), sizes)
        kinds: dict[tuple[int, int], int] = {}
        own: list[Floats] = []
        kind = np.empty(len(y), np.int64)
        members = _members(model.groups_)
        bounds = np.append(np.searchsorted(window, np.arange(len(y))), len(window))
        order = np.argsort(groups, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            c = int(y[rows[0]])
            mine = members(int(groups[rows[0]]))
            held = np.bincount(_pairs(model.window_keys_, mine)[1], minlength=keys)[:keys]
            k = has[c]
            rest, left = windows.copy(), seen[:, k].copy()
            rest[c] -= mine.size
            left[c] -= held[k]
            moved = left[c] / max(rest[c], 1.0) - seen[c, k] / max(windows[c], 1.0)
            there_g, absent_g = _presence_terms(left, rest[:, None], rate[k] + moved / (count + 1), model.pseudo)
            if (c, mine.size) not in kinds:
                kinds[c, mine.size] = len(own)
                without = np.zeros(keys, bool)
                without[k] = True
                _, alone = _presence_terms(np.zeros((1, keys)), rest[c], rate, model.pseudo)
                own.append(np.where(without, 0.0, alone[0] - absent[c]))
            for row in rows.tolist():
                present = np.isin(k, key[bounds[row] : bounds[row + 1]])
                part = slice(first[row], first[row + 1])
                all_key[part] = k
                change[part] = (np.where(present, there_g, absent_g) - absent[:, k]).T
                kind[row] = kinds[c, mine.size]
        return cls(absent, all_window, all_key, change, y, kind, np.array(own).reshape(-1, keys))

    def add(self, weights: Floats, logits: Floats) -> None:
        """Add the weighted terms, (n, C)."""
        logits += self.absent @ weights
        _add_changes(self.window, self.key, self.change, weights, logits)
        logits[np.arange(len(self.label)), self.label] += (self.own @ weights)[self.kind]

    def add_slope(self, rest: Floats, slope: Floats) -> None:
        """Add the sum of term * rest by key, (K); rest is (n, C)."""
        slope += rest.sum(axis=0) @ self.absent
        _change_slope(self.window, self.key, self.change, rest, slope)
        of_own = np.bincount(self.kind, weights=rest[np.arange(len(self.label)), self.label], minlength=len(self.own))
        slope += of_own @ self.own


def _members(groups: Ints) -> Callable[[int], Ints]:
    """Function from a group to its windows."""
    order = np.argsort(groups, kind="stable")
    sorted_groups = groups[order]

    def members(group: int) -> Ints:
        first, last = np.searchsorted(sorted_groups, [group, group + 1])
        return order[first:last]

    return members


def _presence_terms(seen: Floats, windows: Floats | float, rate: Floats, pseudo: float) -> tuple[Floats, Floats]:
    """Terms of keys that are present and absent; seen, windows and rate broadcast to (C, K)."""
    label_rate = (seen + pseudo * rate) / (windows + pseudo)
    there, absent = np.log(label_rate / rate), np.log((1 - label_rate) / (1 - rate))
    return np.clip(there, -CLIP, CLIP), np.clip(absent, -CLIP, CLIP)


def _keys_of(quantities: Quantities) -> tuple[Ints, Ints]:
    """Keys of each window in sparse rows: a present key has all Q quantities, side by side."""
    return quantities.indptr // Q, quantities.features[::Q] // Q


def _pairs(window_keys: tuple[Ints, Ints], rows: Ints | None = None) -> tuple[Ints, Ints]:
    """Position in ``rows`` and key of each key of these windows; default: of all windows."""
    indptr, keys = window_keys
    if rows is None:
        return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)), keys
    lengths = np.diff(indptr)[rows]
    ends = np.cumsum(lengths)
    source = np.arange(lengths.sum()) + np.repeat(indptr[rows] - (ends - lengths), lengths)
    return np.repeat(np.arange(len(rows)), lengths), keys[source]


def _add_presence(window: Ints, key: Ints, there: Floats, absent: Floats, weights: Floats, block: Floats) -> None:
    """Add the weighted presence terms of windows with these keys, (n, C)."""
    block += absent @ weights
    _add_keys(window, key, np.ascontiguousarray(((there - absent) * weights).T), block)


def _rows(quantities: Quantities, rows: NDArray[np.int64]) -> Quantities:
    """A subset of the windows."""
    lengths = np.diff(quantities.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    source = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - quantities.indptr[rows], lengths)
    return Quantities(indptr, quantities.features[source], quantities.values[source], quantities.keys)


@COMPILER.checked
def _deviations(first: Ints, value: Floats, spread: Floats, median: Floats) -> None:
    """Fill in mean absolute deviation from the median, and median, of each cell of sorted values."""
    for cell in range(len(first) - 1):
        begin, end = first[cell], first[cell + 1]
        middle = begin + (end - begin) // 2
        median[cell] = value[middle] if (end - begin) % 2 else (value[middle - 1] + value[middle]) / 2.0
        total = 0.0
        for i in range(begin, end):
            total += abs(value[i] - median[cell])
        spread[cell] = total / (end - begin)


@COMPILER.checked
def _add_keys(window: Ints, key: Ints, terms: Floats, out: Floats) -> None:
    """Add the row of terms, (K, C), of each key to its window."""
    for p in range(len(window)):
        row, k = window[p], key[p]
        for c in range(out.shape[1]):
            out[row, c] += terms[k, c]


@COMPILER.checked
def _key_slope(window: Ints, key: Ints, terms: Floats, rest: Floats, out: Floats) -> None:
    """Sum of term * rest by key, where terms is (K, C)."""
    for p in range(len(window)):
        row, k = window[p], key[p]
        total = 0.0
        for c in range(rest.shape[1]):
            total += terms[k, c] * rest[row, c]
        out[k] += total


@COMPILER.checked
def _add_changes(window: Ints, key: Ints, change: NDArray[np.float32], weights: Floats, out: Floats) -> None:
    for e in range(len(window)):
        w = weights[key[e]]
        if w != 0.0:
            row = window[e]
            for c in range(out.shape[1]):
                out[row, c] += w * change[e, c]


@COMPILER.checked
def _change_slope(window: Ints, key: Ints, change: NDArray[np.float32], rest: Floats, out: Floats) -> None:
    for e in range(len(window)):
        row = window[e]
        total = 0.0
        for c in range(rest.shape[1]):
            total += change[e, c] * rest[row, c]
        out[key[e]] += total
