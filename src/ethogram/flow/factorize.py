"""Distinct values as small numbers, in order of first appearance: what compiled code works on instead of texts."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._arrays import column
from ethogram.flow.compiled import compiled, inner, mixed

__all__ = ["factorize", "factorize_pairs", "hash_seed", "hash_texts", "stable_argsort"]

_DIGIT = 11  # bits sorted at once: the counters stay in the innermost cache

Numbers = NDArray[np.int32]


def hash_seed() -> int:
    """A number that nobody outside can know, for :func:`hash_texts`."""
    return secrets.randbits(62) + 1


def hash_texts(texts: pl.Series, seed: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Two hashes of each text, which stand for it: 128 bits.

    Different texts share them once in 10^38 pairs, so that equal hashes are taken for equal texts. Who does not know
    the seed cannot make texts that do.
    """
    one, two = (column(texts.hash(seed + i)) for i in range(2))
    return one, two


def factorize(texts: pl.Series) -> tuple[Numbers, pl.Series]:
    """Number the distinct texts of a column without nulls, by their hashes.

    Returns
    -------
    numbers, texts
        Of each row, length N; of each number.

    Examples
    --------
    >>> numbers, texts = factorize(pl.Series(["b", "a", "b"]))
    >>> numbers.tolist(), texts.to_list()
    ([0, 1, 0], ['b', 'a'])
    """
    numbers, first = factorize_pairs(*hash_texts(texts, hash_seed()))
    return numbers, texts.gather(pl.Series(first))


def factorize_pairs(low: NDArray[np.uint64], high: NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
    """Number distinct pairs of numbers; gives the number of each row, and the first row of each number."""
    numbers, first = np.empty(len(low), np.int32), np.empty(len(low), np.int32)
    count = number(low, high, numbers, first)
    return numbers, first[:count].copy()


@compiled
def number(low: Any, high: Any, numbers: Any, first: Any) -> Any:
    """Fill in ``numbers`` and ``first``; gives how many there are. The table grows with what it holds."""
    slots = np.full(1 << 12, -1, np.int32)
    known = np.empty((1 << 11, 2), np.uint64)
    mask = np.uint64(len(slots) - 1)
    count = 0
    for i in range(len(low)):
        at = mixed(low[i], high[i]) & mask
        while slots[at] >= 0 and not (known[slots[at], 0] == low[i] and known[slots[at], 1] == high[i]):
            at = (at + np.uint64(1)) & mask
        if slots[at] < 0:
            slots[at] = count
            known[count, 0], known[count, 1] = low[i], high[i]
            first[count] = i
            count += 1
            if count == len(known):
                known, slots = grown(known)
                mask = np.uint64(len(slots) - 1)
            numbers[i] = count - 1
        else:
            numbers[i] = slots[at]
    return count


@inner
def grown(known: Any) -> Any:
    """Room for four times as many, and their places."""
    more = np.empty((4 * len(known), 2), np.uint64)
    more[: len(known)] = known
    slots = np.full(2 * len(more), -1, np.int32)
    mask = np.uint64(len(slots) - 1)
    for each in range(len(known)):
        at = mixed(known[each, 0], known[each, 1]) & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = each
    return more, slots


@compiled
def stable_argsort(values: Any) -> Any:
    """Numbers of the rows in order of their value (int64, length N); equal ones stay as they came."""
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
    # Beyond 2^62 the difference has no place in 64 bits: such times are none, and stay as they came.
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
