"""Grouping of unknown devices: the pair model and the clusters."""

from __future__ import annotations

import numpy as np
import pytest

from ethogram.errors import UsageError
from ethogram.identify.flow_windows import FlowWindows
from ethogram.identify.group import Grouping, SamePair, clustered, concat_windows, pairwise
from ethogram.schema import Windows

from .traffic import HABITS, days, enrolment, windows_of


def strangers() -> tuple[Windows, list[str]]:
    """Four days each of two kinds, every day as a device of its own."""
    parts = [days(kind, f"{kind} {i}", 1, first=i, seed=9) for kind in ("camera", "speaker") for i in range(4)]
    return windows_of(*parts), ["camera"] * 4 + ["speaker"] * 4


def test_devices_of_one_kind_are_one_group() -> None:
    windows, labels = enrolment()
    asked, truth = strangers()
    groups = Grouping().fit(windows, labels).groups(asked)
    assert sorted(group.items for group in groups) == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert all(len({truth[i] for i in group.items}) == 1 for group in groups)
    assert all(group.likeness > 0.5 for group in groups)
    assert any("TCP/554" in name for name in groups[0].shared)


def test_groups_do_not_depend_on_the_order_of_items() -> None:
    windows, labels = enrolment()
    asked, _ = strangers()
    grouping = Grouping().fit(windows, labels)
    order = [5, 0, 3, 7, 1, 6, 2, 4]
    first = {frozenset(group.items) for group in grouping.groups(asked)}
    second = {frozenset(order[i] for i in group.items) for group in grouping.groups(asked.take(order))}
    assert first == second


def test_flows_separate_kinds_with_equal_counts() -> None:
    """Two kinds with equal counts and different flows."""
    known = windows_of(*(days("plug", f"plug {i}", 4, seed=i) for i in range(4)))
    labels = [f"kind {i % 2}" for i in range(4) for _ in range(4)]
    asked = windows_of(*(days("plug", f"new {i}", 1, first=20, seed=20 + i) for i in range(6)))

    def flows(kinds: list[int], seed: int) -> FlowWindows:
        random = np.random.default_rng(seed)
        owner = np.repeat(np.arange(len(kinds)), 8)
        z = 5.0 * np.eye(4)[np.array(kinds)[owner]] + 0.1 * random.normal(size=(owner.size, 4))
        return FlowWindows(z.astype(np.float32), owner.astype(np.int64), len(kinds))

    side = flows([int(label[-1]) for label in labels], 0)
    groups = Grouping().fit(known, labels, side).groups(asked, flows([0, 1, 0, 1, 0, 1], 1))
    assert sorted(group.items for group in groups) == [(0, 2, 4), (1, 3, 5)]


def test_pair_scores_are_symmetric() -> None:
    windows, _ = enrolment(2)
    ratio, alike = pairwise(windows)
    assert np.allclose(ratio, ratio.T)
    assert np.isnan(alike).all()
    assert concat_windows(windows, windows).items["item"].to_list() == list(range(2 * len(windows)))


def test_few_pairs_keep_the_defaults_and_slopes_are_not_negative() -> None:
    ratio = np.array([[9.0, -3.0], [-3.0, 9.0]])
    pair = SamePair().fit(ratio, np.full((2, 2), np.nan), ["a", "b"])
    result = pair.predict_proba(np.array([[-5.0, 0.0, 5.0]]), np.full((1, 3), np.nan))[0]
    assert (np.diff(result) > 0).all()
    assert result[0] < 0.1 < 0.8 < result[2]


def test_clusters_of_nothing_and_of_one() -> None:
    assert clustered(np.zeros((0, 0)), 0.5).tolist() == []
    assert clustered(np.ones((1, 1)), 0.5).tolist() == [0]


def test_misuse_raises() -> None:
    windows, labels = enrolment(2)
    with pytest.raises(UsageError, match=r"\d+ items, but \d+ labels"):
        Grouping().fit(windows, labels[1:])
    with pytest.raises(UsageError, match="is not fitted yet"):
        Grouping().groups(windows)
    assert set(labels) == set(HABITS)
