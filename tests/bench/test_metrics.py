"""Figures of merit, each against a plain twin."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.errors import UsageError
from ethogram.identify import metrics

LABELS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=30)
VALUES = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=20)


def strings(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=np.str_)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=40))
def test_macro_f1_is_its_plain_twin(pairs: list[tuple[str, str]]) -> None:
    collected = []
    for label in sorted({t for t, _ in pairs}):
        tp = sum(t == p == label for t, p in pairs)
        fp = sum(t != label and p == label for t, p in pairs)
        fn = sum(t == label and p != label for t, p in pairs)
        collected.append(2 * tp / (2 * tp + fp + fn))
    truth, predicted = strings([t for t, _ in pairs]), strings([p for _, p in pairs])
    assert metrics.macro_f1(truth, predicted) == pytest.approx(sum(collected) / len(collected))
    assert metrics.accuracy(truth, predicted) == pytest.approx(sum(t == p for t, p in pairs) / len(pairs))


def test_a_tie_is_an_error_when_strict_and_right_when_lenient() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 3.0], [2.0, 2.0, 1.0]])
    truth = strings(["b", "c", "c"])
    assert metrics.top_label(scores, ["a", "b", "c"]).tolist() == ["", "c", ""]
    # A lenient tie is right only where the truth is among the best.
    assert metrics.top_label(scores, ["a", "b", "c"], truth).tolist() == ["b", "c", "a"]


def test_twins_count_as_one() -> None:
    assert metrics.merge(strings(["x1", "x2", "y"]), {"x1": "x", "x2": "x"}).tolist() == ["x", "x", "y"]


@given(VALUES, VALUES)
def test_area_under_roc_is_the_share_of_ordered_pairs(known: list[float], unknown: list[float]) -> None:
    pairs = [1.0 if u > k else 0.5 if u == k else 0.0 for k in known for u in unknown]
    assert metrics.area_under_roc(np.array(known), np.array(unknown)) == pytest.approx(sum(pairs) / len(pairs))


@given(VALUES, VALUES)
def test_false_positive_rate_is_its_plain_twin(known: list[float], unknown: list[float]) -> None:
    for threshold in sorted(set(known)):
        if sum(k <= threshold for k in known) / len(known) >= 0.95:
            break
    expected = sum(u <= threshold for u in unknown) / len(unknown)
    assert metrics.false_positive_rate(np.array(known), np.array(unknown)) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=12), VALUES)
def test_the_open_set_curve_is_its_plain_twin(known: list[tuple[int, bool]], unknown: list[float]) -> None:
    points = [(0.0, 0.0)]
    for step in sorted({float(s) for s, _ in known} | set(unknown)):
        right = sum(s <= step and ok for s, ok in known) / len(known)
        points.append((sum(u <= step for u in unknown) / len(unknown), right))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    result = metrics.open_set_curve_area(
        np.array([float(s) for s, _ in known]), np.array([ok for _, ok in known]), np.array(unknown)
    )
    assert result == pytest.approx(area)


def test_perfect_separation_gives_the_best_of_all_open_set_figures() -> None:
    known, unknown = np.array([0.1, 0.2, 0.3]), np.array([0.8, 0.9])
    assert metrics.area_under_roc(known, unknown) == 1.0
    assert metrics.false_positive_rate(known, unknown) == 0.0
    assert metrics.open_set_curve_area(known, np.array([True, True, True]), unknown) == 1.0


def test_calibration_error_of_known_bins() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False])
    assert metrics.reliability(confidence, correct) == [(0.55, 0.5, 2), (0.95, 1.0, 2)]
    assert metrics.calibration_error(confidence, correct) == pytest.approx(0.05)
    assert metrics.reliability(np.array([1.0, 0.0]), np.array([True, False])) == [(0.0, 0.0, 1), (1.0, 1.0, 1)]


def test_the_bootstrap_draws_clusters_whole_and_repeats_with_its_seed() -> None:
    value = np.array([0.0] * 50 + [1.0] * 50)
    one_cluster_each = [str(i) for i in range(100)]
    two_clusters = ["a"] * 50 + ["b"] * 50

    def mean(rows: np.ndarray) -> float:
        return float(value[rows].mean())

    low, high = metrics.bootstrap_interval(mean, one_cluster_each, seed=3)
    assert 0.3 < low < 0.5 < high < 0.7
    # Two clusters that agree inside and differ between are two observations: the interval is everything.
    assert metrics.bootstrap_interval(mean, two_clusters, seed=3) == (0.0, 1.0)
    assert metrics.bootstrap_interval(mean, one_cluster_each, seed=3) == (low, high)
    assert metrics.bootstrap_interval(mean, one_cluster_each, seed=4) != (low, high)


def test_nothing_gives_no_figure_and_a_wrong_call_is_refused() -> None:
    none = np.zeros(0)
    assert math.isnan(metrics.area_under_roc(none, np.ones(2)))
    assert math.isnan(metrics.macro_f1(strings([]), strings([])))
    assert all(math.isnan(x) for x in metrics.bootstrap_interval(lambda rows: 1.0, []))
    with pytest.raises(UsageError):
        metrics.bootstrap_interval(lambda rows: 1.0, ["a"], draws=0)
