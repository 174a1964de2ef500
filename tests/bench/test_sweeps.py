"""Harm, few days, other timeouts and blocks of days on the made-up home."""

from __future__ import annotations

from pathlib import Path

import made_up_home as home
import numpy as np
import orjson
import polars as pl
import pytest

from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.counts.items import TaskData
from ethogram.bench.counts.perturb import sampled, with_stray, without_flows
from ethogram.bench.counts.task import CountMethod, CountTask, count_methods
from ethogram.bench.row import ROW_FORMAT, rows
from ethogram.cli import main
from ethogram.config import CountSettings
from ethogram.corpora.card import cards
from ethogram.errors import ConfigurationError
from ethogram.report.tables import task_table
from ethogram.report.write import current


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> CountBenchmark:
    root = home.corpus(tmp_path_factory.mktemp("home"))
    return CountBenchmark(root, cards(root / "cards"), None)


@pytest.fixture(scope="module")
def data(bench: CountBenchmark) -> TaskData:
    return bench.task_data(task())


def task(**changes: object) -> CountTask:
    return CountTask.of(name="t", title="t", experiment="test", corpora=["home"], **changes)


def method(bench: CountBenchmark, name: str) -> CountMethod:
    return count_methods(bench.root / "methods")[name]


def values(bench: CountBenchmark, asked: CountTask, name: str = "log-octets") -> dict[str, float]:
    figures = bench.measure(asked, method(bench, name))["values"]
    assert isinstance(figures, dict)
    return figures


def test_sampling_loses_small_flows_and_keeps_volumes_on_average(data: TaskData) -> None:
    assert sampled(data, 1, CountSettings()) is data
    big = data.flows.with_columns(pl.lit(1000, pl.UInt64).alias("packets_out"))
    much = TaskData(big, data.counts, data.labels, "big")
    result = sampled(much, 10, CountSettings()).flows
    assert result.height == big.height
    assert result["packets_out"].sum() == pytest.approx(big["packets_out"].sum(), rel=0.01)
    assert result["octets_out"].sum() == pytest.approx(big["octets_out"].sum(), rel=0.04)
    # Four packets each way: (9/10)^8 of the flows leave no packet.
    few = sampled(data, 10, CountSettings()).flows
    assert few.height / data.flows.height == pytest.approx(1 - 0.9**8, abs=0.05)
    assert (few["packets_out"] % 10).sum() == 0
    assert not few.filter(pl.col("packets_in") == 0)["answered"].any()
    assert (few["end"] >= few["start"]).all()


def test_loss_and_stray_services_do_what_they_say(data: TaskData) -> None:
    assert without_flows(data, 0.0, CountSettings()) is data
    left = without_flows(data, 0.9, CountSettings()).flows.height
    assert left / data.flows.height == pytest.approx(0.1, abs=0.03)
    hours = data.counts.select("device", "time").n_unique()
    assert with_stray(data, 4, 0).counts["flows"].sum() == data.counts["flows"].sum() + 4 * hours


def test_fewer_enrolled_days_are_drawn_and_all_days_are_the_whole(bench: CountBenchmark) -> None:
    asked = task(kind="robust", harm="days", values=[1, 3], draws=2)
    figures = values(bench, asked)
    # One of three days is drawn twice; three of three is one draw, and the plain closed set.
    assert (figures["n@1"], figures["n@3"]) == (48.0, 24.0)
    assert figures["accuracy@3"] == values(bench, task(), "log-octets")["accuracy"] == 1.0


def test_blocks_of_days_with_and_without_refresh(bench: CountBenchmark) -> None:
    asked = task(kind="drift", values=[4, 7])
    ((row, _),) = rows(bench, [asked], [method(bench, "log-octets")])
    figures, details = row["values"], row["details"]
    assert isinstance(figures, dict) and isinstance(details, dict)
    assert details["axis"] == ["4-6 first third", "4-6 refreshed", "7-9 first third", "7-9 refreshed"]
    assert {figures[f"n@{at}"] for at in details["axis"]} == {12.0}
    # The block after the first third knows no more when refreshed; the next one has six days of four devices.
    assert figures["macro_f1@4-6 first third"] == figures["macro_f1@4-6 refreshed"] == 1.0
    assert row["n_enrol"] == 24
    assert "| 7-9 refreshed |" in task_table([row])


def test_timeouts_name_both_and_a_flow_table_stays_as_it_is(bench: CountBenchmark) -> None:
    asked = task(kind="robust", harm="timeouts", timeouts=["1800/120", "60/15 apart"])
    figures = values(bench, asked)
    assert figures["accuracy@1800/120"] == figures["accuracy@60/15 apart"] == 1.0
    with pytest.raises(ConfigurationError, match="300/30"):
        task(kind="robust", harm="timeouts", timeouts=["60"])


def test_windows_that_the_capture_ends_are_censored(bench: CountBenchmark) -> None:
    asked = task(kind="convergence", values=[0.5, 1.0], epochs=[86_400])
    prevalence = CountMethod.of(name="p", title="p", group="plain", representation={"kind": "prevalence"})
    ((row, _),) = rows(bench, [asked], [prevalence])
    figures = row["values"]
    assert isinstance(figures, dict)
    # Random counts never make two halves equal: nothing converges, one window for each device, no median.
    at = "1 halves 24h all"
    assert (figures[f"windows@{at}"], figures[f"share@{at}"], figures[f"devices@{at}"]) == (4.0, 0.0, 0.0)
    assert np.isnan(figures[f"median@{at}"])
    loose = "0.5 halves 24h all"
    assert figures[f"devices@{loose}"] == 1.0
    # 50 flows are two days of the camera and four of the others; each device's last window stays open.
    assert figures[f"median@{loose}"] == 4.0
    assert figures[f"share@{loose}"] == pytest.approx(9 / 13)
    shown = task_table([row])
    assert "| 1 | all | 0.00 (4); –; 0.00 |" in shown
    assert shown.count("**Compared with") == 2


def test_rows_of_another_task_or_data_are_left_out_and_of_earlier_code_marked() -> None:
    def row(method: str, **changes: str) -> dict[str, object]:
        return {"task": "t", "method": method, "task_digest": "1", "data_digest": "1", "code_digest": "2", **changes}

    rows = [row("a", data_digest="0"), row("b", task_digest="0"), row("c", code_digest="1"), row("d", code_digest="1"),
            row("d"), row("e")]  # fmt: skip
    assert [(r["method"], r["stale"]) for r in current(rows)] == [("c", True), ("d", False), ("e", False)]
    # Digests of another form cannot be compared: the row stays, marked, unless its task has changed.
    later = {**row("e", data_digest="x", code_digest="y"), "digest_form": 2}
    assert [(r["method"], r["stale"]) for r in current([row("a"), row("b", task_digest="0"), later])] == [
        ("a", True), ("e", False),
    ]  # fmt: skip


def test_the_report_leaves_out_methods_that_a_task_no_longer_asks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    row = {"format": ROW_FORMAT, "task": "e4-stevens-drift", "method": "mud", "task_digest": "x"}
    rows.write_bytes(orjson.dumps(row) + b"\n")
    assert main(["bench", "report", str(rows), "-o", str(tmp_path / "out")]) == 0
    assert "1 rows left out" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md"]
