"""Probes: simple classifiers on frozen embeddings, with one grid for every encoder, searched on training days alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ethogram.config import ProbeSettings
from ethogram.errors import UsageError
from ethogram.identify.probe_figures import confusion_of, macro_f1

__all__ = ["DRAWS_NOTHING", "PROBES", "FrozenProbe", "Probe", "Standardiser", "budget_rows", "choose", "grid_of",
           "most_even"]  # fmt: skip

Floats = NDArray[np.float32]
PROBES = ("logistic", "knn", "mlp", "forest")
DRAWS_NOTHING = ("logistic", "knn")
"""Probes that give the same again for another seed."""

LEAST = 1e-12
"""A probability is never less than this: one flow must not rule out a type for its device."""


class Standardiser:
    """Each number to mean 0 and deviation 1 over the labelled training set; whitened, to unit covariance too.

    Embeddings of large encoders lie in a narrow cone, and a linear probe is unfair to them otherwise.

    Parameters
    ----------
    whiten
        Whether numbers that go together are turned apart and scaled as well.
    floor
        Directions with less than this share of the largest variance are left out: they would be noise made large.

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
        """Learn from embeddings [N, D] of training flows."""
        if not len(z):
            raise UsageError("nothing to standardise with: no training flow")
        self.mean_ = z.mean(0, dtype=np.float64)
        deviation = z.std(0, dtype=np.float64)
        # A number that never changes says nothing; it stays 0 also where another network's differs.
        self.scale_ = np.where(deviation > 1e-8, 1 / np.maximum(deviation, 1e-8), 0.0)
        self.turn_: Floats | None = None
        if self.whiten:
            scaled = self._scaled(z).astype(np.float64)
            values, vectors = np.linalg.eigh(scaled.T @ scaled / max(len(scaled) - 1, 1))
            kept = values > self.floor * max(float(values[-1]), 1e-12)
            if kept.any():
                self.turn_ = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
        return self

    def _scaled(self, z: Floats) -> Floats:
        scaled: Floats = ((z - self.mean_) * self.scale_).astype(np.float32)
        return scaled

    def transform(self, z: Floats) -> Floats:
        """Standardised embeddings, float32 [N, D]; whitened, [N, directions kept]."""
        scaled = self._scaled(z)
        return scaled if self.turn_ is None else scaled @ self.turn_


def grid_of(name: str, settings: ProbeSettings) -> list[dict[str, float]]:
    """What is tried of a probe; the first is taken where there are no days to choose by.

    >>> grid_of("knn", ProbeSettings())
    [{'k': 5}]
    """
    if name == "logistic":
        # The middle of the grid stands first.
        values = sorted(settings.logistic_c, key=lambda c: abs(np.log(c)))
        return [{"c": value} for value in values]
    if name == "knn":
        return [{"k": settings.neighbours}]
    if name == "mlp":
        return [{"decay": value} for value in settings.mlp_decay]
    return [{"leaf": value} for value in settings.leaf]


class Probe:
    """One classifier over standardised embeddings.

    Parameters
    ----------
    name
        One of :data:`PROBES`.
    settings
        Of the probes.
    choice
        A row of :func:`grid_of`; its first when None.
    seed
        Of what is drawn.
    """

    def __init__(
        self, name: str, settings: ProbeSettings, choice: dict[str, float] | None = None, seed: int = 0
    ) -> None:
        self.name, self.settings, self.seed = name, settings, seed
        self.choice = grid_of(name, settings)[0] if choice is None else choice

    def _model(self, n: int) -> Any:
        own, weights = self.settings, "balanced" if self.settings.balanced else None
        if self.name == "logistic":
            from sklearn.linear_model import LogisticRegression

            return LogisticRegression(C=self.choice["c"], max_iter=own.logistic_steps, class_weight=weights)
        if self.name == "knn":
            from sklearn.neighbors import KNeighborsClassifier

            return KNeighborsClassifier(min(own.neighbours, n), algorithm="brute")
        if self.name == "mlp":
            from sklearn.neural_network import MLPClassifier

            batch = min(200, n)
            passes = max(own.mlp_passes, own.mlp_steps // -(-n // batch))
            return MLPClassifier((own.mlp_width,), alpha=self.choice["decay"], max_iter=passes, batch_size=batch,
                                 n_iter_no_change=10, random_state=self.seed)  # fmt: skip
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(own.trees, min_samples_leaf=int(self.choice["leaf"]), class_weight=weights,
                                      random_state=self.seed, n_jobs=-1)  # fmt: skip

    def fit(self, z: Floats, truth: NDArray[np.int64]) -> Self:
        """Learn types, coded 0, 1, ..., of standardised embeddings [N, D]."""
        if np.unique(truth).size < 2:
            raise UsageError("a probe tells at least two types apart; the training flows have one")
        model = self._model(len(truth))
        with warnings.catch_warnings():
            # Steps are bounded on purpose.
            warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
            if self.name == "mlp" and self.settings.balanced:
                counts = np.bincount(truth)
                self.model_ = model.fit(z, truth, sample_weight=len(truth) / (np.sum(counts > 0) * counts[truth]))
            else:
                self.model_ = model.fit(z, truth)
        return self

    def predict_log_proba(self, z: Floats, types: int) -> NDArray[np.float64]:
        """Logarithm of the probability of each type, [N, types]; a type not learnt has the least there is."""
        said = np.zeros((len(z), types))
        if len(z):
            said[:, self.model_.classes_] = self.model_.predict_proba(z)
        result: NDArray[np.float64] = np.log(np.maximum(said, LEAST))
        return result


def choose(
    name: str, settings: ProbeSettings, seed: int, fit: tuple[Floats, NDArray[np.int64]],
    held_out: tuple[Floats, NDArray[np.int64]], types: int,
) -> tuple[dict[str, float], NDArray[np.float64]]:  # fmt: skip
    """The row of the grid with the highest macro-F1 on held-out training days, and its log probabilities there."""
    best: tuple[float, dict[str, float], NDArray[np.float64]] | None = None
    for choice in grid_of(name, settings):
        said = Probe(name, settings, choice, seed).fit(*fit).predict_log_proba(held_out[0], types)
        value = macro_f1(confusion_of(held_out[1], said.argmax(1), types))
        if best is None or value > best[0]:
            best = value, choice, said
    assert best is not None
    return best[1], best[2]


@dataclass(frozen=True)
class FrozenProbe:
    """A probe on embeddings that stay as they are, chosen on held-out training flows and then fitted on all.

    Parameters
    ----------
    standard, probe
        Learnt from all training flows that are used.
    held_out
        Log probabilities [H, T] of the held-out training flows by the same choice learnt without them; None: there
        were none to choose by.
    """

    standard: Standardiser
    probe: Probe
    held_out: NDArray[np.float64] | None

    @classmethod
    def fit(
        cls, z: Floats, truth: NDArray[np.int64], used: NDArray[np.int64], fit: NDArray[np.int64],
        held_out: NDArray[np.int64], types: int, *, name: str, settings: ProbeSettings, seed: int = 0,
    ) -> Self:  # fmt: skip
        """Choose and learn.

        Parameters
        ----------
        z, truth
            Embeddings [N, D] of training flows and their types, coded below ``types``.
        used
            Which of them are learnt from in the end.
        fit, held_out
            Which of those choose by which.
        name, settings, seed
            Of the probe.
        """
        choice, said = None, None
        if held_out.size and np.unique(truth[fit]).size > 1:
            first = Standardiser(settings.whiten, settings.whiten_floor).fit(z[fit])
            choice, said = choose(
                name, settings, seed, (first.transform(z[fit]), truth[fit]),
                (first.transform(z[held_out]), truth[held_out]), types,
            )  # fmt: skip
        standard = Standardiser(settings.whiten, settings.whiten_floor).fit(z[used])
        return cls(standard, Probe(name, settings, choice, seed).fit(standard.transform(z[used]), truth[used]), said)

    def predict_log_proba(self, z: Floats, types: int) -> NDArray[np.float64]:
        """Logarithm of the probability of each type, [N, types], of embeddings as they come."""
        return self.probe.predict_log_proba(self.standard.transform(z), types)


def budget_rows(truth: NDArray[np.int64], per_type: int | None, seed: int) -> NDArray[np.int64]:
    """At most so many training flows of each type, drawn evenly; all of a type that has fewer.

    >>> budget_rows(np.array([0, 0, 0, 1]), 1, seed=0).size
    2
    """
    if per_type is None:
        return np.arange(truth.size)
    random = np.random.default_rng([seed, 0xB0D6])
    drawn = [random.permutation(np.flatnonzero(truth == code))[:per_type] for code in np.unique(truth)]
    return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)


def most_even(counts: Sequence[int], most: int) -> int:
    """The largest number of flows each type may have so that all have at most ``most``.

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
