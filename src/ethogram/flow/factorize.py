"""Replace values by small numbers, in order of first appearance, so that compiled code needs no texts."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram._hashing import find_pair, mix64
from ethogram.flow.compiled import compiled, inner

__all__ = ["factorize", "factorize_pairs", "hash_seed", "hash_texts", "stable_argsort"]

_DIGIT = 11  # bits sorted at once: the counters fit into the L1 cache

Numbers = NDArray[np.int32]


def hash_seed() -> int:
    """Draw a random seed for :func:`hash_texts` that nobody outside can predict."""
    return secrets.randbits(62) + 1


def hash_texts(texts: pl.Series, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hash each text to 128 bits, in two halves.

    Collisions occur once in 10^38 pairs, so equal hashes are treated as equal texts. They cannot be provoked without
    knowing the seed.
    """
    hash_a, hash_b = (column(texts.hash(seed + i)) for i in range(2))
    return hash_a, hash_b


def factorize(texts: pl.Series) -> tuple[Numbers, pl.Series]:
    """Number the distinct texts of a column without nulls.

    Returns
    -------
    numbers, texts
        Number of each row, length N; text of each number.

    Examples
    --------
    >>> numbers, texts = factorize(pl.Series(["b", "a", "b"]))
    >>> numbers.tolist(), texts.to_list()
    ([0, 1, 0], ['b', 'a'])
    """
    numbers, first = factorize_pairs(*hash_texts(texts, hash_seed()))
    return numbers, texts.gather(pl.Series(first))


def factorize_pairs(low: NDArray[np.uint64], high: NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
    """Number distinct pairs of numbers; returns the number of each row, and the first row of each number."""
    numbers, first = np.empty(len(low), np.int32), np.empty(len(low), np.int32)
    count = number_pairs(low, high, numbers, first)
    return numbers, first[:count].copy()


@compiled
def number_pairs(low: Any, high: Any, numbers: Any, first: Any) -> Any:
    """Fill in ``numbers`` and ``first``; returns the count of distinct pairs. The table grows as needed."""
    slots = np.full(1 << 12, -1, np.int32)
    known = np.empty((1 << 11, 2), np.uint64)
    count = 0
    for i in range(len(low)):
        at = find_pair(slots, known, low[i], high[i], mix64(low[i], high[i]))
        if slots[at] < 0:
            slots[at] = count
            known[count, 0], known[count, 1] = low[i], high[i]
            first[count] = i
            count += 1
            if count == len(known):
                known, slots = grow(known)
            numbers[i] = count - 1
        else:
            numbers[i] = slots[at]
    return count


@inner
def grow(known: Any) -> Any:
    """Copy the keys into a table of four times the size, with new slots."""
    more = np.empty((4 * len(known), 2), np.uint64)
    more[: len(known)] = known
    slots = np.full(2 * len(more), -1, np.int32)
    for row in range(len(known)):
        first, second = known[row, 0], known[row, 1]
        slots[find_pair(slots, more, first, second, mix64(first, second))] = row
    return more, slots


@compiled
def stable_argsort(values: Any) -> Any:
    """Row numbers sorted by value (int64, length N), by a radix sort; equal values keep their order."""
    n = len(values)
    order = np.arange(n).astype(np.int32)
    least, most, ascending = np.int64(0), np.int64(0), True
    for i in range(n):
        if i == 0:
            least = most = values[0]
        ascending = ascending and values[i] >= values[max(i - 1, 0)]
        least, most = min(least, values[i]), max(most, values[i])
    other = np.empty(n, np.int32)
    shift = 0
    counts = np.empty((1 << _DIGIT) + 1, np.int64)
    # A difference beyond 2^62 does not fit into 64 bits; no valid time differs by as much, so the order is kept.
    while not ascending and shift < 62 and (most - least) >> shift:
        counts[:] = 0
        for i in range(n):
            counts[(((values[i] - least) >> shift) & ((1 << _DIGIT) - 1)) + 1] += 1
        for digit in range(1 << _DIGIT):
            counts[digit + 1] += counts[digit]
        for i in range(n):
            digit = ((values[order[i]] - least) >> shift) & ((1 << _DIGIT) - 1)
            other[counts[digit]] = order[i]
            counts[digit] += 1
        order, other = other, order
        shift += _DIGIT
    return order
