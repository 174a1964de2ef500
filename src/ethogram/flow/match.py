"""Which half answers which: the compiled part of pairing.

Halves are taken one after another, as a meter takes packets: what becomes of one depends on those before it alone, so
that it does not matter how they were cut into blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.flow.compiled import compiled, inner

__all__ = ["ALONE", "MOST", "OPEN", "match"]

OPEN, ALONE = -1, -2
"""Instead of a partner: still waiting; let go without one."""

MOST = 64
"""Halves of one five-tuple and direction that wait at once; the oldest of more is let go."""

TUPLE = np.dtype([("one", np.uint64), ("two", np.uint64), ("head", np.int32, 2)])
"""Key of a five-tuple, and the first half that waits in either direction."""


@compiled
def match(
    one: Any, two: Any, swapped: Any, start: Any, end: Any, wait: Any, until: Any, held: int, clock: int, at_once: int,
    gap: int, last: bool, partner: Any,
) -> tuple[int, int]:  # fmt: skip
    """Find the partner of each half.

    Parameters
    ----------
    one, two, swapped
        Keys of the five-tuple, and the direction; length N, as all arrays.
    start, end
        In microseconds.
    wait, until
        How long each may wait, and the time of the clock until which it does; the latter is given for those held
        from before, and filled in for the others.
    held
        How many of the first are held from before.
    clock
        Latest start so far.
    at_once, gap
        Largest silence between halves that are paired as soon as both are there, and between those that are paired
        when one of them has waited long enough. Overlap is a silence below zero.
    last
        Whether nothing more will come.
    partner
        Filled with the partner's number, :data:`OPEN` or :data:`ALONE`.

    Returns
    -------
    clock, crowded
        The clock now, and how many left because too many of one five-tuple waited.
    """
    n = len(one)
    size = 16
    while size < 2 * n:
        size *= 2
    mask = np.uint64(size - 1)
    slots = np.full(size, -1, np.int32)
    tuples = np.empty(n, TUPLE)
    following = np.empty(n, np.int32)
    count = crowded = 0
    for i in range(n):
        partner[i] = OPEN
        at = one[i] & mask
        while slots[at] >= 0 and not (tuples[slots[at]].one == one[i] and tuples[slots[at]].two == two[i]):
            at = (at + np.uint64(1)) & mask
        if slots[at] < 0:
            slots[at] = count
            tuples[count].one, tuples[count].two = one[i], two[i]
            tuples[count].head[0] = tuples[count].head[1] = -1
            count += 1
        heads = tuples[slots[at]].head
        side = np.int64(swapped[i])
        if i >= held:
            clock = max(clock, start[i])
            until[i] = clock + wait[i]
            settle(heads, clock, gap, start, end, until, following, partner)
            best = nearest(i, heads[1 - side], at_once, start, end, following)
            if best >= 0:
                unlink(best, 1 - side, heads, following)
                partner[i], partner[best] = best, i
                continue
        crowded += append(i, side, heads, following, partner)
    final = np.iinfo(np.int64).max if last else clock
    for t in range(count):
        settle(tuples[t].head, final, gap, start, end, until, following, partner)
    return clock, crowded


@inner
def nearest(row: Any, head: Any, gap: Any, start: Any, end: Any, following: Any) -> Any:
    """The half of a list with most overlap or least silence, at most ``gap``; -1 for none. Of equals the earliest."""
    best, least, j = -1, gap, head
    while j >= 0:
        silence = max(start[row], start[j]) - min(end[row], end[j])
        if silence < least or (silence == least and (best < 0 or start[j] < start[best])):
            best, least = j, silence
        j = following[j]
    return best


@inner
def settle(heads: Any, clock: Any, gap: Any, start: Any, end: Any, until: Any, following: Any, partner: Any) -> None:
    """Let go the halves of a five-tuple that have waited long enough, in order of that, with a partner if there is."""
    while True:
        due, due_side = -1, 0
        for side in range(2):
            j = heads[side]
            while j >= 0:
                if until[j] <= clock and (due < 0 or until[j] < until[due] or (until[j] == until[due] and j < due)):
                    due, due_side = j, side
                j = following[j]
        if due < 0:
            return
        unlink(due, due_side, heads, following)
        best = nearest(due, heads[1 - due_side], gap, start, end, following)
        partner[due] = ALONE
        if best >= 0:
            unlink(best, 1 - due_side, heads, following)
            partner[due], partner[best] = best, due


@inner
def unlink(row: Any, side: Any, heads: Any, following: Any) -> None:
    """Take a half out of its list."""
    j = heads[side]
    if j == row:
        heads[side] = following[row]
        return
    while following[j] != row:
        j = following[j]
    following[j] = following[row]


@inner
def append(row: Any, side: Any, heads: Any, following: Any, partner: Any) -> Any:
    """Put a half at the end of its list; the first of too many is let go. Gives how many were."""
    following[row] = -1
    j = heads[side]
    if j < 0:
        heads[side] = row
        return 0
    length = 1
    while following[j] >= 0:
        j = following[j]
        length += 1
    following[j] = row
    if length < MOST:
        return 0
    first = heads[side]
    heads[side] = following[first]
    partner[first] = ALONE
    return 1
