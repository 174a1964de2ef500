"""Properties of fusion, and its accuracy on synthetic sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from ethogram.errors import UsageError
from ethogram.identify.fused_verdict import EmbeddingModel, EnrolledScores
from ethogram.identify.fusion import SECOND_WEIGHT, Fused, Fusion, align, balanced_case_weights

NAMES = ["a", "b", "c", "d"]
Floats = NDArray[np.float64]


def scores(n: int = 12) -> st.SearchStrategy[Floats]:
    return arrays.arrays(np.float64, (n, 4), elements=st.floats(-20, 20, width=32))


def made(n: int = 60, seed: int = 0, sharp: float = 2.0) -> tuple[dict[str, Floats], list[str]]:
    """Two complementary sides; the second does not know label *d*."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 4, n)
    hit = np.eye(4)[y]
    first = sharp * hit + random.normal(size=(n, 4))
    two = 10 * (sharp * hit + random.normal(size=(n, 4)))
    two[:, 3] = np.nan
    return {"one": first, "two": two}, [NAMES[i] for i in y]


def fitted(**how: bool) -> Fusion:
    sides, truth = made()
    return Fusion(**how).fit(sides, NAMES, truth)


@settings(deadline=None, max_examples=40)
@given(scores(), scores(), st.booleans(), st.booleans())
def test_probabilities_sum_to_one(
    one: Floats, two: Floats, within: bool, learn: bool
) -> None:
    two[:, 3] = np.nan
    two[0] = np.nan
    result = fitted(within=within, learn=learn).transform({"one": one, "two": two})
    assert np.allclose(result.probabilities.sum(axis=1), 1.0)
    assert (result.probabilities >= 0).all()


@settings(deadline=None, max_examples=40)
@given(scores(), st.booleans())
def test_a_missing_side_leaves_the_other_unchanged(one: Floats, within: bool) -> None:
    fusion = fitted(within=within)
    alone = fusion.transform({"one": one})
    nothing = fusion.transform({"one": one, "two": np.full_like(one, np.nan)})
    assert np.allclose(alone.logs, nothing.logs)
    assert np.allclose(alone.logs, fusion.models_["one"].logs(one, np.isfinite(one)))
    assert (nothing.weights["one"] == 1).all()
    assert (nothing.weights["two"] == 0).all()
    two = one.copy()
    two[:, 3] = np.nan
    only = fusion.transform({"one": np.full_like(one, np.nan), "two": two})
    assert np.allclose(only.probabilities[:, 3], 0)
    assert np.allclose(only.logs[:, :3], fusion.models_["two"].logs(two, np.isfinite(two))[:, :3])


@settings(deadline=None, max_examples=25)
@given(scores(), scores(), st.permutations(range(4)), st.booleans())
def test_the_order_of_labels_does_not_matter(one: Floats, two: Floats, order: list[int], within: bool) -> None:
    sides, truth = made()
    two[:, 3] = np.nan
    first = Fusion(within=within).fit(sides, NAMES, truth).transform({"one": one, "two": two})
    turned = Fusion(within=within).fit({k: v[:, order] for k, v in sides.items()}, [NAMES[i] for i in order], truth)
    second = turned.transform({"one": one[:, order], "two": two[:, order]})
    assert np.allclose(first.probabilities[:, order], second.probabilities, atol=2e-3)


def test_labels_unknown_to_a_side_keep_their_probability() -> None:
    sides, truth = made(seed=1)
    fusion = Fusion().fit(sides, NAMES, truth)
    alone, both = fusion.transform({"one": sides["one"]}), fusion.transform(sides)
    assert np.allclose(alone.probabilities[:, 3], both.probabilities[:, 3])
    assert not np.allclose(alone.probabilities[:, :3], both.probabilities[:, :3])


def test_complementary_sides_improve_accuracy() -> None:
    sides, truth = made(400, sharp=1.3)
    later, asked = made(400, seed=7, sharp=1.3)
    y = np.array([NAMES.index(label) for label in asked])

    def right(found: Fused) -> float:
        return float(np.mean(found.logs.argmax(axis=1) == y))

    fusion = Fusion().fit(sides, NAMES, truth)
    together = right(fusion.transform(later))
    assert together > right(fusion.transform({"one": later["one"]})) + 0.03
    assert together > right(fusion.transform({"two": later["two"]})) + 0.03


def test_an_uninformative_side_changes_little() -> None:
    sides, truth = made(400)
    noise = 30 * np.random.default_rng(3).normal(size=(400, 4))
    fusion = Fusion(learn=True).fit({"one": sides["one"], "noise": noise}, NAMES, truth)
    alone, both = fusion.transform({"one": sides["one"]}), fusion.transform({"one": sides["one"], "noise": noise})
    assert (alone.logs.argmax(axis=1) == both.logs.argmax(axis=1)).mean() > 0.9
    fixed = Fusion().fit({"one": sides["one"], "noise": noise}, NAMES, truth).weights_
    assert fixed == {"one": 1.0, "noise": SECOND_WEIGHT}
    even = Fusion(second_weight=1.0).fit({"one": sides["one"], "noise": noise}, NAMES, truth).weights_
    assert even["noise"] == even["one"]


@settings(deadline=None, max_examples=30)
@given(scores(), scores(), st.booleans())
def test_softening_keeps_the_order_and_never_raises_confidence(
    one: Floats, two: Floats, within: bool
) -> None:
    two[:, 3] = np.nan
    given = {"one": one, "two": two}
    soft, plain = (fitted(within=within, soften=how) for how in (True, False))
    assert 0 < soft.softness_ <= 1 == plain.softness_
    after, before = soft.transform(given), plain.transform(given)
    rows = np.arange(len(one))
    best = before.logs.argmax(axis=1)
    assert (after.logs[rows, best] >= after.logs.max(axis=1) - 1e-9).all()
    assert (after.probabilities.max(axis=1) <= before.probabilities.max(axis=1) + 1e-9).all()


def test_redundant_sides_are_softened_and_a_single_one_is_not() -> None:
    sides, truth = made(300, sharp=1.0)
    twice = {"one": sides["one"], "again": 5 * sides["one"]}
    fusion = Fusion(soften=True).fit(twice, NAMES, truth)
    y = np.array([NAMES.index(label) for label in truth])
    right = float(np.mean(fusion.transform(twice).logs.argmax(axis=1) == y))
    sure = float(fusion.transform(twice).probabilities.max(axis=1).mean())
    surer = float(Fusion().fit(twice, NAMES, truth).transform(twice).probabilities.max(axis=1).mean())
    assert fusion.softness_ < 0.9
    assert abs(sure - right) < 0.03 < abs(surer - right)
    alone = fusion.transform({"one": sides["one"]})
    assert np.allclose(alone.logs, fusion.models_["one"].logs(sides["one"], np.isfinite(sides["one"])))
    assert Fusion(soften=True).fit({"one": sides["one"]}, NAMES, truth).softness_ == 1


def test_a_side_with_weight_zero_has_no_effect() -> None:
    sides, truth = made()
    fusion = Fusion().fit(sides, NAMES, truth)
    fusion.weights_ = {"one": 1.0, "two": 0.0}
    assert np.allclose(fusion.transform(sides).logs, fusion.transform({"one": sides["one"]}).logs)


def test_noise_is_calibrated_to_low_confidence() -> None:
    random = np.random.default_rng(0)
    noise = 50 * random.normal(size=(500, 4))
    truth = [NAMES[i] for i in random.integers(0, 4, 500)]
    result = Fusion().fit({"one": noise}, NAMES, truth).transform({"one": noise})
    assert result.probabilities.max(axis=1).mean() < 0.4


def test_fusion_works_without_held_out_items() -> None:
    none = np.full((3, 4), np.nan)
    fusion = Fusion().fit({"one": none, "two": none}, NAMES, ["a", "b", "c"])
    result = fusion.transform({"one": np.eye(4)[:2], "two": np.eye(4)[:2]})
    assert result.logs.argmax(axis=1).tolist() == [0, 1]
    silent = fusion.transform({"one": none[:1], "two": none[:1]})
    assert np.allclose(silent.probabilities, 0.25)


def test_misuse_raises() -> None:
    with pytest.raises(UsageError, match="is not fitted yet"):
        Fusion().transform({"one": np.zeros((1, 4))})
    with pytest.raises(UsageError, match="2 items"):
        Fusion().fit({"one": np.zeros((1, 4))}, NAMES, ["a", "b"])
    with pytest.raises(UsageError, match="no side"):
        fitted().transform({})


def test_columns_are_aligned_by_name() -> None:
    result = align(["b", "x", "a"], ["a", "b"], np.array([[1.0, 2.0]]))
    assert np.array_equal(result, [[2.0, np.nan, 1.0]], equal_nan=True)


def test_units_have_equal_weight_whatever_their_items() -> None:
    case = balanced_case_weights(["u", "u", "u", "v"], [0, 0, 0, 0])
    assert case[:3].sum() == pytest.approx(case[3])
    assert case.sum() == pytest.approx(1.0)


def test_a_unit_in_many_networks_weighs_as_one() -> None:
    case = balanced_case_weights(["lamp"] * 9 + ["plug"], [*"abcdefghi", "z"])
    assert case[:9].sum() == pytest.approx(case[9])


def test_classifiers_are_fused_into_one_side() -> None:
    sides, truth = made()
    each = np.arange(len(truth))
    units = [str(i) for i in each]

    def fit(sides: dict[str, Floats]) -> EmbeddingModel:
        scores = {name: EnrolledScores(held, held) for name, held in sides.items()}
        return EmbeddingModel().fit_scores(NAMES, scores, truth, each, units)

    model = fit(sides)
    assert np.allclose(model.held_, model.fuse(sides))
    assert np.allclose(np.exp(model.held_[:, :4]).sum(axis=1), 1.0)
    single = {"two": sides["two"]}
    assert np.array_equal(fit(single).fuse(single), sides["two"], equal_nan=True)
