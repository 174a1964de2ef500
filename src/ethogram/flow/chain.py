"""Which record continues which: the compiled part of joining."""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.flow.compiled import compiled, mixed

__all__ = ["chained", "directed", "first_known", "of_these", "saturating_sums"]


@compiled
def directed(one: Any, swapped: Any, half: Any, key: Any) -> None:
    """Keys under which records may continue each other: a half only one of its own direction."""
    for i in range(len(one)):
        key[i] = mixed(one[i], np.uint64(1) + np.uint64(swapped[i])) if half[i] else one[i]


@compiled
def of_these(key: Any, chosen: Any) -> Any:
    """Mark the rows whose key is that of a chosen row."""
    count = 0
    for i in range(len(key)):
        count += chosen[i]
    size = 16
    while size < 2 * count:
        size *= 2
    mask = np.uint64(size - 1)
    slots = np.full(size, -1, np.int64)
    for i in range(len(key)):
        if chosen[i]:
            at = key[i] & mask
            while slots[at] >= 0 and key[slots[at]] != key[i]:
                at = (at + np.uint64(1)) & mask
            slots[at] = i
    found = np.zeros(len(key), np.bool_)
    for i in range(len(key)):
        at = key[i] & mask
        while slots[at] >= 0 and key[slots[at]] != key[i]:
            at = (at + np.uint64(1)) & mask
        found[i] = slots[at] >= 0
    return found


@compiled
def chained(
    key: Any, two: Any, start: Any, end: Any, cut: Any, opens: Any, reach: Any, gap: int, slack: int, span: int,
    chain: Any, group: Any,
) -> None:  # fmt: skip
    """Number the chains of records that continue each other, and in them the groups of one interval of the clock.

    Parameters
    ----------
    key, two, start, end, cut, opens
        Of N records in order of key and start. *Cut*: at the active timeout; *opens*: with a new handshake.
    reach
        Latest end in the chain so far; given for records that are of several, and filled in.
    gap, slack
        The next record begins at most so much after the end of those before, or before it, in microseconds.
    span
        Length of an interval; 0 for none.
    chain, group
        Filled in, from 0.
    """
    chains = groups = -1
    for i in range(len(key)):
        reach[i] = max(reach[i], end[i])
        silence = start[i] - reach[i - 1] if i else 0
        if (
            i
            and key[i] == key[i - 1]
            and two[i] == two[i - 1]
            and cut[i - 1]
            and not opens[i]
            and (-slack <= silence <= gap)
        ):
            reach[i] = max(reach[i], reach[i - 1])
            if span > 0 and start[i] // span != start[i - 1] // span:
                groups += 1
        else:
            chains += 1
            groups += 1
        chain[i] = chains
        group[i] = groups


@compiled
def first_known(chain: Any, group: Any, value: Any, found: Any) -> None:
    """First value of each chain that is not negative, as known by the end of each group; -1 for none.

    Parameters
    ----------
    chain, group
        Of N records, in order.
    value
        Of N records.
    found
        Filled in, one for each group.
    """
    known = np.int64(-1)
    for i in range(len(chain)):
        if not i or chain[i] != chain[i - 1]:
            known = np.int64(-1)
        if known < 0:
            known = np.int64(value[i])
        found[group[i]] = known


@compiled
def saturating_sums(values: Any, begins: Any, found: Any) -> int:
    """Sums of the groups of rows that begin at ``begins``; what 64 bits cannot hold becomes their largest number.

    Parameters
    ----------
    values
        uint64, length N.
    begins
        First row of each of G groups, ascending, from 0.
    found
        Filled in, uint64, length G.

    Returns
    -------
    saturated
        How many sums were too large.
    """
    saturated = 0
    for g in range(len(begins)):
        total, full = np.uint64(0), False
        for i in range(begins[g], begins[g + 1] if g + 1 < len(begins) else len(values)):
            total += values[i]
            full = full or total < values[i]
        found[g] = np.uint64(0xFFFFFFFFFFFFFFFF) if full else total
        saturated += full
    return saturated
