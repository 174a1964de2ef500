"""Probes: simple classifiers on frozen embeddings; the hyperparameter grid is searched on training days alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ethogram.config import ProbeSettings
from ethogram.errors import UsageError
from ethogram.identify.metrics import confusion_of, macro_f1_of

__all__ = ["DETERMINISTIC", "PROBES", "FrozenProbe", "Probe", "Standardiser", "budget_rows", "choose", "grid_of",
           "most_even"]  # fmt: skip

Floats = NDArray[np.float32]
PROBES = ("logistic", "knn", "mlp", "forest")
DETERMINISTIC = ("logistic", "knn")
"""Probes whose result does not depend on the seed."""

MIN_PROBABILITY = 1e-12
"""Lower bound of probabilities, so that a single flow cannot rule out a type for its device."""


class Standardiser:
    """Standardise each dimension to mean 0 and deviation 1 over the training set; optionally whiten to unit covariance.

    Embeddings of large encoders lie in a narrow cone, which puts a linear probe at a disadvantage.

    Parameters
    ----------
    whiten
        Also decorrelate the dimensions and scale them to unit variance.
    floor
        Directions with a smaller share of the largest variance are dropped, since scaling would amplify their noise.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32) @ np.array([[1, 2], [0, 1]])
    >>> np.abs(np.cov(Standardiser(whiten=True).fit(z).transform(z).T)).round(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(self, whiten: bool = False, floor: float = 1e-4) -> None:
        self.whiten = whiten
        self.floor = floor

    def fit(self, z: Floats) -> Self:
        """Fit on embeddings [N, D] of training flows."""
        if not len(z):
            raise UsageError("cannot standardise: there is no training flow")
        self.mean_ = z.mean(0, dtype=np.float64)
        deviation = z.std(0, dtype=np.float64)
        # A constant dimension carries no information; it stays 0 even where another network differs.
        self.scale_ = np.where(deviation > 1e-8, 1 / np.maximum(deviation, 1e-8), 0.0)
        self.turn_: Floats | None = None
        if self.whiten:
            scaled = self._scaled(z).astype(np.float64)
            values, vectors = np.linalg.eigh(scaled.T @ scaled / max(len(scaled) - 1, 1))
            retained = values > self.floor * max(float(values[-1]), 1e-12)
            if retained.any():
                self.turn_ = (vectors[:, retained] / np.sqrt(values[retained])).astype(np.float32)
        return self

    def _scaled(self, z: Floats) -> Floats:
        scaled: Floats = ((z - self.mean_) * self.scale_).astype(np.float32)
        return scaled

    def transform(self, z: Floats) -> Floats:
        """Standardised embeddings, float32 [N, D]; if whitened, [N, kept directions]."""
        scaled = self._scaled(z)
        return scaled if self.turn_ is None else scaled @ self.turn_


def grid_of(name: str, settings: ProbeSettings) -> list[dict[str, float]]:
    """Hyperparameter grid of a probe; the first row is used if there are no held-out days.

    >>> grid_of("knn", ProbeSettings())
    [{'k': 5}]
    """
    if name == "logistic":
        # The middle of the grid comes first.
        values = sorted(settings.logistic_c, key=lambda c: abs(np.log(c)))
        return [{"c": value} for value in values]
    if name == "knn":
        return [{"k": settings.neighbours}]
    if name == "mlp":
        return [{"decay": value} for value in settings.mlp_decay]
    return [{"leaf": value} for value in settings.leaf]


class Probe:
    """A classifier on standardised embeddings.

    Parameters
    ----------
    name
        One of :data:`PROBES`.
    settings
        Settings of the probes.
    choice
        A row of :func:`grid_of`; the first when None.
    seed
        Random seed.
    """

    def __init__(
        self, name: str, settings: ProbeSettings, choice: dict[str, float] | None = None, seed: int = 0
    ) -> None:
        self.name, self.settings, self.seed = name, settings, seed
        self.choice = grid_of(name, settings)[0] if choice is None else choice

    def _model(self, n: int) -> Any:
        settings, weights = self.settings, "balanced" if self.settings.balanced else None
        if self.name == "logistic":
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(C=self.choice["c"], max_iter=settings.logistic_steps, class_weight=weights)
        if self.name == "knn":
            from sklearn.neighbors import KNeighborsClassifier

            return KNeighborsClassifier(min(settings.neighbours, n), algorithm="brute")
        if self.name == "mlp":
            from sklearn.neural_network import MLPClassifier

            batch = min(200, n)
            passes = max(settings.mlp_passes, settings.mlp_steps // -(-n // batch))
            return MLPClassifier((settings.mlp_width,), alpha=self.choice["decay"], max_iter=passes, batch_size=batch,
                                 n_iter_no_change=10, random_state=self.seed)  # fmt: skip
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(settings.trees, min_samples_leaf=int(self.choice["leaf"]), class_weight=weights,
                                      random_state=self.seed, n_jobs=-1)  # fmt: skip

    def fit(self, z: Floats, truth: NDArray[np.int64]) -> Self:
        """Fit on standardised embeddings [N, D] with types coded 0, 1, ..."""
        if np.unique(truth).size < 2:
            raise UsageError("a probe needs at least two types; the training flows have one")
        model = self._model(len(truth))
        with warnings.catch_warnings():
            # Iterations are bounded on purpose; ignore the convergence warning.
            warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
            if self.name == "mlp" and self.settings.balanced:
                counts = np.bincount(truth)
                self.model_ = model.fit(z, truth, sample_weight=len(truth) / (np.sum(counts > 0) * counts[truth]))
            else:
                self.model_ = model.fit(z, truth)
        return self

    def predict_log_proba(self, z: Floats, types: int) -> NDArray[np.float64]:
        """Log probability of each type, [N, types]; types without training flows get the minimum."""
        probabilities = np.zeros((len(z), types))
        if len(z):
            probabilities[:, self.model_.classes_] = self.model_.predict_proba(z)
        result: NDArray[np.float64] = np.log(np.maximum(probabilities, MIN_PROBABILITY))
        return result


def choose(
    name: str, settings: ProbeSettings, seed: int, fit: tuple[Floats, NDArray[np.int64]],
    held_out: tuple[Floats, NDArray[np.int64]], types: int,
) -> tuple[dict[str, float], NDArray[np.float64]]:  # fmt: skip
    """The grid row with the highest macro-F1 on held-out training days, and its log probabilities on them."""
    best: tuple[float, dict[str, float], NDArray[np.float64]] | None = None
    for choice in grid_of(name, settings):
        logs = Probe(name, settings, choice, seed).fit(*fit).predict_log_proba(held_out[0], types)
        value = macro_f1_of(confusion_of(held_out[1], logs.argmax(1), types))
        if best is None or value > best[0]:
            best = value, choice, logs
    assert best is not None
    return best[1], best[2]


@dataclass(frozen=True)
class FrozenProbe:
    """A probe on frozen embeddings, selected on held-out training flows and then refitted on all of them.

    Parameters
    ----------
    standard, probe
        Fitted on all training rows.
    held_out
        Log probabilities [H, T] of the held-out flows by the selected probe fitted without them; None if there are no
        held-out flows.
    """

    standard: Standardiser
    probe: Probe
    held_out: NDArray[np.float64] | None

    @classmethod
    def select(
        cls, z: Floats, truth: NDArray[np.int64], used: NDArray[np.int64], fit: NDArray[np.int64],
        held_out: NDArray[np.int64], types: int, *, name: str, settings: ProbeSettings, seed: int = 0,
    ) -> Self:  # fmt: skip
        """Select hyperparameters and fit.

        Parameters
        ----------
        z, truth
            Embeddings [N, D] of training flows and their types, coded 0 to ``types`` - 1.
        used
            Rows that the final probe is fitted on.
        fit, held_out
            Rows among those to fit and to score candidates on.
        name, settings, seed
            As for :class:`Probe`.
        """
        choice, held_out_logs = None, None
        if held_out.size and np.unique(truth[fit]).size > 1:
            first = Standardiser(settings.whiten, settings.whiten_floor).fit(z[fit])
            choice, held_out_logs = choose(
                name, settings, seed, (first.transform(z[fit]), truth[fit]),
                (first.transform(z[held_out]), truth[held_out]), types,
            )  # fmt: skip
        standard = Standardiser(settings.whiten, settings.whiten_floor).fit(z[used])
        probe = Probe(name, settings, choice, seed).fit(standard.transform(z[used]), truth[used])
        return cls(standard, probe, held_out_logs)

    def predict_log_proba(self, z: Floats, types: int) -> NDArray[np.float64]:
        """Log probability of each type, [N, types], of embeddings before standardisation."""
        return self.probe.predict_log_proba(self.standard.transform(z), types)


def budget_rows(truth: NDArray[np.int64], per_type: int | None, seed: int) -> NDArray[np.int64]:
    """Rows of at most ``per_type`` training flows of each type, drawn uniformly.

    >>> budget_rows(np.array([0, 0, 0, 1]), 1, seed=0).size
    2
    """
    if per_type is None:
        return np.arange(truth.size)
    random = np.random.default_rng([seed, 0xB0D6])
    drawn = [random.permutation(np.flatnonzero(truth == code))[:per_type] for code in np.unique(truth)]
    return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)


def most_even(counts: Sequence[int], most: int) -> int:
    """The largest cap per type such that all types together have at most ``most`` flows.

    >>> most_even([100, 5, 40], 50)
    22
    """
    ordered = sorted(counts)
    if sum(ordered) <= most:
        return max(ordered, default=0)
    left = most
    for i, count in enumerate(ordered):
        share = left // (len(ordered) - i)
        if count > share:
            return max(share, 1)
        left -= count
    raise AssertionError("unreachable: the sum is larger than most")
