"""Classifiers of items by their embedded flows; each gives one score per label, higher is more alike.

- *probe*: a linear probe on single flows; mean log probability over the flows of the item.
- *pooled*: a linear probe on the pooled embeddings of the window: mean, standard deviation and quantiles.
- *nearest*: naive Bayes nearest neighbour: log ratio of the distance to the nearest flow of a label and the mean over
  all labels, averaged over the flows of the item.
- *windows*: bags of codewords; similarity to the nearest enrolled window, with rare codewords weighted higher.

Shapes: n items, L labels, N flows, D dimensions of an embedding.

References
----------
O. Boiman, E. Shechtman, M. Irani: In Defense of Nearest-Neighbor Based Image Classification. CVPR 2008.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.probe import Standardiser

__all__ = ["FLOW_CLASSIFIERS", "FlowClassifier", "FlowClassifierName", "NearestFlows", "NearestWindows", "PooledProbe",
           "ProbeFlows"]  # fmt: skip

FlowClassifierName = Literal["probe", "pooled", "nearest", "windows"]
"""Names of the classifiers."""

LIMIT = 5.0  # standardised features are clipped here: those of another network may be far outside
EPSILON = 1e-9
FLOWS_PER_CODEWORD = 16  # minimum mean number of training flows per codeword


class FlowClassifier(ABC):
    """Interface of the classifiers. ``fit`` takes n items with labels coded 0 to L - 1."""

    @abstractmethod
    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Fit on n items with the given label codes; ``labels`` is L."""

    @abstractmethod
    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Scores, (n, L); rows of NaN for items without flows, columns of NaN for labels without training items."""


class ClippedScaler:
    """Standardise each feature and clip it to :data:`LIMIT`, for classifiers, which learn their own feature weights."""

    def __init__(self, z: NDArray[np.float32]) -> None:
        self._standard = Standardiser().fit(z)

    def __call__(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(self._standard.transform(z), -LIMIT, LIMIT)


class GlobalScaler:
    """Centre, and divide all features by one scale, the root of their mean variance.

    Distances keep the relative importance that the encoder gave its dimensions. Standardising each feature would give
    a nearly constant dimension as much weight as the most informative one.
    """

    def __init__(self, z: NDArray[np.float32]) -> None:
        self._mean = z.mean(0, dtype=np.float64).astype(np.float32)
        self._scale = max(float(np.sqrt(z.var(0, dtype=np.float64).mean())), 1e-6)

    def __call__(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = ((z - self._mean) / self._scale).astype(np.float32)
        return scaled


def _logistic(x: NDArray[np.float32], y: NDArray[np.int64], weight: NDArray[np.float64], c: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Iterations are bounded on purpose; ignore the convergence warning.
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        return LogisticRegression(C=c, max_iter=200).fit(x, y, sample_weight=weight)


def balanced_weights(owner: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights of flows with mean 1, such that all labels have equal weight, and all items of a label."""
    of = np.bincount(owner).astype(np.float64)
    weight = 1.0 / of[owner]
    label = codes[owner]
    weight /= np.bincount(label, weights=weight)[label]
    return np.asarray(weight * len(owner) / weight.sum(), np.float64)


def scatter_columns(scores: NDArray[np.float64], classes: NDArray[np.int64], labels: int) -> NDArray[np.float64]:
    """Place the columns of the fitted classes among all labels; other columns are NaN."""
    out = np.full((len(scores), labels), np.nan)
    out[:, classes] = scores
    return out


THOUSANDTHS = 1000.0
"""Scaled embeddings of :class:`NearestFlows` have three decimals."""


class ProbeFlows(FlowClassifier):
    """Linear probe on single flows; at most ``most`` flows of an item are used for training and for scoring."""

    def __init__(self, most: int = 30, c: float = 0.1) -> None:
        self.most, self.c = most, c

    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Fit on single flows."""
        some = windows.capped(self.most)
        self.labels_, self.scale_ = labels, ClippedScaler(some.z)
        self.classes_ = np.unique(codes[some.owner])
        self.model_: Any = None
        if self.classes_.size > 1:
            weight = balanced_weights(some.owner, codes)
            self.model_ = _logistic(self.scale_(some.z), codes[some.owner], weight, self.c)
        return self

    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Mean log probability relative to chance."""
        some = windows.capped(self.most)
        if self.model_ is None or not len(some.z):
            logs = np.zeros((len(some.z), self.classes_.size))
        else:
            logs = self.model_.predict_log_proba(self.scale_(some.z)) + np.log(self.classes_.size)
        return scatter_columns(some.mean(np.maximum(logs, -12.0)), self.classes_, self.labels_)


class PooledProbe(FlowClassifier):
    """Linear probe on the pooled embeddings of a window: mean, standard deviation and three quantiles per dimension."""

    def __init__(self, most: int = 200, c: float = 0.03) -> None:
        self.most, self.c = most, c

    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Fit on pooled windows."""
        have = np.flatnonzero(windows.flows > 0)
        pooled = self._pooled(windows)[have]
        self.labels_, self.scale_ = labels, ClippedScaler(pooled)
        self.classes_ = np.unique(codes[have])
        self.model_: Any = None
        if self.classes_.size > 1:
            weight = balanced_weights(np.arange(have.size), codes[have])
            self.model_ = _logistic(self.scale_(pooled), codes[have], weight, self.c)
        return self

    def _pooled(self, windows: FlowWindows) -> NDArray[np.float32]:
        """Pooled embeddings [n, 5 D]; zeros for items without flows."""
        some = windows.capped(self.most)
        order = np.argsort(some.owner, kind="stable")
        z, first = some.z[order], np.searchsorted(some.owner[order], np.arange(some.items + 1))
        out = np.zeros((some.items, 5 * z.shape[1]), np.float32)
        for i in np.flatnonzero(first[1:] > first[:-1]):
            flows = z[first[i] : first[i + 1]]
            out[i] = np.concatenate([flows.mean(0), flows.std(0), *np.quantile(flows, (0.1, 0.5, 0.9), axis=0)])
        return out

    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Log probability relative to chance."""
        logs = np.zeros((windows.items, self.classes_.size))
        if self.model_ is not None and windows.items:
            logs = self.model_.predict_log_proba(self.scale_(self._pooled(windows))) + np.log(self.classes_.size)
        logs[windows.flows == 0] = np.nan
        return scatter_columns(np.maximum(logs, -12.0), self.classes_, self.labels_)


class NearestFlows(FlowClassifier):
    """Naive Bayes nearest neighbour over single flows.

    Parameters
    ----------
    most
        Maximum number of flows of an item that are scored.
    known
        Maximum number of flows of a label that are stored, drawn evenly from its windows.
    floor
        Added to distances, in units of the scale times the root of D: smaller differences do not matter.
    """

    def __init__(self, most: int = 40, known: int = 400, floor: float = 0.05) -> None:
        self.most, self.known, self.floor = most, known, floor

    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Store flows of each label."""
        self.labels_, self.scale_ = labels, GlobalScaler(windows.z)
        of = codes[windows.owner]
        self.kept_: dict[int, NDArray[np.float32]] = {}
        order = np.argsort(of, kind="stable")
        present, first = np.unique(of[order], return_index=True)
        for code, members in zip(present, np.split(order, first[1:]), strict=False):  # without flows: no label
            owners, local = np.unique(windows.owner[members], return_inverse=True)
            part = FlowWindows(windows.z[members], local.astype(np.int64), owners.size)
            rows = part.rows(max(self.known // owners.size, 3))
            rows = rows[:: max(1, -(-rows.size // self.known))]
            self.kept_[int(code)] = np.unique(self.scale_(part.z[rows]).round(3), axis=0)
        return self

    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Mean over flows of log(geometric mean distance to all labels / distance to the label)."""
        some = windows.capped(self.most)
        classes = np.array(sorted(self.kept_), dtype=np.int64)
        if not len(some.z):
            return np.full((windows.items, self.labels_), np.nan)
        # Repeated flows are looked up once and counted as often as they occur.
        asked, back = np.unique(self.scale_(some.z).round(3), axis=0, return_inverse=True)
        away = np.stack([_nearest(asked, self.kept_[int(code)]) for code in classes], axis=1)
        floor = self.floor * np.sqrt(asked.shape[1])
        logs = -np.log(away + floor)
        # The mean over labels is the background, so that what all labels share carries no evidence.
        logs -= logs.mean(axis=1, keepdims=True)
        return scatter_columns(some.mean(logs[back.reshape(-1)]), classes, self.labels_)


def _nearest(asked: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of each row to the nearest known row, of coordinates in thousandths.

    In thousandths, all sums are whole numbers below 2**53 and therefore exact, so that the distance of a row does not
    depend on the rows that are computed with it.
    """
    there = np.rint(known.astype(np.float64) * THOUSANDTHS)
    length = (there**2).sum(1)
    out = np.empty(len(asked))
    for start in range(0, len(asked), 2048):
        x = np.rint(asked[start : start + 2048].astype(np.float64) * THOUSANDTHS)
        square = (x**2).sum(1)[:, None] + length[None, :] - 2 * (x @ there.T)
        out[start : start + 2048] = np.sqrt(np.maximum(square.min(1), 0.0)) / THOUSANDTHS
    return out


class NearestWindows(FlowClassifier):
    """Bags of codewords; weighted similarity to the nearest window of each label.

    The codewords are at most ``words`` cluster centres of the enrolled flows. A window has the value
    sqrt(relative log count) for each word; words are weighted by log(1 + labels / labels that have the word), as
    services are in :mod:`ethogram.identify.cross_network`.
    """

    def __init__(self, words: int = 256, most: int = 30, seed: int = 0) -> None:
        self.words, self.most, self.seed = words, most, seed

    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Fit the codebook and store the bag of each window."""
        from sklearn.cluster import MiniBatchKMeans

        some = windows.capped(self.most)
        self.labels_, self.scale_ = labels, GlobalScaler(some.z)
        x = self.scale_(some.z)
        # A codeword of a single flow would be shared by no other window.
        count = min(self.words, max(8, len(x) // FLOWS_PER_CODEWORD), len(np.unique(x.round(3), axis=0)))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="sklearn")
            self.model_ = MiniBatchKMeans(count, random_state=self.seed, n_init=1, batch_size=2048).fit(x)
        have = np.flatnonzero(windows.flows > 0)
        self.codes_ = codes[have]
        self.known_ = self._bags(windows)[have]
        self.classes_ = np.unique(self.codes_)
        has = np.stack([(self.known_[self.codes_ == c] > 0).any(0) for c in self.classes_])
        self.weight_ = np.where(has.any(0), np.log1p(self.classes_.size / np.maximum(has.sum(0), 1)), 0.0)
        return self

    def _bags(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Square roots of relative log counts, [n, words]."""
        words = self.model_.predict(self.scale_(windows.z)) if len(windows.z) else np.zeros(0, np.int64)
        counts = np.zeros((windows.items, self.model_.n_clusters))
        np.add.at(counts, (windows.owner, words), 1.0)
        logs = np.log1p(counts)
        usual = logs.sum(1, keepdims=True) / np.maximum((counts > 0).sum(1, keepdims=True), 1)
        result: NDArray[np.float64] = np.sqrt(logs / np.maximum(usual, EPSILON))
        return result

    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Similarity to the nearest window of each label, in [0, 1]."""
        out = np.full((windows.items, self.labels_), np.nan)
        for i, alike in self._alike(windows):
            best = np.zeros(self.labels_)
            np.maximum.at(best, self.codes_, alike)
            out[i, self.classes_] = best[self.classes_]
        return out

    def similarities(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Similarity of each item to each enrolled window with flows, (n, K); rows of NaN for items without flows."""
        out = np.full((windows.items, len(self.known_)), np.nan)
        for i, alike in self._alike(windows):
            out[i] = alike
        return out

    def _alike(self, windows: FlowWindows) -> Iterator[tuple[int, NDArray[np.float64]]]:
        bags, whole = self._bags(windows), self.known_ @ self.weight_
        for i in np.flatnonzero(windows.flows > 0).tolist():
            least = np.minimum(bags[i][None, :], self.known_) @ self.weight_
            yield i, least / np.maximum(bags[i] @ self.weight_ + whole - least, EPSILON)


FLOW_CLASSIFIERS: dict[str, type[FlowClassifier]] = {
    "probe": ProbeFlows, "pooled": PooledProbe, "nearest": NearestFlows, "windows": NearestWindows,
}  # fmt: skip
"""Classifiers by name."""
