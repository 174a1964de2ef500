"""Total counters of flows that are reported again and again: what came since the record before.

A total counter (RFC 7012 section 3.2.3) counts from the flow's beginning, so that an exporter which reports a living
flow every minute states a larger number each time. The first report counts whole, a later one by what was added; it
then begins where the one before ended. A flow is known again by its endpoints, its protocol and its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler

__all__ = ["COUNTERS", "CumulativeCounters"]

COMPILER = Compiler.of(__file__)

COUNTERS = ("octets", "packets", "reverse_octets", "reverse_packets")
PLACES = 1 << 17  # of one table; half of them are used at most, and there are two tables


@COMPILER.checked
def mix(number: Any, value: Any) -> Any:
    """Stir a value into a hash (the finalizer of SplitMix64)."""
    number = (number ^ value) + np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return number ^ (number >> np.uint64(31))


@COMPILER.checked
def hashed(parts: Any, seed: Any) -> Any:
    """A number for each row of ``parts`` (uint64[P, N]); never 0, which stands for an empty place."""
    found = np.full(parts.shape[1], seed, np.uint64)
    for part in range(parts.shape[0]):
        for row in range(parts.shape[1]):
            found[row] = mix(found[row], parts[part, row])
    for row in range(found.shape[0]):
        found[row] |= np.uint64(1)
    return found


@COMPILER.checked
def place_of(keys: Any, key: Any) -> int:
    """Where a key is, or the empty place where it would be."""
    mask = np.int64(keys.shape[0] - 1)
    at = np.int64(key >> np.uint64(33)) & mask
    while keys[at] != np.uint64(0) and keys[at] != key:
        at = (at + 1) & mask
    return at  # type: ignore[return-value]


@COMPILER.checked
def added(
    rows_key: Any, counts: Any, end_us: Any, keys: Any, values: Any, old_keys: Any, old_values: Any, used: int,
    first: int, start_us: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Replace totals by what was added, from row ``first`` on, until the table is half full.

    Parameters
    ----------
    rows_key
        uint64[N], one for each flow.
    counts
        uint64[4, N], replaced.
    end_us, start_us
        int64[N]; the start of a later report is replaced by the end of the one before.
    keys, values, old_keys, old_values
        The tables: uint64[PLACES], and uint64[PLACES, 5] with four totals and the end.
    used, first
        Places used, and the row to begin with.

    Returns
    -------
    row, used, again
        The row that comes next, places used, and reports of flows that were known.
    """
    again = 0
    for row in range(first, rows_key.shape[0]):
        key = rows_key[row]
        at = place_of(keys, key)
        known = keys[at] == key
        if not known:
            if 2 * (used + 1) > keys.shape[0]:
                return row, used, again
            keys[at] = key
            used += 1
            before = place_of(old_keys, key)
            known = old_keys[before] == key
            if known:
                values[at] = old_values[before]
        grown = known
        for k in range(4):
            grown = grown and counts[k, row] >= values[at, k]
        last_us = np.int64(values[at, 4])
        for k in range(4):
            total = counts[k, row]
            if grown:
                counts[k, row] = total - values[at, k]
            values[at, k] = total
        values[at, 4] = np.uint64(max(end_us[row], 0))
        if grown:
            again += 1
            start_us[row] = min(max(start_us[row], last_us), end_us[row])
    return rows_key.shape[0], used, again


class CumulativeCounters:
    """What flows had counted when they were last reported.

    At most about 130,000 flows are known; those reported least lately are forgotten, and count whole if they come
    again.

    Attributes
    ----------
    again
        Reports of flows that were known.

    Examples
    --------
    >>> totals = CumulativeCounters()
    >>> key, start, end = [np.array([7], np.uint64)], np.array([5]), np.array([10])
    >>> for total in (3, 9):
    ...     counts, begun = totals.since(key, {"octets": np.array([total], np.uint64)}, start, end)
    ...     print(counts["octets"], begun)
    [3] [5]
    [6] [10]
    """

    def __init__(self) -> None:
        self._seed = np.uint64(np.random.default_rng().integers(1 << 63))
        self._keys, self._values = self._empty(2)  # most exporters have no totals: room is made on first use
        self._old_keys, self._old_values = self._empty(2)
        self._used = 0
        self.again = 0

    @staticmethod
    def _empty(places: int = PLACES) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        return np.zeros(places, np.uint64), np.zeros((places, 5), np.uint64)

    def since(
        self, key: Sequence[NDArray[Any]], counts: dict[str, NDArray[np.uint64]], start: NDArray[np.int64],
        end: NDArray[np.int64],
    ) -> tuple[dict[str, NDArray[np.uint64]], NDArray[np.int64]]:  # fmt: skip
        """Counts since the last report of each flow, and when that was.

        Parameters
        ----------
        key
            What tells flows apart: arrays of length N.
        counts
            Totals by name, uint64[N] each; those of :data:`COUNTERS` that are missing are 0.
        start, end
            int64[N], microseconds since 1970.
        """
        rows = start.shape[0]
        zero = np.zeros(rows, np.uint64)
        table = np.stack([counts.get(name, zero) for name in COUNTERS])
        parts = np.stack([np.asarray(part).astype(np.uint64) for part in key])
        numbers, begun, row = hashed(parts, self._seed), start.copy(), 0
        while row < rows:
            row, self._used, again = added(
                numbers, table, end, self._keys, self._values, self._old_keys, self._old_values, self._used, row, begun
            )
            self.again += again
            if row < rows:
                self._old_keys, self._old_values = self._keys, self._values
                self._keys, self._values = self._empty()
                self._used = 0
        return {name: table[k] for k, name in enumerate(COUNTERS) if name in counts}, begun
