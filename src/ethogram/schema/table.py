"""What a documented table is: columns with a type, a unit and a meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from ethogram.errors import InputError

__all__ = ["Column", "Table"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, type, unit ('' when it has none), meaning, and whether it may be null."""

    name: str
    dtype: pl.DataType
    unit: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A named set of columns; the one place where a table's form is written down.

    The reference page of the documentation is generated from it, and every border checks against it.
    """

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Column name to Polars type, in order."""
        return {column.name: column.dtype for column in self.columns}

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return [column.name for column in self.columns]

    def empty(self) -> pl.DataFrame:
        """A table of this form without rows."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame, *, file: str | None = None) -> pl.DataFrame:
        """Bring a frame to this form: nullable columns that are missing become null, types are cast.

        Raises
        ------
        InputError
            When a required column is missing, or a value does not fit its type.
        """
        missing = [c.name for c in self.columns if not c.nullable and c.name not in frame.columns]
        if missing:
            raise InputError(f"not a {self.name} table: no column {', '.join(missing)}", file=file)
        present = set(frame.columns)
        try:
            return frame.select(
                pl.col(c.name).cast(c.dtype) if c.name in present else pl.lit(None, dtype=c.dtype).alias(c.name)
                for c in self.columns
            )
        except pl.exceptions.PolarsError as error:
            first_line = str(error).splitlines()[0]
            raise InputError(f"not a {self.name} table: {first_line}", file=file) from None

    def matches(self, schema: Mapping[str, pl.DataType]) -> bool:
        """Whether a frame's schema is exactly this one, order included."""
        return list(schema.items()) == list(self.schema.items())
