"""How the default identifier was chosen: on enrolment items of four networks alone, test items are never read.

    ETHOGRAM_CORPUS=... python benchmarks/choose_default.py > docs/results/default-choice.md

The enrolment items of each task are held out block by block in time and named by the others: as they are, without
their busiest service, and without their busiest service outside (a cloud that is gone). Stevens days are cut into
windows of six hours, because whole days are told apart by every candidate and cannot rank them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.counts.items import Items
from ethogram.bench.counts.score import splits_of
from ethogram.bench.counts.task import count_tasks
from ethogram.config import CountSettings
from ethogram.corpora.card import cards
from ethogram.identify.aggregate import Averaged, split_windows
from ethogram.identify.cross_network import CrossNetwork
from ethogram.identify.identifier import Identifier
from ethogram.identify.likelihood import LikelihoodRatios
from ethogram.schema import Windows

TASKS = {"e4-stevens": 7, "unsw-hours": 4, "aalto-setups": 4, "cic-interactions": 4}
"""Task and number of blocks of time."""

HARM = ("as they are", "busiest service gone", "cloud gone")
PARTS: dict[str, Callable[[], Identifier]] = {
    "S": lambda: CrossNetwork(parts=("services",)),
    "N": lambda: CrossNetwork(parts=("names",), asked=True, name_sizes=False),
    "n": lambda: CrossNetwork(parts=("names",), asked=True),
}
CANDIDATES: dict[str, dict[str, float]] = {
    "likelihood ratios alone": {},
    "+ 1/4 services + 1/2 names": {"S": 0.25, "N": 0.5},
    "+ 1/4 services + 1/2 names with sizes": {"S": 0.25, "n": 0.5},
    "+ 1/2 services + 1/2 names (default)": {"S": 0.5, "N": 0.5},
    "+ 1/2 services + 1/2 names with sizes": {"S": 0.5, "n": 0.5},
    "+ 1/2 services + names": {"S": 0.5, "N": 1.0},
    "+ 1/2 services + names with sizes": {"S": 0.5, "n": 1.0},
}


def blocks(items: Items, count: int) -> NDArray[np.int64]:
    """Successive blocks of time within each device."""
    truth = items.truth.with_columns(row=pl.int_range(pl.len())).sort("id", "start", "item")
    rank = pl.int_range(pl.len()).over("id")
    truth = truth.with_columns(block=rank * count // pl.max_horizontal(pl.len().over("id"), pl.lit(count)))
    return truth.sort("row")["block"].to_numpy().astype(np.int64)


def harmed(windows: Windows, harm: str) -> Windows:
    """Windows without their busiest service, by flows, or by packets of what is outside."""
    if harm == HARM[0]:
        return windows
    key = ["item", "protocol", "port", "role", "scope"]
    counts = windows.counts
    if harm == HARM[2]:
        resolver = (pl.col("protocol") == 17) & (pl.col("port") == 53)
        counts = counts.filter((pl.col("scope").cast(pl.String) == "wan") & ~resolver)
    by = "flows" if harm == HARM[1] else "packets_out"
    busiest = (
        counts.group_by(key)
        .agg(pl.col(by).sum())
        .sort("item", by, "protocol", "port", descending=[False, True, False, False])
        .group_by("item", maintain_order=True)
        .first()
    )
    return Windows(windows.items, windows.counts.join(busiest.select(key), on=key, how="anti"))


def cross_val(
    make: Callable[[], Identifier], windows: Windows, labels: NDArray[np.str_], group: NDArray[np.int64], harm: str
) -> NDArray[np.float64]:
    """Scores of every item by what was learnt without its block."""
    names = sorted(set(labels.tolist()))
    scores = np.full((len(windows), len(names)), -np.inf)
    for block in np.unique(group):
        inside, outside = np.flatnonzero(group == block), np.flatnonzero(group != block)
        learnt = make().fit(windows.take(outside.tolist()), labels[outside].tolist())
        columns = [names.index(name) for name in learnt.labels_]
        scores[np.ix_(inside, columns)] = learnt.decision_function(harmed(windows.take(inside.tolist()), harm))
    return scores


def accuracies(bench: CountBenchmark, name: str) -> dict[str, dict[str, float]]:
    """Accuracy of every candidate under every harm."""
    task = count_tasks()[name].model_copy(update={"counts": CountSettings(other_protocols=True)})
    items = bench.items(task, statistics=False)
    early = items.take(splits_of(task, items)[0].enrol)
    windows, labels, group = early.windows, early.labels(task.level), blocks(early, TASKS[name])
    likelihood: list[Callable[[], Identifier]] = [LikelihoodRatios]
    if name == "e4-stevens":
        windows, owner = split_windows(windows, 6 * 3600)
        labels, group = labels[owner], group[owner]
        likelihood.append(lambda: Averaged(LikelihoodRatios(), 3600))
    names = np.array(sorted(set(labels.tolist())))
    by_method: dict[str, dict[str, float]] = {}
    for harm in HARM:
        base = np.mean([cross_val(make, windows, labels, group, harm) for make in likelihood], axis=0)
        parts = {key: cross_val(make, windows, labels, group, harm) for key, make in PARTS.items()}
        for title, weights in CANDIDATES.items():
            total = base + sum(weight * parts[key] for key, weight in weights.items())
            # A label whose only block was held out cannot be named by anybody.
            fair = np.isfinite(total[np.arange(len(labels)), np.searchsorted(names, labels)])
            right = names[np.nan_to_num(total, nan=-np.inf).argmax(axis=1)] == labels
            by_method.setdefault(title, {})[harm] = float(right[fair].mean())
    return by_method


def main(arguments: Sequence[str]) -> None:
    """Print the page."""
    root = Path(arguments[0] if arguments else os.environ["ETHOGRAM_CORPUS"])
    bench = CountBenchmark(root, cards())
    table = {name: accuracies(bench, name) for name in TASKS}
    command, text = (__doc__ or "").split("\n\n", 2)[1:]
    print(f"# How the default identifier was chosen\n\n```\n{command.strip()}\n```\n\n{text.strip()}\n")
    print("Accuracy on held-out enrolment items, of likelihood ratios and of what is added to them:\n")
    print("| task | harm | " + " | ".join(CANDIDATES) + " |")
    print("|---" * (len(CANDIDATES) + 2) + "|")
    for name in TASKS:
        for harm in HARM:
            cells = " | ".join(f"{table[name][title][harm]:.3f}" for title in CANDIDATES)
            print(f"| {name} | {harm} | {cells} |")
    means = [np.mean([table[name][title][harm] for name in TASKS for harm in HARM]) for title in CANDIDATES]
    print("| **mean** | | " + " | ".join(f"**{mean:.3f}**" for mean in means) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
