"""Compiled hash table from template keys to generations: all sets of a batch are looked up in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._hashing import finalize64, mix64
from ethogram.io.wire.compiled import compiled, inner

__all__ = ["GenerationTable", "look_up"]

FREE, LEFT = -1, -2  # states of a slot: never used, and removed


@inner
def start(first: Any, second: Any, seed: Any, places: int) -> int:
    """First slot of a key. The seed prevents exporters from choosing colliding keys."""
    mixed = mix64(first ^ seed, finalize64(second ^ seed))
    return np.int64(mixed >> np.uint64(33)) & (places - 1)  # type: ignore[return-value]


@inner
def find(keys: Any, generations: Any, first: Any, second: Any, seed: Any) -> int:
    """Slot of a key, or -1. The table always has a free slot, which ends the search."""
    places = generations.shape[0]
    at = start(first, second, seed, places)
    while generations[at] != FREE:
        if generations[at] >= 0 and keys[at, 0] == first and keys[at, 1] == second:
            return at
        at = (at + 1) & (places - 1)
    return -1


@compiled
def put(keys: Any, generations: Any, first: Any, second: Any, seed: Any, generation: int) -> int:
    """Set the generation of a key; returns 1 if an unused slot was taken, else 0."""
    at = find(keys, generations, first, second, seed)
    if at >= 0:
        generations[at] = generation
        return 0
    places = generations.shape[0]
    at = start(first, second, seed, places)
    while generations[at] >= 0:
        at = (at + 1) & (places - 1)
    fresh = 1 if generations[at] == FREE else 0
    keys[at, 0] = first
    keys[at, 1] = second
    generations[at] = generation
    return fresh


@compiled
def take(keys: Any, generations: Any, first: Any, second: Any, seed: Any) -> None:
    """Remove a key."""
    at = find(keys, generations, first, second, seed)
    if at >= 0:
        generations[at] = LEFT


@compiled
def look_up(
    keys: Any, generations: Any, seed: Any, headers: Any, slots: Any, sets: Any, begin: int, end: int, numbers: Any
) -> None:
    """Write the generation of each data set from row ``begin`` to ``end``; -1 if there is none.

    Sets of NetFlow v5 and template sets are not changed.
    """
    for row in range(begin, end):
        number = sets[row]["id"]
        if number >= 256:
            header = headers[sets[row]["message"]]
            first = (np.uint64(slots[header["exporter"]]) << np.uint64(8)) | np.uint64(header["version"])
            second = (np.uint64(header["domain"]) << np.uint64(16)) | np.uint64(number)
            at = find(keys, generations, first, second, seed)
            numbers[row] = generations[at] if at >= 0 else -1


class GenerationTable:
    """Generations by key (slot, version, domain, id), for at most ``most`` keys."""

    def __init__(self, most: int) -> None:
        self._places = 1 << max(10, (2 * most).bit_length())
        self._seed = np.uint64(np.random.default_rng().integers(1 << 63))
        self._clear()

    def _clear(self) -> None:
        self._keys = np.zeros((self._places, 2), np.uint64)
        self._generations = np.full(self._places, FREE, np.int64)
        self._used = 0

    def __setitem__(self, key: tuple[int, int, int, int], generation: int) -> None:
        if 4 * self._used > 3 * self._places:
            self._sweep()
        self._used += put(self._keys, self._generations, *halves(key), self._seed, generation)

    def __delitem__(self, key: tuple[int, int, int, int]) -> None:
        take(self._keys, self._generations, *halves(key), self._seed)

    def _sweep(self) -> None:
        """Rebuild the table without removed slots."""
        live = self._generations >= 0
        keys, generations = self._keys[live], self._generations[live]
        self._clear()
        for (first, second), generation in zip(keys, generations, strict=True):
            self._used += put(self._keys, self._generations, first, second, self._seed, generation)

    def look_up(
        self, headers: NDArray[np.void], slots: NDArray[np.int64], sets: NDArray[np.void], begin: int, end: int,
        numbers: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """Write the generation of each data set in a range of rows."""
        if begin < end:
            look_up(self._keys, self._generations, self._seed, headers, slots, sets, begin, end, numbers)


def halves(key: tuple[int, int, int, int]) -> tuple[np.uint64, np.uint64]:
    """A key as two 64-bit numbers."""
    slot, version, domain, number = key
    return np.uint64(slot << 8 | version), np.uint64(domain << 16 | number)
