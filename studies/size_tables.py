"""Table of all encoders, fewest parameters first; effects of pretraining and of whitening."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ethogram.bench import FlowRow, figure_text, method_name, quantity_text
from studies.size_claim import (
    LARGE,
    LEAST,
    TIMES,
    Ranked,
    Sized,
    compared,
    millions,
    ranked_by_size,
    scopes,
    size_verdict,
)

__all__ = ["brought_lines", "size_lines"]

LEARNT_NOTHING = {"vae": "untrained", "ae": "untrained", "pca": "random-projection"}
"""Method to its variant with random weights, if it is not named ``…-untrained``."""

Tasks = Mapping[str, Sequence[FlowRow]]


def size_lines(by_task: Tasks, picture: str = "") -> list[str]:
    """Section on the claim about size over all encoders: verdict, rule, limits, correlations, and the table."""
    encoders = compared(by_task)
    if not encoders:
        return []
    across = encoders[0].across
    head = f"### 3b. Larger encoders are not necessarily more robust, over all encoders: {size_verdict(by_task)}"
    if not across:
        return [
            head,
            "",
            "No row is of a task across networks with third-party encoders.",
            "",
            *_table(encoders),
            "",
        ]
    return [
        head,
        "",
        "- Rule, over the encoders that learnt: does not hold when the rank correlation of parameters and mean macro-F1"
        " across networks is above 0 with its whole interval. Else it holds when, of the pairs of encoders of which the"
        f" one has at least {TIMES} times the parameters of the other and one is surely better on a task across"
        " (intervals by device-day do not overlap), the larger is the better one in no more than half. Fewer than"
        f" {LEAST} encoders, or sure pairs, say nothing.",
        "- Intervals of correlations: encoders drawn again, 95 %. Encoders that share a design are not independent, so"
        " they are too narrow rather than too wide.",
        *_limits(encoders),
        "",
        "| encoders | n | parameters | rank correlation with macro-F1, mean across | "
        + " | ".join(across)
        + " | surely better is the larger | |",
        "|---|---|---|---|" + "---|" * (len(across) + 2),
        *(_rank_line(name, part, across) for name, part in scopes(encoders).items()),
        "",
        *([picture, ""] if picture else []),
        *_table(encoders),
        "",
    ]


def _limits(encoders: Sequence[Sized]) -> list[str]:
    """Limits of the table, given its encoders."""
    large = [encoder for encoder in encoders if encoder.parameters >= LARGE]
    random, learnt = (
        [f"`{encoder.row.method}`" for encoder in large if encoder.learnt is side] for side in (False, True)
    )
    lines = []
    if random:
        lines.append(
            f"- Encoders with **random weights** (°): {', '.join(random)}. Their figures show the effect of"
            " architecture, input and size, and not that of pretraining."
        )
    lines.append(
        f"- Large pretrained encoders: {', '.join(learnt)}." if learnt else
        f"- No encoder with {millions(LARGE)} parameters or more has learnt weights, so the claim about large"
        " *pretrained* encoders is tested only up to the sizes of those that have."
    )  # fmt: skip
    short = [f"`{encoder.row.method}`" for encoder in encoders if math.isnan(encoder.mean)]
    if short:
        lines.append(f"- Not in the correlations, since a task is missing: {', '.join(short)}.")
    return lines


def _rank_line(scope: str, encoders: Sequence[Sized], across: Sequence[str]) -> str:
    ranking = ranked_by_size(encoders)
    sizes = f"{millions(ranking.least)} … {millions(ranking.most)}" if ranking.encoders else ""
    cells = [_rho(ranking), *(_rho(ranked_by_size(encoders, task)) for task in across)]
    sure = f"{ranking.larger} of {ranking.sure} pairs" if ranking.encoders else ""
    return f"| {scope} | {ranking.encoders} | {sizes} | " + " | ".join(cells) + f" | {sure} | {ranking.verdict} |"


def _rho(ranking: Ranked) -> str:
    return "" if math.isnan(ranking.rho) else f"{ranking.rho:+.2f} [{ranking.low:+.2f}, {ranking.high:+.2f}]"


def _table(encoders: Sequence[Sized]) -> list[str]:
    inside, across = encoders[0].inside, encoders[0].across
    lines = [
        "Macro-F1 inside a network and across, logistic regression on each embedding, fewest parameters first:",
        "",
        "| encoder | weights | parameters | embedding | flows/s | memory, MiB | "
        + " | ".join([*(f"inside: {name}" for name in inside), *(f"across: {name}" for name in across), "mean across"])
        + " |",
        "|---|---|---|---|---|---|" + "---|" * (len(inside) + len(across) + 1),
    ]
    best = max((encoder.mean for encoder in encoders if not math.isnan(encoder.mean)), default=math.nan)
    for encoder in encoders:
        speed = encoder.most(lambda row: row.cost.flows_per_s, lambda values: float(np.median(values)))
        memory = encoder.most(lambda row: row.cost.memory_mib, max)
        mean = f"**{encoder.mean:.3f}**" if encoder.mean == best else figure_text(encoder.mean)
        cells = [
            method_name(encoder.row), encoder.row.origin, f"{encoder.parameters:,}",
            f"{encoder.row.cost.embedding or 0:,}",
            quantity_text(speed), quantity_text(None if memory is None else max(memory, 0.5)),
            *(figure_text(encoder.value(name)) for name in (*inside, *across)), mean,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def brought_lines(by_task: Tasks) -> list[str]:
    """Sections on the effects of pretraining and of whitening: macro-F1 without and with, by task."""
    tasks = {
        name: {row.method: row for row in rows} for name, rows in by_task.items() if rows[0].experiment == "others"
    }
    methods = list(dict.fromkeys(method for rows in tasks.values() for method in rows))
    bare = {name: LEARNT_NOTHING.get(name, f"{name}-untrained") for name in methods}
    taught = [(without, name) for name, without in bare.items() if without in methods]
    whitened = [(name, f"{name}-whitened") for name in methods if f"{name}-whitened" in methods]
    return [
        *_pairs("What pretraining brings", "the same network with random weights → with what it learnt", taught, tasks),
        *_pairs("What whitening brings", "embeddings as they are → whitened on the training flows", whitened, tasks),
    ]


def _pairs(
    head: str, says: str, pairs: Sequence[tuple[str, str]], tasks: Mapping[str, Mapping[str, FlowRow]]
) -> list[str]:
    if not pairs:
        return []
    across = [name for name, rows in tasks.items() if next(iter(rows.values())).where == "across"]
    lines = [
        f"## {head}",
        "",
        f"Macro-F1 on the tasks with third-party encoders: {says}. Most rows have few flows and one seed: differences"
        " of a few hundredths are chance.",
        "",
        "| encoder | parameters | " + " | ".join(tasks) + " | mean difference across |",
        "|---|---|" + "---|" * (len(tasks) + 1),
    ]
    gains = []
    for without, name in pairs:
        cells, across_gains = [], []
        for task, rows in tasks.items():
            gain = rows[name].value() - rows[without].value() if name in rows and without in rows else math.nan
            cells.append("" if math.isnan(gain) else
                         f"{rows[without].value():.3f} → {rows[name].value():.3f} ({gain:+.3f})")  # fmt: skip
            across_gains += [gain] if task in across and not math.isnan(gain) else []
        gains += across_gains
        row = next(rows[name] for rows in tasks.values() if name in rows)
        mean = f"{np.mean(across_gains):+.3f}" if across_gains else ""
        lines.append(f"| {method_name(row)} | {row.cost.parameters or 0:,} | " + " | ".join(cells) + f" | {mean} |")
    if gains:
        lines += ["", f"Across networks: higher in {sum(gain > 0 for gain in gains)} of {len(gains)} comparisons, mean"
                  f" difference {np.mean(gains):+.3f}."]  # fmt: skip
    return [*lines, ""]
