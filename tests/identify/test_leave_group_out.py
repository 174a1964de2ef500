"""Leave-one-group-out cross-validation excludes units that networks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ethogram.config import IdentifySettings
from ethogram.identify.fused_decision import SideStrangeness, decide
from ethogram.identify.fusion import Fusion
from ethogram.identify.identifier import Identifier
from ethogram.identify.leave_group_out import connected_groups, device_units, grouped_cross_val, leave_one_group_out
from ethogram.schema import Windows

from .traffic import days, windows_of

CASES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("uvwxyz")), min_size=1, max_size=12)


class Counting(Identifier):
    """Scores a label by the number of its training items."""

    def fit(self, windows: Windows, labels: Sequence[str]) -> Self:
        self.labels_ = sorted(set(labels))
        self.counts_ = np.array([labels.count(name) for name in self.labels_], float)  # type: ignore[attr-defined]
        return self

    def decision_function(self, windows: Windows) -> NDArray[np.float64]:
        return np.repeat(self.counts_[None, :], len(windows), axis=0)


@given(CASES)
def test_no_unit_and_no_group_is_on_both_sides(cases: list[tuple[int, str]]) -> None:
    groups, units = np.array([g for g, _ in cases]), np.array([u for _, u in cases])
    met = []
    for inside, outside in leave_one_group_out(groups, units.tolist()):
        assert not set(groups[inside]) & set(groups[outside])
        assert not set(units[inside]) & set(units[outside])
        rest = np.setdiff1d(np.arange(len(cases)), np.concatenate([inside, outside]))
        assert np.isin(units[rest], units[inside]).all()
        met += inside.tolist()
    assert sorted(met) == list(range(len(cases)))


@given(CASES)
def test_connected_groups_share_no_unit(cases: list[tuple[int, str]]) -> None:
    groups, units = [g for g, _ in cases], [u for _, u in cases]
    result = connected_groups(groups, units)
    for values in (groups, units):
        for value in set(values):
            assert len({int(f) for f, v in zip(result, values, strict=True) if v == value}) == 1


def test_a_moved_unit_is_excluded_from_both_networks() -> None:
    windows = windows_of(*(days("plug", unit, 1) for unit in "aabc"))
    labels, units = ["lamp", "lamp", "lamp", "plug"], ["a", "a", "b", "c"]
    names, scores = grouped_cross_val(Counting(), windows, labels, np.array([0, 1, 2, 2]), units)
    assert names == ["lamp", "plug"]
    # Item 0 would have met two lamps, but one of them is itself elsewhere.
    assert scores[0].tolist() == [1.0, 1.0]
    assert scores[2, 0] == 2.0
    assert np.isnan(scores[2, 1])
    same = Counting().cross_val(windows, labels, np.array([0, 1, 2, 2]))[1]
    assert same[0].tolist() == [2.0, 1.0]


def test_strange_and_unobserved_items_are_unknown() -> None:
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 90)
    names, truth = ["a", "b", "c"], [str("abc"[i]) for i in y]
    side = 6 * np.eye(3)[y] + random.normal(size=(90, 3))
    fusion = Fusion().fit({"one": side, "two": side}, names, truth)
    strange = SideStrangeness().fit(side, names, truth)
    asked = np.vstack([side[:30], np.full((1, 3), -40.0), np.full((1, 3), np.nan)])
    given = {"one": asked, "two": asked}
    under = {name: strange.transform(asked) for name in given}
    verdicts = decide(fusion.transform(given), under, IdentifySettings())
    assert verdicts.unknown[:30].mean() < 0.2
    assert verdicts.unknown[30:].all()
    assert np.isnan(verdicts.side_strangeness["one"][31])
    assert verdicts.verdicts[30] == "unknown"
    closed = decide(fusion.transform(given), under, IdentifySettings(closed=True))
    assert not closed.unknown.any()
    assert closed.strangeness == pytest.approx(verdicts.strangeness)


def test_a_fused_label_below_least_score_is_unknown() -> None:
    names, truth = ["a", "b"], ["a", "b"] * 20
    side = np.array([[2.0, 0.0], [0.0, 2.0]] * 20)
    fused = Fusion().fit({"one": side, "two": side}, names, truth).transform({"one": side[:2], "two": side[:2]})
    best = fused.probabilities.max(axis=1)
    typical = {name: np.zeros((2, 2)) for name in ("one", "two")}
    assert 0.5 < best[0] == pytest.approx(best[1])
    for least_score, unknown in ((best[0] * 0.999, False), ((best[0] + 1) / 2, True)):
        settings = IdentifySettings(least_score=float(least_score))
        verdicts = decide(fused, typical, settings)
        assert (verdicts.strangeness == 0.0).all(), "nothing is strange here: likelihood alone decides"
        assert verdicts.unknown.tolist() == [unknown, unknown]
    closed = decide(fused, typical, IdentifySettings(least_score=1.0, closed=True))
    assert closed.verdicts == names


def test_macs_are_global_and_addresses_local_to_a_source() -> None:
    devices = ["02:00:00:00:00:0A", "02:00:00:00:00:0a", "10.0.0.2", "10.0.0.2"]
    units = device_units(devices, ["one", "two", "one", "two"])
    assert units[0] == units[1]
    assert len(set(units)) == 3
