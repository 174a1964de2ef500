"""A span of time that may be open at either end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["ALWAYS", "TimeSpan"]

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


@dataclass(frozen=True)
class TimeSpan:
    """The times from ``begin`` up to, but not including, ``end``.

    Parameters
    ----------
    begin
        First time in the span; None for no lower bound. A time without a zone is UTC.
    end
        First time after the span; None for no upper bound.

    Examples
    --------
    >>> may = TimeSpan(datetime(2024, 5, 1), datetime(2024, 6, 1))
    >>> flows = pl.DataFrame({"start": [datetime(2024, 5, 31, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)]})
    >>> may.filter(flows).height
    1
    >>> TimeSpan().bounded
    False
    """

    begin: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("begin", "end"):
            time = getattr(self, name)
            if time is not None and time.tzinfo is None:
                object.__setattr__(self, name, time.replace(tzinfo=UTC))

    @property
    def bounded(self) -> bool:
        """Whether there is a bound at either end."""
        return self.begin is not None or self.end is not None

    @property
    def begin_us(self) -> int | None:
        """``begin`` in microseconds since 1970."""
        return _microseconds(self.begin)

    @property
    def end_us(self) -> int | None:
        """``end`` in microseconds since 1970."""
        return _microseconds(self.end)

    def contains_expr(self, column: str | pl.Expr = "start") -> pl.Expr:
        """Polars expression: whether each time of a column lies in the span."""
        time = pl.col(column) if isinstance(column, str) else column
        after = pl.lit(value=True) if self.begin is None else time >= self.begin
        return after if self.end is None else after & (time < self.end)

    def covers_expr(self, start: str = "start", end: str = "end") -> pl.Expr:
        """Polars expression: whether each window lies wholly in the span; a window may close exactly at ``end``."""
        after = pl.lit(value=True) if self.begin is None else pl.col(start) >= self.begin
        return after if self.end is None else after & (pl.col(end) <= self.end)

    def filter(self, frame: Frame, column: str = "start") -> Frame:
        """Rows whose time lies in the span; ``frame`` itself when the span has no bounds."""
        return frame.filter(self.contains_expr(column)) if self.bounded else frame

    def before(self, time_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark the times (microseconds since 1970, any shape) that are earlier than ``begin``."""
        begin_us = self.begin_us
        return np.zeros(time_us.shape, np.bool_) if begin_us is None else time_us < begin_us

    def after(self, time_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark the times (microseconds since 1970, any shape) that are at ``end`` or later."""
        end_us = self.end_us
        return np.zeros(time_us.shape, np.bool_) if end_us is None else time_us >= end_us

    def contains(self, time_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark the times (microseconds since 1970, any shape) in the span.

        >>> TimeSpan(end=datetime(1970, 1, 1)).contains(np.array([-1, 0])).tolist()
        [True, False]
        """
        return ~(self.before(time_us) | self.after(time_us))


ALWAYS = TimeSpan()
"""The span without bounds."""


def _microseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp() * 1e6)
