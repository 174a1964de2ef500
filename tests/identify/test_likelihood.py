"""Weight of evidence against its formula, and held-out scores against refitting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module

import numpy as np
import polars as pl
import pytest

from ethogram.identify.aggregate import Averaged, split_windows
from ethogram.identify.identifier import Identifier, Term, average, folds_by_time
from ethogram.identify.likelihood import LikelihoodRatios
from ethogram.identify.quantities import QUANTITIES, ServiceVocabulary
from ethogram.schema import Windows

from .plain_likelihood import PlainLikelihoodRatios
from .traffic import days, enrolment, windows_of


def test_quantities_are_logs_of_the_sums() -> None:
    windows = windows_of(days("plug", "a", 4))
    result = ServiceVocabulary().fit(windows).quantities(windows)
    key = result.keys.index("TCP/8883 client wan")
    mine = windows.counts.filter((pl.col("item") == 0) & (pl.col("port") == 8883))
    row = slice(result.indptr[0], result.indptr[1])
    values = dict(zip(result.features[row].tolist(), result.values[row].tolist(), strict=True))
    flows, out = mine["flows"].sum(), mine["octets_out"].sum()
    expected = {"flows": flows, "octets out": out, "octets out per flow": out / flows, "hours": mine.height}
    for name, value in expected.items():
        assert values[key * len(QUANTITIES) + QUANTITIES.index(name)] == pytest.approx(math.log1p(value))


def test_ports_in_repeated_use_are_services_of_their_own() -> None:
    windows = windows_of(days("plug", "a", 4, stray=True), days("camera", "b", 2))
    once = windows.counts.filter((pl.col("port") != 31337) | (pl.col("item") == 0))
    keys = ServiceVocabulary().fit(Windows(windows.items, once)).keys_
    assert "TCP/31337 server lan" not in keys
    assert "TCP/dyn server lan" in keys
    assert "TCP/554 server lan" in keys  # seen in all of the camera's two days
    assert {"any TCP client wan", "all traffic"} <= set(keys)
    assert "TCP/31337 server lan" in ServiceVocabulary().fit(windows).keys_


def test_density_terms_match_kernel_estimates() -> None:
    windows, labels = enrolment(3)
    method = LikelihoodRatios().fit(windows, labels)
    found = method.known_
    terms = method.densities_.terms(found.indptr, found.features, found.values, np.full(len(found), -1))
    cells = method.densities_.cells
    z = int(found.indptr[4]) + 3
    f, x = int(found.features[z]), float(found.values[z])
    density, count = np.zeros(3), np.zeros(3)
    for i in range(len(found)):
        for p in range(found.indptr[i], found.indptr[i + 1]):
            if found.features[p] == f:
                c = int(method.y_[i])
                cell = int(cells.pointer[f]) + cells.label[cells.pointer[f] : cells.pointer[f + 1]].tolist().index(c)
                h = cells.bandwidth[cell]
                d = abs(x - found.values[p]) / h
                density[c] += sum(a * math.exp(-d / b) / (2 * h * b) for a, b in ((0.5, 1), (0.3, 4), (0.2, 16)))
                count[c] += 1
    have = count > 0
    background = (sum(density[have] / count[have]) + 1 / 8) / (have.sum() + 1)
    expected = np.where(have, np.log((density + background) / (count + 1) / background), 0.0)
    np.testing.assert_allclose(terms[z], np.clip(expected, -3, 3), atol=1e-5)


def test_weights_are_non_negative_and_fitting_helps() -> None:
    windows, labels = enrolment(5)
    method = LikelihoodRatios().fit(windows, labels)
    assert (method.weights_ >= 0).all()
    assert np.ptp(method.weights_) > 0
    names, held = method.cross_val(windows, labels, folds_by_time(windows, 5))
    assert [names[j] for j in held.argmax(axis=1)] == labels


def test_held_out_scores_approximate_refitting() -> None:
    windows, labels = enrolment(6)
    groups = folds_by_time(windows, 3)
    names, quick = LikelihoodRatios().cross_val(windows, labels, groups)
    again, slow = Identifier.cross_val(LikelihoodRatios(), windows, labels, groups)
    assert names == again
    assert (quick.argmax(axis=1) == slow.argmax(axis=1)).all()
    own = [names.index(label) for label in labels]
    rows = np.arange(len(labels))
    assert np.median(np.abs(quick[rows, own] - slow[rows, own]) / np.abs(slow[rows, own])) < 0.25


def test_windows_are_cut_on_the_clock_and_short_ones_kept() -> None:
    windows = windows_of(days("plug", "a", 2), days("plug", "b", 1, hours=0))
    parts, owner = split_windows(windows, 21_600)
    assert owner.tolist() == [0] * 4 + [1] * 4 + [2]
    assert parts.counts["flows"].sum() == windows.counts["flows"].sum()
    assert parts.items["start"].dt.hour().to_list() == [0, 6, 12, 18] * 2 + [0]
    whole, owner = split_windows(windows, 86_400)
    assert owner.tolist() == [0, 1, 2]
    assert whole.items["end"].to_list() == windows.items["end"].to_list()


def test_scores_of_parts_are_averaged() -> None:
    scores = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    result = average(scores, np.array([0, 0, 2]), 3)
    assert result[[0, 2]].tolist() == [[2.0, 3.0], [5.0, 6.0]]
    assert np.isnan(result[1]).all()
    windows, labels = enrolment(3)
    method = Averaged(LikelihoodRatios(), 21_600).fit(windows, labels)
    parts, owner = split_windows(windows, 21_600)
    expected = average(method.inner.decision_function(parts), owner, 9)
    np.testing.assert_allclose(method.decision_function(windows), expected, atol=1e-9)


def uneven(seed: int) -> tuple[Windows, list[str]]:
    """Devices with two to four days, one with a single day, stray ports, and silent hours."""
    parts = [days("plug", "a", 4, seed=seed, stray=True), days("plug", "b", 2, seed=seed, hours=7),
             days("camera", "c", 3, seed=seed, hours=9), days("speaker", "d", 2, seed=seed, hours=5),
             days("speaker", "e", 1, seed=seed, hours=4)]  # fmt: skip
    return windows_of(*parts), ["plug"] * 4 + ["old plug"] * 2 + ["camera"] * 3 + ["speaker"] * 2 + ["radio"]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("window_s", [21_600, 86_400])
def test_sparse_ratios_are_those_of_the_dense_formulas(seed: int, window_s: int) -> None:
    windows, labels = uneven(seed)
    asked = windows_of(days("plug", "x", 1, first=40), days("camera", "y", 2, first=40, hours=0))
    ours, plain = Averaged(LikelihoodRatios(), window_s), Averaged(PlainLikelihoodRatios(), window_s)
    for groups in (folds_by_time(windows, 3), np.arange(len(labels))):
        names, held = ours.cross_val(windows, labels, groups)
        assert names == plain.cross_val(windows, labels, groups)[0]
        np.testing.assert_allclose(held, plain.cross_val(windows, labels, groups)[1], rtol=2e-4, atol=2e-4)
    ours.fit(windows, labels)
    plain.fit(windows, labels)
    np.testing.assert_allclose(ours.inner.weights_, plain.inner.weights_, atol=2e-4)
    np.testing.assert_allclose(
        ours.decision_function(asked), plain.decision_function(asked), rtol=2e-4, atol=2e-4
    )
    for mine, theirs in zip(ours.explain(asked, ["plug", "radio", "camera"]),
                            plain.explain(asked, ["plug", "radio", "camera"]), strict=True):  # fmt: skip
        expected = {(t.service, t.quantity): t for t in theirs if t.contribution or t.observed}
        by_name = {(t.service, t.quantity): t for t in mine if t.contribution or t.observed}
        assert set(by_name) == set(expected)
        for key, term in by_name.items():
            assert (term.observed, term.expected) == pytest.approx((expected[key].observed, expected[key].expected))
            assert term.contribution == pytest.approx(expected[key].contribution, abs=2e-4)


def test_many_groups_of_one_label_are_left_out_as_single_groups_are(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, labels = enrolment(7)
    method = LikelihoodRatios().fit(windows, labels)  # 21 groups: changes to the whole library
    monkeypatch.setattr(import_module("ethogram.identify.likelihood"), "FEW_GROUPS", 100)
    np.testing.assert_allclose(LikelihoodRatios().fit(windows, labels).weights_, method.weights_, atol=1e-5)


def assert_same_terms(mine: Sequence[Sequence[Term]], theirs: Sequence[Sequence[Term]]) -> None:
    for some, others in zip(mine, theirs, strict=True):
        assert [(t.service, t.quantity) for t in some] == [(t.service, t.quantity) for t in others]
        columns = [[(t.observed, t.expected, t.contribution) for t in terms] for terms in (some, others)]
        np.testing.assert_allclose(columns[0], columns[1], rtol=0, atol=1e-9)


def test_an_explanation_after_a_decision_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, labels = enrolment()
    model = LikelihoodRatios().fit(windows, labels)
    items = windows_of(days("camera", "new", 3, seed=7), days("plug", "other", 2, seed=8))
    asked = ["camera", "plug", "speaker", "camera", "plug"]
    alone = model.explain(items, asked)
    model.decision_function(items)
    with monkeypatch.context() as patched:
        density = import_module("ethogram.identify.density")
        patched.setattr(density, "_single", lambda *_: pytest.fail("all points were gone over"))
        patched.setattr(type(model.vocabulary_), "quantities", lambda *_: pytest.fail("computed twice"))
        after = model.explain(items, asked)
    assert_same_terms(after, alone)
    model.decision_function(windows)
    assert_same_terms(model.explain(items, asked), alone)
    model.fit(windows, labels)
    assert_same_terms(model.explain(items, asked), alone)


def test_scores_of_parts_are_means_of_the_scores_of_windows() -> None:
    windows, labels = enrolment()
    model = LikelihoodRatios().fit(windows, labels)
    items = windows_of(days("camera", "new", 3, seed=7), days("plug", "other", 2, seed=8))
    owner = np.array([0, 0, 1, 1, 1])
    scores = model.decision_function(items)
    none = np.full(scores.shape[1], np.nan)
    expected = np.stack([scores[owner == 0].mean(axis=0), scores[owner == 1].mean(axis=0), none])
    np.testing.assert_allclose(model.decision_parts(items, owner, 3), expected, atol=1e-9)
