"""Claim on size over all encoders: whether larger ones are better across networks.

The rows are of tasks that measure third-party encoders and ours on the same small sample with one probe. The rule was
fixed before measuring: size is judged by the rank correlation of parameters and mean macro-F1 across networks, with a
bootstrap interval over encoders, and by pairs of encoders with disjoint intervals. Encoders with random weights show
the effect of architecture and input only, and are excluded from the verdict.
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

from ethogram.bench import FlowRow

__all__ = ["LARGE", "LEAST", "TIMES", "Ranked", "Sized", "compared", "millions", "rank_correlation", "ranked_by_size",
           "scopes", "size_verdict"]  # fmt: skip

LARGE = 10_000_000
"""Minimum number of parameters of a large encoder: ten times ours, a tenth of the large third-party ones."""

TIMES = 4
"""Minimum ratio of parameters in a pair of a smaller and a larger encoder."""

LEAST = 5
"""Minimum number of encoders, and of pairs with disjoint intervals, for a verdict."""

DRAWS = 10_000
OTHER_PROBES = ("-forest", "-knn", "-mlp", "-whitened")
"""Suffixes of methods that use another probe on, or another form of, the same embeddings."""

Floats = NDArray[np.float64]
Tasks = Mapping[str, Sequence[FlowRow]]


@dataclass(frozen=True)
class Sized:
    """One encoder: its cost, and its macro-F1 by task.

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
        """One of its rows, for values that are the same in all."""
        return next(iter(self.rows.values()))

    @property
    def parameters(self) -> int:
        """Number of weights, learnt or random; 0: none."""
        return self.row.cost.parameters or 0

    @property
    def learnt(self) -> bool:
        """Whether it has weights that are not random."""
        return self.row.origin not in ("no weights", "random weights")

    def value(self, task: str) -> float:
        """Macro-F1; NaN if it did not run."""
        return self.rows[task].value() if task in self.rows else math.nan

    @property
    def mean(self) -> float:
        """Mean macro-F1 over the tasks across networks; NaN when one is missing."""
        return float(np.mean([self.value(task) for task in self.across])) if self.across else math.nan

    def most(self, of: Callable[[FlowRow], float | None], how: Callable[[Sequence[float]], float]) -> float | None:
        """A cost, aggregated over its tasks."""
        values = [value for row in self.rows.values() if (value := of(row)) is not None]
        return how(values) if values else None


def compared(by_task: Tasks) -> list[Sized]:
    """Encoders of the tasks with third-party encoders, fewest parameters first; one per embedding."""
    tasks = {name: rows for name, rows in by_task.items() if rows[0].experiment == "others"}
    inside = tuple(name for name, rows in tasks.items() if rows[0].where == "inside")
    across = tuple(name for name in tasks if name not in inside)
    by_method: dict[str, dict[str, FlowRow]] = {}
    for name, rows in tasks.items():
        for row in rows:
            if not row.detector and not row.method.endswith(OTHER_PROBES) and row.cost.parameters is not None:
                by_method.setdefault(row.method, {})[name] = row
    encoders = [Sized(rows, inside, across) for rows in by_method.values()]
    return sorted(encoders, key=lambda encoder: (encoder.parameters, encoder.row.method))


def rank_correlation(size: Sequence[float], quality: Sequence[float], draws: int = DRAWS) -> tuple[float, float, float]:
    """Spearman's rank correlation and its 95 % bootstrap interval over encoders.

    >>> rho, low, high = rank_correlation([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])
    >>> round(rho, 6), round(low, 6), round(high, 6)
    (-1.0, -1.0, -1.0)
    """
    x, y = np.asarray(size, np.float64), np.asarray(quality, np.float64)
    if len(x) < 3 or len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return math.nan, math.nan, math.nan
    resampled = np.random.default_rng(0).integers(0, len(x), (draws, len(x)))
    correlations = _spearman(x[resampled], y[resampled])
    low, high = np.nanpercentile(correlations, (2.5, 97.5))
    return float(_spearman(x[None], y[None])[0]), float(low), float(high)


def _spearman(x: Floats, y: Floats) -> Floats:
    """Rank correlation of each row of two tables; NaN for constant rows."""
    a, b = (rankdata(side, axis=1) for side in (x, y))
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (a, b))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    correlations: Floats = np.divide((a * b).sum(axis=1), scale, out=np.full(len(a), np.nan), where=scale > 0)
    return correlations


@dataclass(frozen=True)
class Ranked:
    """Parameters and macro-F1 over some encoders, and the verdict.

    Parameters
    ----------
    encoders, least, most
        Number of encoders, and their minimum and maximum number of parameters.
    rho, low, high
        Rank correlation with its interval.
    sure, larger
        Pairs of a smaller and a larger encoder with disjoint intervals, and those in which the larger is better.
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
        """The verdict of the rule."""
        if self.encoders < LEAST or math.isnan(self.low):
            return "cannot be told"
        if self.low > 0:
            return "does not hold"
        return "holds" if self.sure >= LEAST and 2 * self.larger <= self.sure else "cannot be told"


def ranked_by_size(encoders: Sequence[Sized], task: str | None = None) -> Ranked:
    """Parameters against macro-F1 of one task, or the mean over those across."""
    known = [encoder for encoder in encoders if not math.isnan(encoder.mean if task is None else encoder.value(task))]
    sizes = [encoder.parameters for encoder in known]
    values = [encoder.mean if task is None else encoder.value(task) for encoder in known]
    rho, low, high = rank_correlation(sizes, values)
    tasks = (encoders[0].across if encoders else ()) if task is None else (task,)
    sure = [gain for name in tasks for gain in _sure_gains(known, name)]
    return Ranked(len(known), min(sizes, default=0), max(sizes, default=0), rho, low, high, len(sure),
                  sum(gain > 0 for gain in sure))  # fmt: skip


def _sure_gains(encoders: Sequence[Sized], task: str) -> list[float]:
    """Gains of larger encoders over smaller ones, for pairs with disjoint intervals by device-day."""
    gains = []
    for small, large in itertools.combinations(encoders, 2):  # fewest parameters first
        pairs = [first.rows[task].interval() if task in first.rows else None for first in (small, large)]
        first, other = pairs
        if first and other and large.parameters >= TIMES * max(small.parameters, 1):
            gains += [large.value(task) - small.value(task)] if first[1] < other[0] or other[1] < first[0] else []
    return gains


def scopes(encoders: Sequence[Sized]) -> dict[str, list[Sized]]:
    """Sets of encoders to judge, by description: all, those that learnt, and the large ones among these."""
    learnt = [encoder for encoder in encoders if encoder.learnt]
    return {
        "all, also with random weights or none": list(encoders),
        "those that learnt": learnt,
        f"those that learnt, from {millions(LARGE)}": [encoder for encoder in learnt if encoder.parameters >= LARGE],
    }


def size_verdict(by_task: Tasks) -> str:
    """The verdict on the claim, from encoders that learnt and within the range of their sizes."""
    encoders = [encoder for encoder in compared(by_task) if encoder.learnt]
    ranking = ranked_by_size(encoders)
    if ranking.verdict == "cannot be told" or ranking.most >= LARGE:
        return ranking.verdict
    return f"{ranking.verdict} up to {millions(ranking.most)} parameters, beyond cannot be told"


def millions(parameters: int) -> str:
    """A number of parameters as short text.

    >>> millions(131_535_360), millions(5_440)
    ('132 M', '5,440')
    """
    return f"{parameters / 1e6:.3g} M" if parameters >= 1e5 else f"{parameters:,}"
