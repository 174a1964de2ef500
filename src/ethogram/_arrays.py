"""Arrays for compiled functions, which are compiled once for each combination of array types."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["column", "read_only"]


def read_only(values: NDArray[Any]) -> NDArray[Any]:
    """Contiguous, read-only view of an array.

    >>> read_only(np.arange(3)).flags.writeable
    False
    """
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


def column(series: pl.Series) -> NDArray[Any]:
    """The values of a column, read-only.

    Polars returns a read-only view of a column with one chunk, and a writable copy of one with several. Without this
    function, the history of a table would determine which versions of a function are compiled.

    >>> column(pl.concat([pl.Series([1]), pl.Series([2])], rechunk=False)).flags.writeable
    False
    """
    return read_only(series.to_numpy())
