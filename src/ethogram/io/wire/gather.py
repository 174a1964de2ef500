"""Compiled kernels that locate the records of sets, and read their fields as columns.

The ``locate`` kernels compare every position with the end of its set; the ``read`` kernels only read checked positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.io.wire.compiled import compiled, inner, u8, u16, u32

__all__ = ["copy_sets", "locate_fixed", "locate_variable", "read_halves", "read_unsigned", "read_unsigned_spans"]


@compiled
def locate_fixed(offset: Any, counts: Any, length: Any, starts: Any) -> None:
    """Write the start of each fixed-length record; ``counts`` is the number of records of each set."""
    row = 0
    for number in range(offset.shape[0]):
        at = np.int64(offset[number])
        for _ in range(counts[number]):
            starts[row] = at
            at += length
            row += 1


@compiled
def locate_variable(
    data: Any, offset: Any, octets: Any, runs: Any, counts: Any, starts: Any, at_field: Any, field_octets: Any
) -> tuple[int, int]:
    """Locate records with variable-length fields (RFC 7011 section 7).

    Parameters
    ----------
    data
        Octets of all messages.
    offset, octets
        Position and size of S sets.
    runs
        Octets of fixed length before each of K variable fields, and after the last; length K + 1.
    counts
        Output: records of each set.
    starts, at_field, field_octets
        Output for each record: its start, and for each variable field (first axis, K) the position and length of its
        content. They have room for the shortest possible records.

    Returns
    -------
    records, broken
        Records found, and sets whose last record would end after the set.
    """
    fields = runs.shape[0] - 1
    shortest = fields
    for run in runs:
        shortest += run
    row, broken = 0, 0
    for number in range(offset.shape[0]):
        at = np.int64(offset[number])
        end = at + octets[number]
        first = row
        while end - at >= shortest:
            place = at
            whole = True
            for k in range(fields):
                place += runs[k]
                if place >= end:
                    whole = False
                    break
                length = u8(data, place)
                place += 1
                if length == 255:
                    if end - place < 2:
                        whole = False
                        break
                    length = u16(data, place)
                    place += 2
                if end - place < length:
                    whole = False
                    break
                at_field[k, row] = place
                field_octets[k, row] = length
                place += length
            place += runs[fields]
            if not whole or place > end:
                broken += 1
                break
            starts[row] = at
            row += 1
            at = place
        counts[number] = row - first
    return row, broken


@compiled
def read_unsigned(data: Any, base: Any, distance: Any, length: Any, values: Any) -> None:
    """Read big-endian numbers of 0 to 8 octets at ``base + distance``; the last 8 octets of longer ones."""
    rows = base.shape[0]
    if length == 1:
        for row in range(rows):
            values[row] = data[base[row] + distance]
    elif length == 2:
        for row in range(rows):
            values[row] = u16(data, base[row] + distance)
    elif length == 4:
        for row in range(rows):
            values[row] = u32(data, base[row] + distance)
    elif length == 8:
        for row in range(rows):
            at = base[row] + distance
            values[row] = (np.uint64(u32(data, at)) << np.uint64(32)) | np.uint64(u32(data, at + 4))
    else:
        for row in range(rows):
            values[row] = number(data, base[row] + distance, length)


@compiled
def read_unsigned_spans(data: Any, base: Any, lengths: Any, values: Any) -> None:
    """Like :func:`read_unsigned`, with a length for each record."""
    for row in range(base.shape[0]):
        values[row] = number(data, base[row], np.int64(lengths[row]))


@inner
def number(data: Any, at: Any, length: Any) -> Any:
    """A big-endian number; the last 8 octets of longer ones."""
    value = np.uint64(0)
    for place in range(at + max(length - 8, 0), at + length):
        value = (value << np.uint64(8)) | np.uint64(data[place])
    return value


@compiled
def read_halves(data: Any, base: Any, distance: Any, lengths: Any, high: Any, low: Any) -> None:
    """Read numbers of up to 16 octets as two 64-bit halves; ``lengths`` has one entry per record, or one for all."""
    same = lengths.shape[0] == 1
    for row in range(base.shape[0]):
        length = np.int64(lengths[0 if same else row])
        at = base[row] + distance
        low[row] = number(data, at, length)
        above = min(max(length - 8, 0), 8)
        high[row] = number(data, at + max(length - 16, 0), above)


@compiled
def copy_sets(data: Any, offset: Any, octets: Any, copy: Any) -> None:
    """Copy the bodies of sets to consecutive octets."""
    at = np.int64(0)
    for row in range(offset.shape[0]):
        length = np.int64(octets[row])
        begin = np.int64(offset[row])
        copy[at : at + length] = data[begin : begin + length]
        at += length
