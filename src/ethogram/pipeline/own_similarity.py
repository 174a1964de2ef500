"""How alike the fingerprints of one device are over time: each epoch against the device's own earlier ones."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from ethogram.fingerprint.similarity import pairwise
from ethogram.pipeline.fingerprints import service_matrix, windows_from_counts

__all__ = ["EARLIER", "EpochSimilarity", "own_similarity"]

EARLIER = 7
"""Epochs before each one that it is compared with."""


class EpochSimilarity(NamedTuple):
    """Similarity of one epoch.

    Parameters
    ----------
    start
        Of the epoch.
    score
        Mean similarity to the earlier epochs, 0 to 1; higher is more alike.
    earlier
        How many these are.
    new
        Services of the epoch that none of them has, those with most weight first.
    """

    start: datetime
    score: float
    earlier: int
    new: tuple[str, ...]


def own_similarity(counts: pl.DataFrame, epoch_s: int = 86_400, *, most: int = 60) -> list[EpochSimilarity]:
    """Compare the fingerprint of each epoch of one device with those of its :data:`EARLIER` earlier epochs.

    The similarity is Ružička's of the shares of services, as in stability of fingerprints.

    Parameters
    ----------
    counts
        Of one device, form :data:`ethogram.schema.COUNTS`, sorted by its key.
    epoch_s
        Length of an epoch in seconds; epochs without traffic are left out.
    most
        Latest epochs to look at.

    Returns
    -------
    rows
        One for each epoch but the first, in order.

    Examples
    --------
    >>> from ethogram.schema import COUNTS
    >>> own_similarity(COUNTS.empty())
    []
    """
    if not counts.height:
        return []
    windows = windows_from_counts(counts, epoch_s)
    starts = windows.items["start"].to_list()
    matrix = service_matrix(windows)
    scores = pairwise(matrix)
    present = [{name: weight for name, weight in matrix.row(at).items() if weight} for at in range(len(starts))]
    rows = []
    for at in range(max(1, len(starts) - most), len(starts)):
        first = max(0, at - EARLIER)
        known = set[str]().union(*present[first:at])
        new = sorted(present[at].keys() - known, key=lambda name: (-present[at][name], name))
        rows.append(EpochSimilarity(starts[at], float(np.mean(scores[at, first:at])), at - first, tuple(new)))
    return rows
