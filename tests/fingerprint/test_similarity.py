"""Similarities: their laws, and agreement of the compiled kernel with the plain implementation."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ethogram.errors import EthogramError
from ethogram.fingerprint.similarity import Similarity, blocks, pairwise, similarity
from ethogram.schema import ServiceMatrix

KINDS = get_args(Similarity)

levels = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 16), max_size=6)
shares = st.dictionaries(st.sampled_from("abcdefg"), st.floats(0.001, 1.0), max_size=6)


@settings(max_examples=80, deadline=None)
@given(st.lists(levels, min_size=1, max_size=6), st.lists(levels, min_size=1, max_size=6), st.sampled_from(KINDS))
def test_the_kernel_agrees_with_the_plain_implementation(
    left: list[dict[str, int]], right: list[dict[str, int]], kind: Similarity
) -> None:
    fast = pairwise(ServiceMatrix.from_rows(left), ServiceMatrix.from_rows(right), kind)
    plain = [[float(similarity(a, b, kind)) for b in right] for a in left]
    if kind in ("cosine", "total_variation"):
        np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-14)
    else:
        # integer weights: every sum is exact and the division rounds once, in both
        np.testing.assert_array_equal(fast, plain)


@settings(max_examples=60, deadline=None)
@given(st.lists(shares, min_size=1, max_size=5), st.sampled_from(KINDS))
def test_the_kernel_agrees_on_shares_to_the_last_places(rows: list[dict[str, float]], kind: Similarity) -> None:
    fast = pairwise(ServiceMatrix.from_rows(rows), kind=kind)
    np.testing.assert_allclose(fast, [[float(similarity(a, b, kind)) for b in rows] for a in rows], rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.diag(fast), 1.0, rtol=0, atol=1e-14)


@settings(max_examples=150, deadline=None)
@given(levels, levels, levels)
def test_one_minus_ruzicka_is_a_metric(a: dict[str, int], b: dict[str, int], c: dict[str, int]) -> None:
    ab, bc, ac = similarity(a, b), similarity(b, c), similarity(a, c)
    assert 0 <= ab <= 1
    assert ab == similarity(b, a)
    assert (ab == 1) == (a == b)
    assert (1 - ac) <= (1 - ab) + (1 - bc)


@settings(max_examples=60, deadline=None)
@given(levels, levels, st.sampled_from(KINDS))
def test_every_similarity_is_bounded_and_full_with_itself(
    a: dict[str, int], b: dict[str, int], kind: Similarity
) -> None:
    assert 0 <= similarity(a, b, kind) <= 1
    assert similarity(a, a, kind) == pytest.approx(1, abs=1e-12)
    if kind not in ("containment_dynamic", "containment_static"):
        assert similarity(a, b, kind) == similarity(b, a, kind)


def test_empty_fingerprints() -> None:
    for kind in KINDS:
        assert similarity({}, {}, kind) == 1
        assert similarity({}, {"a": 1}, kind) == similarity({"a": 1}, {}, kind) == 0
        fast = pairwise(ServiceMatrix.from_rows([{}, {"a": 1}]), kind=kind)
        assert fast.tolist() == [[1, 0], [0, 1]]


def test_containment_is_the_share_of_one_in_the_other() -> None:
    observed, profile = {"a": 1, "b": 1, "x": 1}, {"a": 1, "b": 1, "c": 1, "d": 1}
    assert similarity(observed, profile, "containment_dynamic") == Fraction(2, 3)
    assert similarity(observed, profile, "containment_static") == Fraction(2, 4)


def test_total_variation_and_cosine_by_hand() -> None:
    a, b = {"x": 3, "y": 1}, {"x": 1, "y": 1}
    assert similarity(a, b, "total_variation") == Fraction(3, 4)
    assert similarity({"x": 3, "y": 4}, {"x": 4, "y": 3}, "cosine") == pytest.approx(24 / 25)


def test_matrices_over_different_services_are_aligned() -> None:
    left, right = ServiceMatrix.from_rows([{"b": 1, "c": 1}]), ServiceMatrix.from_rows([{"a": 2}, {"c": 1, "z": 1}])
    assert pairwise(left, right).tolist() == [[0.0, 1 / 3]]


def test_blocks_equal_the_whole_matrix() -> None:
    rng = np.random.default_rng(7)
    rows = [{f"s{k}": int(rng.integers(1, 9)) for k in rng.choice(12, 5, replace=False)} for _ in range(23)]
    matrix = ServiceMatrix.from_rows(rows)
    parts = list(blocks(matrix, matrix, rows=5))
    assert [start for start, _ in parts] == [0, 5, 10, 15, 20]
    np.testing.assert_array_equal(np.vstack([block for _, block in parts]), pairwise(matrix))


def test_an_unknown_similarity_is_refused() -> None:
    matrix = ServiceMatrix.from_rows([{"a": 1}])
    with pytest.raises(EthogramError, match="no similarity 'manhattan'"):
        pairwise(matrix, kind="manhattan")  # type: ignore[arg-type]
