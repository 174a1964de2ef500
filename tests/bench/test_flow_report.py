"""The report of flow tasks is made from rows alone: tables, leak detectors, goals, claims, plots."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import flow_rows_made as made
import numpy as np
import orjson
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ethogram.bench.claims import claim_lines, claims
from ethogram.bench.contrasts import contrast, seed_interval
from ethogram.bench.flow_goals import answers
from ethogram.bench.flow_report import write_flow_report
from ethogram.bench.flow_rows import Confusion, FlowRow, blind_macro_f1, blind_recall, flow_rows
from ethogram.bench.flow_tables import budget_table, cost_table, more_tables, quality_table, reached, types_table
from ethogram.bench.group_report import write_group_report
from ethogram.bench.leaks import leak_lines, leak_overview, shuffled_of
from ethogram.bench.metrics import macro_f1
from ethogram.bench.plots_networks import comparable, mean_figures
from ethogram.bench.plots_style import COLOURS, saved
from ethogram.bench.plots_tasks import budget_plot
from ethogram.bench.report import current, write_report
from ethogram.bench.size_claim import compared, rank_correlation, size_verdict
from ethogram.bench.size_tables import brought_lines, size_lines
from ethogram.bench.took import took, took_lines
from ethogram.cli import main
from ethogram.errors import InputError


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
    for stem in ("map", "shift", "size"):
        assert f"(grid-ab-{stem}.png)" in (written / "grid-ab.md").read_text()
        assert (written / f"grid-ab-{stem}.png").exists()
    with (written / "p3-as.csv").open(newline="") as file:
        table = {row["method"]: row for row in csv.DictReader(file)}
    assert table["fields"]["licence"] == "MIT"
    assert int(table["et-bert"]["parameters"]) == 131_500_000
    assert float(table["raw-40"]["macro_f1_low"]) < float(table["raw-40"]["macro_f1"])
    assert len(table["raw-40"]["macro_f1_seeds"].split()) == 3
    assert (table["shuffled"]["leak_detector"], table["fields"]["leak_detector"]) == ("1", "0")


def test_the_overview_answers_goals_claims_and_leaks(written: Path) -> None:
    page = (written / "README.md").read_text()
    assert "| better than the raw 40 numbers | 3 of 3 | 3 |  |" in page
    assert (
        "| both together better than embeddings alone, at equal coverage | 0 of 1 |  | [both-ab](both-ab.md) |" in page
    )
    assert "## Strangers" not in page
    details = page.partition("## Goals, task by task")[2]
    assert "### P3: nothing from the network that tests" in details
    assert "| [p3-as](p3-as.md) | 0.7" in details
    assert "lowers the shift ratio of every block: holds" in page
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
    raised = [one for one in inside if one.method != "shortcut"]
    raised.append(next(r for r in inside if r.method == "shortcut").model_copy(update={"values": {"macro_f1": 0.92}}))
    assert "is not below" in "\n".join(leak_lines(raised))
    blind = [made.row("t", "raw-40", "P3", 0.22), made.row("t", "fields", "P3", 0.6)]
    shown = "\n".join(leak_lines(flow_rows(blind)["t"]))
    assert "Not above chance with their whole interval: `raw-40` (0.2" in shown
    assert "`fields`" not in shown
    assert "Not run: `shuffled`, `shortcut`." in leak_lines([one for one in rows if not one.detector])


def test_shuffled_labels_that_do_not_fall_are_said() -> None:
    rows = [made.row("t", "shuffled", "P0", 0.5), made.row("t", "raw-40", "P0", 0.9)]
    seeds = rows[0]["details"]["seeds"]
    seeds["balanced_accuracy"] = [0.48, 0.49, 0.5]
    found = shuffled_of(flow_rows(rows)["t"])
    assert found is not None
    assert (found.verdict, found.permutations) == ("ABOVE CHANCE", 3)
    assert (found.value, found.chance) == (0.49, pytest.approx(0.2))
    assert found.margin == pytest.approx(0.29)
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
    said = random.choice(["a", "b", "c"], 200_000, p=[0.2, 0.5, 0.3])
    matrix = [[int(np.sum((truth == i) & (said == j))) for j in "abc"] for i in "abc"]
    confusion = Confusion(labels=("a", "b", "c"), matrix=matrix)
    assert blind_recall(confusion) == pytest.approx(1 / 3)
    # What is said of a type that is not tested is wrong whatever the truth.
    assert blind_recall(Confusion(labels=("a", "b"), matrix=((1, 3), (0, 0)))) == pytest.approx(0.25)
    blind = blind_macro_f1(confusion)
    assert blind == pytest.approx(macro_f1(truth, said), abs=0.005)
    assert math.isnan(blind_macro_f1(Confusion()))


def test_goals_are_answered_by_the_default_and_never_by_the_best() -> None:
    rows = flow_rows(made.all_rows())
    found = {(one.goal, one.task): one for one in answers(rows)}
    inside = found["types inside a network, later days", "p0-s"]
    assert inside.reached.endswith("(`fields`)")  # raw-3040 is better there
    assert inside.verdict == "met, the interval spans it"
    asked = {goal: found[f"better than {goal}", "p3-as"].asked for goal in ("every other kind", "the raw 40 numbers")}
    assert len(set(asked.values())) == 1
    assert found["both together better than embeddings alone", "both-ab"].verdict == "met, intervals overlap"
    covered = "both together better than {} alone, at equal coverage"
    assert found[covered.format("fingerprints"), "both-ab"].verdict == "met"
    assert found[covered.format("embeddings"), "both-ab"].verdict == "not met"
    worse = [made.row("t", "fields", "P3", 0.3, group="default"), made.row("t", "raw-40", "P3", 0.6)]
    assert [one.verdict for one in answers(flow_rows(worse))] == ["not met", "not met"]


def test_claims_hold_do_not_hold_or_cannot_be_told() -> None:
    def verdicts(rows: list[dict[str, object]]) -> list[str]:
        return [claim.verdict for claim in claims(flow_rows(rows))]

    assert verdicts(made.grid_rows()) == ["holds", "holds", "holds"]
    assert verdicts(made.grid_rows(shift=2.0, gain=-0.06))[:2] == ["does not hold", "does not hold"]
    assert verdicts(made.grid_rows(shift=1.0, gain=0.0))[:2] == ["cannot be told", "cannot be told"]
    assert verdicts(made.task_rows("p3-as", "P3")) == ["cannot be told"] * 3
    probes = made.grid_rows(shift=2.0, gain=-0.06)
    for row in probes:
        row["group"] = "probes"
    assert verdicts(made.grid_rows() + probes) == ["holds", "holds", "holds"]
    few = [row for row in made.grid_rows() if row["encoder"]["view"] == "full" and row["encoder"]["size"] == "base"]
    assert verdicts(few) == ["cannot be told"] * 3
    single = made.grid_rows()
    for row in single:
        row["details"]["seeds"] = {name: values[:1] for name, values in row["details"]["seeds"].items()}
    assert verdicts(single) == ["cannot be told"] * 3
    text = "\n".join(claim_lines(claims(flow_rows(single))))
    assert "one seed" in text
    larger = made.grid_rows()
    for row in larger:
        if row["encoder"]["size"] == "large":
            row["details"]["seeds"]["macro_f1"] = [value + 0.1 for value in row["details"]["seeds"]["macro_f1"]]
    assert verdicts(larger)[2] == "does not hold"


def test_size_over_all_encoders_is_judged_by_those_that_learnt() -> None:
    rows = flow_rows(made.others_rows())
    encoders = {one.row.method: one for one in compared(rows)}
    # One row for each embedding, fewest parameters first; other probes and detectors are none.
    assert list(encoders) == [name for name in made.SIZED if not name.endswith("-whitened")]
    assert [name for name, one in encoders.items() if one.learnt] == ["pca", "flowsem", "fields", "vae", "vae-large"]
    assert encoders["vae"].mean == pytest.approx(
        np.mean([encoders["vae"].value(t) for t in ("others-ab", "others-ba")])
    )
    assert size_verdict(rows) == "holds up to 6.8 M parameters, beyond cannot be told"
    assert (
        size_verdict(flow_rows(made.others_rows(0.06))) == "does not hold up to 6.8 M parameters, beyond cannot be told"
    )
    assert size_verdict(flow_rows(made.others_rows(0.0))) == "cannot be told"
    # With what the largest learnt, it speaks for large ones, too.
    assert size_verdict(flow_rows(made.others_rows(origin="checkpoint sha256:0123456789abcdef"))) == "holds"
    few = [row for row in made.others_rows() if row["method"] in ("pca", "flowsem", "vae", "netfound", "yatc")]
    assert size_verdict(flow_rows(few)) == "cannot be told"
    text = "\n".join(size_lines(rows))
    assert "With **random weights** (°) stand `netfound`:" in text
    assert "No encoder from 10 M parameters stands here with what it learnt" in text
    assert "| those that learnt | 5 | 0.1 M … 6.8 M | -1.00 [-1.00, -1.00] |" in text
    assert "| those that learnt, from 10 M | 0 |  |  |  |  |  | cannot be told |" in text
    assert "| `netfound` ° | random weights | 273,600,000 | 40 |" in text
    assert "| `raw-40` | no weights | 0 | 40 |" in text
    short = [row for row in made.others_rows() if (row["task"], row["method"]) != ("others-ba", "vae")]
    assert "a task is missing: `vae`." in "\n".join(size_lines(flow_rows(short)))
    assert size_lines(flow_rows(made.task_rows("p3-as", "P3"))) == []


def test_what_learning_and_whitening_bring_is_told_pair_by_pair() -> None:
    text = "\n".join(brought_lines(flow_rows(made.others_rows(0.01))))
    taught, _, whitened = text.partition("## What whitening brings")
    lines = [line for line in taught.splitlines() if line.startswith("| `")]
    assert [line.split()[1] for line in lines] == ["`pca`", "`flowsem`", "`fields`"]
    assert "Across networks: higher in" in taught
    assert "of 6 comparisons" in taught
    assert "| `netfound-whitened` ° | 273,600,000 | " in whitened
    assert brought_lines(flow_rows(made.task_rows("p3-as", "P3"))) == []


def test_a_rank_correlation_has_an_interval_over_encoders() -> None:
    random = np.random.default_rng(1)
    rho, low, high = rank_correlation(list(range(12)), random.normal(size=12).tolist())
    assert low < rho < high
    assert high - low > 0.5
    assert all(math.isnan(one) for one in rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]))


def test_what_it_took_counts_each_encoder_once() -> None:
    def row(method: str, cpu: float | None, encoders: dict[str, float], at: int, **more: object) -> dict[str, object]:
        one = made.row("p3-as", method, "P3", 0.5, **more)
        one["details"]["training"] = {name: {"seconds": seconds} for name, seconds in encoders.items()}
        # Beside other programs a row takes longer than its own processor time, and so does training.
        one["wall_s"], one["made"] = 30.0 if cpu is None else 3 * cpu, f"2026-01-01T00:00:0{at}+00:00"
        return one | ({} if cpu is None else {"cpu_s": cpu})

    first = row("fields", 130.0, {"a": 160.0, "b": 150.0}, 1)
    probe = row("fields-knn", 10.0, {"a": 160.0, "b": 150.0}, 2)
    kept = row("vae", 4.0, {"c": 80.0}, 0)
    found = took([probe, first, kept])
    assert list(found) == ["P3"]
    assert (found["P3"].rows, found["P3"].cpu, found["P3"].training) == (3, 144.0, 390.0)
    # The first trained its own; that of the last was there before.
    assert (found["P3"].apart, found["P3"].total) == (80.0, 224.0)
    first["details"]["turns"] = {"x": {"trained": 150, "tested": 50, "labels": 3}}
    first["cost"]["flows_per_s"] = 10.0
    again = {**first, "task": "p3-sa", "experiment": "P2", "made": "2026-01-02"}
    assert took([first, again])["P3"].embedding == pytest.approx(2 * 200 / 10)
    assert took([first, again])["P2"].embedding == 0.0
    drawn = row("yatc", 1.0, {}, 4)
    drawn["details"]["turns"] = {name: {"trained": 30, "tested": 10, "labels": 2} for name in "wxyz"}
    drawn["cost"] |= {"flows_per_s": 10.0, "origin": "random weights, seed 0"}
    assert took([drawn])["P3"].embedding == pytest.approx(4 * 10 / 10)
    old = row("ae", None, {}, 3)
    groups = made.row("g", "m", "groups", 0.5)
    counts = made.row("e4", "m", "E4", 0.5, cpu_s=60.0)
    text = "\n".join(took_lines([first, old, groups, counts]))
    assert "2 of 4 rows were made before processor time was told" in text
    assert "| fingerprints | 1 | 1.0 |" in text
    assert "| **in all** | 4 |" in text
    assert "Machine: a machine." in text
    assert took_lines([]) == []


def test_budgets_that_no_type_reaches_are_left_out(tmp_path: Path) -> None:
    one = made.row("t", "fields", "P3", 0.5)
    one["values"] |= {"macro_f1@200": one["values"]["macro_f1"], "macro_f1@1000": one["values"]["macro_f1"]}
    rows = flow_rows([one])["t"]
    assert reached(rows) == [10, 50]
    assert budget_table(rows).splitlines()[0] == "| labelled flows for each type | 10 | 50 | all |"
    assert budget_plot(tmp_path / "b.png", rows) is not None
    for size in (10, 50):
        one["values"][f"macro_f1@{size}"] = one["values"]["macro_f1"]
    rows = flow_rows([one])["t"]
    assert (budget_table(rows), budget_plot(tmp_path / "b.png", rows)) == ("", None)


def test_open_sets_of_both_methods_are_shown_where_they_are(tmp_path: Path) -> None:
    one = made.row("both-ab", "both", "both", 0.5, group="both")
    assert list(more_tables(flow_rows([one])["both-ab"])) == ["Verdicts on several flows of a device, macro-F1"]
    one["values"] |= {"strangers_unknown": 0.7, "known_unknown": 0.1, "auroc_open": 0.812, "right_of_said": 0.6}
    table = more_tables(flow_rows([one])["both-ab"])["What is called unknown"]
    assert table.splitlines()[0].endswith(
        "of what is known | of strangers | right of what is said | AUROC, strangers from known |"
    )
    assert table.splitlines()[2] == "| `both` | 0.100 | 0.700 | 0.600 | 0.812 |"
    write_flow_report([one], tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| [both-ab](both-ab.md) | `both` | 0.100 | 0.700 | 0.600 | 0.812 |" in page.partition("## Strangers")[2]


def test_plots_are_small_and_keep_their_colours(tmp_path: Path) -> None:
    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for i, colour in enumerate(COLOURS):
            panel.plot((0, 1), (i, 2 * i), color=colour, lw=2)

    saved(tmp_path / "a.png", (6, 4), draw)
    saved(tmp_path / "b.png", (6, 4), draw)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").stat().st_size < 40_000
    image = Image.open(tmp_path / "a.png")
    assert image.mode == "P"
    assert "Software" not in image.info
    there = {found for _, found in image.convert("RGB").getcolors(10_000) or []}
    assert {tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in COLOURS} <= there


def test_a_contrast_pairs_rows_by_seed() -> None:
    def row(kind: str, task: str, seeds: list[float]) -> FlowRow:
        own = made.row(task, kind, "grid", 0.5, confusion=False)
        own["details"]["seeds"]["macro_f1"] = seeds
        return FlowRow.of(own)

    one = [row("ae", "x", [0.1, 0.2, 0.3]), row("ae", "y", [0.5, 0.5, 0.5]), row("ae", "alone", [0.9] * 3)]
    other = [row("vae", "x", [0.2, 0.4, 0.6]), row("vae", "y", [0.4, 0.4, 0.4])]
    found = contrast("c", one, other, "macro_f1", lambda r: r.task)
    assert found is not None
    # By seed: the mean over both tasks of (0.1, 0.2, 0.3) and (-0.1, -0.1, -0.1).
    assert (found.low, found.high) == pytest.approx(seed_interval([0.0, 0.05, 0.1]))
    assert (found.effect, found.pairs, found.above, found.seeds) == (pytest.approx(0.05), 2, 1, 3)
    ratio = contrast("c", one[:1], other[:1], "macro_f1", lambda r: r.task, quotient=True)
    assert ratio is not None
    assert ratio.effect == pytest.approx(2.0)
    assert contrast("c", one, [], "macro_f1", lambda r: r.task) is None
    assert all(math.isnan(bound) for bound in seed_interval([1.0]))


def test_only_methods_of_every_task_are_averaged() -> None:
    rows = made.task_rows("a", "P3") + made.task_rows("b", "P3")
    rows = [row for row in rows if (row["task"], row["method"]) != ("b", "pca")]
    found = mean_figures(flow_rows(rows))
    assert "pca" not in found
    mean = np.mean([row["values"]["macro_f1"] for row in rows if row["method"] == "fields"])
    assert found["fields"][0] == pytest.approx(mean)


def test_across_is_compared_with_inside_on_the_same_flows_where_there_are_such() -> None:
    rows = made.task_rows("p0-s", "P0") + made.task_rows("p2-as", "P2") + made.task_rows("p2-sa", "P2")
    for row in rows:
        row["test"], row["level"] = (["a"] if row["task"] == "p2-sa" else ["s"]), "model"
    assert list(comparable(flow_rows(rows), "P2")) == ["p2-as"]
    for row in rows:
        row["level"] = row["task"]
    assert list(comparable(flow_rows(rows), "P2")) == ["p2-as", "p2-sa"]


def test_without_a_grid_the_claims_are_one_line() -> None:
    lines = claim_lines(claims(flow_rows(made.task_rows("p0-s", "P0"))))
    assert lines[2].startswith("Cannot be told: no rows")


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
    found = FlowRow.of(row)
    assert found.seeds() == [0.4, 0.6]
    assert found.seeds("accuracy") == [0.5]


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
    assert [found.get("absent") for found in current([row, failed])] == [None]
    assert [found.get("absent") for found in current([failed, {**failed, "data_digest": "b"}])] == ["no memory"]
