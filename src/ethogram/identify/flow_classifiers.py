"""Ways to tell items by their embedded flows: each gives a score per label, higher is more alike.

- *probe*: a linear probe on flows, mean log probability over the item's flows.
- *pooled*: a linear probe on what the window's embeddings are like together: mean, deviation, quantiles.
- *nearest*: for each flow how near its nearest flow of a label is, as a log likelihood ratio against all labels; the
  mean over the item's flows (naive Bayes nearest neighbour).
- *windows*: embeddings as words of a codebook, and the nearest window by the words both have, rare ones weighing more.

Shapes: n items, L labels, N flows, D numbers of an embedding.

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
"""Experts by name."""

LIMIT = 5.0  # standardised numbers are held within this: another network may be far outside
EPSILON = 1e-9
FLOWS_PER_CODEWORD = 16  # flows that a codeword stands for, at least on the whole


class FlowClassifier(ABC):
    """One way. ``fit`` learns n items with labels coded 0 to L - 1."""

    @abstractmethod
    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Learn."""

    @abstractmethod
    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Scores, (n, L): a row of NaN where an item has no flow, a column of NaN where a label was never learnt."""


class ClippedScaler:
    """Each number standardised, and held within :data:`LIMIT`: for classifiers, which weigh numbers themselves."""

    def __init__(self, z: NDArray[np.float32]) -> None:
        self._standard = Standardiser().fit(z)

    def __call__(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(self._standard.transform(z), -LIMIT, LIMIT)


class GlobalScaler:
    """All numbers over one length, the root of their mean variance: distances keep what the encoder made large.

    To standardise each number would make as much of a unit that hardly varies as of the one that tells most.
    """

    def __init__(self, z: NDArray[np.float32]) -> None:
        self._mean = z.mean(0, dtype=np.float64).astype(np.float32)
        self._length = max(float(np.sqrt(z.var(0, dtype=np.float64).mean())), 1e-6)

    def __call__(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = ((z - self._mean) / self._length).astype(np.float32)
        return scaled


def _logistic(x: NDArray[np.float32], y: NDArray[np.int64], weight: NDArray[np.float64], c: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Steps are bounded on purpose.
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        return LogisticRegression(C=c, max_iter=200).fit(x, y, sample_weight=weight)


def balanced_weights(owner: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights so that labels weigh alike, and the items of a label do; mean 1."""
    of = np.bincount(owner).astype(np.float64)
    weight = 1.0 / of[owner]
    label = codes[owner]
    weight /= np.bincount(label, weights=weight)[label]
    return np.asarray(weight * len(owner) / weight.sum(), np.float64)


def scatter_columns(said: NDArray[np.float64], classes: NDArray[np.int64], labels: int) -> NDArray[np.float64]:
    """Columns of learnt classes among all labels; those not learnt are NaN."""
    out = np.full((len(said), labels), np.nan)
    out[:, classes] = said
    return out


class ProbeFlows(FlowClassifier):
    """Linear probe on single flows; at most ``most`` flows of an item teach and are asked."""

    def __init__(self, most: int = 30, c: float = 0.1) -> None:
        self.most, self.c = most, c

    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Learn labels of flows."""
        some = windows.capped(self.most)
        self.labels_, self.scale_ = labels, ClippedScaler(some.z)
        self.classes_ = np.unique(codes[some.owner])
        self.model_: Any = None
        if self.classes_.size > 1:
            weight = balanced_weights(some.owner, codes)
            self.model_ = _logistic(self.scale_(some.z), codes[some.owner], weight, self.c)
        return self

    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Mean log probability against chance."""
        some = windows.capped(self.most)
        if self.model_ is None or not len(some.z):
            said = np.zeros((len(some.z), self.classes_.size))
        else:
            said = self.model_.predict_log_proba(self.scale_(some.z)) + np.log(self.classes_.size)
        return scatter_columns(some.mean(np.maximum(said, -12.0)), self.classes_, self.labels_)


class PooledProbe(FlowClassifier):
    """Linear probe on the pooled embeddings of a window: mean, deviation and three quantiles of each number."""

    def __init__(self, most: int = 200, c: float = 0.03) -> None:
        self.most, self.c = most, c

    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Learn labels of windows."""
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
        """[n, 5 D]; zeros where an item has no flow."""
        some = windows.capped(self.most)
        order = np.argsort(some.owner, kind="stable")
        z, first = some.z[order], np.searchsorted(some.owner[order], np.arange(some.items + 1))
        out = np.zeros((some.items, 5 * z.shape[1]), np.float32)
        for i in np.flatnonzero(first[1:] > first[:-1]):
            mine = z[first[i] : first[i + 1]]
            out[i] = np.concatenate([mine.mean(0), mine.std(0), *np.quantile(mine, (0.1, 0.5, 0.9), axis=0)])
        return out

    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Log probability against chance."""
        said = np.zeros((windows.items, self.classes_.size))
        if self.model_ is not None and windows.items:
            said = self.model_.predict_log_proba(self.scale_(self._pooled(windows))) + np.log(self.classes_.size)
        said[windows.flows == 0] = np.nan
        return scatter_columns(np.maximum(said, -12.0), self.classes_, self.labels_)


class NearestFlows(FlowClassifier):
    """Nearest flow of each label to each flow of the item.

    Parameters
    ----------
    most
        Flows of an item that are asked.
    known
        Flows of a label that are kept, drawn evenly from its windows.
    floor
        Distance, in deviations of one number times the root of D, below which nothing is nearer.
    """

    def __init__(self, most: int = 40, known: int = 400, floor: float = 0.05) -> None:
        self.most, self.known, self.floor = most, known, floor

    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Keep flows of each label."""
        self.labels_, self.scale_ = labels, GlobalScaler(windows.z)
        of = codes[windows.owner]
        self.kept_: dict[int, NDArray[np.float32]] = {}
        for code in np.unique(of):
            mine = np.flatnonzero(of == code)
            owners, local = np.unique(windows.owner[mine], return_inverse=True)
            part = FlowWindows(windows.z[mine], local.astype(np.int64), owners.size)
            rows = part.rows(max(self.known // owners.size, 3))
            rows = rows[:: max(1, -(-rows.size // self.known))]
            self.kept_[int(code)] = np.unique(self.scale_(part.z[rows]).round(3), axis=0)
        return self

    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Mean over flows of log(distance to the background / distance to the label)."""
        some = windows.capped(self.most)
        classes = np.array(sorted(self.kept_), dtype=np.int64)
        if not len(some.z):
            return np.full((windows.items, self.labels_), np.nan)
        # Flows that repeat say the same again: each is asked once, and counts as often as it is there.
        asked, back = np.unique(self.scale_(some.z).round(3), axis=0, return_inverse=True)
        away = np.stack([_nearest(asked, self.kept_[int(code)]) for code in classes], axis=1)
        floor = self.floor * np.sqrt(asked.shape[1])
        logs = -np.log(away + floor)
        # What all labels share tells nothing: the mean over labels is the background.
        logs -= logs.mean(axis=1, keepdims=True)
        return scatter_columns(some.mean(logs[back.reshape(-1)]), classes, self.labels_)


def _nearest(asked: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of each row to the nearest known one."""
    length = (known**2).sum(1)
    out = np.empty(len(asked))
    for start in range(0, len(asked), 4096):
        x = asked[start : start + 4096]
        square = (x**2).sum(1)[:, None] + length[None, :] - 2 * (x @ known.T)
        out[start : start + 4096] = np.sqrt(np.maximum(square.min(1), 0.0))
    return out


class NearestWindows(FlowClassifier):
    """Windows as bags of codewords; weighted likeness to the nearest window of each label.

    A codeword is one of ``words`` centres of the enrolled flows; v is the root of the relative log count, and a word
    weighs log(1 + labels / labels that have it), as services do across networks.
    """

    def __init__(self, words: int = 256, most: int = 30, seed: int = 0) -> None:
        self.words, self.most, self.seed = words, most, seed

    def fit(self, windows: FlowWindows, codes: NDArray[np.int64], labels: int) -> Self:
        """Learn the codebook, and keep each window's words."""
        from sklearn.cluster import MiniBatchKMeans

        some = windows.capped(self.most)
        self.labels_, self.scale_ = labels, GlobalScaler(some.z)
        x = self.scale_(some.z)
        # A word that only one flow stands for is shared by nothing.
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
        """[n, words] root of relative log counts."""
        words = self.model_.predict(self.scale_(windows.z)) if len(windows.z) else np.zeros(0, np.int64)
        counts = np.zeros((windows.items, self.model_.n_clusters))
        np.add.at(counts, (windows.owner, words), 1.0)
        logs = np.log1p(counts)
        usual = logs.sum(1, keepdims=True) / np.maximum((counts > 0).sum(1, keepdims=True), 1)
        result: NDArray[np.float64] = np.sqrt(logs / np.maximum(usual, EPSILON))
        return result

    def decision_function(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Likeness to the nearest window, 0 to 1."""
        out = np.full((windows.items, self.labels_), np.nan)
        for i, alike in self._alike(windows):
            best = np.zeros(self.labels_)
            np.maximum.at(best, self.codes_, alike)
            out[i, self.classes_] = best[self.classes_]
        return out

    def likeness(self, windows: FlowWindows) -> NDArray[np.float64]:
        """Likeness of each item to each enrolled window that has flows, (n, K); NaN where an item has none."""
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
"""By name."""
