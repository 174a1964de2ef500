"""The benchmark end to end on a made-up home."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import made_up_home as home
import numpy as np
import orjson
import polars as pl
import pytest

from ethogram.bench.counts import score
from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.counts.items import Items
from ethogram.bench.counts.task import CountTask, count_methods, count_tasks
from ethogram.bench.row import cut_half_line, read_rows
from ethogram.cli import main
from ethogram.corpora.card import cards
from ethogram.errors import ConfigurationError, InputError, UsageError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return home.corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def bench(root: Path) -> CountBenchmark:
    return CountBenchmark(root, cards(root / "cards"), None)


def call(root: Path, *arguments: str) -> int:
    folders = ["--corpus", str(root), "--no-cache"]
    for option, folder in (("--cards", "cards"), ("--task-files", "tasks"), ("--method-files", "methods")):
        folders += [option, str(root / folder)]
    return main(["bench", *arguments, *folders])


def test_rows_say_what_made_them_and_are_not_made_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows.jsonl"
    assert call(root, "all", "-o", str(out)) == 0
    assert "9 rows measured, 0 already in" in capsys.readouterr().err.replace("\n", " ")
    rows = read_rows(out)
    first = next(row for row in rows if row["task"] == "home-days" and row["method"] == "log-octets")
    for name in ("commit", "machine", "split", "data_digest", "task_digest", "method_digest", "seed", "wall_s", "made"):
        assert name in first
    assert first["n"] == 4 * 6
    assert first["n_enrol"] == 4 * 3
    assert first["values"]["macro_f1"] == 1.0  # type: ignore[index]
    assert "calibration_error" in first["values"]  # type: ignore[operator]
    # The list cannot tell plug from bulb: a tie is an error, unless they count as one.
    plain = next(row for row in rows if row["task"] == "home-days" and row["method"] == "list")["values"]
    assert plain["accuracy"] == pytest.approx(0.5)  # type: ignore[index]
    assert plain["accuracy_lenient"] == 1.0  # type: ignore[index]
    assert call(root, "all", "-o", str(out)) == 0
    assert "0 rows measured, 9 already in" in capsys.readouterr().err.replace("\n", " ")
    assert read_rows(out) == rows
    assert call(root, "home-days", "--methods", "plain", "--rerun", "-o", str(out)) == 0
    assert len(read_rows(out)) == 10


def test_the_report_is_made_of_rows_alone(root: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "rows.jsonl", tmp_path / "results"
    assert call(root, "all", "-o", str(out)) == 0
    assert main(["bench", "report", str(out), "-o", str(folder)]) == 0
    page = (folder / "home-days.md").read_text()
    assert "| List (`list`) | 0." in page
    assert "ethogram bench home-days" in page
    with (folder / "home-days.csv").open(newline="") as file:
        table = {row["method"]: row for row in csv.DictReader(file)}
    assert float(table["log-octets"]["macro_f1"]) == 1.0
    assert (
        float(table["list"]["macro_f1_low"])
        <= float(table["list"]["macro_f1"])
        <= float(table["list"]["macro_f1_high"])
    )
    assert (folder / "home-days.png").read_bytes().startswith(b"\x89PNG")
    assert "[home-days](home-days.md)" in (folder / "README.md").read_text()


def test_shuffled_labels_fall_to_chance(root: Path, bench: CountBenchmark) -> None:
    task = count_tasks(root / "tasks")["home-days"].model_copy(update={"twins": {}})
    method = count_methods(root / "methods")["log-octets"].model_copy(update={"calibrated": False})
    items = bench.items(task, statistics=False)
    assert score.closed(task, method, items).values["accuracy"] == 1.0
    collected = []
    for seed in range(20):
        mixed = items.truth["id"].sample(fraction=1.0, shuffle=True, seed=seed)
        shuffled = Items(items.windows, items.truth.with_columns(id=mixed))
        collected.append(score.closed(task, method, shuffled).values["accuracy"])
    assert np.mean(collected) == pytest.approx(0.25, abs=0.08)


def test_losing_flows_hurts_and_stray_services_are_seen(root: Path, bench: CountBenchmark) -> None:
    task, method = count_tasks(root / "tasks")["home-loss"], count_methods(root / "methods")["log-octets"]
    values = bench.measure(task, method)["values"]
    assert isinstance(values, dict)
    assert values["accuracy@0"] == 1.0
    assert values["accuracy@0.9"] <= 1.0
    assert values["n@0.9"] == values["n@0"] == 24.0
    assert {name for name in values if name.startswith("macro_f1@")} == {"macro_f1@0", "macro_f1@0.9", "macro_f1@4"}


def test_an_open_set_leaves_each_label_out(root: Path, bench: CountBenchmark) -> None:
    task, method = count_tasks(root / "tasks")["home-open"], count_methods(root / "methods")["log-octets"]
    row = bench.measure(task, method)
    values, details = row["values"], row["details"]
    assert isinstance(values, dict) and isinstance(details, dict)
    assert set(details["by_label"]) == set(home.SERVICES)
    assert values["auroc_apart"] >= values["auroc"] > 0.5
    assert 0 <= values["fpr95"] <= 1


def test_names_can_be_hidden(root: Path, bench: CountBenchmark) -> None:
    task = count_tasks(root / "tasks")["home-days"].model_copy(update={"names": False})
    data = bench.task_data(task)
    assert data.counts["name"].null_count() == data.counts.height
    assert data.digest.endswith("-names")


def test_items_of_a_whole_device_carry_the_time_that_was_observed(bench: CountBenchmark, root: Path) -> None:
    task = count_tasks(root / "tasks")["home-days"].model_copy(update={"window": "device"})
    items = bench.items(task, statistics=True)
    assert len(items.windows) == 4
    assert items.windows.statistics is not None
    flows = items.windows.counts.group_by("item").agg(pl.col("flows").sum()).sort("item")["flows"]
    logs = items.windows.statistics.sort("item")["log_flows"]
    assert np.allclose(np.log1p(flows.to_numpy()), logs.to_numpy())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["no-such-task"], 2, "no task 'no-such-task'"),
        (["home-days", "--methods", "magic"], 2, "no method or group 'magic'"),
        (["report"], 2, "no file of rows given"),
        (["report", "missing.jsonl"], 3, "missing.jsonl"),
    ],
)
def test_wrong_calls_end_in_one_line(
    root: Path, arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(root, *arguments) == code
    shown = capsys.readouterr().err
    assert says in shown
    assert "Traceback" not in shown


def test_without_a_corpus_the_command_says_what_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ETHOGRAM_CORPUS", raising=False)
    assert main(["bench", "e4-stevens"]) == 2
    assert "ETHOGRAM_CORPUS" in capsys.readouterr().err
    assert main(["bench", "e4-stevens", "--corpus", str(tmp_path), "--no-cache", "-o", str(tmp_path / "x")]) == 3
    assert "no such corpus folder" in capsys.readouterr().err


def test_a_row_that_was_not_finished_is_cut_off(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    assert cut_half_line(rows) == 0
    rows.write_bytes(b'{"format": "ethogram.bench/1"}\n{"format": "eth')
    assert cut_half_line(rows) == 15
    assert len(read_rows(rows)) == 1 and cut_half_line(rows) == 0


def test_broken_rows_name_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(orjson.dumps({"format": "ethogram.bench/1"}) + b"\n{broken\n")
    with pytest.raises(InputError, match=r"rows.jsonl:2: invalid JSON"):
        read_rows(path)
    path.write_bytes(orjson.dumps({"format": "another/1"}))
    with pytest.raises(InputError, match=r"rows.jsonl:1: not a row"):
        read_rows(path)


def test_rows_may_be_compressed(tmp_path: Path) -> None:
    row = {"format": "ethogram.bench/1", "task": "t"}
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(orjson.dumps(row)))
    assert read_rows(path) == [row]
    before = path.read_bytes()
    assert main(["bench", "unsw-hours", "--corpus", str(tmp_path), "-o", str(path)]) == 2
    assert path.read_bytes() == before
    path.write_bytes(gzip.compress(orjson.dumps(row))[:20])
    with pytest.raises(InputError, match=r"rows.jsonl.gz: Compressed file ended"):
        read_rows(path)
    path.write_bytes(orjson.dumps(row))
    with pytest.raises(InputError, match=r"rows.jsonl.gz: Not a gzipped file"):
        read_rows(path)


def test_list_names_every_task_and_method(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["bench", "list"]) == 0
    shown = capsys.readouterr().out
    for name in [*count_tasks(), *count_methods()]:
        assert name in shown


def test_the_package_brings_tasks_over_known_corpora_and_methods() -> None:
    known = cards()
    for task in count_tasks().values():
        assert set(task.corpora) <= set(known)
        assert set(task.methods) <= set(count_methods())
        networks = {known[c].network_of(d) for c in task.corpora for d in known[c].devices}
        assert set(task.networks) <= networks
        assert {*task.split.enrol, *task.split.test} <= networks
    experiments = " ".join(task.experiment for task in count_tasks().values())
    for number in range(1, 9):
        assert f"E{number}" in experiments


def test_a_wrong_task_or_method_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(home.TASK + "hope = 1\n")
    with pytest.raises(ConfigurationError, match="hope"):
        count_tasks(tmp_path)
    (tmp_path / "t.toml").write_text('name = "x"\n')
    with pytest.raises(UsageError, match=r"no \[\[method\]\]"):
        count_methods(tmp_path)
    with pytest.raises(ConfigurationError, match="split"):
        CountTask.of(name="x", title="x", experiment="x", corpora=["home"], split={"kind": "network"})
