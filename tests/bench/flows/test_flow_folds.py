"""Sides of tasks on flows: cut by each unit's days, proved apart; a deliberate leak is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.flows.made_networks import network, with_unit
from ethogram.bench.flows import split as module
from ethogram.bench.flows.split import drawn, flow_folds, parts_of
from ethogram.bench.flows.task import FlowTask
from ethogram.errors import LeakError
from ethogram.identify.split import Split


def task(protocol: str, **values: object) -> FlowTask:
    return FlowTask.of(name="t", title="t", experiment=protocol, protocol=protocol, level="type",
                       caps={"unlabelled": 20, "labelled": 10}, **values)  # fmt: skip


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_parts_of_a_unit_stand_in_order_with_the_gap_between(days: list[int], gap: int) -> None:
    loaded = network("home", 0, flows=len(days), days=1)
    frame = loaded.truth.with_columns(unit=np.array(["u"] * len(days), str), day=np.array(days, np.int32))
    part = parts_of(replace(loaded, truth=frame), early=0.4, late=0.25, gap_days=gap)
    by_part = {name: [d for d, p in zip(days, part, strict=True) if p == name] for name in ("early", "middle", "late")}
    assert max(days) in by_part["late"]
    for a, b in (("early", "middle"), ("early", "late"), ("middle", "late")):
        if by_part[a] and by_part[b]:
            assert max(by_part[a]) + gap < min(by_part[b])


def test_a_fixed_draw_takes_the_same_flows_whatever_the_cap() -> None:
    loaded = network("home", 1)
    place = drawn(loaded)
    counts = loaded.truth["device_day"].value_counts().sort("device_day")["count"]
    assert sorted(place.tolist()) == sorted(i for count in counts for i in range(count))
    assert set(np.flatnonzero(place < 2)) <= set(np.flatnonzero(place < 5))
    assert np.array_equal(drawn(loaded), place)


def test_inside_a_network_the_sides_share_no_device_day() -> None:
    loaded = {"home": network("home", 2, flows=600, days=20)}
    (fold,) = flow_folds(task("P0", encoder=("home",), probe=("home",), test=("home",)), loaded)
    day = loaded["home"].day
    assert day[fold.unlabelled["home"]].max() + 1 < day[fold.train["home"]].min()
    assert day[fold.train["home"]].max() + 1 < day[fold.test["home"]].min()
    assert fold.inner is not None and set(fold.held_out["home"]) < set(fold.train["home"])
    assert not set(fold.held_out["home"]) & set(fold.fit["home"])
    assert set(fold.split.sides) == {"unlabelled of home", "train of home", "test of home"}


def test_each_network_in_turn_and_p4_sees_early_days_of_the_tested_one() -> None:
    loaded = {name: network(name, i, flows=400) for i, name in enumerate("abc")}
    third = flow_folds(task("P3", each=("a", "b", "c")), loaded)
    fourth = flow_folds(task("P4", each=("a", "b", "c")), loaded)
    assert [fold.name for fold in third] == ["a", "b", "c"]
    assert set(third[0].train) == set(third[0].unlabelled) == {"b", "c"} and set(third[0].test) == {"a"}
    assert set(fourth[0].unlabelled) == {"a", "b", "c"} and set(fourth[0].train) == {"b", "c"}
    for one, other in zip(third, fourth, strict=True):
        assert one.test.keys() == other.test.keys()
        assert all(np.array_equal(one.test[name], other.test[name]) for name in one.test)
    assert {fold.digest for fold in third}.isdisjoint(fold.digest for fold in fourth)


def test_a_unit_in_two_networks_is_refused() -> None:
    mac = "00:17:88:74:c2:dc"
    loaded = {"a": with_unit(network("a", 1), "hub", mac), "b": with_unit(network("b", 2), "hub", mac)}
    with pytest.raises(LeakError, match="00:17:88:74:c2:dc in both unlabelled of a and test of b: the same unit"):
        flow_folds(task("P3", encoder=("a",), probe=("a",), test=("b",)), loaded)


def test_a_deliberate_leak_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "parts_of", lambda loaded, **_: np.resize(["early", "middle", "late"], len(loaded)))
    with pytest.raises(LeakError, match="unlabelled of home and train of home are within 1 days"):
        flow_folds(task("P0", encoder=("home",), probe=("home",), test=("home",)), {"home": network("home", 3)})


def test_days_of_one_network_are_held_apart_across_networks_too() -> None:
    loaded = network("a", 1)
    late, early = np.flatnonzero(loaded.day > 6), np.flatnonzero(loaded.day < 3)
    other = module.days_of(network("b", 2), np.arange(50))
    sides = {"unlabelled of a": module.days_of(loaded, early), "test of a": module.days_of(loaded, late)}
    assert Split("P4", "network", {**sides, "train of b": other}, 1, "device-day").digest
    with pytest.raises(LeakError, match="network a in both train of a and test of a"):
        Split("P3", "network", {"train of a": sides["unlabelled of a"], "test of a": sides["test of a"]}, 1)
