"""Kernel sums by recurrence against the plain sum over all points."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.identify.density import CLIP, HEIGHTS, SCALES, WIDE, Densities

LABELS, FEATURES, GROUPS = 3, 2, 3
POINT = st.tuples(
    st.integers(0, FEATURES - 1), st.integers(0, LABELS - 1), st.integers(0, GROUPS - 1), st.floats(0, 24)
)


def plain(points: list[tuple[int, int, int, float]], width: np.ndarray, f: int, x: float, held: int) -> list[float]:
    density, number = [0.0] * LABELS, [0] * LABELS
    for feature, label, group, value in points:
        if feature == f and group != held:
            h = width[label, f]
            d = abs(x - value) / h
            density[label] += sum(a * math.exp(-d / b) for a, b in zip(HEIGHTS, SCALES, strict=True)) / (2 * h)
            number[label] += 1
    known = [c for c in range(LABELS) if number[c]]
    background = (1 / WIDE + sum(density[c] / number[c] for c in known)) / (len(known) + 1)
    return [
        max(-CLIP, min(CLIP, math.log((density[c] + background) / (number[c] + 1) / background))) if number[c] else 0.0
        for c in range(LABELS)
    ]


@given(
    st.lists(POINT, min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, FEATURES - 1), st.floats(-1, 30)), min_size=1, max_size=6),
    st.integers(-1, GROUPS - 1),
    st.lists(st.floats(0.03, 3), min_size=LABELS * FEATURES, max_size=LABELS * FEATURES),
)
@settings(max_examples=200, deadline=None)
def test_terms_match_the_plain_sum(
    points: list[tuple[int, int, int, float]], asked: list[tuple[int, float]], held: int, widths: list[float]
) -> None:
    width = np.array(widths).reshape(LABELS, FEATURES)
    columns = [np.array(column, dtype=np.int64) for column in list(zip(*points, strict=True))[:3]]
    densities = Densities(*columns, np.array([p[3] for p in points]), width, 1.0)
    features = np.array([f for f, _ in asked], dtype=np.int64)
    values = np.array([x for _, x in asked])
    indptr = np.arange(len(asked) + 1, dtype=np.int64)
    result = densities.terms(indptr, features, values, np.full(len(asked), held, dtype=np.int64))
    expected = [plain(points, width, f, x, held) for f, x in asked]
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_densities_integrate_to_one() -> None:
    # One label with one point: (density + background) / 2 / background = exp(term); solve for the density.
    densities = Densities(
        np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([5.0]), np.full((1, 1), 0.5), 1.0
    )
    x = np.linspace(-60, 70, 130_001)
    terms = densities.terms(
        np.array([0, x.size]), np.zeros(x.size, np.int64), x, np.array([-1], dtype=np.int64)
    )[:, 0].astype(float)  # fmt: skip
    assert (np.abs(terms) < CLIP).all()
    ratio = np.exp(terms)
    # background = (density + 1/WIDE) / 2, so density = (2 r - 1) / (3 - 2 r) ... from r = (d + b) / (2 b)
    density = (2 * ratio - 1) / WIDE / (3 - 2 * ratio)
    assert abs(np.trapezoid(density, x) - 1) < 0.01
