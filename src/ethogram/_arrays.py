"""Helpers for arrays and columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["by_unique", "codes_of", "column", "read_only"]


def read_only(values: NDArray[Any]) -> NDArray[Any]:
    """Contiguous, read-only view of an array, for compiled functions: these are compiled once for each array type.

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


def codes_of(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Number the distinct texts of a column.

    Parameters
    ----------
    values
        Texts, length N; nulls are allowed.

    Returns
    -------
    codes, texts
        Codes from 0 (UInt32, length N, null for null), and the text of each code.

    Examples
    --------
    >>> codes, texts = codes_of(pl.Series(["b", "a", None, "b"]))
    >>> [None if c is None else texts[c] for c in codes]
    ['b', 'a', None, 'b']
    """
    # A new set of categories: its codes are dense, and it is freed with the column.
    coded = values.cast(pl.Categorical(pl.Categories.random()))
    distinct = coded.unique().drop_nulls()
    table = pl.DataFrame({"code": distinct.to_physical(), "text": distinct.cast(pl.String)}).sort("code")
    return coded.to_physical(), table["text"]


def by_unique(values: pl.Series, function: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Apply ``function`` to the distinct texts of a column; length N, null stays null.

    >>> by_unique(pl.Series(["b", "a", None, "b"]), lambda texts: texts.str.to_uppercase()).to_list()
    ['B', 'A', None, 'B']
    """
    codes, texts = codes_of(values)
    return function(texts).gather(codes)
