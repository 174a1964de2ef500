"""Work on the distinct values of a column once, and spread the results over its rows."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

__all__ = ["by_unique", "codes_of"]


def codes_of(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Number the distinct texts of a column.

    Parameters
    ----------
    values
        Texts, length N; null is no text.

    Returns
    -------
    codes, texts
        Codes from 0 (UInt32, length N, null where there is no text), and the text of each code.

    Examples
    --------
    >>> codes, texts = codes_of(pl.Series(["b", "a", None, "b"]))
    >>> [None if c is None else texts[c] for c in codes]
    ['b', 'a', None, 'b']
    """
    # Categories of its own: codes are dense, and are forgotten with the column.
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
