"""The tasks on devices that nobody enrolled: what they leave out, and the figures and pages of their rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ethogram.bench.ladder.fit import Example, fit_weights
from ethogram.bench.ladder.items import CONDITIONS, Truth
from ethogram.bench.ladder.measure import LEVELS, SOURCES, figures, platform_figures
from ethogram.bench.ladder.task import ladder_methods, ladder_tasks
from ethogram.bench.suite import applicable, every_method, every_task
from ethogram.corpora.card import cards
from ethogram.corpora.platforms import platform_rows
from ethogram.identify.ladder import PLATFORM_PRIORS, Ladder
from ethogram.knowledge.tables import Knowledge
from ethogram.report.ladder_pages import write_ladder_report
from ethogram.schema import LadderEvidence, LadderTerm


def predictions(right: list[bool], scores: list[float]) -> pl.DataFrame:
    """Predictions about devices of two networks, all levels alike, shown from a probability of .5 on."""
    rows = []
    for at, (hit, score) in enumerate(zip(right, scores, strict=True)):
        row: dict[str, object] = {"condition": "names", "without": "", "network": f"n{at % 2}", "named": True,
                                  "vendor": "maker"}  # fmt: skip
        for level in LEVELS:
            row |= {f"{level}_p": score, f"{level}_right": hit, f"{level}_least": 0.5}
        rows.append(row)
    return pl.DataFrame(rows)


def test_every_condition_and_source_is_a_method() -> None:
    methods = ladder_methods().values()
    assert {(m.names, m.mac) for m in methods if not m.without} == {(c.names, c.mac) for c in CONDITIONS}
    assert {m.without for m in methods if m.without} == set(SOURCES)


def test_sources_are_left_out_only_where_the_vendor_is_enrolled() -> None:
    tasks, methods = every_task(), every_method()
    without_names = methods["ladder/first-minute-without-names"]
    assert applicable(tasks["first-minute"], without_names)
    assert not applicable(tasks["first-minute-new-vendor"], without_names)
    assert not applicable(tasks["first-minute"], methods["groups/groups-both"])
    assert all(not task.quick for task in ladder_tasks().values())


def test_shares_are_of_all_devices_and_intervals_hold_them() -> None:
    table = figures(predictions([True, True, False, False], [0.9, 0.4, 0.9, 0.1]))
    row = table.filter(pl.col("level") == "kind").to_dicts()[0]
    assert (row["right"], row["wrong"], row["silent"], row["best"]) == (0.25, 0.25, 0.5, 0.5)
    assert row["utility"] == pytest.approx(0.25 - 2 * 0.25)
    assert row["right_low"] <= row["right"] <= row["right_high"]
    assert row["wrong_low"] <= row["wrong"] <= row["wrong_high"]


def test_a_network_without_names_is_not_scored_with_names() -> None:
    table = predictions([True, False], [0.9, 0.9]).with_columns(named=pl.col("network") == "n0")
    assert figures(table)["n"].unique().to_list() == [1]


def test_a_page_shows_shares_with_intervals(tmp_path: Path) -> None:
    table = figures(predictions([True, True, False, False], [0.9, 0.4, 0.9, 0.1]))
    shares = ("right", "wrong", "silent", "best", "utility", "calibration_error")
    row = {
        "experiment": "first minute", "task": "first-minute", "method": "first-minute-names", "title": "Title",
        "method_title": "names", "n": 4, "data_digest": "d", "machine": "m", "commit": "c",
        "values": {f"{r['level']}_{name}": r[name] for r in table.to_dicts() for name in shares},
        "intervals": {f"{r['level']}_right": (r["right_low"], r["right_high"]) for r in table.to_dicts()},
    }  # fmt: skip
    page, values = write_ladder_report([row, {**row, "experiment": "groups"}], tmp_path)
    assert "| `first-minute-names` names | 0.25 [" in page.read_text()
    assert values.read_text().splitlines()[1].startswith("first-minute-names,4,")


def test_every_platform_row_is_of_a_known_product_and_platform_and_has_a_source() -> None:
    rows, knowledge = platform_rows(), Knowledge.bundled()
    products = {device.model for card in cards().values() for device in card.devices}
    assert {row.product for row in rows} <= products
    assert {row.platform for row in rows} <= {row.key for row in knowledge.rows("platforms")}
    assert len({(row.product, row.platform) for row in rows}) == len(rows)
    assert all(row.reason and row.source and row.licence and row.date for row in rows)
    assert {row.holds for row in rows} == {True, False}


def test_platforms_are_fitted_on_what_is_known_of_them() -> None:
    steam = LadderTerm("platform", "steam", "port platform", 1.0)
    tuya = LadderTerm("platform", "tuya", "name platform", 1.0)
    item = LadderEvidence([steam, tuya], base_kinds={"plug": 1.0})
    truth = Truth("x", "", "plug", {"steam": False, "tuya": True})
    weights = fit_weights([Example(item, truth, site=str(i)) for i in range(20)], lambda a, b: a == b)
    assert weights.platform["port platform"] < PLATFORM_PRIORS["port platform"]
    decision = Ladder(weights).decide([item])[0]
    assert decision.platforms["steam"] < 0.5 < decision.platforms["tuya"]
    crowded = fit_weights([Example(item, truth, site="one")] * 20, lambda a, b: a == b)
    alone = fit_weights([Example(item, truth, site="one")], lambda a, b: a == b)
    assert crowded.platform == pytest.approx(alone.platform), "devices of one site share one vote"
    assert alone.platform["port platform"] > weights.platform["port platform"]
    figures = platform_figures(pl.DataFrame({
        "network": ["a", "b"], "model": ["x", "x"], "p": [0.9, 0.1], "shown": [True, False], "sure": [True, False],
        "right": [True, False],
    }))  # fmt: skip
    assert (figures["claims"], figures["products"], figures["sure_right"]) == (2, 1, 0.5)
    assert figures["calibration_error"] == pytest.approx(0.1)
