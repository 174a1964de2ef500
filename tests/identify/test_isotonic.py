"""The isotonic curve is that of scikit-learn, with ties and at the borders."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from ethogram.identify.isotonic import IsotonicCurve


@given(st.integers(0, 10_000), st.integers(1, 300), st.integers(1, 40))
def test_the_curve_is_that_of_scikit_learn(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, levels, count) / 40 if levels < 40 else rng.random(count)
    y = (rng.random(count) < x).astype(float)
    expected = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(x, y)
    at = np.concatenate([np.linspace(-0.1, 1.1, 97), x])
    np.testing.assert_allclose(IsotonicCurve.fit(x, y)(at), expected.predict(at), rtol=0, atol=1e-12)


@pytest.mark.parametrize("module", ["identify", "enrol", "unknown"])
def test_verbs_import_no_fitting_library(module: str) -> None:
    code = (
        f"import sys, ethogram.pipeline.{module}\n"
        "loaded = {'scipy.optimize', 'scipy.stats', 'sklearn', 'torch'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
