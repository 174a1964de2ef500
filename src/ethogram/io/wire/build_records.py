"""Encode columns to data records of fixed and variable length, all records of a template at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import UsageError
from ethogram.io.wire.template import VARIABLE, Field

__all__ = ["MAX_MESSAGE", "Encoded", "Values", "encode"]

MAX_MESSAGE = 65_535
"""Maximum octets of a message and of a set; their length fields have 16 bits."""

Values = NDArray[Any] | Sequence[bytes]
"""Column of a field, length N: integers or floats, ``uint8[N, length]``, or octet strings."""


@dataclass(frozen=True)
class Encoded:
    """N encoded records in consecutive octets; slicing selects records."""

    octets: NDArray[np.uint8]
    offset: NDArray[np.int64]  # N + 1 positions in ``octets``: the start of each record, and the end of the last

    def __len__(self) -> int:
        return int(self.offset.shape[0]) - 1

    def __getitem__(self, rows: slice) -> Encoded:
        first, last, _ = rows.indices(len(self))
        return Encoded(self.octets, self.offset[first : last + 1])

    def tobytes(self) -> bytes:
        """The octets of these records."""
        return self.octets[self.offset[0] : self.offset[-1]].tobytes()


def encode(fields: Sequence[Field], columns: Sequence[Values], *, long_form: bool = False) -> Encoded:
    """Encode data records.

    Parameters
    ----------
    fields
        Fields of the template. A length shorter than the element type is reduced-size encoding (RFC 7011 section 6.2).
    columns
        One per field, each of length N. Integers fit any length that is large enough, octet strings shorter than the
        field are padded with zeros, and variable-length fields take octet strings.
    long_form
        Encode every variable length in three octets, which is also valid for short ones (RFC 7011 section 7).

    Raises
    ------
    UsageError
        If a value does not fit its field, or columns differ in length.

    Examples
    --------
    >>> encode([Field(0, 1, 3), Field(0, 82, VARIABLE)], [np.array([5]), [b"eth0"]]).tobytes()
    b'\\x00\\x00\\x05\\x04eth0'
    """
    if len(fields) != len(columns) or len({len(column) for column in columns}) > 1:
        raise UsageError(f"expected {len(fields)} columns of equal length")
    rows = len(columns[0]) if columns else 0
    if all(field.length != VARIABLE for field in fields):
        whole = np.zeros((rows, sum(field.length for field in fields)), np.uint8)
        at = 0
        for field, column in zip(fields, columns, strict=True):
            whole[:, at : at + field.length] = _fixed(field, column, rows)
            at += field.length
        return Encoded(whole.reshape(-1), np.arange(rows + 1, dtype=np.int64) * whole.shape[1])
    # Parts in field order: a matrix with one row per record, or octets with one length per record.
    parts: list[tuple[NDArray[np.uint8], NDArray[np.int64]]] = []
    for field, column in zip(fields, columns, strict=True):
        if field.length == VARIABLE:
            parts += _variable(column, long_form)
        else:
            parts.append((_fixed(field, column, rows).reshape(-1), np.full(rows, field.length, np.int64)))
    lengths = np.sum([length for _, length in parts], axis=0)
    offset = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    octets = np.empty(int(offset[-1]), np.uint8)
    place = offset[:-1].copy()
    for part, length in parts:
        octets[_places(place, length)] = part
        place += length
    return Encoded(octets, offset)


def _places(start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the octets in runs that begin at ``start``."""
    before = np.cumsum(length) - length
    return np.repeat(start - before, length) + np.arange(int(length.sum()), dtype=np.int64)


def _variable(column: Values, long_form: bool) -> list[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    strings = [bytes(value) for value in column]
    length = np.array([len(value) for value in strings], np.int64)
    if length.size and length.max() > MAX_MESSAGE:
        raise UsageError("a variable-length value is longer than 65,535 octets")
    long = (length >= 255) | long_form
    prefix = np.zeros((len(strings), 3), np.uint8)
    prefix[:, 0] = np.where(long, 255, length)
    prefix[:, 1], prefix[:, 2] = length >> 8, length & 0xFF
    used = np.ones_like(prefix, bool)
    used[~long, 1:] = False
    content = np.frombuffer(b"".join(strings), np.uint8)
    return [(prefix[used], np.where(long, 3, 1).astype(np.int64)), (content, length)]


def _fixed(field: Field, column: Values, rows: int) -> NDArray[np.uint8]:
    """A fixed-length field as a matrix of octets."""
    length = field.length
    if isinstance(column, np.ndarray) and column.ndim == 2:
        if column.shape[1] != length or column.dtype != np.uint8:
            raise UsageError(f"element {field.id} takes {length} octets")
        return column
    if not isinstance(column, np.ndarray):
        if any(len(value) > length for value in column):
            raise UsageError(f"element {field.id} takes {length} octets at most")
        joined = b"".join(bytes(value).ljust(length, b"\0") for value in column)
        return np.frombuffer(joined, np.uint8).reshape(rows, length)
    if column.dtype.kind == "f":
        if length not in {4, 8}:
            raise UsageError(f"element {field.id}: a real number takes 4 or 8 octets")
        return column.astype(f">f{length}").view(np.uint8).reshape(rows, length)
    return _whole(field, column, rows)


def _whole(field: Field, column: NDArray[Any], rows: int) -> NDArray[np.uint8]:
    length = field.length
    if rows and length < 8:
        low, high = int(column.min()), int(column.max())
        if high >= 1 << (8 * length) or low < -(1 << (8 * length - 1) if length else 0):
            raise UsageError(f"element {field.id}: {low if low < 0 else high} does not fit {length} octets")
    wide = column.astype(">i8" if column.dtype.kind == "i" else ">u8").view(np.uint8).reshape(rows, 8)
    if length <= 8:
        return wide[:, 8 - length :]
    return np.concatenate([np.zeros((rows, length - 8), np.uint8), wide], axis=1)
