"""Contrasts: the effect of one setting over pairs of rows that differ in nothing else, with intervals over seeds.

Rows are paired by task and seed. The interval is the t-interval of the means over all pairs by seed. It measures the
variance of training, not that of networks; the share of pairs with the same sign is given too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ethogram.bench import FlowRow, seed_interval

__all__ = ["Contrast", "Key", "contrast"]


@dataclass(frozen=True)
class Contrast:
    """Effect of one setting over all pairs of rows that differ in nothing else.

    Parameters
    ----------
    name
        The settings compared.
    low_side, high_side
        Mean figure of each setting; geometric means for ratios.
    effect, low, high
        Difference of the means (their quotient for ratios) with its interval over seeds.
    pairs, above
        Number of pairs, and of those in which the second setting is higher.
    seeds
        Number of seeds that both have.
    quotient
        Whether the effect is a quotient, for which 1 means no effect.
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
    name: str, first: Sequence[FlowRow], other: Sequence[FlowRow], figure: str, key: Key, *, quotient: bool = False
) -> Contrast | None:
    """Compare two groups of rows, paired by key and seed.

    Returns
    -------
    Contrast or None
        None when no rows can be paired.
    """
    partner = {key(row): row for row in first if row.seeds(figure)}
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
