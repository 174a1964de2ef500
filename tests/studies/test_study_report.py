"""The study's sections of a report: goals, claims, sizes of encoders, plots of the grid."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench import flow_rows_made as made
from ethogram.bench.counts.task import count_methods, count_tasks
from ethogram.identify.metrics import seed_interval
from ethogram.report.flow_rows import FlowRow, flow_rows
from studies.__main__ import main
from studies.claims import claim_lines, claims
from studies.contrasts import contrast
from studies.flow_goals import answers
from studies.goals import GOALS, goal_table
from studies.size_claim import compared, rank_correlation, size_verdict
from studies.size_tables import brought_lines, size_lines


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    rows = folder / "rows.jsonl"
    rows.write_bytes(b"\n".join(orjson.dumps(row) for row in made.all_rows()))
    assert main(["report", str(rows), "-o", str(folder / "results"), "--jobs", "1"]) == 0
    return folder / "results" / "flows"


def test_the_overview_has_goals_and_claims(written: Path) -> None:
    page = (written / "README.md").read_text()
    assert "| better than the raw 40 numbers | 3 of 3 | 3 |  |" in page
    assert (
        "| both together better than embeddings alone, at equal coverage | 0 of 1 |  | [both-ab](both-ab.md) |" in page
    )
    details = page.partition("## Goals, task by task")[2]
    assert "### P3: nothing from the network that tests" in details
    assert "| [p3-as](p3-as.md) | 0.7" in details
    assert "lowers the shift ratio of every block: holds" in page
    assert "## Leak detectors" in page


def test_pages_of_the_grid_have_its_plots(written: Path) -> None:
    for stem in ("map", "shift", "size"):
        assert f"(grid-ab-{stem}.png)" in (written / "grid-ab.md").read_text()
        assert (written / f"grid-ab-{stem}.png").exists()


def test_an_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "missing.jsonl"), "-o", str(tmp_path / "out")]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "missing.jsonl" in error


def test_goals_stand_beside_the_methods_that_are_used_and_say_whether_they_are_met() -> None:
    known = count_methods()
    assert {goal.task for goal in GOALS} <= set(count_tasks())
    assert {goal.method for goal in GOALS} <= set(known)

    def row(method: str, group: str, **values: float) -> dict[str, object]:
        return {"method": method, "group": group, "values": values, "intervals": {"macro_f1": [0.97, 1.0]}}

    done = {
        "e4-stevens": [row("evidence", "default", macro_f1=0.9796), row("mud", "baseline", macro_f1=0.5)],
        "e5-stevens-open": [
            row("evidence", "default", auroc_apart=0.9, fpr95_apart=0.2),
            row("mud", "baseline", auroc_apart=0.4, fpr95_apart=0.9),
            row("four-totals", "baseline", auroc_apart=0.3, fpr95_apart=0.8),
        ],
    }
    first, *others = [line for line in goal_table(done) if line.startswith("| ") and "[" in line]
    assert "0.980 [0.970, 1.000] (`evidence`) | met, the interval spans it | 0.500 (`mud`)" in first
    assert "0.900 (`evidence`) | not met | 0.400 (`mud`)" in others[0]
    assert "0.200 (`evidence`) | met | 0.800 (`four-totals`)" in others[1]
    assert goal_table({}) == []


def test_goals_are_answered_by_the_default_and_never_by_the_best() -> None:
    rows = flow_rows(made.all_rows())
    by_name = {(row.goal, row.task): row for row in answers(rows)}
    inside = by_name["types inside a network, later days", "p0-s"]
    assert inside.reached.endswith("(`fields`)")  # raw-3040 is better there
    assert inside.verdict == "met, the interval spans it"
    asked = {goal: by_name[f"better than {goal}", "p3-as"].asked for goal in ("every other kind", "the raw 40 numbers")}
    assert len(set(asked.values())) == 1
    assert by_name["both together better than embeddings alone", "both-ab"].verdict == "met, intervals overlap"
    covered = "both together better than {} alone, at equal coverage"
    assert by_name[covered.format("fingerprints"), "both-ab"].verdict == "met"
    assert by_name[covered.format("embeddings"), "both-ab"].verdict == "not met"
    worse = [made.row("t", "fields", "P3", 0.3, group="default"), made.row("t", "raw-40", "P3", 0.6)]
    assert [row.verdict for row in answers(flow_rows(worse))] == ["not met", "not met"]


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
    encoders = {table_row.row.method: table_row for table_row in compared(rows)}
    # One row for each embedding, fewest parameters first; other probes and detectors are none.
    assert list(encoders) == [name for name in made.SIZED if not name.endswith("-whitened")]
    assert [name for name, row in encoders.items() if row.learnt] == ["pca", "flowsem", "fields", "vae", "vae-large"]
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
    assert "Encoders with **random weights** (°): `netfound`." in text
    assert "No encoder with 10 M parameters or more has learnt weights" in text
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
    assert all(math.isnan(item) for item in rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]))


def test_a_contrast_pairs_rows_by_seed() -> None:
    def row(kind: str, task: str, seeds: list[float]) -> FlowRow:
        own = made.row(task, kind, "grid", 0.5, confusion=False)
        own["details"]["seeds"]["macro_f1"] = seeds
        return FlowRow.of(own)

    table_row = [row("ae", "x", [0.1, 0.2, 0.3]), row("ae", "y", [0.5, 0.5, 0.5]), row("ae", "alone", [0.9] * 3)]
    other = [row("vae", "x", [0.2, 0.4, 0.6]), row("vae", "y", [0.4, 0.4, 0.4])]
    result = contrast("c", table_row, other, "macro_f1", lambda r: r.task)
    assert result is not None
    # By seed: the mean over both tasks of (0.1, 0.2, 0.3) and (-0.1, -0.1, -0.1).
    assert (result.low, result.high) == pytest.approx(seed_interval([0.0, 0.05, 0.1]))
    assert (result.effect, result.pairs, result.above, result.seeds) == (pytest.approx(0.05), 2, 1, 3)
    ratio = contrast("c", table_row[:1], other[:1], "macro_f1", lambda r: r.task, quotient=True)
    assert ratio is not None
    assert ratio.effect == pytest.approx(2.0)
    assert contrast("c", table_row, [], "macro_f1", lambda r: r.task) is None
    assert all(math.isnan(bound) for bound in seed_interval([1.0]))


def test_without_a_grid_the_claims_are_one_line() -> None:
    lines = claim_lines(claims(flow_rows(made.task_rows("p0-s", "P0"))))
    assert lines[2].startswith("Cannot be told: no rows")
