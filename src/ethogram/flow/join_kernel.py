"""Compiled kernels that find the records which continue one another, and merge them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram._hashing import find_key, mix64
from ethogram.flow.compiled import compiled

__all__ = ["directed_keys", "first_known", "number_chains", "saturating_sums", "shares_marked_key"]


@compiled
def directed_keys(key_a: Any, swapped: Any, half: Any, key: Any) -> None:
    """Fill in the key under which records may continue each other; halves also need an equal direction."""
    for i in range(len(key_a)):
        key[i] = mix64(key_a[i], np.uint64(1) + np.uint64(swapped[i])) if half[i] else key_a[i]


@compiled
def shares_marked_key(key: Any, marked: Any) -> Any:
    """Mark each row whose key equals that of a marked row; length N."""
    count = 0
    for i in range(len(key)):
        count += marked[i]
    size = 16
    while size < 2 * count:
        size *= 2
    slots = np.full(size, -1, np.int64)
    for i in range(len(key)):
        if marked[i]:
            slots[find_key(slots, key, key[i], key[i])] = i
    shares = np.zeros(len(key), np.bool_)
    for i in range(len(key)):
        shares[i] = slots[find_key(slots, key, key[i], key[i])] >= 0
    return shares


@compiled
def number_chains(
    key: Any, key_b: Any, start: Any, end: Any, cut: Any, opens: Any, reach: Any, gap: int, slack: int, span: int,
    chain: Any, group: Any,
) -> None:  # fmt: skip
    """Number the chains of records that continue each other, and the groups within them of one clock interval each.

    Parameters
    ----------
    key, key_b, start, end, cut, opens
        Of N records, sorted by key and start. *Cut*: ended by the active timeout; *opens*: begins with a new handshake.
    reach
        Latest end in the chain so far, updated in place. The caller passes the latest end inside each record, since a
        record may itself be merged from several.
    gap, slack
        A record continues a chain when it begins at most ``gap`` after the chain's latest end and at most ``slack``
        before it, in microseconds.
    span
        Length of a clock interval in microseconds; 0 for no intervals.
    chain, group
        Filled in, from 0, ascending.
    """
    chains = groups = -1
    for i in range(len(key)):
        reach[i] = max(reach[i], end[i])
        silence = start[i] - reach[i - 1] if i else 0
        if (
            i
            and key[i] == key[i - 1]
            and key_b[i] == key_b[i - 1]
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
def first_known(chain: Any, group: Any, value: Any, known: Any) -> None:
    """First value of each chain that is not negative, as known by the end of each group; -1 for none.

    Parameters
    ----------
    chain, group
        Of N records, ascending.
    value
        Of N records.
    known
        Filled in, one for each group.
    """
    first = np.int64(-1)
    for i in range(len(chain)):
        if not i or chain[i] != chain[i - 1]:
            first = np.int64(-1)
        if first < 0:
            first = np.int64(value[i])
        known[group[i]] = first


@compiled
def saturating_sums(values: Any, begins: Any, sums: Any) -> int:
    """Sum groups of consecutive rows; a sum beyond 64 bits becomes the largest 64-bit number.

    Parameters
    ----------
    values
        uint64, length N.
    begins
        First row of each of G groups, ascending, from 0.
    sums
        Filled in, uint64, length G.

    Returns
    -------
    saturated
        Number of sums beyond 64 bits.
    """
    saturated = 0
    for g in range(len(begins)):
        total, full = np.uint64(0), False
        for i in range(begins[g], begins[g + 1] if g + 1 < len(begins) else len(values)):
            total += values[i]
            full = full or total < values[i]
        sums[g] = np.uint64(0xFFFFFFFFFFFFFFFF) if full else total
        saturated += full
    return saturated
