"""What is said of the devices of a network that nobody enrolled: the page docs/results/first-minute.md.

    ETHOGRAM_CORPUS=... python benchmarks/first_minute.py

Each laboratory is left out in turn, once with and once without the vendor of the device; see
:mod:`ethogram.bench.ladder.measure`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import polars as pl

from ethogram._matplotlib import Figure
from ethogram.bench.corpora.card import cards
from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.ladder.items import ladder_items
from ethogram.bench.ladder.measure import LEVELS, SOURCES, LadderMeasurement, figures
from ethogram.identify import metrics
from ethogram.knowledge.tables import Knowledge

PAGE = Path(__file__).parent.parent / "docs" / "results" / "first-minute.md"
GOALS = {
    ("names", "vendor"): (0.85, 0.04), ("names", "kind"): (0.65, 0.08), ("names", "kinds"): (0.75, 0.10),
    ("names", "family"): (0.55, None), ("names", "stated"): (None, 0.05),
    ("MAC", "vendor"): (0.50, 0.06), ("MAC", "kind"): (0.35, 0.04), ("neither", "kind"): (0.30, 0.03),
}  # fmt: skip
"""Least share right and largest share wrong, by condition and level."""
LEVEL_NAMES = {"vendor": "vendor", "kind": "kind", "kinds": "one of two kinds", "family": "vendor and kind",
               "model": "model", "stated": "stated level"}  # fmt: skip
HEAD = """# The first minute: a network that nobody enrolled

```
ETHOGRAM_CORPUS=... python benchmarks/first_minute.py
```

Every device of the eleven corpora, people's devices included, judged by `ethogram identify` without a library of its
own. Each laboratory is left out in turn: no device, unit, weight or threshold of it is used. *Names*: only networks
with a name of a remote end are counted. *Right* and *wrong* are shares of all devices; the rest is silent. A vendor is
right if the brand or its owner is; a kind if its coarse class is. *Best* is the share of devices whose most probable
label is right, stated or not. The stated level is the deepest one that is sure enough; a platform counts as silent.

The knowledge pack was written without the corpora. Its weights are shared by all vendors and kinds and are fitted on
the other laboratories; the weights that ship are fitted on all of them (`benchmarks/ladder_weights.py`).

"""


def table(rows: pl.DataFrame) -> list[str]:
    """A table of figures with the goal of each line where there is one."""
    lines = ["| at hand | level | n | right | wrong | silent | best | utility | calibration error | goal |",
             "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows.iter_rows(named=True):
        goal = GOALS.get((row["condition"], row["level"]))
        shares = [f"{row[name]:.2f}" for name in ("right", "wrong", "silent", "best", "utility", "calibration_error")]
        cells = [row["condition"], LEVEL_NAMES[row["level"]], str(row["n"]), *shares, _goal(goal, row) if goal else ""]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _goal(goal: tuple[float | None, float | None], row: dict[str, float]) -> str:
    least, most = goal
    met = (least is None or row["right"] >= least) and (most is None or row["wrong"] <= most)
    text = " / ".join("" if value is None else f"{value:.2f}" for value in goal)
    return f"{text}: {'met' if met else 'not met'}"


def reliability_plot(predictions: pl.DataFrame, path: Path) -> None:
    """Share right against stated probability, level by level, with names."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    for panel, level in zip(axes, ("vendor", "kind", "family", "model"), strict=True):
        scored = predictions.filter(pl.col("vendor") != "") if level in ("vendor", "family") else predictions
        for condition in ("names", "MAC", "neither"):
            mine = scored.filter(pl.col("condition") == condition)
            rows = metrics.reliability(mine[f"{level}_p"].to_numpy(), mine[f"{level}_right"].to_numpy(), 5)
            panel.plot([mean for mean, _, n in rows if n], [right for _, right, n in rows if n], "o-", label=condition)
        panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        panel.set(title=LEVEL_NAMES[level], xlabel="probability", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_ylabel("share right")
    axes[-1].legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure and write the page, its rows and its plot."""
    known, knowledge = cards(), Knowledge.bundled()
    items = ladder_items(CountBenchmark(Path(os.environ["ETHOGRAM_CORPUS"]), known), known, knowledge)
    measurement = LadderMeasurement(items, knowledge, lambda line: print(line, file=sys.stderr))
    predictions = measurement.predictions()
    rows = figures(predictions)
    whole = rows.filter(pl.col("without") == "")
    lines = [HEAD, "## A network left out", ""]
    lines += table(whole.filter(pl.col("setting") == "network left out"))
    lines += ["", "![Reliability of each level](first-minute.png)", "", "## The vendor of the device left out too", "",
              "Nothing of the vendor is in the library: neither its products nor its names.", ""]  # fmt: skip
    lines += table(whole.filter(pl.col("setting") == "network and vendor left out"))
    lines += ["", "## What each source brings", "", "With names and MAC; the weights stay as they are.", "",
              "| without | " + " | ".join(f"{LEVEL_NAMES[level]}, right / wrong" for level in LEVELS) + " |",
              "|---" * (len(LEVELS) + 1) + "|"]  # fmt: skip
    for source in ("", *SOURCES):
        mine = rows.filter(
            (pl.col("setting") == "network left out") & (pl.col("condition") == "names and MAC")
            & (pl.col("without") == source)
        )  # fmt: skip
        cells = {row["level"]: f"{row['right']:.2f} / {row['wrong']:.2f}" for row in mine.iter_rows(named=True)}
        lines.append(f"| {source or 'nothing'} | " + " | ".join(cells[level] for level in LEVELS) + " |")
    PAGE.write_text("\n".join(lines) + "\n")
    rows.with_columns(pl.col(pl.Float64).round(4)).write_csv(PAGE.with_suffix(".csv"))
    plain = predictions.filter((pl.col("without") == "") & (pl.col("setting") == "network left out"))
    reliability_plot(plain, PAGE.with_suffix(".png"))


if __name__ == "__main__":
    main()
