"""Shift ratio: reconstruction error on another network over that on later flows of the training networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ethogram.corpora.custom_flows import CorpusFlows
from ethogram.representation.encoder import Encoder
from ethogram.representation.vector import expand

__all__ = ["block_errors", "shift_of"]

MOST = 3000
"""Maximum number of flows measured, drawn at random."""


def block_errors(encoder: Encoder, loaded: CorpusFlows, rows: NDArray[np.int64]) -> dict[str, float]:
    """Mean squared reconstruction error of some flows: ``overall``, and of each block of the input."""
    view = encoder.header.view
    if rows.size > MOST:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
    sums: dict[str, float] = {}
    for begin in range(0, rows.size, 1000):
        x = expand(loaded.flows, view, rows[begin : begin + 1000])
        squares = (encoder.decode(encoder.encode(x)) - x) ** 2
        for name, part in {"overall": slice(None), **view.blocks()}.items():
            sums[name] = sums.get(name, 0.0) + float(squares[:, part].mean(1, dtype=np.float64).sum())
    return {name: value / rows.size for name, value in sums.items()}


def shift_of(here: dict[str, float], there: dict[str, float]) -> dict[str, float]:
    """Ratio of the errors ``there`` and ``here``, by block.

    >>> shift_of({"meta": 0.5}, {"meta": 1.0})
    {'shift_ratio_meta': 2.0}
    """
    return {f"shift_ratio_{name}": there[name] / here[name] for name in here if here[name] > 0 and name in there}
