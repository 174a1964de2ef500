"""The probe as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import ethogram
from ethogram.config import ProbeSettings
from ethogram.identify.probe import FrozenProbe
from ethogram.identify.probe_classifier import ProbeClassifier

ESTIMATORS = [ProbeClassifier(), ProbeClassifier("knn"), ProbeClassifier(whiten=True, balanced=False)]


@parametrize_with_checks(ESTIMATORS)
def test_estimator_checks_of_scikit_learn_pass(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("kind", ["mlp", "forest"])
def test_probes_that_draw_are_repeatable(kind: str) -> None:
    random = np.random.default_rng(1)
    z, y = random.normal(size=(60, 4)), np.repeat(["a", "b", "c"], 20)
    first, second = (ProbeClassifier(kind).fit(z, y).predict_proba(z) for _ in range(2))
    assert (first == second).all()
    assert first.shape == (60, 3)


def test_it_classifies_as_the_frozen_probe_does() -> None:
    random = np.random.default_rng(2)
    truth = random.integers(0, 3, 300)
    z = (random.normal(size=(300, 5)) + truth[:, None]).astype(np.float32)
    rows = np.arange(300)
    frozen = FrozenProbe.select(
        z, truth, rows, rows, np.zeros(0, np.int64), 3, name="logistic", settings=ProbeSettings()
    )  # fmt: skip
    ours = ethogram.ProbeClassifier().fit(z, truth).predict_proba(z)
    np.testing.assert_allclose(np.log(ours), frozen.predict_log_proba(z, 3), atol=2e-3)
    scores = cross_val_score(ProbeClassifier(), z, truth, groups=rows // 60, cv=GroupKFold(5))
    assert scores.mean() > 0.6


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid probe 'tree'"):
        ProbeClassifier("tree").fit(np.zeros((4, 2)), [0, 0, 1, 1])
