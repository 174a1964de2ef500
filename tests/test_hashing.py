"""Slots and tag indexes find what a dictionary finds."""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram._hashing import (
    EMPTY,
    empty_index,
    empty_slots,
    finalize64,
    find_key,
    find_pair,
    find_triple,
    insert,
    mix64,
    next_entry,
    place_of,
    remove,
    start_of,
)
from ethogram._numba import Compiler

compiled = Compiler.of(__file__, "../src/ethogram/_hashing").compiled


@compiled
def number_rows(slots: Any, keys: Any, columns: int, numbers: Any) -> None:
    """Number the distinct rows, with tags that collide often."""
    for row in range(len(keys)):
        tag = mix64(keys[row, 0], keys[row, 1]) & np.uint64(7)
        if columns == 1:
            at = find_key(slots, keys[:, 0], keys[row, 0], keys[row, 0])
        elif columns == 2:
            at = find_pair(slots, keys, keys[row, 0], keys[row, 1], tag)
        else:
            at = find_triple(slots, keys, keys[row, 0], keys[row, 1], keys[row, 2], tag)
        if slots[at] < 0:
            slots[at] = row
        numbers[row] = slots[at]


@compiled
def apply(index: Any, tags: Any, places: Any, adds: Any) -> None:
    for i in range(len(tags)):
        if adds[i]:
            insert(index, tags[i], places[i])
        else:
            remove(index, tags[i], places[i])


@compiled
def places_with(index: Any, tag: Any, found: Any) -> int:
    count = 0
    at = next_entry(index, tag, start_of(index, tag))
    while at >= 0:
        found[count] = place_of(index[at])
        count += 1
        at = next_entry(index, tag, at + 1)
    return count


@compiled
def finalized(values: Any) -> None:
    for i in range(len(values)):
        values[i] = finalize64(values[i])


def test_slots_find_the_first_row_with_the_same_key() -> None:
    chance = np.random.default_rng(5)
    keys = chance.integers(0, 4, (200, 3)).astype(np.uint64)
    for columns in (1, 2, 3):
        numbers = np.empty(len(keys), np.int64)
        number_rows(empty_slots(len(keys)), keys, columns, numbers)
        first: dict[tuple[int, ...], int] = {}
        expected = [first.setdefault(tuple(key[:columns].tolist()), row) for row, key in enumerate(keys)]
        assert numbers.tolist() == expected


def test_a_tag_index_holds_what_was_inserted_and_not_removed() -> None:
    chance = np.random.default_rng(7)
    index = empty_index(50)
    held: list[tuple[int, int]] = []
    for _ in range(300):
        tags, places, adds = [], [], []
        for _ in range(20):
            if held and (len(held) >= 50 or chance.random() < 0.5):
                tag, place = held.pop(int(chance.integers(len(held))))
                adds.append(False)
            else:
                tag = int(chance.integers(6)) * 125  # few tags, and places near the end of the index
                place = max((place for _, place in held), default=-1) + 1
                held.append((tag, place))
                adds.append(True)
            tags.append(tag)
            places.append(place)
        apply(index, np.array(tags, np.uint32), np.array(places), np.array(adds))
        assert (index != EMPTY).sum() == len(held)
        for tag in {tag for tag, _ in held}:
            values = np.empty(len(index), np.int64)
            count = places_with(index, np.uint32(tag), values)
            assert sorted(values[:count].tolist()) == sorted(place for each, place in held if each == tag)


def test_the_finaliser_is_that_of_splitmix64() -> None:
    """The first outputs of the reference implementation for seed 1234567: Vigna, splitmix64.c, public domain."""
    golden = 0x9E3779B97F4A7C15
    values = np.array([(1234567 + i * golden) % (1 << 64) for i in (1, 2, 3)], np.uint64)
    finalized(values)
    assert values.tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
