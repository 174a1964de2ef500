"""Which records are twins: the compiled part."""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.flow.compiled import compiled, inner
from ethogram.flow.match import MOST, TUPLE

__all__ = ["FIRST", "SECOND", "twins"]

FIRST, SECOND = 1, 2
"""The twin that stays, and the one that goes."""

_SLACK_US = 1_000_000  # both caches see the same packets, but round their times in their own way
_PACKETS, _OCTETS = 2, 256  # what counters of twins may differ by, whatever they are
_SHARE = 0.03  # or by this share: a packet more or less at either end, headers that one interface adds


@compiled
def twins(
    one: Any, two: Any, swapped: Any, direction: Any, start: Any, end: Any, octets: Any, packets: Any, held: int,
    found: Any,
) -> None:  # fmt: skip
    """Mark the twins among N records, in order of arrival; the first ``held`` have left with earlier blocks."""
    n = len(one)
    size = 16
    while size < 2 * n:
        size *= 2
    mask = np.uint64(size - 1)
    slots = np.full(size, -1, np.int32)
    tuples = np.empty(n, TUPLE)
    following = np.empty(n, np.int32)
    count = 0
    for i in range(n):
        key = one[i] ^ np.uint64(swapped[i])
        at = key & mask
        while slots[at] >= 0 and not (tuples[slots[at]].one == key and tuples[slots[at]].two == two[i]):
            at = (at + np.uint64(1)) & mask
        if slots[at] < 0:
            slots[at] = count
            tuples[count].one, tuples[count].two = key, two[i]
            tuples[count].head[0] = tuples[count].head[1] = -1
            count += 1
        heads = tuples[slots[at]].head
        mine = np.int64(direction[i] == 1)
        before, j, looked = -1, heads[1 - mine], 0
        while i >= held and j >= 0 and looked < MOST:
            if alike(i, j, start, end, octets, packets):
                if before < 0:
                    heads[1 - mine] = following[j]
                else:
                    following[before] = following[j]
                goes = i if mine == 1 or j < held else j
                stays = j if goes == i else i
                found[goes], found[stays] = SECOND, FIRST
                break
            before, j, looked = j, following[j], looked + 1
        if not found[i]:
            following[i] = heads[mine]  # the newest first: of many only those are looked at
            heads[mine] = i


@inner
def alike(i: Any, j: Any, start: Any, end: Any, octets: Any, packets: Any) -> Any:
    """Whether two records overlap and have nearly the same counters."""
    if start[i] > end[j] + _SLACK_US or start[j] > end[i] + _SLACK_US:
        return False
    one, other = np.float64(packets[i]), np.float64(packets[j])
    if abs(one - other) > max(_PACKETS, _SHARE * max(one, other)):
        return False
    one, other = np.float64(octets[i]), np.float64(octets[j])
    return abs(one - other) <= max(_OCTETS, _SHARE * max(one, other))
