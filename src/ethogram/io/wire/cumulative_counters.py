"""Convert cumulative counters of flows that are reported repeatedly to the increase since the previous record.

A total counter (RFC 7012 section 3.2.3) counts from the beginning of the flow, so an exporter that reports an active
flow every minute sends a growing number. The first report counts in full, later ones by their increase; such a record
begins where the previous one ended. Flows are identified by endpoints, protocol and start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._hashing import finalize64
from ethogram._numba import Compiler

__all__ = ["COUNTERS", "CumulativeCounters"]

COMPILER = Compiler.of(__file__, "../../_hashing")

COUNTERS = ("octets", "packets", "reverse_octets", "reverse_packets")
PLACES = 1 << 17  # slots of each of the two tables; at most half are used


@COMPILER.checked
def mix(number: Any, value: Any) -> Any:
    """Mix a value into a hash (SplitMix64)."""
    return finalize64((number ^ value) + np.uint64(0x9E3779B97F4A7C15))


@COMPILER.checked
def hashed(parts: Any, seed: Any) -> Any:
    """Hash each row of ``parts`` (uint64[P, N]); never 0, which marks an empty slot."""
    hashes = np.full(parts.shape[1], seed, np.uint64)
    for part in range(parts.shape[0]):
        for row in range(parts.shape[1]):
            hashes[row] = mix(hashes[row], parts[part, row])
    for row in range(hashes.shape[0]):
        hashes[row] |= np.uint64(1)
    return hashes


@COMPILER.checked
def place_of(keys: Any, key: Any) -> int:
    """The slot of a key, or the empty slot for it."""
    mask = np.int64(keys.shape[0] - 1)
    at = np.int64(key >> np.uint64(33)) & mask
    while keys[at] != np.uint64(0) and keys[at] != key:
        at = (at + 1) & mask
    return at  # type: ignore[return-value]


@COMPILER.checked
def increase(
    rows_key: Any, counts: Any, end_us: Any, keys: Any, values: Any, old_keys: Any, old_values: Any, used: int,
    first: int, start_us: Any,
) -> tuple[int, int, int]:  # fmt: skip
    """Replace totals by their increase, from row ``first`` on, until the table is half full.

    Parameters
    ----------
    rows_key
        uint64[N], the key of each flow.
    counts
        uint64[4, N], modified in place.
    end_us, start_us
        int64[N]; the start of a repeated report is set to the end of the previous one.
    keys, values, old_keys, old_values
        The tables: uint64[PLACES], and uint64[PLACES, 5] with four totals and the end.
    used, first
        Occupied slots, and the first row.

    Returns
    -------
    row, used, again
        The next row, occupied slots, and reports of known flows.
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
    """Last reported counters of flows.

    At most about 130,000 flows are stored; the least recently reported are evicted, and count in full if they reappear.

    Attributes
    ----------
    again
        Reports of known flows.

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
        self._keys, self._values = self._empty(2)  # allocated on first use: most exporters have no totals
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
        """Increase of the counters since the last report of each flow, and the start of that interval.

        Parameters
        ----------
        key
            Arrays of length N that identify flows.
        counts
            Totals by name, uint64[N] each; missing ones of :data:`COUNTERS` are 0.
        start, end
            int64[N], microseconds since 1970.
        """
        rows = start.shape[0]
        zero = np.zeros(rows, np.uint64)
        table = np.stack([counts.get(name, zero) for name in COUNTERS])
        parts = np.stack([np.asarray(part).astype(np.uint64) for part in key])
        numbers, begun, row = hashed(parts, self._seed), start.copy(), 0
        while row < rows:
            row, self._used, again = increase(
                numbers, table, end, self._keys, self._values, self._old_keys, self._old_values, self._used, row, begun
            )
            self.again += again
            if row < rows:
                self._old_keys, self._old_values = self._keys, self._values
                self._keys, self._values = self._empty()
                self._used = 0
        return {name: table[k] for k, name in enumerate(COUNTERS) if name in counts}, begun
