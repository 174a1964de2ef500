"""Remember what was computed from the last object, so that a decision and its explanation share it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["LastSeen"]

V = TypeVar("V")


class LastSeen(Generic[V]):
    """The value computed from the last object, released with that object.

    Objects are compared by identity, so they must not change. A copy remembers nothing.

    Parameters
    ----------
    keep
        Whether a value is small enough to be remembered; None: all are.

    Examples
    --------
    >>> lengths, words = LastSeen(), {"a", "b"}
    >>> lengths.of(words, lambda: len(words)), lengths.of(words, lambda: 0)
    (2, 2)
    """

    def __init__(self, keep: Callable[[V], bool] | None = None) -> None:
        self._keep = keep
        self._last: tuple[weakref.ref[object], V] | None = None

    def __reduce__(self) -> tuple[type[LastSeen[V]], tuple[Callable[[V], bool] | None]]:
        return type(self), (self._keep,)

    def of(self, key: object, compute: Callable[[], V]) -> V:
        """The value of this object, computed unless it is the last one."""
        if self._last is not None and self._last[0]() is key:
            return self._last[1]
        value = compute()
        if self._keep is None or self._keep(value):
            self._last = weakref.ref(key, self._forget), value
        return value

    def _forget(self, reference: object) -> None:
        if self._last is not None and reference is self._last[0]:
            self._last = None
