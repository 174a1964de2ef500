"""Recognise a product on another network by its services, their packet sizes, and the names that it contacts.

Between networks, the set of services, their relative volumes and their packet sizes (which depend on firmware) are
stable; absolute volumes and flow durations are not. For two windows q and r, per part (services; names; places) and
token t:

    v_t = (log(1 + packets out) / its mean over the window's tokens) ** 1/2
    w_t = log(1 + labels / labels that have t)                               0 where no enrolled window has t
    k_t = exp(-|log m_q - log m_r| / .25) exp(-|log n_q - log n_r| / .5)     m, n: mean octets of a packet out, in
    s   = sum w_t min(v_q, v_r) k_t / sum w_t max(v_q, v_r)

A raw score is the log likelihood ratio to the best window of the label: the sum over parts of

    min(slope * s + offset, sum of b_t over the tokens t of both)      b_t = min(2 log(labels / labels that have t), 3)

The bound keeps a match from saying more than its tokens can: what every device does (DNS, NTP, DHCP) says nothing, and
a single rare port decides nothing. Parts that one of the two windows lacks are skipped, except that an enrolled window
without names costs ``NAMELESS`` if the item has names, so that entries about which little is known are not the nearest
of everything. Places replace services for sources without ports. A window without octets is a list of permitted
services, such as a MUD profile: v is 1 and sizes are unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler
from ethogram.identify.density import exponential
from ethogram.identify.identifier import Identifier, Term, require_labels
from ethogram.identify.nearest import best_of_labels
from ethogram.identify.tokens import Tokens, tokens_of
from ethogram.schema import Windows

__all__ = ["PARTS", "CrossNetwork"]

COMPILER = Compiler.of(__file__, "density")
VECTOR = COMPILER.reordered("contract", "nnan", "nsz")

PARTS = ("services", "names")
ALL_PARTS = (*PARTS, "places")
"""All parts; places replace services if one of two windows has no ports."""

LINES = {"services": (30.0, -1.8), "names": (20.0, -3.2), "places": (10.0, -5.0)}
"""Slope and offset of each part: a logistic regression of *same product* on pairs from different networks."""

BOUND_SLOPE, BOUND = 2.0, 3.0
"""Bound of what a token that both windows have may add, in nats: slope on its rarity, and the largest value.

With one network left out in turn, they raise the area under the curve of *same product* from .860 to .895 with names
(.885 to .889 without); slopes of 1 to 3 and bounds of 3 to 4 differ by less than .02.
"""

NAMELESS = -2.0
"""Nats added if the item has names and the enrolled window has none; -1 to -3.2 give the same accuracy within .03."""

OUT, IN = 0.25, 0.5  # widths of the packet-size kernels in log units
MISSING = 0.5  # kernel value if one of the sizes is unknown
HALF = float(-np.log(MISSING))  # distance of a size that is unknown
BLOCK = 1 << 21  # pairs of an item and an enrolled window compared at once


class CrossNetwork(Identifier):
    """Log likelihood ratio of *same product* to the nearest enrolled window of each label.

    Parameters
    ----------
    name_sizes
        Compare packet sizes of names. They distinguish models; families are recognised better without.
    asked
        Count names that were only queried. Some sources record them and others do not, so they are comparable within a
        network but not between sources.
    parts
        Parts to compare: *services*, *names*, *places*.
    bounded
        Bound what a match may say by the rarity of its tokens among the labels, and count missing names against an
        entry. Inside a network, all entries are observed alike and few labels tell nothing about rarity: False.
    """

    bounded: bool = True

    def __init__(
        self, *, name_sizes: bool = True, asked: bool = False, parts: tuple[str, ...] = ALL_PARTS, bounded: bool = True
    ) -> None:
        self.name_sizes = name_sizes
        self.asked = asked
        self.parts = parts
        self.bounded = bounded

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Store the tokens of the windows, sorted by label, and the weight of each token."""
        self.labels_ = require_labels(windows, labels)
        owner = np.searchsorted(self.labels_, np.array(labels))
        order = np.argsort(owner, kind="stable")
        self.order_ = order
        self.starts_ = np.searchsorted(owner[order], np.arange(len(self.labels_)))
        sorted_windows = windows.take(order.tolist())
        self.parts_ = {part: tokens_of(sorted_windows, part, asked=self.asked) for part in self.parts}
        self.weights_ = {part: _weights(self.parts_[part], owner[order]) for part in self.parts}
        self.bounds_ = {
            part: _bounds(weight) if self.bounded else np.full(len(weight), np.inf)
            for part, weight in self.weights_.items()
        }
        return self

    def _tokens(self, windows: Windows, part: str) -> Tokens:
        return tokens_of(windows, part, self.parts_[part].names, asked=self.asked)

    def _ratios(self, windows: Windows) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Log likelihood ratios to every enrolled window, block by block."""
        parts = {part: self._tokens(windows, part) for part in self.parts}
        index = {part: _postings(known) for part, known in self.parts_.items()}
        step = max(1, BLOCK // max(len(self.order_), 1))
        for start in range(0, len(windows), step):
            end = min(start + step, len(windows))
            yield start, self._block(parts, self.parts_, index, start, end)

    def _block(
        self, parts: Mapping[str, Tokens], known: Mapping[str, Tokens], index: Mapping[str, _Postings], start: int,
        end: int,
    ) -> NDArray[np.float64]:  # fmt: skip
        """Log likelihood ratios of items ``start`` to ``end`` and m enrolled windows, (items, m)."""
        total: NDArray[np.float64] = np.zeros((end - start, len(next(iter(known.values())))))
        for part, tokens in parts.items():
            slope, offset = LINES[part]
            postings, enrolled = index[part], known[part]
            stands_in = part == "places" and "services" in parts
            replaced = parts["services"].has[start:end] if stands_in else np.zeros(end - start, bool)
            known_replaced = known["services"].has if stands_in else np.zeros(len(enrolled), bool)
            _add_ratios(
                tokens.indptr[start : end + 1], tokens.index, tokens.value, tokens.out, tokens.back,
                tokens.compare_back, postings.pointer, postings.window, postings.value, postings.out,
                postings.back, postings.has_out, postings.has_back, _sums(enrolled, self.weights_[part]),
                self.weights_[part], self.bounds_[part], part != "names" or self.name_sizes, tokens.has[start:end],
                enrolled.has, replaced, known_replaced, slope, offset,
                NAMELESS if part == "names" and self.bounded else 0.0, total,
            )  # fmt: skip
        return total

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Log likelihood ratio to the nearest window of each label, shape (n, L)."""
        self.require_fit()
        result = np.empty((len(windows), len(self.labels_)))
        for start, block in self._ratios(windows):
            result[start : start + len(block)] = best_of_labels(block, self.starts_)
        return result

    def ratios_of(self, windows: Windows, others: Windows) -> NDArray[np.float64]:
        """Log likelihood ratio of n items to m other windows, (n, m), by the tokens and weights of this library.

        It compares a window of another library with the windows of this one by the same measure.
        """
        self.require_fit()
        parts = {part: self._tokens(windows, part) for part in self.parts}
        known = {part: self._tokens(others, part).known() for part in self.parts}
        index = {part: _postings(tokens) for part, tokens in known.items()}
        return self._block(parts, known, index, 0, len(windows))

    def cross_val(
        self, windows: Windows, labels: Sequence[str], groups: NDArray[np.int64]
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Scores to the nearest window outside the group; token weights are fitted on all windows."""
        self.fit(windows, labels)
        result = np.empty((len(windows), len(self.labels_)))
        for start, block in self._ratios(windows):
            same_group = groups[start : start + len(block), None] == groups[self.order_][None, :]
            result[start : start + len(block)] = best_of_labels(np.where(same_group, -np.inf, block), self.starts_)
        return self.labels_, np.where(np.isfinite(result), result, np.nan)

    def explain(self, windows: Windows, labels: Sequence[str]) -> list[list[Term]]:
        """One term per token of the item or of the nearest window of the label, and one offset per part."""
        self.require_fit()
        parts = {part: self._tokens(windows, part) for part in self.parts}
        explained: list[list[Term]] = []
        for i, nearest in enumerate(self._nearest(parts, labels)):
            terms: list[Term] = []
            for part in self.parts:
                stands_in = part == "places" and "services" in parts
                if stands_in and parts["services"].has[i] and self.parts_["services"].has[nearest]:
                    continue
                terms += self._terms(part, parts[part], i, nearest)
            explained.append(terms)
        return explained

    def _nearest(self, parts: Mapping[str, Tokens], labels: Sequence[str]) -> list[int]:
        """The nearest enrolled window of the given label, for each item: only windows of these labels are compared."""
        ends = np.append(self.starts_[1:], len(self.order_))
        code = np.searchsorted(self.labels_, np.array(labels, np.str_))
        nearest = np.zeros(len(labels), np.int64)
        for c in np.unique(code).tolist():
            first, end = int(self.starts_[c]), int(ends[c])
            known = {part: tokens.rows(first, end) for part, tokens in self.parts_.items()}
            index = {part: _postings(tokens) for part, tokens in known.items()}
            items = np.flatnonzero(code == c)
            step = max(1, BLOCK // max(end - first, 1))
            for start in range(0, len(items), step):
                block = items[start : start + step]
                of_items = {part: tokens.take(block) for part, tokens in parts.items()}
                ratios = self._block(of_items, known, index, 0, len(block))
                nearest[block] = first + ratios.argmax(axis=1)
        return nearest.tolist()

    def _terms(self, part: str, tokens: Tokens, item: int, nearest: int) -> list[Term]:
        known, weight = self.parts_[part], self.weights_[part]
        if not (tokens.has[item] and known.has[nearest]):
            nameless = part == "names" and self.bounded and tokens.has[item]
            return [Term("all names", "none enrolled", 1.0, 0.0, NAMELESS)] if nameless else []
        slope, offset = LINES[part]
        observed = {int(tokens.index[z]): z for z in range(tokens.indptr[item], tokens.indptr[item + 1])}
        enrolled = {int(known.index[z]): z for z in range(known.indptr[nearest], known.indptr[nearest + 1])}
        observed.pop(-1, None)
        rows = []
        whole, bound = 0.0, 0.0 if self.bounded else np.inf
        for j in sorted({*observed, *enrolled}):
            a, b = observed.get(j), enrolled.get(j)
            x = float(tokens.value[a]) if a is not None else 0.0
            y = float(known.value[b]) if b is not None else 0.0
            whole += float(weight[j]) * max(x, y)
            shared = float(weight[j]) * min(x, y)
            if a is not None and b is not None:
                bound += float(self.bounds_[part][j])
            if a is not None and b is not None and (part != "names" or self.name_sizes):
                shared *= _kernel(float(tokens.out[a]), float(known.out[b]), OUT)
                if tokens.compare_back[a]:
                    shared *= _kernel(float(tokens.back[a]), float(known.back[b]), IN)
            rows.append((known.names[j], x, y, shared))
        scale = slope / whole if whole > 0 else 0.0
        terms = [Term(name, "relative packets out, sizes", x, y, scale * shared) for name, x, y, shared in rows]
        terms.append(Term(f"all {part}", "offset", 0.0, 0.0, offset))
        excess = sum(term.contribution for term in terms) - bound
        if excess > 0.0:
            terms.append(Term(f"all {part}", "bound", 0.0, 0.0, -excess))
        return terms


def _weights(tokens: Tokens, owner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weight of each token, (S,): log(1 + labels that have this part / labels that have the token)."""
    label = np.repeat(owner, np.diff(tokens.indptr))
    width = max(len(tokens.names), 1)
    pairs = np.unique(label * width + tokens.index)
    with_token = np.bincount(pairs % width, minlength=len(tokens.names))[: len(tokens.names)]
    labels = np.unique(label).size
    result: NDArray[np.float64] = np.log1p(labels / np.maximum(with_token, 1))
    return result


def _bounds(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bound of what each token may add, (S,) in nats; its weight is log(1 + rarity)."""
    rarity = np.log(np.maximum(np.expm1(weight), 1.0))
    result: NDArray[np.float64] = np.minimum(BOUND_SLOPE * rarity, BOUND)
    return result


def _sums(tokens: Tokens, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of weight * value of each window."""
    owner = np.repeat(np.arange(len(tokens)), np.diff(tokens.indptr))
    return np.bincount(owner, weights=weight[tokens.index] * tokens.value, minlength=len(tokens)).astype(np.float64)


@dataclass(frozen=True)
class _Postings:
    """Inverted index of the Z tokens of enrolled windows.

    Parameters
    ----------
    pointer
        (S + 1) occurrences of each token.
    window
        (Z) window of each occurrence.
    value, out, back
        (Z) as in :class:`~ethogram.identify.tokens.Tokens`; an unknown size is 0.
    has_out, has_back
        (Z) whether the sizes are known, 1 or 0.
    """

    pointer: NDArray[np.int64]
    window: NDArray[np.int64]
    value: NDArray[np.float64]
    out: NDArray[np.float64]
    back: NDArray[np.float64]
    has_out: NDArray[np.float64]
    has_back: NDArray[np.float64]


def _postings(tokens: Tokens) -> _Postings:
    order = np.argsort(tokens.index, kind="stable")
    owner = np.repeat(np.arange(len(tokens)), np.diff(tokens.indptr))
    pointer = np.searchsorted(tokens.index[order], np.arange(len(tokens.names) + 1)).astype(np.int64)
    out, back = tokens.out[order], tokens.back[order]
    has_out, has_back = ~np.isnan(out), ~np.isnan(back)
    return _Postings(
        pointer, owner[order], tokens.value[order], np.where(has_out, out, 0.0), np.where(has_back, back, 0.0),
        has_out.astype(np.float64), has_back.astype(np.float64),
    )  # fmt: skip


def _kernel(a: float, b: float, width: float) -> float:
    """Similarity of two log sizes, in [0, 1]."""
    if np.isnan(a) or np.isnan(b):
        return MISSING
    return float(np.exp(-abs(a - b) / width))


@COMPILER.inner
def _size_distance(size: float, compared: bool, width: float) -> tuple[float, float, float]:
    """Factor of a difference of log sizes, distance to an unknown size, and distance that is added in any case."""
    if not compared:
        return 0.0, 0.0, 0.0
    return (0.0, 0.0, HALF) if np.isnan(size) else (1.0 / width, HALF, 0.0)


@VECTOR
def _size_kernels(
    out: float, back: float, of_out: tuple[float, float, float], of_back: tuple[float, float, float],
    known_out: NDArray[np.float64], known_back: NDArray[np.float64], has_out: NDArray[np.float64],
    has_back: NDArray[np.float64], kernel: NDArray[np.float64],
) -> None:  # fmt: skip
    """Similarity of two packet sizes and those of some occurrences, in [0, 1]."""
    always = of_out[2] + of_back[2]
    for p in range(len(known_out)):
        distance = abs(out - known_out[p]) * has_out[p] * of_out[0] + (1.0 - has_out[p]) * of_out[1]
        distance += abs(back - known_back[p]) * has_back[p] * of_back[0] + (1.0 - has_back[p]) * of_back[1]
        kernel[p] = exponential(-(distance + always))


@COMPILER.checked
def _add_ratios(
    indptr: NDArray[np.int64], index: NDArray[np.int64], value: NDArray[np.float64], out: NDArray[np.float64],
    back: NDArray[np.float64], compare_back: NDArray[np.bool_], pointer: NDArray[np.int64],
    window: NDArray[np.int64], known_value: NDArray[np.float64], known_out: NDArray[np.float64],
    known_back: NDArray[np.float64], has_out: NDArray[np.float64], has_back: NDArray[np.float64],
    known_sum: NDArray[np.float64], weight: NDArray[np.float64], most: NDArray[np.float64], sizes: bool,
    has: NDArray[np.bool_], known_has: NDArray[np.bool_], replaced: NDArray[np.bool_],
    known_replaced: NDArray[np.bool_], slope: float, offset: float, nameless: float, total: NDArray[np.float64],
) -> None:  # fmt: skip
    """Add the ratios of one part to ``total`` (items, m); where both windows are *replaced*, the part is skipped.

    The sum of maxima is the sum of both windows less the minima.
    """
    count = total.shape[1]
    least, shared, bound = np.zeros(count), np.zeros(count), np.zeros(count)
    kernel = np.ones(count)
    for i in range(total.shape[0]):
        if not has[i]:
            continue
        least[:] = 0.0
        shared[:] = 0.0
        bound[:] = 0.0
        item_sum = 0.0
        for z in range(indptr[i], indptr[i + 1]):
            j = index[z]
            if j < 0:
                continue
            item_sum += weight[j] * value[z]
            first, end = pointer[j], pointer[j + 1]
            if sizes:
                size_out, size_back = 0.0 if np.isnan(out[z]) else out[z], 0.0 if np.isnan(back[z]) else back[z]
                _size_kernels(size_out, size_back, _size_distance(out[z], True, OUT),
                              _size_distance(back[z], compare_back[z], IN), known_out[first:end],
                              known_back[first:end], has_out[first:end], has_back[first:end], kernel)  # fmt: skip
            for p in range(first, end):
                both = weight[j] * min(value[z], known_value[p])
                least[window[p]] += both
                shared[window[p]] += both * kernel[p - first]
                bound[window[p]] += most[j]
        for m in range(count):
            if not known_has[m]:
                total[i, m] += nameless
            elif not (replaced[i] and known_replaced[m]):
                whole = item_sum + known_sum[m] - least[m]
                alike = shared[m] / whole if whole > 1e-12 else 0.0
                total[i, m] += min(slope * alike + offset, bound[m])
