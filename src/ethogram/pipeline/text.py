"""Numbers and lists as people are told of them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ethogram._text import visible

__all__ = ["join_names", "plural", "visible_frame"]


def plural(number: int, one: str, many: str = "") -> str:
    """A number and what it counts; ``many`` is ``one`` with an s when it is not said.

    >>> plural(1, "entry", "entries"), plural(1200, "label")
    ('1 entry', '1,200 labels')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def join_names(names: Sequence[str], most: int = 5) -> str:
    """Names, and how many more there are.

    >>> join_names(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def visible_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """A small table with foreign text made safe to draw: labels, devices and services."""
    return frame.with_columns(pl.col(pl.String).map_elements(visible, return_dtype=pl.String, skip_nulls=True))
