"""One setting against another over result rows that differ in nothing else, with intervals over seeds.

A contrast pairs rows that differ in one setting, by task and by seed. Its interval is over seeds: for each seed the
mean over all pairs, and the t-interval of those means. It says how much chance there is in training, not how the next
network will do; the share of pairs on the same side stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ethogram.bench.metrics import seed_interval
from ethogram.bench.report.flow_rows import FlowRow

__all__ = ["Contrast", "Key", "contrast"]


@dataclass(frozen=True)
class Contrast:
    """One setting against another, over all pairs that differ in nothing else.

    Parameters
    ----------
    name
        What is compared.
    low_side, high_side
        Mean figure of the one and of the other; ratios have geometric means.
    effect, low, high
        Difference (other minus one; of ratios, their quotient) with its interval over seeds.
    pairs, above
        Pairs of rows, and in how many the other is higher.
    seeds
        Seeds that both have.
    quotient
        Whether the effect is a quotient: no effect is 1, and not 0.
    """

    name: str
    low_side: float
    high_side: float
    effect: float
    low: float
    high: float
    pairs: int
    above: int
    seeds: int
    quotient: bool = False


Key = Callable[[FlowRow], object]


def contrast(
    name: str, one: Sequence[FlowRow], other: Sequence[FlowRow], figure: str, key: Key, *, quotient: bool = False
) -> Contrast | None:
    """Compare two groups of rows by pairs of the same key and seed.

    Returns
    -------
    Contrast or None
        None when no two rows pair.
    """
    partner = {key(row): row for row in one if row.seeds(figure)}
    rows = [(partner[key(row)], row) for row in other if row.seeds(figure) and key(row) in partner]
    if not rows:
        return None
    count = min(min(len(a.seeds(figure)), len(b.seeds(figure))) for a, b in rows)
    # [pair, side, seed]
    table = np.array([[a.seeds(figure)[:count], b.seeds(figure)[:count]] for a, b in rows], np.float64)
    if quotient:
        table = np.log(np.maximum(table, 1e-12))
    by_pair = (table[:, 1] - table[:, 0]).mean(axis=1)
    by_seed = (table[:, 1] - table[:, 0]).mean(axis=0)
    low, high = seed_interval(by_seed.tolist())
    sides = table.mean(axis=(0, 2))
    scale = math.exp if quotient else float
    return Contrast(
        name, scale(sides[0]), scale(sides[1]), scale(by_seed.mean()), scale(low), scale(high), len(rows),
        int((by_pair > 0).sum()), count, quotient,
    )  # fmt: skip
