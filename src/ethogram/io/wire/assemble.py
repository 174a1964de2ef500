"""Assemble columns of records of many templates into one biflow table.

A batch of messages can contain records of thousands of templates, a few of each. All columns therefore stay arrays
until the end, and the table is built once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._address_text import MAC, AddressText
from ethogram.io.wire.endpoints import Endpoints
from ethogram.schema import BIFLOW, TIME

__all__ = ["NONE", "Piece", "assembled"]

NONE: dict[str, int] = {
    "initial_tcp_flags": 0, "reverse_initial_tcp_flags": 0, "union_tcp_flags": 0, "reverse_union_tcp_flags": 0,
    "end_reason": 0, "vlan": 0, "direction": 255,
}  # fmt: skip
"""Number that stands for null."""

RAW = {"octets": "raw_octets", "packets": "raw_packets", "reverse_octets": "reverse_raw_octets",
       "reverse_packets": "reverse_raw_packets"}  # fmt: skip
REVERSE_INITIATOR = 2
"""biflowDirection: the source is the responder (RFC 5103 section 6.3)."""


@dataclass
class Piece:
    """Flows of the records of one template.

    Parameters
    ----------
    ends
    Addresses, ports and protocol.
    numbers
        Columns of length N by name; missing ones are null, missing counters 0.
    texts
        Text columns.
    scaled
        Rows whose counters were scaled; the raw columns hold the exported values. None if no row was scaled.
    one_way
        Whether each row is one-way.
    """

    ends: Endpoints
    numbers: dict[str, NDArray[np.generic]]
    one_way: bool
    texts: dict[str, pl.Series] = field(default_factory=dict)
    scaled: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return int(self.ends.protocol.shape[0])

    def of(self, rows: NDArray[np.int64]) -> Piece:
        """Select rows."""
        return Piece(
            self.ends.of(rows),
            {name: values[rows] for name, values in self.numbers.items()},
            self.one_way,
            {name: values.gather(rows) for name, values in self.texts.items()},
            None if self.scaled is None else self.scaled[rows],
        )


def assembled(pieces: list[Piece], text: AddressText) -> pl.DataFrame:
    """Concatenate all pieces into one table.

    Parameters
    ----------
    pieces
        At least one piece; none is empty.
    text
        Formats addresses.
    """
    rows = sum(map(len, pieces))
    columns: dict[str, pl.Series] = {}
    for column in BIFLOW.columns:
        name, dtype = column.name, column.dtype
        if name in {"source_address", "destination_address"}:
            sides = [getattr(piece.ends, name.removesuffix("_address")) for piece in pieces]
            columns[name] = text(
                concat([side.versions() for side in sides]),
                concat([side.high for side in sides]),
                concat([side.low for side in sides]),
            )
        elif name in {"protocol", "source_port", "destination_port"}:
            columns[name] = pl.Series(concat([getattr(piece.ends, name) for piece in pieces]))
        elif name == "one_way":
            columns[name] = pl.Series(np.repeat([piece.one_way for piece in pieces], [len(piece) for piece in pieces]))
        elif any(name in piece.texts for piece in pieces):
            empty = (
                piece.texts.get(name, pl.Series([None], dtype=dtype).new_from_index(0, len(piece))) for piece in pieces
            )
            columns[name] = pl.concat(empty)
        elif any(name in piece.numbers for piece in pieces):
            columns[name] = _numbers(name, dtype, pieces, text)
        else:
            value = None if column.nullable else 0
            columns[name] = pl.Series([value], dtype=dtype).new_from_index(0, rows)
    frame = pl.DataFrame(columns)
    if any("_biflow_direction" in piece.numbers for piece in pieces):
        direction = concat([_part("_biflow_direction", piece, np.uint8, 0) for piece in pieces])
        frame = reverse_records(frame, pl.Series(direction == REVERSE_INITIATOR))
    return frame


def concat(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Concatenate arrays."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _part(name: str, piece: Piece, dtype: type[np.generic], none: int) -> NDArray[np.generic]:
    values = piece.numbers.get(name)
    return np.full(len(piece), none, dtype) if values is None else values


def _numbers(name: str, dtype: pl.DataType, pieces: list[Piece], text: AddressText) -> pl.Series:
    kind = next(piece.numbers[name].dtype for piece in pieces if name in piece.numbers).type
    values = concat([_part(name, piece, kind, NONE.get(name, 0)) for piece in pieces])
    if name.endswith("_mac"):
        zero = np.zeros(values.shape[0], np.uint64)
        return text(np.full(values.shape[0], MAC, np.uint8), zero, values.astype(np.uint64, copy=False))
    series = pl.Series(values)
    if dtype == TIME:
        return series.cast(TIME)
    null: NDArray[np.bool_] | None = None
    if name in NONE:
        null = values == NONE[name]
    elif name in RAW.values():
        null = ~np.concatenate([np.zeros(len(p), bool) if p.scaled is None else p.scaled for p in pieces])
    return series.set(pl.Series(null), None) if null is not None and null.any() else series


def reverse_records(frame: pl.DataFrame, back: pl.Series) -> pl.DataFrame:
    """Reverse the records whose source is the responder."""
    if not back.any():
        return frame
    columns = [
        frame[name].zip_with(~back, frame[opposite(name)]).alias(name)
        for name in frame.columns
        if opposite(name) in frame.columns
    ]
    return frame.with_columns(columns)


def opposite(name: str) -> str:
    """The column of the opposite direction.

    >>> opposite("source_port"), opposite("reverse_raw_octets"), opposite("initial_tcp_flags"), opposite("vlan")
    ('destination_port', 'raw_octets', 'reverse_initial_tcp_flags', 'reverse_vlan')
    """
    if name.startswith("source_"):
        return f"destination_{name.removeprefix('source_')}"
    if name.startswith("destination_"):
        return f"source_{name.removeprefix('destination_')}"
    return name.removeprefix("reverse_") if name.startswith("reverse_") else f"reverse_{name}"
