"""The report of flow tasks is made from rows alone: tables, leak detectors, plots."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import orjson
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench import flow_rows_made as made
from ethogram.cli import main
from ethogram.errors import InputError
from ethogram.identify.metrics import macro_f1
from ethogram.report.cost import cost_by_part, cost_lines
from ethogram.report.flow_pages import write_flow_report
from ethogram.report.flow_rows import Confusion, FlowRow, blind_macro_f1, blind_recall, flow_rows
from ethogram.report.flow_tables import budget_table, cost_table, more_tables, quality_table, reached, types_table
from ethogram.report.group_pages import write_group_report
from ethogram.report.leaks import leak_lines, leak_overview, shuffled_of
from ethogram.report.plots_networks import comparable, mean_figures
from ethogram.report.plots_style import COLOURS, save_figure
from ethogram.report.plots_tasks import budget_plot
from ethogram.report.write import current, write_report


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    rows = folder / "rows.jsonl"
    rows.write_bytes(b"\n".join(orjson.dumps(row) for row in made.all_rows()))
    assert main(["bench", "report", str(rows), "-o", str(folder / "results")]) == 0
    return folder / "results" / "flows"


def test_each_task_has_a_page_a_table_and_plots(written: Path) -> None:
    page = (written / "p3-as.md").read_text()
    assert "# made-up task p3-as" in page
    assert "ethogram bench p3-as" in page
    # The best stands first, and random weights are marked.
    table = page.partition("| what it is |")[2].partition("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    assert lines[0].startswith("| `fields` | 0.7")
    assert lines[0].endswith("| 200 | the fields method |")
    assert [line.split()[1] for line in lines if "°" in line] == ["`et-bert`"]
    assert "| method | 1 flow | 20 flows |" in page
    for stem in ("", "-budgets", "-confusion", "-reliability", "-coverage"):
        assert (written / f"p3-as{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert f"(p3-as{stem}.png)" in page
    assert not list(written.glob("grid-ab-map.png"))  # a plot of the study
    with (written / "p3-as.csv").open(newline="") as file:
        table = {row["method"]: row for row in csv.DictReader(file)}
    assert table["fields"]["licence"] == "MIT"
    assert int(table["et-bert"]["parameters"]) == 131_500_000
    assert float(table["raw-40"]["macro_f1_low"]) < float(table["raw-40"]["macro_f1"])
    assert len(table["raw-40"]["macro_f1_seeds"].split()) == 3
    assert (table["shuffled"]["leak_detector"], table["fields"]["leak_detector"]) == ("1", "0")


def test_the_overview_shows_tasks_leaks_and_plots(written: Path) -> None:
    page = (written / "README.md").read_text()
    assert "## Strangers" not in page
    assert "## Goals" not in page
    assert "claims" not in page
    assert "| [p3-as](p3-as.md) | 0.190 | 0.200 | -0.010 | fell to chance |" in page
    assert "fell to chance" in page
    for name in ("inside-across.png", "cost-p2.png", "cost-p3.png"):
        assert f"({name})" in page
        assert (written / name).exists()
    both = (written / "both-ab.md").read_text()
    assert "| home | 12 | 0.79" in both
    assert "fingerprints 0.70, embeddings 0.30" in both
    assert not (written.parent / "README.md").exists()  # there was no row of a fingerprint task


def test_detectors_stand_apart_from_methods() -> None:
    rows = flow_rows(made.task_rows("p3-as", "P3"))["p3-as"]
    assert "shuffled" not in quality_table(rows)
    assert "shortcut" not in cost_table(rows)
    text = "\n".join(leak_lines(rows))
    assert "`shuffled` fell to chance" in text
    assert "`shortcut` is below every method" in text
    inside = flow_rows(made.task_rows("p0-s", "P0"))["p0-s"]
    raised = [row for row in inside if row.method != "shortcut"]
    raised.append(next(r for r in inside if r.method == "shortcut").model_copy(update={"values": {"macro_f1": 0.92}}))
    assert "is not below" in "\n".join(leak_lines(raised))
    blind = [made.row("t", "raw-40", "P3", 0.22), made.row("t", "fields", "P3", 0.6)]
    shown = "\n".join(leak_lines(flow_rows(blind)["t"]))
    assert "Not above chance with their whole interval: `raw-40` (0.2" in shown
    assert "`fields`" not in shown
    assert "Not run: `shuffled`, `shortcut`." in leak_lines([row for row in rows if not row.detector])


def test_shuffled_labels_that_do_not_fall_are_said() -> None:
    rows = [made.row("t", "shuffled", "P0", 0.5), made.row("t", "raw-40", "P0", 0.9)]
    seeds = rows[0]["details"]["seeds"]
    seeds["balanced_accuracy"] = [0.48, 0.49, 0.5]
    rows_read = shuffled_of(flow_rows(rows)["t"])
    assert rows_read is not None
    assert (rows_read.verdict, rows_read.permutations) == ("ABOVE CHANCE", 3)
    assert (rows_read.value, rows_read.chance) == (0.49, pytest.approx(0.2))
    assert rows_read.margin == pytest.approx(0.29)
    assert "ABOVE CHANCE" in "\n".join(leak_overview(flow_rows(rows)))
    learnt = made.row("t", "shuffled-fields", "P0", 0.2, group="detector")
    learnt["details"]["seeds"]["balanced_accuracy"] = [0.19, 0.2, 0.21]
    both = flow_rows([*rows, learnt])["t"]
    worst = shuffled_of(both)
    assert worst is not None
    assert worst.method == "shuffled"
    assert "`shuffled-fields` fell to chance" in "\n".join(leak_lines(both))
    # Permutations that differ as much as this can be right about a whole type by luck.
    seeds["balanced_accuracy"] = [0.2, 0.49, 0.78]
    lucky = shuffled_of(flow_rows(rows)["t"])
    assert lucky is not None
    assert lucky.verdict == "fell to chance"
    without = made.row("t", "shuffled", "P0", 0.2, confusion=False)
    without["intervals"] = {}
    judged = shuffled_of(flow_rows([without])["t"])
    assert judged is not None
    assert (judged.chance, judged.verdict) == (0.2, "cannot be told")


def test_chance_is_what_blind_verdicts_get() -> None:
    random = np.random.default_rng(0)
    truth = random.choice(["a", "b", "c"], 200_000, p=[0.7, 0.2, 0.1])
    result = random.choice(["a", "b", "c"], 200_000, p=[0.2, 0.5, 0.3])
    matrix = [[int(np.sum((truth == i) & (result == j))) for j in "abc"] for i in "abc"]
    confusion = Confusion(labels=("a", "b", "c"), matrix=matrix)
    assert blind_recall(confusion) == pytest.approx(1 / 3)
    # What is said of a type that is not tested is wrong whatever the truth.
    assert blind_recall(Confusion(labels=("a", "b"), matrix=((1, 3), (0, 0)))) == pytest.approx(0.25)
    blind = blind_macro_f1(confusion)
    assert blind == pytest.approx(macro_f1(truth, result), abs=0.005)
    assert math.isnan(blind_macro_f1(Confusion()))


def test_what_it_took_counts_each_encoder_once() -> None:
    def row(method: str, cpu: float | None, encoders: dict[str, float], at: int, **more: object) -> dict[str, object]:
        table_row = made.row("p3-as", method, "P3", 0.5, **more)
        table_row["details"]["training"] = {name: {"seconds": seconds} for name, seconds in encoders.items()}
        # Beside other programs a row takes longer than its own processor time, and so does training.
        table_row["wall_s"], table_row["made"] = 30.0 if cpu is None else 3 * cpu, f"2026-01-01T00:00:0{at}+00:00"
        return table_row | ({} if cpu is None else {"cpu_s": cpu})

    first = row("fields", 130.0, {"a": 160.0, "b": 150.0}, 1)
    probe = row("fields-knn", 10.0, {"a": 160.0, "b": 150.0}, 2)
    stored = row("vae", 4.0, {"c": 80.0}, 0)
    result = cost_by_part([probe, first, stored])
    assert list(result) == ["P3"]
    assert (result["P3"].rows, result["P3"].cpu, result["P3"].training) == (3, 144.0, 390.0)
    # The first trained its own; that of the last was there before.
    assert (result["P3"].apart, result["P3"].total) == (80.0, 224.0)
    first["details"]["turns"] = {"x": {"trained": 150, "tested": 50, "labels": 3}}
    first["cost"]["flows_per_s"] = 10.0
    again = {**first, "task": "p3-sa", "experiment": "P2", "made": "2026-01-02"}
    assert cost_by_part([first, again])["P3"].embedding == pytest.approx(2 * 200 / 10)
    assert cost_by_part([first, again])["P2"].embedding == 0.0
    drawn = row("yatc", 1.0, {}, 4)
    drawn["details"]["turns"] = {name: {"trained": 30, "tested": 10, "labels": 2} for name in "wxyz"}
    drawn["cost"] |= {"flows_per_s": 10.0, "origin": "random weights, seed 0"}
    assert cost_by_part([drawn])["P3"].embedding == pytest.approx(4 * 10 / 10)
    old = row("ae", None, {}, 3)
    groups = made.row("g", "m", "groups", 0.5)
    counts = made.row("e4", "m", "E4", 0.5, cpu_s=60.0)
    text = "\n".join(cost_lines([first, old, groups, counts]))
    assert "2 of 4 rows have no processor time" in text
    assert "| fingerprints | 1 | 1.0 |" in text
    assert "| **in all** | 4 |" in text
    assert "Machine: a machine." in text
    assert cost_lines([]) == []


def test_budgets_that_no_type_reaches_are_left_out(tmp_path: Path) -> None:
    row = made.row("t", "fields", "P3", 0.5)
    row["values"] |= {"macro_f1@200": row["values"]["macro_f1"], "macro_f1@1000": row["values"]["macro_f1"]}
    rows = flow_rows([row])["t"]
    assert reached(rows) == [10, 50]
    assert budget_table(rows).splitlines()[0] == "| labelled flows for each type | 10 | 50 | all |"
    assert budget_plot(tmp_path / "b.png", rows) is not None
    for size in (10, 50):
        row["values"][f"macro_f1@{size}"] = row["values"]["macro_f1"]
    rows = flow_rows([row])["t"]
    assert (budget_table(rows), budget_plot(tmp_path / "b.png", rows)) == ("", None)


def test_open_sets_of_both_methods_are_shown_where_they_are(tmp_path: Path) -> None:
    row = made.row("both-ab", "both", "both", 0.5, group="both")
    assert list(more_tables(flow_rows([row])["both-ab"])) == ["Verdicts on several flows of a device, macro-F1"]
    row["values"] |= {"strangers_unknown": 0.7, "known_unknown": 0.1, "auroc_open": 0.812, "right_of_said": 0.6}
    table = more_tables(flow_rows([row])["both-ab"])["What is called unknown"]
    assert table.splitlines()[0].endswith(
        "of known items | of strangers | accuracy of the rest | AUROC, strangers from known |"
    )
    assert table.splitlines()[2] == "| `both` | 0.100 | 0.700 | 0.600 | 0.812 |"
    write_flow_report([row], tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| [both-ab](both-ab.md) | `both` | 0.100 | 0.700 | 0.600 | 0.812 |" in page.partition("## Strangers")[2]


def test_plots_are_small_and_keep_their_colours(tmp_path: Path) -> None:
    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for i, colour in enumerate(COLOURS):
            panel.plot((0, 1), (i, 2 * i), color=colour, lw=2)

    save_figure(tmp_path / "a.png", (6, 4), draw)
    save_figure(tmp_path / "b.png", (6, 4), draw)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").stat().st_size < 40_000
    image = Image.open(tmp_path / "a.png")
    assert image.mode == "P"
    assert "Software" not in image.info
    there = {by_name for _, by_name in image.convert("RGB").getcolors(10_000) or []}
    assert {tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in COLOURS} <= there


def test_only_methods_of_every_task_are_averaged() -> None:
    rows = made.task_rows("a", "P3") + made.task_rows("b", "P3")
    rows = [row for row in rows if (row["task"], row["method"]) != ("b", "pca")]
    rows_read = mean_figures(flow_rows(rows))
    assert "pca" not in rows_read
    mean = np.mean([row["values"]["macro_f1"] for row in rows if row["method"] == "fields"])
    assert rows_read["fields"][0] == pytest.approx(mean)


def test_across_is_compared_with_inside_on_the_same_flows_where_there_are_such() -> None:
    rows = made.task_rows("p0-s", "P0") + made.task_rows("p2-as", "P2") + made.task_rows("p2-sa", "P2")
    for row in rows:
        row["test"], row["level"] = (["a"] if row["task"] == "p2-sa" else ["s"]), "model"
    assert list(comparable(flow_rows(rows), "P2")) == ["p2-as"]
    for row in rows:
        row["level"] = row["task"]
    assert list(comparable(flow_rows(rows), "P2")) == ["p2-as", "p2-sa"]


def test_rows_with_little_in_them_make_a_page_too(tmp_path: Path) -> None:
    bare = {"task": "t", "method": "m", "title": "bare", "experiment": "P3", "values": {"macro_f1": None}}
    assert [path.name for path in write_flow_report([bare], tmp_path)] == ["t.md", "t.csv", "t.png", "README.md"]
    rows = flow_rows([bare])["t"]
    assert (budget_table(rows), types_table(rows), cost_table(rows)) == ("", "", "")
    absent = {"task": "t", "method": "other", "experiment": "P3", "absent": "no packets"}
    write_flow_report([bare, absent], tmp_path)
    assert "Not applicable: `other` (no packets)." in (tmp_path / "t.md").read_text()
    assert write_flow_report([absent], tmp_path) == []


def test_a_row_of_another_form_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = made.row("t", "m", "P3", 0.5)
    row["values"] = {"macro_f1": "much"}
    with pytest.raises(InputError, match=r"row of t, m: values\.macro_f1: .*number"):
        FlowRow.of(row)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(orjson.dumps(row))
    assert main(["bench", "report", str(path), "-o", str(tmp_path / "out")]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_seeds_come_by_figure_or_by_seed() -> None:
    row = made.row("t", "m", "P3", 0.5)
    row["details"]["seeds"] = [{"seed": 0, "macro_f1": 0.4, "accuracy": 0.5}, {"seed": 1, "macro_f1": 0.6}]
    result = FlowRow.of(row)
    assert result.seeds() == [0.4, 0.6]
    assert result.seeds("accuracy") == [0.5]


def test_groups_of_unknown_devices_have_pages(tmp_path: Path) -> None:
    rows = []
    for method, group, purity in (("groups-both", "both", 0.9), ("groups-none", "baseline", 1.0)):
        row = made.row("groups-home", method, "groups", 0.5, group=group)
        row["values"] = {"purity": purity, "completeness": 0.8, "names_groups": 4.2, "names_random": 11.0}
        row["details"] = {"spread": {"purity": [0.7, 1.0], "names_groups": [3.0, 6.0]}}
        rows.append(row)
    bare = made.row("groups-home", "groups-embeddings", "groups", 0.5, group="alone")
    bare["values"], bare["details"] = {"purity": None, "completeness": 0.4}, {}
    rows.append(bare)
    written = write_report(rows, tmp_path)
    assert {path.name for path in written} == {"groups-home.md", "groups-home.csv", "groups-home.png", "README.md"}
    page = (tmp_path / "groups" / "groups-home.md").read_text()
    assert "| the groups-both method (`groups-both`) | 0.900 [0.700, 1.000] | 0.800 | 4.2 [3.0, 6.0] | 11.0 |" in page
    assert "| the groups-embeddings method (`groups-embeddings`) |  | 0.400 |  |  |" in page
    overview = (tmp_path / "groups" / "README.md").read_text()
    assert "| [groups-home](groups-home.md) | 4.2 (0.900) | 4.2 (1.000) |  | 11.0 |" in overview
    assert write_group_report([], tmp_path) == []


def test_a_later_failure_does_not_undo_a_row() -> None:
    row = made.row("t", "m", "P3", 0.5)
    failed = {**row, "absent": "no memory", "failed": True}
    assert [items.get("absent") for items in current([row, failed])] == [None]
    assert [items.get("absent") for items in current([failed, {**failed, "data_digest": "b"}])] == ["no memory"]
