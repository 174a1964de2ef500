"""Format numbers, lists and tables for messages."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ethogram._text import visible

__all__ = ["join_names", "plural", "visible_frame"]


def plural(number: int, singular: str, many: str = "") -> str:
    """Format a count with its noun; ``many`` defaults to ``one`` plus "s".

    >>> plural(1, "entry", "entries"), plural(1200, "label")
    ('1 entry', '1,200 labels')
    """
    return f"{number:,} {singular if number == 1 else many or singular + 's'}"


def join_names(names: Sequence[str], most: int = 5) -> str:
    """Join the first ``most`` names, followed by the number of the others.

    >>> join_names(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def visible_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Escape control characters in the text columns of a small table, for plots."""
    return frame.with_columns(pl.col(pl.String).map_elements(visible, return_dtype=pl.String, skip_nulls=True))
