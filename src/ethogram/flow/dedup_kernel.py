"""Compiled kernel that marks flows which one exporter observed twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram._hashing import find_pair
from ethogram.flow.compiled import compiled, inner
from ethogram.flow.pair_kernel import MOST

__all__ = ["DUPLICATE", "KEPT", "mark_duplicates"]

KEPT, DUPLICATE = 1, 2
"""Marks of the two records of one flow: the one that stays, and the one to remove."""

_EGRESS = 1  # flowDirection
_SLACK_US = 1_000_000  # both caches see the same packets, but round times in different ways
_PACKETS, _OCTETS = 2, 256  # counters of duplicates may differ by this much,
_SHARE = 0.03  # or by this share: one packet more or less at either end, headers that one interface adds


@compiled
def mark_duplicates(
    key_a: Any, key_b: Any, swapped: Any, direction: Any, start: Any, end: Any, octets: Any, packets: Any, held: int,
    mark: Any,
) -> None:  # fmt: skip
    """Mark the duplicates among N records, in order of arrival.

    Parameters
    ----------
    key_a, key_b, swapped
        Keys of the five-tuple, and the direction within it.
    direction
        Observation point: 0 ingress, 1 egress.
    start, end, octets, packets
        Times in microseconds, and counters.
    held
        Number of leading records that were emitted with earlier blocks: these cannot be removed any more.
    mark
        Filled in: 0, :data:`KEPT` or :data:`DUPLICATE`; zeros on entry.
    """
    n = len(key_a)
    size = 16
    while size < 2 * n:
        size *= 2
    slots = np.full(size, -1, np.int32)
    keys = np.empty((n, 2), np.uint64)
    first = np.empty((n, 2), np.int32)  # newest record of each key and observation point; -1 for none
    following = np.empty(n, np.int32)  # the next older one
    count = 0
    for i in range(n):
        key = key_a[i] ^ np.uint64(swapped[i])
        at = find_pair(slots, keys, key, key_b[i], key)
        if slots[at] < 0:
            slots[at] = count
            keys[count, 0], keys[count, 1] = key, key_b[i]
            first[count, 0] = first[count, 1] = -1
            count += 1
        heads = first[slots[at]]
        point = np.int64(direction[i] == _EGRESS)
        before, j, looked = -1, heads[1 - point], 0
        while i >= held and j >= 0 and looked < MOST:
            if is_duplicate(i, j, start, end, octets, packets):
                if before < 0:
                    heads[1 - point] = following[j]
                else:
                    following[before] = following[j]
                duplicate = i if point == _EGRESS or j < held else j
                mark[duplicate], mark[j if duplicate == i else i] = DUPLICATE, KEPT
                break
            before, j, looked = j, following[j], looked + 1
        if not mark[i]:
            following[i] = heads[point]  # newest first: when there are many, only the newest are compared
            heads[point] = i


@inner
def is_duplicate(i: Any, j: Any, start: Any, end: Any, octets: Any, packets: Any) -> Any:
    """Whether two records overlap and have nearly equal counters."""
    if start[i] > end[j] + _SLACK_US or start[j] > end[i] + _SLACK_US:
        return False
    a, b = np.float64(packets[i]), np.float64(packets[j])
    if abs(a - b) > max(_PACKETS, _SHARE * max(a, b)):
        return False
    a, b = np.float64(octets[i]), np.float64(octets[j])
    return abs(a - b) <= max(_OCTETS, _SHARE * max(a, b))
