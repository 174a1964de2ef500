"""Baselines over flow statistics: random forest and gradient boosting, and boosting over four totals.

They are strong within a network, but offer little explanation; included for comparison.

References
----------
N. Okui, M. Nakahara, Y. Miyake, A. Kubota, Identification of an IoT device model in the home domain using IPFIX
records, COMPSAC 2022 (four totals, gradient boosting).
"""

from __future__ import annotations

import importlib
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.errors import ConfigurationError, UsageError
from ethogram.identify.identifier import Identifier, require_labels
from ethogram.schema import Windows

__all__ = ["FourTotals", "GradientBoosting", "RandomForest"]

TOTALS = ("octets_out", "octets_in", "packets_out", "packets_in")


class _Classifier(Identifier):
    """A classifier of numeric features; a raw score is its probability."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @abstractmethod
    def _features(self, windows: Windows) -> pl.DataFrame:
        """Features, one row per item in order."""

    @abstractmethod
    def _model(self) -> Any:
        """An unfitted scikit-learn classifier."""

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        """Fit on the features of the items; their order does not matter."""
        self.labels_ = require_labels(windows, labels)
        features = self._features(windows)
        self.columns_ = features.columns
        x, y = _numbers(features), np.array(labels)
        order = np.lexsort((*x.T[::-1], y))
        with warnings.catch_warnings():
            # With one window per label scikit-learn warns that this may be a regression.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            self.model_ = self._model().fit(x[order], y[order]) if len(self.labels_) > 1 else None
        return self

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        """Probabilities, shape (n, L)."""
        self.require_fit()
        features = self._features(windows)
        missing = [name for name in self.columns_ if name not in features.columns]
        if missing:
            raise UsageError(f"the items lack the statistic {missing[0]}, which the model was fitted on")
        x = _numbers(features.select(self.columns_))
        if self.model_ is None or len(x) == 0:
            return np.ones((len(x), len(self.labels_))) / len(self.labels_)
        return np.asarray(self.model_.predict_proba(x), dtype=np.float64)


def _numbers(features: pl.DataFrame) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = features.to_numpy().astype(np.float64)
    return np.where(np.isfinite(numbers), numbers, 0.0)


class _OfStatistics(_Classifier):
    def _features(self, windows: Windows) -> pl.DataFrame:
        if windows.statistics is None:
            raise UsageError(f"{type(self).__name__} needs flow statistics, which these windows do not have")
        rows = windows.items.select("item").join(windows.statistics, on="item", how="left", maintain_order="left")
        return rows.drop("item")


class RandomForest(_OfStatistics):
    """Random forest over flow statistics."""

    def __init__(self, seed: int = 0, trees: int = 300) -> None:
        super().__init__(seed)
        self.trees = trees

    def _model(self) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(self.trees, class_weight="balanced", random_state=self.seed, n_jobs=1)


class GradientBoosting(_OfStatistics):
    """Gradient boosting over flow statistics."""

    def __init__(self, seed: int = 0, passes: int = 100) -> None:
        super().__init__(seed)
        self.passes = passes

    def _model(self) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            max_iter=self.passes, min_samples_leaf=3, class_weight="balanced", early_stopping=False,
            random_state=self.seed,
        )  # fmt: skip


class FourTotals(_Classifier):
    """Gradient boosting over four totals of a window: octets and packets, out and in (optional extra ``bench``)."""

    def __init__(self, seed: int = 0, passes: int = 100) -> None:
        super().__init__(seed)
        self.passes = passes

    def _features(self, windows: Windows) -> pl.DataFrame:
        sums = windows.counts.group_by("item").agg(pl.col(name).sum() for name in TOTALS)
        rows = windows.items.select("item").join(sums, on="item", how="left", maintain_order="left")
        return rows.select(pl.col(name).fill_null(0).cast(pl.Float64) for name in TOTALS)

    def _model(self) -> Any:
        try:
            lightgbm = importlib.import_module("lightgbm")
        except ImportError:
            raise ConfigurationError("four totals need LightGBM: install ethogram[bench]") from None
        return lightgbm.LGBMClassifier(
            n_estimators=self.passes, min_child_samples=3, class_weight="balanced", random_state=self.seed,
            deterministic=True, force_row_wise=True, n_jobs=1, verbose=-1,
        )  # fmt: skip
