"""Compiled kernel that pairs one-way records, called halves here.

Halves are processed one by one, as a meter processes packets: the result for a half depends only on the halves before
it, so it does not matter how they are cut into blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram._hashing import find_pair
from ethogram.flow.compiled import compiled, inner

__all__ = ["ALONE", "KNOWN", "MOST", "OPEN", "TURNED", "match_halves"]

OPEN, ALONE, TURNED = -1, -2, -3
"""Values in place of a partner: still waiting; emitted alone; emitted alone, as an answer within a known connection."""

MOST = 64
"""Most halves of one five-tuple and direction that wait at once; beyond it the oldest is emitted."""

KNOWN = np.dtype(
    [
        ("one", np.uint64),
        ("two", np.uint64),
        ("head", np.int32, 2),
        ("first", np.int64),
        ("began", np.int64, 2),
        ("kept", np.int64),
    ]
)
"""State of a five-tuple: its key, the first half waiting in each direction, the direction that began its last long
connection (negative for none), when either direction of that began, and the time of the clock until which this is
remembered. Saved states hold this form."""


@compiled
def match_halves(
    key_a: Any, key_b: Any, swapped: Any, start: Any, end: Any, began: Any, split: Any, leads: Any, wait: Any,
    until: Any,
    held: int, clock: int, arrived: int, passed: int, at_once: int, gap: int, span: int, keep: int, last: bool,
    known: Any, partner: Any, begins: Any,
) -> tuple[int, int, Any]:  # fmt: skip
    """Find the partner of each half, and which of the two began the connection.

    Parameters
    ----------
    key_a, key_b, swapped
        Keys of the five-tuple, and the direction; length N, like all arrays except ``known``.
    start, end
        In microseconds.
    began
        Start of the first record of the connection in this direction: earlier than ``start`` when an earlier part of
        the connection was already emitted.
    split
        Whether other halves may hold more records of this direction and connection.
    leads
        Whether this half began, if both started at the same time.
    wait, until
        How long each half may wait, and the time of the clock until which it waits; the latter is given for held halves
        and filled in for the others.
    held
        Number of leading halves held from earlier blocks.
    clock
        Latest start so far.
    arrived, passed
        When the records arrived, and the time since the previous arrival (:class:`ethogram.flow.arrival.Arrival`).
    at_once, gap
        Largest silence between halves that are paired immediately, and between halves that are paired when one of them
        has waited long enough. An overlap is a negative silence.
    span
        Length of the interval in which records were joined; 0 for none. A split half is paired within its interval if
        possible.
    keep
        How long to remember which side began a connection with split halves.
    last
        Whether this is the last block.
    known
        State of connections from earlier blocks: rows of :data:`KNOWN`.
    partner
        Filled with the partner's number, :data:`OPEN`, :data:`ALONE` or :data:`TURNED`.
    begins
        Filled in for halves with a partner: whether this half began the connection.

    Returns
    -------
    clock, crowded, known
        The new clock, the number of halves emitted because of :data:`MOST`, and the state to keep.
    """
    n = len(key_a)
    size = 16
    while size < 2 * (n + len(known)):
        size *= 2
    slots = np.full(size, -1, np.int32)
    tuples = np.empty(n + len(known), KNOWN)
    keys = np.empty((n + len(known), 2), np.uint64)
    following = np.empty(n, np.int32)
    count = crowded = 0
    clock = min(clock, arrived)
    least = clock + passed
    for i in range(len(known)):
        slots[find_pair(slots, keys, known[i].one, known[i].two, known[i].one)] = count
        keys[count, 0], keys[count, 1] = known[i].one, known[i].two
        tuples[count] = known[i]
        tuples[count].kept = min(known[i].kept, arrived + keep)
        count += 1
    for i in range(n):
        partner[i] = OPEN
        at = find_pair(slots, keys, key_a[i], key_b[i], key_a[i])
        if slots[at] < 0:
            slots[at] = count
            keys[count, 0], keys[count, 1] = key_a[i], key_b[i]
            tuples[count].one, tuples[count].two = key_a[i], key_b[i]
            tuples[count].head[0] = tuples[count].head[1] = -1
            tuples[count].first = -1
            count += 1
        t = slots[at]
        heads = tuples[t].head
        side = np.int64(swapped[i])
        if i < held:
            until[i] = min(until[i], arrived + wait[i])
        else:
            if start[i] <= arrived:
                clock = max(clock, start[i])
                # A long half may be sent together with one that begins late in it, so the wait starts at its end.
                until[i] = max(clock, min(end[i], clock + keep, arrived)) + wait[i]
            else:
                until[i] = max(clock, least) + wait[i]
            settle(
                tuples, t, clock, gap, span, keep, start, end, began, split, leads, until, following, partner, begins
            )
            best = nearest(i, heads[1 - side], at_once, span, start, end, split, following)
            if best >= 0:
                unlink(best, 1 - side, heads, following)
                partner[i], partner[best] = best, i
                begin(tuples, t, side, i, best, clock, keep, began, split, leads, begins)
                continue
        if append(i, side, heads, following):
            crowded += 1
            alone(tuples, t, side, unlink_first(side, heads, following), clock, keep, began, partner)
    clock = max(clock, least)
    final = np.iinfo(np.int64).max if last else clock
    remembered = 0
    for t in range(count):
        settle(tuples, t, final, gap, span, keep, start, end, began, split, leads, until, following, partner, begins)
        remembered += tuples[t].first >= 0 and tuples[t].kept >= final
    still = np.empty(remembered, KNOWN)
    remembered = 0
    for t in range(count):
        if tuples[t].first >= 0 and tuples[t].kept >= final:
            still[remembered] = tuples[t]
            still[remembered].head[0] = still[remembered].head[1] = -1
            remembered += 1
    return clock, crowded, still


@inner
def nearest(
    row: Any, head: Any, gap: Any, span: Any, start: Any, end: Any, split: Any, following: Any
) -> Any:  # fmt: skip
    """Find the half of a list with the least silence, at most ``gap``; the earliest of equals; -1 for none.

    Parts of a connection that was joined interval by interval prefer a partner of their own interval.
    """
    best, least, far, j = -1, gap, True, head
    while j >= 0:
        silence = max(start[row], start[j]) - min(end[row], end[j])
        apart = span > 0 and (split[row] or split[j]) and start[row] // span != start[j] // span
        if silence <= gap and (
            best < 0
            or (far and not apart)
            or (far == apart and (silence < least or (silence == least and start[j] < start[best])))
        ):
            best, least, far = j, silence, apart
        j = following[j]
    return best


@inner
def settle(
    tuples: Any, t: Any, clock: Any, gap: Any, span: Any, keep: Any, start: Any, end: Any, began: Any, split: Any,
    leads: Any, until: Any, following: Any, partner: Any, begins: Any,
) -> None:  # fmt: skip
    """Emit the halves of a five-tuple whose wait is over, in order of that time, with a partner if there is one."""
    heads = tuples[t].head
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
        best = nearest(due, heads[1 - due_side], gap, span, start, end, split, following)
        if best >= 0:
            unlink(best, 1 - due_side, heads, following)
            partner[due], partner[best] = best, due
            begin(tuples, t, due_side, due, best, until[due], keep, began, split, leads, begins)
        else:
            alone(tuples, t, due_side, due, until[due], keep, began, partner)


@inner
def begin(
    tuples: Any, t: Any, side: Any, row: Any, other: Any, now: Any, keep: Any, began: Any, split: Any, leads: Any,
    begins: Any,
) -> None:  # fmt: skip
    """Decide which of two halves began, and remember it while more of their connection may come."""
    known = tuples[t]
    continues = known.began[side] == began[row] or known.began[1 - side] == began[other]
    if known.first >= 0 and known.kept >= now and continues:
        first = known.first
    elif began[row] != began[other]:
        first = side if began[row] < began[other] else 1 - side
    else:
        first = side if leads[row] else 1 - side
    begins[row], begins[other] = first == side, first != side
    if split[row] or split[other]:
        tuples[t].first, tuples[t].kept = first, now + keep
        known.began[side], known.began[1 - side] = began[row], began[other]


@inner
def alone(tuples: Any, t: Any, side: Any, row: Any, now: Any, keep: Any, began: Any, partner: Any) -> None:
    """Emit a half without a partner; mark it as an answer if the other side began its connection."""
    partner[row] = ALONE
    if tuples[t].first >= 0 and tuples[t].kept >= now and tuples[t].began[side] == began[row]:
        tuples[t].kept = now + keep
        if tuples[t].first != side:
            partner[row] = TURNED


@inner
def unlink(row: Any, side: Any, heads: Any, following: Any) -> None:
    """Remove a half from its list."""
    j = heads[side]
    if j == row:
        heads[side] = following[row]
        return
    while following[j] != row:
        j = following[j]
    following[j] = following[row]


@inner
def unlink_first(side: Any, heads: Any, following: Any) -> Any:
    """Remove and return the first half of a list."""
    first = heads[side]
    heads[side] = following[first]
    return first


@inner
def append(row: Any, side: Any, heads: Any, following: Any) -> Any:
    """Append a half to its list; returns whether the list is now too long."""
    following[row] = -1
    j = heads[side]
    if j < 0:
        heads[side] = row
        return False
    length = 1
    while following[j] >= 0:
        j = following[j]
        length += 1
    following[j] = row
    return length >= MOST
