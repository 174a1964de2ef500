"""What is stated about devices of a network without enrolled devices: the page docs/results/first-minute.md.

    ETHOGRAM_CORPUS=... python benchmarks/first_minute.py

Each laboratory is left out in turn, once with and once without the vendor of the device; see
:mod:`ethogram.bench.ladder.measure`.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

import polars as pl
from calibration_attempts import calibration_lines
from platform_fits import platform_fit_lines

from ethogram._matplotlib import Figure
from ethogram.bench.ladder.benchmark import LadderBenchmark
from ethogram.bench.ladder.measure import LEVELS, SOURCES, figures, platform_figures
from ethogram.corpora.card import cards
from ethogram.identify import metrics
from ethogram.report.tables import table_lines

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

A *sure* statement may be wrong once in twenty, what is only probable more often: "TP-Link device, probably a plug" is
right at the stated level if the vendor is. Brackets are 95 % intervals over networks. The same figures are rows of
`ethogram bench first-minute first-minute-new-vendor`.

The knowledge pack was written without the corpora. Its weights are shared by all vendors and kinds and are fitted on
the other laboratories; the weights that ship are fitted on all of them (`benchmarks/ladder_weights.py`).

"""


ATTEMPTS = """
## What was tried to come closer to the goals

Shares with names, the laboratory left out, as above but with one threshold per level for all statements; each line
changes the first one. Presence, precisions and the weight of network equipment are constants (`PRESENCE_POWER`,
`VENDOR_PRECISION`, `KIND_PRECISION`, `KIND_PRIORS`): change one and run this script. The code of the other lines was
not kept. *Reach* is the largest share right at a wrong share within the goal, if the threshold were chosen on the
tested devices: no choice of thresholds can do better. It shows that the order of the probabilities, not the thresholds,
limits kinds.

| change | vendor | kind | one of two kinds | vendor and kind | kind: best, reach |
|---|---|---|---|---|---|
| presence linear, precision 2 for vendors and kinds | .74 / .01 | .48 / .06 | .65 / .09 | .35 / .03 | .70, .52 |
| kinds of one coarse class and brands of one owner summed | .73 / .02 | .48 / .05 | .66 / .09 | .35 / .03 | .69, .53 |
| presence to the power 1/2 | .74 / .02 | .48 / .06 | .66 / .09 | .35 / .03 | .69, .53 |
| presence to the power 1/4 (taken) | .74 / .01 | .50 / .05 | .67 / .09 | .36 / .03 | .69, .53 |
| a weight for network equipment (taken) | .73 / .02 | .49 / .06 | .69 / .09 | .34 / .03 | .70, .53 |
| both | .74 / .01 | .50 / .07 | .69 / .08 | .36 / .03 | .69, .53 |
| both, and randomised trees on behaviour as a further term | .74 / .01 | .50 / .07 | .70 / .08 | .30 / .03 | .67, .55 |
| both, with own weights for devices with and without names | .75 / .02 | .45 / .06 | .62 / .06 | .26 / .02 | .68, .52 |
| both, with own weights for each of the four conditions | .76 / .03 | .46 / .06 | .60 / .04 | .26 / .03 | .67, .51 |
| both, precision 32, own scales with and without names | .76 / .02 | .40 / .03 | .62 / .04 | .27 / .03 | .71, .54 |
| both, precision 8 | .74 / .02 | .53 / .08 | .69 / .07 | .38 / .03 | .69, .53 |
| both, precision 32 (taken for kinds), thresholds left out | .73 / .02 | .49 / .06 | .67 / .06 | .38 / .03 | .71, .54 |

Behaviour alone names the coarse class of 36 to 44 % of the devices of a laboratory that was left out (logistic
regression, random forest, extremely randomised trees; with and without octets, packets and flows an hour), and of 22 to
23 % if the vendor is left out, too: it cannot tell a hub from a light of one vendor, or a camera from a plug, in the
minutes of a set-up. Of the 159 devices with names, 22 contact no name that tells anything; these limit the vendor.
""".strip().splitlines()
"""Figures of ways that were tried and, unless they say so, not taken."""


def table(rows: pl.DataFrame) -> list[str]:
    """A table of figures with the goal of each line where there is one."""
    head = ("at hand", "level", "n", "right", "wrong", "silent", "best", "utility", "calibration error", "goal")
    lines = []
    for row in rows.iter_rows(named=True):
        goal = GOALS.get((row["condition"], row["level"]))
        shares = [f"{row[n]:.2f} [{row[f'{n}_low']:.2f}, {row[f'{n}_high']:.2f}]" for n in ("right", "wrong")]
        shares += [f"{row[name]:.2f}" for name in ("silent", "best", "utility", "calibration_error")]
        lines.append([row["condition"], LEVEL_NAMES[row["level"]], str(row["n"]), *shares,
                      _goal(goal, row) if goal else ""])  # fmt: skip
    return table_lines(head, lines)


PLATFORM_BANDS = (0.0, 0.6, 0.8, 0.9, 1.0)


def platform_lines(predictions: pl.DataFrame, fits: list[str]) -> list[str]:
    """How sure platforms are, how often they are right, and the table of fits."""
    n = platform_figures(predictions)
    lines = [
        f"Of {n['claims']:.0f} claims of a platform, about {n['products']:.0f} products in {n['networks']:.0f} "
        f"networks, it is publicly known",
        f"whether they hold ({n['holds']:.0%} do; `src/ethogram/corpora/cards/platforms.tsv`). Each laboratory is left "
        "out of the fit in turn.",
        f"Names and MAC are at hand. Calibration error {n['calibration_error']:.2f}. Shown as probable: "
        f"{n['shown_right']:.2f} right, {n['shown_wrong']:.2f} wrong; sure:",
        f"{n['sure_right']:.2f} right, {n['sure_wrong']:.2f} wrong (shares of all claims).", "",
        "| probability | claims | mean probability | right |", "|---|---|---|---|",
    ]  # fmt: skip
    for low, high in pairwise(PLATFORM_BANDS):
        band = predictions.filter(pl.col("p").is_between(low, high, closed="right"))
        if band.height:
            shares = band.select(pl.col("p").mean(), pl.col("right").mean()).row(0)
            lines.append(f"| {low:g} to {high:g} | {band.height} | {shares[0]:.2f} | {shares[1]:.2f} |")
    return [*lines, "", PLATFORM_NOTE, "", *fits, "", PLATFORM_CHOICE]


PLATFORM_NOTE = """
All platforms that a name or a MAC tells are right; those that ports tell are less reliable: claims of one laboratory
and platform are right or wrong together (a scanner's port that many devices answer on; all Tuya devices of one
network). That is why they share one vote in the fit, and why one port alone makes no platform sure. What was tried,
measured on these claims with the laboratory left out (`benchmarks/platform_fits.py`):
""".strip()
PLATFORM_CHOICE = "The precision stays that of vendors: these claims are too few to choose one."


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
    root = Path(os.environ["ETHOGRAM_CORPUS"])
    measurement = LadderBenchmark(root, cards(), on_stage=lambda line: print(line, file=sys.stderr)).measurement
    predictions, new_vendors = measurement.predictions(), measurement.predictions(new_vendor=True)
    rows, of_new_vendors = figures(predictions), figures(new_vendors)
    lines = [HEAD, "## A network left out", "", *table(rows.filter(pl.col("without") == ""))]
    lines += ["", "![Reliability of each level](first-minute.png)", "", "## Platforms", "",
              *platform_lines(measurement.platform_predictions(), platform_fit_lines(measurement))]  # fmt: skip
    lines += ["", "## Calibration", "", *calibration_lines(predictions.filter(pl.col("without") == ""))]
    lines += ["", "## The vendor of the device left out too", "",
              "Nothing of the vendor is in the library: neither its products nor its names.", "",
              *table(of_new_vendors)]  # fmt: skip
    lines += ["", "## What each source brings", "", "With names and MAC; the weights stay as they are.", ""]
    by_source = []
    for source in ("", *SOURCES):
        of_source = rows.filter((pl.col("condition") == "names and MAC") & (pl.col("without") == source))
        cells = {row["level"]: f"{row['right']:.2f} / {row['wrong']:.2f}" for row in of_source.iter_rows(named=True)}
        by_source.append([source or "nothing", *(cells[level] for level in LEVELS)])
    lines += table_lines(["without", *(f"{LEVEL_NAMES[level]}, right / wrong" for level in LEVELS)], by_source)
    PAGE.write_text("\n".join([*lines, "", *ATTEMPTS]) + "\n")
    both = [table.with_columns(new_vendor=pl.lit(new)) for table, new in ((rows, False), (of_new_vendors, True))]
    pl.concat(both).with_columns(pl.col(pl.Float64).round(4)).write_csv(PAGE.with_suffix(".csv"))
    reliability_plot(predictions.filter(pl.col("without") == ""), PAGE.with_suffix(".png"))


if __name__ == "__main__":
    main()
