"""Distinct values as small numbers, in order of first appearance: what compiled code works on instead of texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ethogram.flow.compiled import compiled, mixed
from ethogram.schema import codes_of

__all__ = ["numbered", "numbered_pairs", "sorted_by"]

_DIGIT = 11  # bits sorted at once: the counters stay in the innermost cache

Numbers = NDArray[np.int32]


def numbered(values: pl.Series) -> tuple[Numbers, pl.Series]:
    """Number the distinct texts of a column without nulls.

    A text of Polars is 16 octets, which hold it or say where it lies. Equal ones are equal texts, so that each text is
    looked at once, and not once a row; what lies in several places is found among those few.

    Returns
    -------
    numbers, texts
        Of each row, length N; of each number.

    Examples
    --------
    >>> numbers, texts = numbered(pl.Series(["b", "a", "b", "a text that is longer than 12 octets"]))
    >>> numbers.tolist(), texts.to_list()
    ([0, 1, 0, 2], ['b', 'a', 'a text that is longer than 12 octets'])
    """
    array: Any = values.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    if array.type != pa.string_view() or not len(array):
        codes, texts = codes_of(values)
        return codes.to_numpy().astype(np.int32), texts
    views = np.frombuffer(array.buffers()[1], np.uint64).reshape(-1, 2)[array.offset : array.offset + len(array)]
    numbers, first = numbered_pairs(views[:, 0], views[:, 1])
    texts = values.gather(pl.Series(first))
    again, distinct = numbered_pairs(texts.hash(1).to_numpy(), texts.hash(2).to_numpy())
    if len(distinct) == len(first):
        return numbers, texts
    return again[numbers], texts.gather(pl.Series(distinct))


def numbered_pairs(low: NDArray[np.uint64], high: NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
    """Number distinct pairs of numbers; gives the number of each row, and the first row of each number."""
    numbers, first = np.empty(len(low), np.int32), np.empty(len(low), np.int32)
    count = number(low, high, numbers, first)
    return numbers, first[:count].copy()


@compiled
def number(low: Any, high: Any, numbers: Any, first: Any) -> Any:
    """Fill in ``numbers`` and ``first``; gives how many there are. The table grows with what it holds."""
    slots = np.full(1 << 12, -1, np.int32)
    mask = np.uint64(len(slots) - 1)
    count = 0
    for i in range(len(low)):
        at = mixed(low[i], high[i]) & mask
        while slots[at] >= 0:
            row = first[slots[at]]
            if low[row] == low[i] and high[row] == high[i]:
                break
            at = (at + np.uint64(1)) & mask
        if slots[at] >= 0:
            numbers[i] = slots[at]
            continue
        slots[at] = count
        first[count] = i
        numbers[i] = count
        count += 1
        if 2 * count > len(slots):
            slots = np.full(4 * len(slots), -1, np.int32)
            mask = np.uint64(len(slots) - 1)
            for known in range(count):
                at = mixed(low[first[known]], high[first[known]]) & mask
                while slots[at] >= 0:
                    at = (at + np.uint64(1)) & mask
                slots[at] = known
    return count


@compiled
def sorted_by(values: Any) -> Any:
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
