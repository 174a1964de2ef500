"""Cluster unknown devices into groups of one product, so that a user names a group instead of each device.

    p(two items are one product) = logistic(a + b * log likelihood ratio of services, names and packet sizes
                                              + c * similarity of embedded flows)

The coefficients are fitted on pairs of enrolled items. Items are clustered by average linkage of 1 - p, cut at the
distance that clusters the enrolled items best. All parameters thus come from enrolled items; unknown items contribute
their services and flows only.

Shapes: n items, m enrolled items.

References
----------
A. Rosenberg, J. Hirschberg: V-Measure: A Conditional Entropy-Based External Cluster Evaluation Measure. EMNLP 2007.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.errors import UsageError
from ethogram.identify.cross_network import PARTS, CrossNetwork
from ethogram.identify.flow_classifiers import NearestWindows
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.tokens import tokens_of
from ethogram.schema import Windows

__all__ = ["Group", "Grouping", "SamePair", "concat_windows", "pairwise"]

Floats = NDArray[np.float64]
PURE = 0.5
"""Beta of the V-measure that selects the threshold; below 1, homogeneity counts more than completeness."""
DEFAULT = (-1.0, 0.5, 3.0)
"""Offset and slopes of the logistic model when there are too few enrolled pairs to fit them."""
LEAST_PAIRS = 5  # minimum number of pairs of one product to fit the model
MOST = 400  # maximum number of enrolled items to form pairs of
SHARED = 6  # maximum number of shared services and names in a group


@dataclass(frozen=True)
class Group:
    """Items that are probably one product.

    Parameters
    ----------
    items
        Their numbers, ascending.
    likeness
        Mean probability over pairs that both are one product; 1 for a single item.
    shared
        Names and services that most of the items have, the most informative first.
    """

    items: tuple[int, ...]
    likeness: float
    shared: tuple[str, ...] = ()


def concat_windows(a: Windows, b: Windows) -> Windows:
    """Concatenate two sets of windows; items of ``b`` are numbered after those of ``a``."""
    shift = (pl.col("item") + pl.lit(len(a), pl.UInt32)).cast(pl.UInt32)
    return Windows(pl.concat([a.items, b.items.with_columns(item=shift)]),
                   pl.concat([a.counts, b.counts.with_columns(item=shift)]))  # fmt: skip


def join_flows(a: FlowWindows, b: FlowWindows) -> FlowWindows:
    """Concatenate the flows of two sets of windows; items of ``b`` are numbered after those of ``a``."""
    return FlowWindows(np.concatenate([a.z, b.z]), np.concatenate([a.owner, b.owner + a.items]), a.items + b.items)


def pairwise(windows: Windows, flows: FlowWindows | None = None) -> tuple[Floats, Floats]:
    """Log likelihood ratio of counts and similarity of embedded flows for each pair of items, (n, n) each.

    Both matrices are symmetric. The similarity is NaN if either item has no flow.
    """
    n = len(windows)
    names = [f"{i:09d}" for i in range(n)]
    model = CrossNetwork(asked=True, bounded=False)
    ratio = model.fit(windows, names).decision_function(windows) if n else np.zeros((0, 0))
    ratio = (ratio + ratio.T) / 2
    alike = np.full((n, n), np.nan)
    if flows is not None and (have := np.flatnonzero(flows.flows > 0)).size > 1:
        some = flows.take(have)
        near = NearestWindows().fit(some, np.arange(have.size), have.size).similarities(some)
        alike[np.ix_(have, have)] = (near + near.T) / 2
    return ratio, alike


class SamePair:
    """Logistic model of the probability that two items are one product."""

    def fit(self, ratio: Floats, alike: Floats, labels: Sequence[str]) -> Self:
        """Fit on the pairs of m enrolled items; keep the defaults if there are too few pairs."""
        self.offset_, self.by_counts_, self.by_flows_ = DEFAULT
        self.usual_ = 0.0
        _, codes = np.unique(np.asarray(labels, np.str_), return_inverse=True)
        at = np.triu_indices(len(codes), 1)
        same = codes[at[0]] == codes[at[1]]
        similarity = alike[at]
        known = np.isfinite(similarity)
        self.usual_ = float(similarity[known].mean()) if known.any() else 0.0
        self.pairs_ = int(same.sum())
        if min(int(same.sum()), int((~same).sum())) < LEAST_PAIRS:
            return self
        from sklearn.linear_model import LogisticRegression

        x = self._columns(ratio[at], similarity)
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=500).fit(x, same)
        self.offset_ = float(model.intercept_[0])
        # Higher similarity must not lower the probability.
        self.by_counts_, self.by_flows_ = (max(float(c), 0.0) for c in model.coef_[0])
        return self

    def _columns(self, ratio: Floats, alike: Floats) -> Floats:
        # A pair without flows gets the mean similarity, which is neutral.
        return np.stack([np.clip(ratio, -20, 40), np.where(np.isfinite(alike), alike, self.usual_)], axis=1)

    def predict_proba(self, ratio: Floats, alike: Floats) -> Floats:
        """Probabilities of pairs, in the shape of the arguments."""
        x = self._columns(ratio.ravel(), alike.ravel())
        raw = self.offset_ + x @ np.array([self.by_counts_, self.by_flows_])
        result: Floats = (1.0 / (1.0 + np.exp(-np.clip(raw, -50, 50)))).reshape(ratio.shape)
        return result


def clustered(probability: Floats, threshold: float) -> NDArray[np.int64]:
    """Cluster items by average linkage of 1 - p, cut at a distance; return the cluster of each item, coded from 0."""
    n = len(probability)
    if n < 2:
        return np.zeros(n, np.int64)
    from sklearn.cluster import AgglomerativeClustering

    distance = 1.0 - probability
    np.fill_diagonal(distance, 0.0)
    model = AgglomerativeClustering(n_clusters=None, metric="precomputed", linkage="average",
                                    distance_threshold=threshold)  # fmt: skip
    return np.asarray(model.fit_predict(distance), np.int64)


@dataclass
class Grouping:
    """Clusters unknown items with a model and a threshold that are fitted on enrolled items alone.

    Examples
    --------
    >>> Grouping().thresholds[0] < Grouping().thresholds[-1]
    True
    """

    thresholds: tuple[float, ...] = field(default=tuple(round(0.05 * i, 2) for i in range(2, 20)))

    def fit(self, windows: Windows, labels: Sequence[str], flows: FlowWindows | None = None) -> Self:
        """Fit the pair model and the threshold on m enrolled items."""
        if len(labels) != len(windows):
            raise UsageError(f"{len(windows)} items, but {len(labels)} labels")
        step = max(1, -(-len(labels) // MOST))
        rows = np.arange(0, len(labels), step)
        self.known_ = windows.take(rows.tolist())
        self.flows_ = None if flows is None else flows.take(rows)
        names = [labels[int(i)] for i in rows]
        ratio, alike = pairwise(self.known_, self.flows_)
        self.pair_ = SamePair().fit(ratio, alike, names)
        self.threshold_ = self.threshold(self.pair_.predict_proba(ratio, alike), names)
        return self

    def threshold(self, probability: Floats, labels: Sequence[str]) -> float:
        """The distance at which the clusters of the enrolled items have the best V-measure."""
        if not 1 < len(set(labels)) < len(labels):
            return 0.5
        from sklearn.metrics import v_measure_score

        scored = [
            (v_measure_score(labels, clustered(probability, t), beta=PURE), -abs(t - 0.5), t) for t in self.thresholds
        ]
        return float(max(scored)[2])

    def predict_proba(self, windows: Windows, flows: FlowWindows | None = None) -> Floats:
        """Probability that two of n unknown items are one product, (n, n).

        Services are weighted by their frequency among enrolled and unknown items together.

        Raises
        ------
        UsageError
            When the grouping is not fitted.
        """
        if not hasattr(self, "pair_"):
            raise UsageError("Grouping is not fitted yet; call fit first")
        m = len(self.known_)
        both = concat_windows(self.known_, windows)
        side = None
        if flows is not None:
            known = self.flows_ if self.flows_ is not None else FlowWindows(flows.z[:0], flows.owner[:0], m)
            side = join_flows(known, flows)
        ratio, alike = pairwise(both, side)
        return self.pair_.predict_proba(ratio[m:, m:], alike[m:, m:])

    def groups(self, windows: Windows, flows: FlowWindows | None = None) -> list[Group]:
        """Partition n unknown items into groups, the largest first."""
        p = self.predict_proba(windows, flows)
        codes = clustered(p, self.threshold_)
        groups = []
        shared = _shared(windows)
        for code in np.unique(codes):
            items = np.flatnonzero(codes == code)
            inside = p[np.ix_(items, items)][np.triu_indices(items.size, 1)]
            groups.append(Group(tuple(items.tolist()), float(inside.mean()) if inside.size else 1.0,
                               _most(shared, items)))  # fmt: skip
        return sorted(groups, key=lambda group: (-len(group.items), group.items))


def _shared(windows: Windows) -> list[dict[str, float]]:
    """Names and services of each item with their inverse document frequency among these items."""
    informative: list[dict[str, float]] = [{} for _ in range(len(windows))]
    for part in PARTS:
        tokens = tokens_of(windows, part, asked=True)
        count = np.bincount(tokens.index, minlength=len(tokens.names))
        tells = np.log1p(len(windows) / np.maximum(count, 1)) + (part == "names")
        for i, of_item in enumerate(informative):
            for z in range(tokens.indptr[i], tokens.indptr[i + 1]):
                j = int(tokens.index[z])
                of_item[tokens.names[j]] = float(tells[j])
    return informative


def _most(shared: Sequence[dict[str, float]], items: NDArray[np.int64]) -> tuple[str, ...]:
    """Names and services that more than half of the items have."""
    total: dict[str, int] = {}
    for i in items.tolist():
        for name in shared[i]:
            total[name] = total.get(name, 0) + 1
    tells = {name: shared[i][name] for i in items.tolist() for name in shared[i]}
    common = [name for name, count in total.items() if 2 * count > items.size]
    return tuple(sorted(common, key=lambda name: (-total[name] * tells[name], name))[:SHARED])
