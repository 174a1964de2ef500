"""Contract of all flow classifiers; embeddings of a library."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ethogram.errors import LibraryError, UsageError
from ethogram.identify.flow_classifiers import FLOW_CLASSIFIERS, NearestFlows, NearestWindows
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.flow_windows import FlowWindows


def windows(items: int = 24, kinds: int = 3, flows: int = 12, seed: int = 0) -> tuple[FlowWindows, NDArray[np.int64]]:
    """Items of several kinds, with flows around two points of their kind and some common ones."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(2 * kinds + 2, 6)) * 3
    codes = np.arange(items) % kinds
    owner = np.repeat(np.arange(items), flows)
    place = np.where(random.random(owner.size) < 0.3, 2 * kinds + random.integers(0, 2, owner.size),
                     2 * codes[owner] + random.integers(0, 2, owner.size))  # fmt: skip
    z = centres[place] + 0.3 * random.normal(size=(owner.size, 6))
    return FlowWindows(z.astype(np.float32), owner.astype(np.int64), items), codes.astype(np.int64)


@pytest.mark.parametrize("name", FLOW_CLASSIFIERS)
def test_every_classifier_separates_kinds(name: str) -> None:
    learn, codes = windows()
    ask, truth = windows(seed=5)
    scores = FLOW_CLASSIFIERS[name]().fit(learn, codes, 4).decision_function(ask)
    assert scores.shape == (24, 4)
    assert np.isnan(scores[:, 3]).all()
    assert (np.nanargmax(scores, axis=1) == truth).mean() >= 0.95


@pytest.mark.parametrize("name", FLOW_CLASSIFIERS)
def test_an_item_without_flows_has_no_scores(name: str) -> None:
    learn, codes = windows()
    ask, _ = windows(seed=5)
    more = FlowWindows(ask.z, ask.owner, ask.items + 1)
    expert = FLOW_CLASSIFIERS[name]().fit(learn, codes, 3)
    scores = expert.decision_function(more)
    assert np.isnan(scores[-1]).all()
    assert np.isfinite(scores[:-1]).all()
    assert np.allclose(expert.decision_function(FlowWindows(learn.z[:0], learn.owner[:0], 2)), np.nan, equal_nan=True)


@pytest.mark.parametrize("name", FLOW_CLASSIFIERS)
def test_fitting_changes_no_input_and_is_deterministic(name: str) -> None:
    learn, codes = windows()
    before = learn.z.copy()
    first = FLOW_CLASSIFIERS[name]().fit(learn, codes, 3).decision_function(learn)
    assert np.array_equal(before, learn.z)
    assert np.array_equal(first, FLOW_CLASSIFIERS[name]().fit(learn, codes, 3).decision_function(learn))


def test_a_single_label_works() -> None:
    learn, codes = windows(6, kinds=1)
    for expert in FLOW_CLASSIFIERS.values():
        assert np.isfinite(expert().fit(learn, codes, 1).decision_function(learn)).all()


def test_a_window_is_most_like_itself() -> None:
    learn, _ = windows()
    near = NearestWindows().fit(learn, np.arange(len(learn)), len(learn)).similarities(learn)
    assert (near.argmax(axis=1) == np.arange(len(learn))).all()
    assert near.max() == pytest.approx(1.0)


def test_scores_of_nearest_flows_do_not_depend_on_what_is_scored_with_them() -> None:
    random = np.random.default_rng(5)
    z, owner = random.normal(size=(600, 48)).astype(np.float32), np.repeat(np.arange(60), 10)
    windows = FlowWindows(z, owner, 60)
    model = NearestFlows().fit(windows, np.arange(60) % 4, 4)
    together = model.decision_function(windows)
    for i in range(60):
        alone = FlowWindows(z[owner == i], np.zeros(10, np.int64), 1)
        assert np.array_equal(model.decision_function(alone)[0], together[i])


def test_taking_and_capping_windows() -> None:
    whole, _ = windows(5, flows=7)
    part = whole.take([3, 1])
    assert part.flows.tolist() == [7, 7]
    assert np.array_equal(part.z[:7], whole.z[whole.owner == 3])
    capped = whole.capped(4)
    assert capped.flows.tolist() == [4] * 5
    assert np.array_equal(capped.z, whole.capped(4).z)
    with pytest.raises(UsageError, match="belongs to none"):
        FlowWindows(whole.z, whole.owner, 2)


def test_a_store_keeps_embeddings_by_entry() -> None:
    some, _ = windows(3, flows=2)
    store = FlowStore.of("e1", some, ["x", None, "y"])
    assert sorted(store.z) == ["x", "y"]
    assert store.windows(["y", "gone", "x"]).flows.tolist() == [2, 0, 2]
    assert sorted(store.keep(["x", "z"]).z) == ["x"]
    assert store.merge(FlowStore("", 1)) is store
    with pytest.raises(LibraryError, match="cannot be merged"):
        store.merge(FlowStore("e2", store.d, dict(store.z)))
    with pytest.raises(LibraryError, match="embeddings"):
        FlowStore("e1", 3, {"x": np.zeros((1, 2), np.float32)})


def test_a_store_follows_entries_that_are_renamed() -> None:
    first, two = np.zeros((1, 2), np.float32), np.ones((3, 2), np.float32)
    store = FlowStore("e", 2, {"a": first, "b": two, "c": two})
    named = store.renamed({"a": "x", "c": "b"})
    assert sorted(named.z) == ["b", "x"]
    assert named.z["x"] is first
    assert named.z["b"] is two
    assert (named.encoder, named.d) == ("e", 2)


def test_merging_keeps_the_larger_set_of_flows() -> None:
    first, two = (
        FlowStore("e", 1, {"a": np.zeros((1, 1), np.float32)}),
        FlowStore("e", 1, {"a": np.ones((2, 1), np.float32)}),
    )
    assert first.merge(two).z["a"].tolist() == two.merge(first).z["a"].tolist() == [[1.0], [1.0]]
    again = two.merge(two)
    assert (again.encoder, sorted(again.z), len(again.z["a"])) == ("e", ["a"], 2)


def test_a_store_has_the_flows_of_each_entry_in_their_order() -> None:
    rng = np.random.default_rng(3)
    windows = FlowWindows(rng.normal(size=(40, 2)).astype(np.float32), rng.integers(0, 6, 40), 6)
    digests = ["a", None, "b", "a", "c", "d"]
    store = FlowStore.of("encoder", windows, digests)
    for name in "abcd":
        rows = [windows.z[windows.owner == item] for item, digest in enumerate(digests) if digest == name]
        np.testing.assert_array_equal(store.z[name], np.concatenate(rows))
    assert len(FlowStore.of("encoder", windows.take([]), [])) == 0
