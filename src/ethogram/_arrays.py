"""Arrays for compiled functions, which are compiled again for each kind of array that they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["column", "read_only"]


def read_only(values: NDArray[Any]) -> NDArray[Any]:
    """The same array, contiguous, through which nothing can be written.

    >>> read_only(np.arange(3)).flags.writeable
    False
    """
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


def column(series: pl.Series) -> NDArray[Any]:
    """The values of a column, read-only.

    Polars shares a column of one chunk, which is read-only, and copies one of several, which is not: how a table came
    about would decide what is compiled, and when.

    >>> column(pl.concat([pl.Series([1]), pl.Series([2])], rechunk=False)).flags.writeable
    False
    """
    return read_only(series.to_numpy())
