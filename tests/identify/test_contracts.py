"""Contract of all identifiers; every registered method is tested."""

from __future__ import annotations

import copy

import numpy as np
import polars as pl
import pytest

from ethogram.config import IdentifySettings
from ethogram.errors import ConfigurationError, LibraryError, UsageError
from ethogram.identify.identifier import Identifier, folds_by_time
from ethogram.identify.methods import METHODS, NEED_STATISTICS, Featurizer, identifier
from ethogram.schema import Windows

from .traffic import days, enrolment, ruzicka, shares, windows_of, with_made_up_statistics

KIT = Featurizer(shares, ruzicka, "ruzicka", "flow share")
CASES = [(name, None) for name in METHODS] + [(name, 21_600) for name in METHODS if name not in NEED_STATISTICS]


def make(name: str, window_s: int | None = None) -> Identifier:
    return identifier(KIT, IdentifySettings(method=name, window_s=window_s))


@pytest.fixture(scope="module")
def known() -> tuple[Windows, list[str]]:
    return enrolment(4)


@pytest.fixture(scope="module")
def later() -> tuple[Windows, list[str]]:
    parts = [days("camera", "c-9", 2, first=30), days("plug", "p-9", 2, first=30), days("speaker", "s-9", 2, first=30)]
    return with_made_up_statistics(windows_of(*parts)), ["camera"] * 2 + ["plug"] * 2 + ["speaker"] * 2


@pytest.mark.parametrize(("name", "window_s"), CASES)
def test_it_names_later_days_of_devices_that_differ(name, window_s, known, later) -> None:
    method = make(name, window_s).fit(*known)
    scores = method.decision_function(later[0])
    assert method.labels_ == ["camera", "plug", "speaker"]
    assert scores.shape == (6, 3)
    assert np.isfinite(scores).all()
    assert [method.labels_[j] for j in scores.argmax(axis=1)] == later[1]


@pytest.mark.parametrize(("name", "window_s"), CASES)
def test_results_are_deterministic_and_independent_of_order(name, window_s, known, later) -> None:
    windows, labels = known
    first = make(name, window_s).fit(windows, labels).decision_function(later[0])
    again = make(name, window_s).fit(windows, labels).decision_function(later[0])
    np.testing.assert_array_equal(first, again)
    order = np.random.default_rng(3).permutation(len(labels)).tolist()
    turned = make(name, window_s).fit(windows.take(order), [labels[i] for i in order])
    back = list(range(len(later[0])))[::-1]
    np.testing.assert_allclose(turned.decision_function(later[0].take(back))[::-1], first, atol=1e-4)


@pytest.mark.parametrize(("name", "window_s"), CASES)
def test_one_enrolled_window_and_silent_items_work(name, window_s, known) -> None:
    method = make(name, window_s).fit(known[0].take([0]), ["camera"])
    silent = Windows(known[0].items.head(1), known[0].counts.clear(), pl.DataFrame(known[0].statistics).head(1))
    assert np.isfinite(method.decision_function(silent)).all()
    assert method.decision_function(silent).shape == (1, 1)
    assert len(method.explain(silent, ["camera"])) == 1


@pytest.mark.parametrize(("name", "window_s"), CASES)
def test_terms_add_up_to_the_raw_score(name, window_s, known, later) -> None:
    method = make(name, window_s).fit(*known)
    scores = method.decision_function(later[0])
    for row, terms, label in zip(scores, method.explain(later[0], later[1]), later[1], strict=True):
        if terms:
            total = sum(term.contribution for term in terms)
            assert total == pytest.approx(row[method.labels_.index(label)], abs=1e-4)


@pytest.mark.parametrize(("name", "window_s"), CASES)
def test_cross_val_returns_its_form_and_changes_no_input(name, window_s, known) -> None:
    windows, labels = known
    before = (windows.items.clone(), windows.counts.clone(), list(labels))
    names, held = make(name, window_s).cross_val(windows, labels, folds_by_time(windows, 3))
    assert names == ["camera", "plug", "speaker"]
    assert held.shape == (12, 3)
    assert np.isfinite(held).all()
    assert windows.items.equals(before[0])
    assert windows.counts.equals(before[1])
    assert labels == before[2]


@pytest.mark.parametrize(("name", "window_s"), CASES)
def test_a_label_with_one_window_has_no_held_out_score(name, window_s, known) -> None:
    windows, labels = known
    selected = [0, 1, 2, 3, 4]  # four cameras, one plug
    groups = np.array([0, 0, 1, 1, 0])
    names, held = make(name, window_s).cross_val(windows.take(selected), [labels[i] for i in selected], groups)
    assert np.isnan(held[4, names.index("plug")])
    assert np.isfinite(held[4, names.index("camera")])


@pytest.mark.parametrize("name", METHODS)
def test_unfitted_and_inconsistent_calls_raise(name, known, later) -> None:
    method = make(name)
    with pytest.raises(UsageError, match="is not fitted yet"):
        method.decision_function(later[0])
    with pytest.raises(UsageError, match="is not fitted yet"):
        method.explain(later[0], later[1])
    with pytest.raises(UsageError, match=r"\d+ items, but \d+ labels"):
        method.fit(known[0], ["camera"])
    with pytest.raises(LibraryError, match="empty"):
        method.fit(known[0].take([]), [])


@pytest.mark.parametrize("name", METHODS)
def test_an_unfitted_copy_can_be_made(name) -> None:
    assert type(copy.deepcopy(make(name))) is type(make(name))


@pytest.mark.parametrize("name", sorted(NEED_STATISTICS))
def test_methods_on_statistics_require_statistics(name, known) -> None:
    bare = Windows(known[0].items, known[0].counts)
    with pytest.raises(UsageError, match="needs flow statistics"):
        make(name).fit(bare, known[1])
    with pytest.raises(ConfigurationError, match="no window_s"):
        make(name, 3600)


def test_an_unknown_method_lists_the_methods() -> None:
    with pytest.raises(ConfigurationError, match="there are nearest"):
        make("guessing")
