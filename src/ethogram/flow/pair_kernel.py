"""Which half answers which: the compiled part of pairing.

Halves are taken one after another, as a meter takes packets: what becomes of one depends on those before it alone, so
that it does not matter how they were cut into blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.flow.compiled import compiled, inner

__all__ = ["ALONE", "KNOWN", "MOST", "OPEN", "TUPLE", "TURNED", "match_halves"]

OPEN, ALONE, TURNED = -1, -2, -3
"""Instead of a partner: still waiting; let go without one; let go without one, an answer in a known connection."""

MOST = 64
"""Halves of one five-tuple and direction that wait at once; the oldest of more is let go."""

TUPLE = np.dtype([("one", np.uint64), ("two", np.uint64), ("head", np.int32, 2)])
"""Key of a five-tuple, and the first half that waits in either direction."""

KNOWN = np.dtype([*TUPLE.descr, ("first", np.int64), ("began", np.int64, 2), ("kept", np.int64)])
"""Also the direction that began its last long connection (below 0: none), when either direction of it began, and the
time of the clock until which this is remembered."""


@compiled
def match_halves(
    one: Any, two: Any, swapped: Any, start: Any, end: Any, began: Any, split: Any, leads: Any, wait: Any, until: Any,
    held: int, clock: int, arrived: int, passed: int, at_once: int, gap: int, span: int, keep: int, last: bool,
    known: Any, partner: Any, begins: Any,
) -> tuple[int, int, Any]:  # fmt: skip
    """Find the partner of each half, and which of the two began the connection.

    Parameters
    ----------
    one, two, swapped
        Keys of the five-tuple, and the direction; length N, as all arrays but ``known``.
    start, end
        In microseconds.
    began
        Start of the first record of the connection in this direction: earlier than ``start`` where an earlier part
        of the connection has already left.
    split
        Whether more records of this direction and connection may be in other halves.
    leads
        Whether this half began, of two that began at the same time.
    wait, until
        How long each may wait, and the time of the clock until which it does; the latter is given for those held
        from before, and filled in for the others.
    held
        How many of the first are held from before.
    clock
        Latest start so far.
    arrived, passed
        When the records arrived, and how long that is after those before (:class:`ethogram.flow.arrival.Arrival`).
    at_once, gap
        Largest silence between halves that are paired as soon as both are there, and between those that are paired
        when one of them has waited long enough. Overlap is a silence below zero.
    span
        Length of the interval in which records were joined; 0 for none. A split half is paired inside its interval
        if possible.
    keep
        How long it is remembered who began a connection with split halves.
    last
        Whether nothing more will come.
    known
        What is remembered from before: rows of :data:`KNOWN`.
    partner
        Filled with the partner's number, :data:`OPEN`, :data:`ALONE` or :data:`TURNED`.
    begins
        Filled in for halves with a partner: whether this half began the connection.

    Returns
    -------
    clock, crowded, known
        The clock now, how many left because too many of one five-tuple waited, and what is to be remembered.
    """
    n = len(one)
    size = 16
    while size < 2 * (n + len(known)):
        size *= 2
    mask = np.uint64(size - 1)
    slots = np.full(size, -1, np.int32)
    tuples = np.empty(n + len(known), KNOWN)
    following = np.empty(n, np.int32)
    count = crowded = 0
    clock = min(clock, arrived)
    least = clock + passed
    for i in range(len(known)):
        at = known[i].one & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = count
        tuples[count] = known[i]
        tuples[count].kept = min(known[i].kept, arrived + keep)
        count += 1
    for i in range(n):
        partner[i] = OPEN
        at = one[i] & mask
        while slots[at] >= 0 and not (tuples[slots[at]].one == one[i] and tuples[slots[at]].two == two[i]):
            at = (at + np.uint64(1)) & mask
        if slots[at] < 0:
            slots[at] = count
            tuples[count].one, tuples[count].two = one[i], two[i]
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
                # A long half may be sent together with one that begins late in it: the wait begins at its end.
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
    """The half of a list with most overlap or least silence, at most ``gap``; -1 for none. Of equals the earliest.

    Parts of a connection that was joined interval by interval go to those of their own interval first.
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
    """Let go the halves of a five-tuple that have waited long enough, in order of that, with a partner if there is."""
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
    """Say which of two halves began, and remember it while more of their connection may come."""
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
    """Let a half go without a partner; where it is of a remembered connection that the other side began, turned."""
    partner[row] = ALONE
    if tuples[t].first >= 0 and tuples[t].kept >= now and tuples[t].began[side] == began[row]:
        tuples[t].kept = now + keep
        if tuples[t].first != side:
            partner[row] = TURNED


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
def unlink_first(side: Any, heads: Any, following: Any) -> Any:
    """Take the first half out of its list."""
    first = heads[side]
    heads[side] = following[first]
    return first


@inner
def append(row: Any, side: Any, heads: Any, following: Any) -> Any:
    """Put a half at the end of its list; gives whether there are too many now."""
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
