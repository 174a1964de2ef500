"""Probes as a scikit-learn classifier, for cross-validation, grid search and pipelines of the user's own.

Only this module inherits from scikit-learn, which takes a second to load.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ethogram.config import ProbeSettings
from ethogram.identify.probe import DETERMINISTIC, PROBES, Probe, Standardiser

__all__ = ["ProbeClassifier"]


class ProbeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classifier of embeddings: standardisation and one of the probes of :func:`ethogram.probe`.

    It follows scikit-learn's conventions and passes its estimator checks, so that it can be used with
    ``cross_val_score``, ``GridSearchCV`` and pipelines. Flows of one connection, device or day are alike: split by
    groups (``GroupKFold`` over days), never at random.

    Parameters
    ----------
    kind
        ``logistic``, ``knn``, ``mlp`` or ``forest``.
    c
        Inverse regularisation of logistic regression.
    neighbours
        Neighbours of kNN.
    decay
        Weight decay of the MLP.
    leaf
        Flows per leaf of the forest.
    whiten
        Whiten embeddings after standardising them.
    balanced
        Weight all types equally, whatever their number of flows.
    random_state
        Seed of ``mlp`` and ``forest``.

    Attributes
    ----------
    classes_
        Labels, sorted.
    standard_, probe_
        Fitted on the training flows.
    n_features_in_
        D, numbers in an embedding.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal([[0.0, 0.0]] * 50 + [[5.0, 5.0]] * 50)
    >>> ProbeClassifier().fit(z, ["plug"] * 50 + ["camera"] * 50).predict([[0.0, 0.0], [5.0, 5.0]]).tolist()
    ['plug', 'camera']
    """

    def __init__(
        self,
        kind: str = "logistic",
        *,
        c: float = 1.0,
        neighbours: int = 5,
        decay: float = 1e-4,
        leaf: int = 1,
        whiten: bool = False,
        balanced: bool = True,
        random_state: int | None = 0,
    ) -> None:
        self.kind = kind
        self.c = c
        self.neighbours = neighbours
        self.decay = decay
        self.leaf = leaf
        self.whiten = whiten
        self.balanced = balanced
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.kind not in DETERMINISTIC and self.random_state is None
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 (scikit-learn's name)
        """Fit on embeddings ``X`` [N, D] of flows and their labels ``y`` [N].

        Raises
        ------
        ValueError
            If the kind is unknown, shapes do not match, or there is one class only.
        """
        if self.kind not in PROBES:
            raise ValueError(f"kind: invalid probe {self.kind!r}; expected {', '.join(PROBES)}")
        z, y = validate_data(self, X, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if self.classes_.size < 2:
            raise ValueError("a probe needs at least two classes; y has one class")
        settings = ProbeSettings.of(neighbours=self.neighbours, balanced=self.balanced)
        choice = {"c": self.c, "k": self.neighbours, "decay": self.decay, "leaf": self.leaf}
        seed = np.random.default_rng().integers(1 << 31) if self.random_state is None else self.random_state
        self.standard_ = Standardiser(self.whiten).fit(z)
        self.probe_ = Probe(self.kind, settings, choice, int(seed)).fit(self._standardised(z), codes.astype(np.int64))
        return self

    def _standardised(self, z: NDArray[Any]) -> NDArray[Any]:
        # In double precision, results do not depend on the number of rows that are multiplied at once.
        return self.standard_.transform(z).astype(np.float64)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Probability of each class, [N, classes], in the order of ``classes_``."""
        check_is_fitted(self)
        z = validate_data(self, X, reset=False)
        return np.asarray(self.probe_.model_.predict_proba(self._standardised(z)), np.float64)

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """The most probable class of each row, [N]."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return labels
