"""Does size help across networks, over encoders of all kinds? Quality against parameters in one table, and a rule.

The rows are those of tasks in which encoders of others stand beside ours on the same small sample, with one probe. The
rule was written before there were rows: size is judged by the rank correlation of parameters and mean macro-F1 across
networks, with an interval over encoders drawn again, and by the pairs of encoders of which one is surely better. An
encoder with random weights shows what its architecture and its input give. It cannot speak for pretraining, so it is
left out where the claim is judged.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ethogram.evaluate.flow_rows import FlowRow
from ethogram.evaluate.flow_tables import method_name, quantity
from ethogram.evaluate.tables import number

__all__ = ["Ranked", "Sized", "brought_lines", "compared", "rank_correlation", "ranked_by_size", "size_lines",
           "size_verdict"]  # fmt: skip

LARGE = 10_000_000
"""Parameters from which on an encoder is a large one: ten times ours, a tenth of the large ones of others."""

TIMES = 4
"""A pair is one of a smaller and a larger encoder when the larger has so many times the parameters."""

LEAST = 5
"""Encoders, and sure pairs of them, below which nothing is said."""

DRAWS = 10_000
OTHER_PROBES = ("-forest", "-knn", "-mlp", "-whitened")
"""Ends of names of rows that are another probe on, or another form of, the same embeddings."""

LEARNT_NOTHING = {"vae": "untrained", "ae": "untrained", "pca": "random-projection"}
"""Methods whose shape with random weights has a name of its own; others' is theirs and ``-untrained``."""

Floats = NDArray[np.float64]
Tasks = Mapping[str, Sequence[FlowRow]]


@dataclass(frozen=True)
class Sized:
    """One encoder: what it costs, and its macro-F1 by task.

    Parameters
    ----------
    rows
        Its rows by task.
    inside, across
        Names of the tasks inside a network and across; the same for all encoders.
    """

    rows: Mapping[str, FlowRow]
    inside: tuple[str, ...]
    across: tuple[str, ...]

    @property
    def row(self) -> FlowRow:
        """One of its rows, for what is the same in all."""
        return next(iter(self.rows.values()))

    @property
    def parameters(self) -> int:
        """Numbers that were learnt or drawn; 0: it has none."""
        return self.row.cost.parameters or 0

    @property
    def learnt(self) -> bool:
        """Whether it has weights, and they are not random."""
        return self.row.origin not in ("no weights", "random weights")

    def value(self, task: str) -> float:
        """Macro-F1; NaN where it did not run."""
        return self.rows[task].value() if task in self.rows else math.nan

    @property
    def mean(self) -> float:
        """Mean macro-F1 over the tasks across networks; NaN when one is missing."""
        return float(np.mean([self.value(task) for task in self.across])) if self.across else math.nan

    def most(self, of: Callable[[FlowRow], float | None], how: Callable[[Sequence[float]], float]) -> float | None:
        """One figure of what it costs, over its tasks."""
        found = [value for row in self.rows.values() if (value := of(row)) is not None]
        return how(found) if found else None


def compared(by_task: Tasks) -> list[Sized]:
    """The encoders of the tasks with encoders of others, fewest parameters first; one row for each embedding."""
    tasks = {name: rows for name, rows in by_task.items() if rows[0].experiment == "others"}
    inside = tuple(name for name, rows in tasks.items() if rows[0].where == "inside")
    across = tuple(name for name in tasks if name not in inside)
    found: dict[str, dict[str, FlowRow]] = {}
    for name, rows in tasks.items():
        for row in rows:
            if not row.detector and not row.method.endswith(OTHER_PROBES) and row.cost.parameters is not None:
                found.setdefault(row.method, {})[name] = row
    encoders = [Sized(rows, inside, across) for rows in found.values()]
    return sorted(encoders, key=lambda one: (one.parameters, one.row.method))


def rank_correlation(size: Sequence[float], quality: Sequence[float], draws: int = DRAWS) -> tuple[float, float, float]:
    """Spearman's rank correlation and its 95 % interval, encoders drawn again.

    >>> rho, low, high = rank_correlation([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])
    >>> round(rho, 6), round(low, 6), round(high, 6)
    (-1.0, -1.0, -1.0)
    """
    x, y = np.asarray(size, np.float64), np.asarray(quality, np.float64)
    if len(x) < 3 or len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return math.nan, math.nan, math.nan
    chosen = np.random.default_rng(0).integers(0, len(x), (draws, len(x)))
    found = _spearman(x[chosen], y[chosen])
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return float(_spearman(x[None], y[None])[0]), float(low), float(high)


def _spearman(x: Floats, y: Floats) -> Floats:
    """Of each line of two tables; NaN where all of one is alike."""
    a, b = (rankdata(side, axis=1) for side in (x, y))
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (a, b))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    found: Floats = np.divide((a * b).sum(axis=1), scale, out=np.full(len(a), np.nan), where=scale > 0)
    return found


@dataclass(frozen=True)
class Ranked:
    """Parameters and macro-F1 over some encoders, and what the rule says to it.

    Parameters
    ----------
    encoders, least, most
        How many there are, and their least and most parameters.
    rho, low, high
        Rank correlation with its interval.
    sure, larger
        Pairs of a smaller and a larger one of which one is surely better, and in how many it is the larger.
    """

    encoders: int
    least: int
    most: int
    rho: float
    low: float
    high: float
    sure: int
    larger: int

    @property
    def verdict(self) -> Literal["holds", "does not hold", "cannot be told"]:
        """What the rule says."""
        if self.encoders < LEAST or math.isnan(self.low):
            return "cannot be told"
        if self.low > 0:
            return "does not hold"
        return "holds" if self.sure >= LEAST and 2 * self.larger <= self.sure else "cannot be told"


def ranked_by_size(encoders: Sequence[Sized], task: str | None = None) -> Ranked:
    """Parameters against macro-F1 of one task, or the mean over those across."""
    known = [one for one in encoders if not math.isnan(one.mean if task is None else one.value(task))]
    sizes = [one.parameters for one in known]
    rho, low, high = rank_correlation(sizes, [one.mean if task is None else one.value(task) for one in known])
    tasks = (encoders[0].across if encoders else ()) if task is None else (task,)
    sure = [gain for name in tasks for gain in _sure_gains(known, name)]
    return Ranked(len(known), min(sizes, default=0), max(sizes, default=0), rho, low, high, len(sure),
                  sum(gain > 0 for gain in sure))  # fmt: skip


def _sure_gains(encoders: Sequence[Sized], task: str) -> list[float]:
    """What larger ones gain over smaller ones, where the intervals of the two by device-day do not overlap."""
    gains = []
    for small, large in itertools.combinations(encoders, 2):  # fewest parameters first
        pairs = [one.rows[task].interval() if task in one.rows else None for one in (small, large)]
        one, other = pairs
        if one and other and large.parameters >= TIMES * max(small.parameters, 1):
            gains += [large.value(task) - small.value(task)] if one[1] < other[0] or other[1] < one[0] else []
    return gains


def _scopes(encoders: Sequence[Sized]) -> dict[str, list[Sized]]:
    learnt = [one for one in encoders if one.learnt]
    return {
        "all, also with random weights or none": list(encoders),
        "those that learnt": learnt,
        f"those that learnt, from {_millions(LARGE)}": [one for one in learnt if one.parameters >= LARGE],
    }


def size_verdict(by_task: Tasks) -> str:
    """What the table says to the claim: judged on encoders that learnt, and only as far as their sizes go."""
    encoders = [one for one in compared(by_task) if one.learnt]
    found = ranked_by_size(encoders)
    if found.verdict == "cannot be told" or found.most >= LARGE:
        return found.verdict
    return f"{found.verdict} up to {_millions(found.most)} parameters, beyond cannot be told"


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.3g} M" if parameters >= 1e5 else f"{parameters:,}"


def size_lines(by_task: Tasks, picture: str = "") -> list[str]:
    """The claim about size over all encoders: verdict, rule, what the table cannot answer, correlations, the table."""
    encoders = compared(by_task)
    if not encoders:
        return []
    across = encoders[0].across
    head = f"### 3b. Larger encoders are not necessarily more robust, over all encoders: {size_verdict(by_task)}"
    if not across:
        return [
            head,
            "",
            "No task across networks with encoders of others is among the rows.",
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
        *(_rank_line(name, part, across) for name, part in _scopes(encoders).items()),
        "",
        *([picture, ""] if picture else []),
        *_table(encoders),
        "",
    ]


def _limits(encoders: Sequence[Sized]) -> list[str]:
    """What the table can and cannot answer, by the encoders that are in it."""
    large = [one for one in encoders if one.parameters >= LARGE]
    random, learnt = ([f"`{one.row.method}`" for one in large if one.learnt is side] for side in (False, True))
    lines = []
    if random:
        lines.append(
            f"- With **random weights** (°) stand {', '.join(random)}: this tells what their architecture, their input"
            " and their size give, and nothing about what pretraining would have taught them."
        )
    lines.append(
        f"- Large ones with what they learnt: {', '.join(learnt)}." if learnt else
        f"- No encoder from {_millions(LARGE)} parameters stands here with what it learnt, so the claim about large"
        " *pretrained* ones is answered only as far as the sizes of those that learnt go."
    )  # fmt: skip
    short = [f"`{one.row.method}`" for one in encoders if math.isnan(one.mean)]
    if short:
        lines.append(f"- Not in the correlations, since a task is missing: {', '.join(short)}.")
    return lines


def _rank_line(scope: str, encoders: Sequence[Sized], across: Sequence[str]) -> str:
    found = ranked_by_size(encoders)
    sizes = f"{_millions(found.least)} … {_millions(found.most)}" if found.encoders else ""
    cells = [_rho(found), *(_rho(ranked_by_size(encoders, task)) for task in across)]
    sure = f"{found.larger} of {found.sure} pairs" if found.encoders else ""
    return f"| {scope} | {found.encoders} | {sizes} | " + " | ".join(cells) + f" | {sure} | {found.verdict} |"


def _rho(found: Ranked) -> str:
    return "" if math.isnan(found.rho) else f"{found.rho:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


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
    best = max((one.mean for one in encoders if not math.isnan(one.mean)), default=math.nan)
    for one in encoders:
        speed = one.most(lambda row: row.cost.flows_per_s, lambda found: float(np.median(found)))
        memory = one.most(lambda row: row.cost.memory_mib, max)
        mean = f"**{one.mean:.3f}**" if one.mean == best else number(one.mean)
        cells = [
            method_name(one.row), one.row.origin, f"{one.parameters:,}", f"{one.row.cost.embedding or 0:,}",
            quantity(speed), quantity(None if memory is None else max(memory, 0.5)),
            *(number(one.value(name)) for name in (*inside, *across)), mean,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def brought_lines(by_task: Tasks) -> list[str]:
    """What learning brings to a network, and whitening to its embeddings: macro-F1 without and with, task by task."""
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
        f"Macro-F1 on the tasks with encoders of others: {says}. Few flows and one seed for most: differences within"
        " a few hundredths are chance.",
        "",
        "| encoder | parameters | " + " | ".join(tasks) + " | mean difference across |",
        "|---|---|" + "---|" * (len(tasks) + 1),
    ]
    gains = []
    for without, name in pairs:
        cells, own = [], []
        for task, rows in tasks.items():
            gain = rows[name].value() - rows[without].value() if name in rows and without in rows else math.nan
            cells.append("" if math.isnan(gain) else
                         f"{rows[without].value():.3f} → {rows[name].value():.3f} ({gain:+.3f})")  # fmt: skip
            own += [gain] if task in across and not math.isnan(gain) else []
        gains += own
        row = next(rows[name] for rows in tasks.values() if name in rows)
        mean = f"{np.mean(own):+.3f}" if own else ""
        lines.append(f"| {method_name(row)} | {row.cost.parameters or 0:,} | " + " | ".join(cells) + f" | {mean} |")
    if gains:
        lines += ["", f"Across networks: higher in {sum(gain > 0 for gain in gains)} of {len(gains)} comparisons, mean"
                  f" difference {np.mean(gains):+.3f}."]  # fmt: skip
    return [*lines, ""]
