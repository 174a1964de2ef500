"""What is stated about a device in its first minutes: the page docs/results/just-joined.md.

    ETHOGRAM_CORPUS=... python benchmarks/just_joined.py

Every run of a device in the Aalto, CIC and Stevens corpora is cut after some minutes and judged by the ladder of
verdicts with the laboratory left out of library, weights and thresholds, as in ``benchmarks/first_minute.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from ethogram._matplotlib import Figure
from ethogram.bench.ladder.benchmark import LadderBenchmark
from ethogram.bench.ladder.items import CONDITIONS, NO_VENDOR, PERSONAL, Truth
from ethogram.bench.ladder.measure import LadderMeasurement
from ethogram.config import CountSettings
from ethogram.corpora.card import Card, cards
from ethogram.corpora.load import load
from ethogram.fingerprint.count import count
from ethogram.identify import metrics
from ethogram.report.tables import table_lines
from ethogram.schema import IDENTITY, ITEM, ITEM_COUNTS, Windows

PAGE = Path(__file__).parent.parent / "docs" / "results" / "just-joined.md"
CORPORA = {
    "aalto_iot_sentinel_2016": "Aalto: set-ups", "cic_iot_2022_interactions": "CIC: interactions",
    "stevens_lsif_2019": "Stevens: begin of the capture",
}  # fmt: skip
MINUTES = (0.25, 0.5, 1, 2, 5, 10, 30, 60)
LEVELS = {"vendor": "vendor", "kind": "kind", "stated": "stated level"}
SHOWN = tuple(condition for condition in CONDITIONS if condition.names == condition.mac)
"""Names and MAC at hand, or neither."""
VOLUMES = ("octets_out", "octets_in", "packets_out", "packets_in")
HEAD = """# Just joined: a device in its first minutes

```
ETHOGRAM_CORPUS=... python benchmarks/just_joined.py
```

A run of a device is cut after 15 seconds to 60 minutes from its first flow, and judged by the ladder of verdicts,
as `ethogram identify` and the live service judge it. Nothing of its laboratory, of the unit, or fitted on them is used
(as in [the first minute](first-minute.md)). Runs: the set-ups of the Aalto corpus (the device joins the network, about
20 times each), the interactions of the CIC corpus (a device that is already there is used), and the begin of the
captures of Stevens, where the devices were on the network before: only Aalto has the burst of a start.

*Right* and *wrong* are shares of all runs; the rest is silent. *Best* is the share of runs whose most probable label is
right, stated or not. Brackets are 95 % intervals of a bootstrap that draws products, since runs of one are alike.
*Lasting* is the number of runs that are that long; shorter ones count with all that they have. There is no line where
no run lasts that long.

"""


READING = """
## What follows

A device that joins, with the names and MAC that it shows, is recognised within half a minute: in the set-ups of
Aalto, 81 % of the runs have a right statement after 30 seconds, 76 % after 15, and hardly any a wrong one; later
minutes of these runs add nothing. What is stated is mostly the vendor; kinds are right in 29 % and wrong in 8 % from
then on.

Without names and MAC, next to nothing is stated, and rightly: the most probable vendor is right in a third of the
runs.

The interactions of the CIC corpus have neither names nor MACs in their records, so that both tables are alike:
packets of half a minute, without a start. Nothing is stated but a few kinds; the vendors counted as wrong are devices
on Tuya's platform (Teckin, Yutron, HeimVision, Atomi and Globe), whose port tells the platform, which is stated as
such and not as the vendor, and counts as silent at the stated level.

At Stevens, the captures begin when the devices run; names appear as devices look them up again, after ten minutes.
Seven devices tell little: the intervals reach from .14 to .86.

The live service marks a verdict as provisional until enough is seen.
"""


def starts(card: Card, root: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Flows of a corpus with the minute since the first flow of their run, and its labels."""
    corpus = load(card, root)
    labels = corpus.labels.with_columns(
        number=pl.int_range(pl.len()).over("id", order_by="from"),
        lasts_s=(pl.col("to") - pl.col("from")).dt.total_seconds(),
    )
    return corpus.flows.join(labels.select("device", "from"), on="device"), labels


def first_minutes(flows: pl.DataFrame, minutes: float) -> pl.DataFrame:
    """What was seen in so many minutes; flows that last longer are cut, their volumes in proportion to the time."""
    end = pl.col("from") + pl.duration(seconds=round(minutes * 60))
    length = (pl.col("end") - pl.col("start")).dt.total_microseconds()
    share = ((end - pl.col("start")).dt.total_microseconds() / length).fill_nan(1.0).clip(0.0, 1.0)
    share = pl.when(length > 0).then(share).otherwise(1.0)
    return flows.filter(pl.col("start") < end).with_columns(
        *[(pl.col(name) * share).ceil().cast(flows.schema[name]) for name in VOLUMES],
        end=pl.min_horizontal("end", end),
    )


def predictions(measurement: LadderMeasurement, root: Path) -> Iterator[dict[str, object]]:
    """One row for each run, number of minutes and condition."""
    known = cards()
    for name in CORPORA:
        flows, labels = starts(known[name], root)
        macs = {device.id: device.mac for device in known[name].devices if device.mac}
        site = measurement.items.sites[next(i for i, network in enumerate(measurement.items.networks)
                                            if network in set(labels["network"]))]  # fmt: skip
        print(name, labels.height, "runs; without", site, file=sys.stderr)
        for condition in SHOWN:
            judge = measurement.judge_without(site, condition)
            for minutes in MINUTES:
                counts, _ = count(first_minutes(flows, minutes).drop("from"), CountSettings())
                # One run of each device at a time: twenty runs of one device have all names in common.
                for _, rows in labels.group_by("number", "network", maintain_order=True):
                    table = rows.sort("device").with_row_index("item")
                    windows = _windows(table, counts, minutes, names=condition.names)
                    identity = _identity(table, macs) if condition.mac else None
                    evidence = judge.public_evidence(windows, identity)
                    judge.add_library(evidence, windows)
                    decisions = judge.ladder.decide(evidence)
                    for row, item, decision in zip(table.iter_rows(named=True), evidence, decisions, strict=True):
                        truth = _truth(row, measurement)
                        yield {
                            "corpus": name, "condition": condition.name, "minutes": minutes, "model": truth.model,
                            "vendor": truth.vendor, "lasts": row["lasts_s"] >= minutes * 60,
                            **measurement.scored(decision, truth, measurement.weights_without(site)),
                            **measurement.stated(judge.verdict(item, decision), truth),
                        }  # fmt: skip


def _windows(table: pl.DataFrame, counts: pl.DataFrame, minutes: float, *, names: bool) -> Windows:
    items = table.select("item", "device", start="from", end=pl.col("from") + pl.duration(seconds=round(minutes * 60)))
    rows = counts.join(items.select("item", "device"), on="device")
    if not names:
        rows = rows.with_columns(name=pl.lit(None, dtype=pl.String))
    return Windows(ITEM.conform(items.with_columns(pl.col("item").cast(pl.UInt32))),
                   ITEM_COUNTS.conform(rows.with_columns(pl.col("item").cast(pl.UInt32))).sort(ITEM_COUNTS.names[:8]))


def _identity(table: pl.DataFrame, macs: dict[str, str]) -> pl.DataFrame:
    rows = [{"device": device, "mac": macs[id_], "fact": "mac", "value": macs[id_], "source": "card", "times": 1}
            for device, id_ in table.select("device", "id").iter_rows() if id_ in macs]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides=dict(IDENTITY.schema)) if rows else IDENTITY.empty()


def _truth(row: dict[str, str], measurement: LadderMeasurement) -> Truth:
    vendor = "" if row["vendor"] in NO_VENDOR else measurement.knowledge.vendor(row["vendor"]) or row["vendor"]
    kind = PERSONAL.get(row["model"], row["type"]) if row["coarse"] == "non-iot" else row["type"]
    return Truth(row["model"], vendor, kind)


def figures(rows: pl.DataFrame) -> pl.DataFrame:
    """Shares of each corpus, condition, level and number of minutes, with intervals over products."""
    result = []
    for (corpus, condition, minutes), table in rows.group_by("corpus", "condition", "minutes", maintain_order=True):
        for level in LEVELS:
            scored = table.filter(pl.col("vendor") != "") if level == "vendor" else table
            if not scored["lasts"].any():
                continue
            stated = scored[f"{level}_p"].to_numpy() >= scored[f"{level}_least"].to_numpy()
            right = scored[f"{level}_right"].to_numpy()
            shares = {"right": stated & right, "wrong": stated & ~right, "best": right}
            result.append({
                "corpus": corpus, "condition": condition, "minutes": minutes, "level": level, "n": scored.height,
                "products": scored["model"].n_unique(), "lasting": int(scored["lasts"].sum()),
                **{name: float(hit.mean()) for name, hit in shares.items()},
                **{f"{name}_{end}": bound for name, hit in shares.items() for end, bound in zip(
                    ("low", "high"), metrics.bootstrap_interval(lambda at, hit=hit: float(hit[at].mean()),
                                                                scored["model"].to_list()), strict=True)},
            })  # fmt: skip
    return pl.DataFrame(result)


def plot(table: pl.DataFrame, path: Path) -> None:
    """Share right of each level against minutes, corpus by corpus."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(len(SHOWN), len(CORPORA), sharex=True, sharey=True)
    for panels, condition in zip(axes, SHOWN, strict=True):
        for panel, (corpus, title) in zip(panels, CORPORA.items(), strict=True):
            mine = table.filter((pl.col("corpus") == corpus) & (pl.col("condition") == condition.name))
            for level, words in LEVELS.items():
                rows = mine.filter(pl.col("level") == level).sort("minutes")
                panel.plot(rows["minutes"], rows["right"], "o-", label=f"{words}: right")
                panel.fill_between(rows["minutes"], rows["right_low"], rows["right_high"], alpha=0.15)
            wrong = mine.filter(pl.col("level") == "stated").sort("minutes")
            panel.plot(wrong["minutes"], wrong["wrong"], "x--", color="0.4", label="stated level: wrong")
            panel.set(title=f"{title}, {condition.name}", xscale="log", ylim=(0, 1))
            panel.set_xticks(MINUTES, [f"{each:g}" for each in MINUTES], fontsize="x-small")
            panel.title.set_fontsize("small")
    for panel in axes[-1]:
        panel.set_xlabel("minutes")
    axes[0][0].set_ylabel("share of runs")
    axes[-1][-1].legend(fontsize="x-small")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure and write the page, its rows and its plot."""
    root = Path(os.environ["ETHOGRAM_CORPUS"])
    measurement = LadderBenchmark(root, cards(), on_stage=lambda line: print(line, file=sys.stderr)).measurement
    rows = pl.DataFrame(list(predictions(measurement, root)), infer_schema_length=None)
    table = figures(rows)
    wrong = rows.filter((pl.col("vendor_p") >= pl.col("vendor_least")) & ~pl.col("vendor_right"))
    print(wrong.group_by("corpus", "condition", "vendor", "vendor_best").len().sort("len").tail(12), file=sys.stderr)
    table.with_columns(pl.col(pl.Float64).round(4)).write_csv(PAGE.with_suffix(".csv"))
    plot(table, PAGE.with_suffix(".png"))
    lines = [HEAD, "![Share right against minutes](just-joined.png)"]
    for corpus, title in CORPORA.items():
        for condition in SHOWN:
            mine = table.filter((pl.col("corpus") == corpus) & (pl.col("condition") == condition.name))
            n, products = mine.filter(pl.col("level") == "stated").select("n", "products").row(0)
            lines += ["", f"## {title}, {condition.name} at hand", "", f"{n} runs of {products} products.", ""]
            cells = [
                [LEVELS[row["level"]], f"{row['minutes']:g}", str(row["n"]), str(row["lasting"]),
                 *(f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
                   for name in ("right", "wrong", "best"))]
                for row in mine.sort(pl.col("level").replace_strict({each: i for i, each in enumerate(LEVELS)}),
                                     "minutes").iter_rows(named=True)
            ]  # fmt: skip
            lines += table_lines(("level", "minutes", "n", "lasting", "right", "wrong", "best"), cells)
    PAGE.write_text("\n".join(lines) + "\n" + READING)


if __name__ == "__main__":
    main()
