"""Compiled kernels: where the records of sets stand, and their fields as columns.

The ``locate`` kernels compare every place with the end of its set; the ``read`` kernels read only places so checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.io.wire.compiled import compiled, inner, u8, u16, u32

__all__ = ["copy_sets", "locate_fixed", "locate_variable", "read_halves", "read_unsigned", "read_unsigned_spans"]


@compiled
def locate_fixed(offset: Any, counts: Any, length: Any, starts: Any) -> None:
    """Write where each record of fixed length begins; ``counts`` are the records of each set."""
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
    """Walk through records with fields of variable length (RFC 7011 section 7).

    Parameters
    ----------
    data
        Octets of all messages.
    offset, octets
        Of S sets.
    runs
        Octets of fixed length before each of K variable fields, and after the last; length K + 1.
    counts
        Filled with the records of each set.
    starts, at_field, field_octets
        Filled for each record with its place, and for each variable field (first axis, K) with the place and length
        of its content. They are long enough for the shortest records that can be.

    Returns
    -------
    records, broken
        Records found, and sets in which the last record would have ended behind the set.
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
    """Big-endian numbers of 0 to 8 octets, ``distance`` behind ``base``; of longer ones the last 8 octets."""
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
    """The same where each record has a length of its own."""
    for row in range(base.shape[0]):
        values[row] = number(data, base[row], np.int64(lengths[row]))


@inner
def number(data: Any, at: Any, length: Any) -> Any:
    """A big-endian number; of more than 8 octets the last 8."""
    value = np.uint64(0)
    for place in range(at + max(length - 8, 0), at + length):
        value = (value << np.uint64(8)) | np.uint64(data[place])
    return value


@compiled
def read_halves(data: Any, base: Any, distance: Any, lengths: Any, high: Any, low: Any) -> None:
    """Numbers of up to 16 octets in halves of 64 bits; ``lengths`` has one entry for each record, or one for all."""
    same = lengths.shape[0] == 1
    for row in range(base.shape[0]):
        length = np.int64(lengths[0 if same else row])
        at = base[row] + distance
        low[row] = number(data, at, length)
        above = min(max(length - 8, 0), 8)
        high[row] = number(data, at + max(length - 16, 0), above)


@compiled
def copy_sets(data: Any, offset: Any, octets: Any, copy: Any) -> None:
    """Copy the bodies of sets one behind the other."""
    at = np.int64(0)
    for row in range(offset.shape[0]):
        length = np.int64(octets[row])
        begin = np.int64(offset[row])
        copy[at : at + length] = data[begin : begin + length]
        at += length
