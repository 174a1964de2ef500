"""Hashing and open addressing for compiled functions.

Two kinds of tables are built on these functions:

*Slots* find the rows of a table that only grows. Each slot holds the number of a row, or -1.

A *tag index* finds records that come and go. Each entry holds 32 bits of the record's hash, the *tag*, beside its
place, so that most records of other keys are passed over without being read. An entry of 0 is empty.

Both are at most half full, have a power of two of places, and resolve collisions by linear probing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._numba import Compiler

__all__ = [
    "EMPTY", "empty_index", "empty_slots", "entry_of", "finalize64", "find_key", "find_pair", "find_triple", "insert",
    "mix64", "next_entry", "place_of", "remove", "split_mix", "start_of", "tag_of",
]  # fmt: skip

EMPTY = np.uint64(0)
"""An empty entry of a tag index."""

COMPILER = Compiler.of(__file__)
inner = COMPILER.inner


@inner
def finalize64(value: Any) -> Any:
    """Finaliser of SplitMix64, a bijection of 64 bits: each input bit affects each output bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@inner
def mix64(a: Any, b: Any) -> Any:
    """Hash two 64-bit numbers to one. Not for numbers chosen by senders: collisions can be computed."""
    return finalize64(np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(b))


def split_mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash each number of an array by SplitMix64.

    Reference: G. L. Steele, D. Lea, C. H. Flood: Fast Splittable Pseudorandom Number Generators. OOPSLA 2014.

    >>> int(split_mix(np.zeros(1, np.uint64))[0]) == 0xE220A8397B1DCDAF
    True
    """
    with np.errstate(over="ignore"):
        value = numbers + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return value ^ value >> np.uint64(31)


def empty_slots(rows: int) -> NDArray[np.int32]:
    """Empty slots for a table of so many rows.

    >>> len(empty_slots(9)), empty_slots(1)[0]
    (32, np.int32(-1))
    """
    return np.full(1 << max(4, (2 * rows - 1).bit_length()), -1, np.int32)


@inner
def find_key(slots: Any, keys: Any, key: Any, tag: Any) -> Any:
    """Slot of the row with a key, or the empty slot where it belongs.

    Parameters
    ----------
    slots
        Row numbers, length a power of two.
    keys
        Key of each row, length N.
    key, tag
        What to find, and its hash (uint64).
    """
    mask = np.uint64(len(slots) - 1)
    at = tag & mask
    while slots[at] >= 0 and keys[slots[at]] != key:
        at = (at + np.uint64(1)) & mask
    return at


@inner
def find_pair(slots: Any, keys: Any, first: Any, second: Any, tag: Any) -> Any:
    """As :func:`find_key` for the pair of numbers in the first two columns of ``keys``."""
    mask = np.uint64(len(slots) - 1)
    at = tag & mask
    while slots[at] >= 0 and not (keys[slots[at], 0] == first and keys[slots[at], 1] == second):
        at = (at + np.uint64(1)) & mask
    return at


@inner
def find_triple(slots: Any, keys: Any, first: Any, second: Any, third: Any, tag: Any) -> Any:
    """As :func:`find_key` for the three numbers in the first three columns of ``keys``."""
    mask = np.uint64(len(slots) - 1)
    at = tag & mask
    while slots[at] >= 0 and not (
        keys[slots[at], 0] == first and keys[slots[at], 1] == second and keys[slots[at], 2] == third
    ):
        at = (at + np.uint64(1)) & mask
    return at


def empty_index(places: int) -> NDArray[np.uint64]:
    """Empty tag index for so many records.

    >>> len(empty_index(1000))
    2048
    """
    return np.zeros(1 << (2 * places - 1).bit_length(), np.uint64)


@inner
def entry_of(tag: Any, place: Any) -> Any:
    """Entry of a tag index for a record at a place."""
    return (np.uint64(tag) << np.uint64(32)) | np.uint64(place + 1)


@inner
def tag_of(entry: Any) -> Any:
    """Tag of an entry."""
    return entry >> np.uint64(32)


@inner
def place_of(entry: Any) -> Any:
    """Place of the record of an entry."""
    return np.int64(entry & np.uint64(0xFFFFFFFF)) - 1


@inner
def start_of(index: Any, tag: Any) -> Any:
    """Position in a tag index where the search for a tag starts."""
    return np.int64(tag) & np.int64(index.shape[0] - 1)


@inner
def next_entry(index: Any, tag: Any, at: Any) -> Any:
    """Position of the next entry with a tag, from ``at`` on; -1 when an empty entry ends the search."""
    mask = np.int64(index.shape[0] - 1)
    at &= mask
    while index[at] != EMPTY:
        if index[at] >> np.uint64(32) == np.uint64(tag):
            return at
        at = (at + 1) & mask
    return np.int64(-1)


@inner
def insert(index: Any, tag: Any, place: int) -> None:
    """Add a record to a tag index."""
    mask = np.int64(index.shape[0] - 1)
    at = np.int64(tag) & mask
    while index[at] != EMPTY:
        at = (at + 1) & mask
    index[at] = entry_of(tag, place)


@inner
def remove(index: Any, tag: Any, place: int) -> None:
    """Remove a record from a tag index, and move later entries of the same run back so that searches reach them."""
    mask = np.int64(index.shape[0] - 1)
    wanted = entry_of(tag, place)
    hole = np.int64(tag) & mask
    while index[hole] != wanted:
        hole = (hole + 1) & mask
    at = hole
    while True:
        at = (at + 1) & mask
        entry = index[at]
        if entry == EMPTY:
            break
        home = np.int64(tag_of(entry)) & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            index[hole] = entry
            hole = at
    index[hole] = EMPTY
