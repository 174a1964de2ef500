"""Placeholder for the damaged rest of an archive whose earlier members were readable."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ethogram.errors import InputError
from ethogram.io.record_reader import RecordReader

__all__ = ["DamagedArchive"]


class DamagedArchive(RecordReader):
    """Yields no records and raises the damage, so that the run reports it and still uses the other members."""

    def __init__(self, damage: InputError) -> None:
        super().__init__(damage.file or "archive")
        self._damage = damage

    def batches(self) -> Iterator[pl.DataFrame]:
        """Raise the damage."""
        yield from ()
        raise self._damage
