"""Stability: each measure on cases computed by hand."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise as successive
from math import log2
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.fingerprint import plots
from ethogram.fingerprint.similarity import pairwise
from ethogram.fingerprint.stability import (
    best_earlier,
    completeness,
    convergence,
    distinguishability,
    equivalence_classes,
    kaplan_meier,
    recurrence,
    recurrence_curve,
    shuffled,
)
from ethogram.schema import FINGERPRINT, ServiceMatrix

from .flows import T0

A, A2, B = {"x": 4.0, "y": 2.0}, {"x": 4.0, "y": 1.0}, {"z": 4.0}


def test_kaplan_meier_by_hand() -> None:
    # 10 windows; the textbook product: (1 - 1/10)(1 - 2/8)(1 - 1/4)
    durations = [1, 2, 3, 3, 4, 4, 5, 6, 6, 9]
    ended = [True, False, True, True, False, False, True, False, False, False]
    curve = kaplan_meier(durations, ended)
    assert curve["duration"].to_list() == [1, 3, 5, 9]
    assert curve["at_risk"].to_list() == [10, 8, 4, 1]
    assert curve["survival"].to_list() == pytest.approx([0.9, 0.675, 0.50625, 0.50625])
    assert kaplan_meier([3, 3], [False, False])["survival"].to_list() == [1.0]
    assert kaplan_meier([], []).height == 0


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=30))
def test_without_censoring_the_curve_is_the_share_left(windows: list[tuple[int, bool]]) -> None:
    durations = [n for n, _ in windows]
    curve = kaplan_meier(durations, [True] * len(durations))
    for at, left in curve.select("duration", "survival").iter_rows():
        assert left == pytest.approx(np.mean([n > at for n in durations]))
    censored = kaplan_meier(durations, [done for _, done in windows])["survival"].to_list()
    assert all(1 >= a >= b >= 0 for a, b in successive(censored))


def test_convergence_counts_unfinished_windows_as_censored() -> None:
    rows = [("converged", 2, 100), ("converged", 4, 300), ("unconverged", 4, 9), ("open", 1, 5)]
    table = pl.DataFrame(
        [("f", "camera", T0, T0 + timedelta(days=n), status, n, flows, None, "", []) for status, n, flows in rows],
        schema=FINGERPRINT.schema, orient="row",
    )  # fmt: skip
    row = convergence(table).row(0, named=True)
    assert (row["windows"], row["converged"], row["share_converged"]) == (4, 2, 2 / 3)
    assert (row["epochs_median"], row["hours_median"], row["flows_median"], row["flows_p95"]) == (3, 72, 200, 290)
    # At 2 epochs 3 windows are at risk and one converges, at 4 one of two: 2/3, then 1/3.
    assert row["median_km"] == 4
    never = convergence(table.filter(pl.col("status") == "open")).row(0, named=True)
    assert (never["share_converged"], never["median_km"], never["epochs_median"]) == (None, None, None)


def test_recurrence_of_a_device_that_comes_back() -> None:
    matrix = ServiceMatrix.from_rows([A, B, A, A2, A])
    starts = pl.Series([T0 + timedelta(hours=10 * i) for i in range(5)])
    row = recurrence(matrix, ["d"] * 5, starts, pairwise(matrix), 0.8).row(0, named=True)
    assert row["identical"] == 2 / 4
    assert row["alike"] == 3 / 4  # A2 is 5/6 like A
    assert (row["distinct"], row["commonest"]) == (3, 0.6)
    assert row["entropy_bits"] == pytest.approx(-(0.6 * log2(0.6) + 0.4 * log2(0.2)))
    assert row["growth"] == 1 / 3  # of A, A2, A only A2 is new
    assert row["hours_since"] == 20
    pasts = best_earlier(["d"] * 5, pairwise(matrix))
    assert pasts[0].best.tolist() == pytest.approx([0, 1, 5 / 6, 1])
    assert recurrence_curve(pasts, [0, 0.8, 0.9, 1])["share"].to_list() == [1, 0.75, 0.5, 0.5]


def test_one_fingerprint_has_no_past() -> None:
    matrix = ServiceMatrix.from_rows([A])
    row = recurrence(matrix, ["d"], pl.Series([T0]), pairwise(matrix), 0.8).row(0, named=True)
    assert (row["identical"], row["alike"], row["distinct"], row["growth"]) == (None, None, 1, None)
    assert recurrence_curve(best_earlier(["d"], pairwise(matrix)), [0.5])["share"].to_list() == [None]


def test_completeness() -> None:
    matrix = ServiceMatrix.from_rows([{"x": 0.9, "y": 0.1}, {"x": 1.0}])
    assert completeness(matrix, ["d", "d"]).row(0) == ("d", 2, 0.75, pytest.approx((1 + 0.95) / 2))


def test_chance_keeps_sizes_and_weights_and_is_repeatable() -> None:
    rng = np.random.default_rng(3)
    matrix = ServiceMatrix.from_rows([{f"s{i % 9}": float(rng.integers(1, 9)), f"t{i % 4}": 2.0} for i in range(40)])
    mixed = shuffled(matrix, seed=1)
    assert mixed.weights.sum() == matrix.weights.sum()
    assert [sum(mixed.row(i).values()) for i in range(40)] == [sum(matrix.row(i).values()) for i in range(40)]
    again, other = shuffled(matrix, seed=1), shuffled(matrix, seed=2)
    assert [again.row(i) for i in range(40)] == [mixed.row(i) for i in range(40)]
    assert [other.row(i) for i in range(40)] != [mixed.row(i) for i in range(40)]


def test_distinguishability_by_hand() -> None:
    similar = pairwise(ServiceMatrix.from_rows([A, A2, B, B, A]))
    table = distinguishability(similar, ["cam", "cam", "bulb", "bulb", "twin"])
    rows = {row["type"]: row for row in table.to_dicts()}
    assert rows["bulb"] == {"type": "bulb", "fingerprints": 2, "within": 1.0, "between": 0.0, "collisions": 0.0,
                            "margin": 1.0, "silhouette": 1.0}  # fmt: skip
    assert rows["cam"]["within"] == pytest.approx(5 / 6)
    assert rows["cam"]["between"] == pytest.approx((1 + 5 / 6) / 2)
    assert rows["cam"]["collisions"] == 0.5
    assert rows["cam"]["margin"] == pytest.approx(((5 / 6 - 1) + 0) / 2)
    assert rows["cam"]["silhouette"] == pytest.approx((-1 + 0) / 2)
    assert (rows["twin"]["within"], rows["twin"]["margin"]) == (None, None)
    alone = distinguishability(similar, ["cam"] * 5).row(0, named=True)
    assert (alone["between"], alone["collisions"], alone["silhouette"]) == (None, None, None)


def test_types_that_no_granularity_distinguishes_are_one_class() -> None:
    fine = pairwise(ServiceMatrix.from_rows([A, A, A, A, B, B]))
    types = ["plug", "plug", "bulb", "bulb", "cam", "cam"]
    assert equivalence_classes({"1": fine, "inf": fine}, types) == [["bulb", "plug"]]
    apart = pairwise(ServiceMatrix.from_rows([A, A, A2, A2, B, B]))
    assert equivalence_classes({"1": fine, "inf": apart}, types) == []
    # a type of one fingerprint is confused only by what equals it
    assert equivalence_classes({"inf": apart[np.ix_([0, 2], [0, 2])]}, ["plug", "bulb"]) == []
    assert equivalence_classes({"inf": fine[np.ix_([0, 2], [0, 2])]}, ["plug", "bulb"]) == [["bulb", "plug"]]


def test_every_plot_is_written_with_its_data(tmp_path: Path) -> None:
    curve = kaplan_meier([2, 2, 4], [True, True, False]).select(pl.lit("all").alias("device"), pl.all())
    chance = pl.DataFrame(
        {"curve": ["all", "all", "chance", "chance"], "r": [0.0, 1.0] * 2, "share": [1.0, 0.5, 1.0, 0.0]}
    )
    pairs = pl.DataFrame({"granularity": ["1", "inf"], "pairs": ["within"] * 2, "q1": [0.1] * 2, "median": [0.5] * 2,
                          "q3": [0.8] * 2})  # fmt: skip
    days = pl.DataFrame({"device": ["d"] * 2, "day": [T0.date()] * 2, "service": ["x", "y"], "share": [0.9, 0.1]})
    for draw, data in (
        (plots.convergence_plot, curve), (plots.recurrence_plot, chance), (plots.similarity_plot, pairs),
        (plots.heat_map, days),
    ):  # fmt: skip
        path = draw(data, tmp_path / f"{draw.__name__}.png")
        assert path.read_bytes().startswith(b"\x89PNG")
        assert pl.read_csv(path.with_suffix(".csv")).height == data.height
