"""Remember what was computed of an object while it is used: a decision and its explanation share it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["LastSeen"]

V = TypeVar("V")


class LastSeen(Generic[V]):
    """The value computed of the last object, forgotten when the object is no longer referenced.

    Examples
    --------
    >>> lengths, words = LastSeen(), {"a", "b"}
    >>> lengths.of(words, lambda: len(words)), lengths.of(words, lambda: 0)
    (2, 2)
    """

    def __init__(self) -> None:
        self._object: weakref.ref[object] | None = None
        self._value: V | None = None

    def __reduce__(self) -> tuple[type[LastSeen[V]], tuple[()]]:
        return type(self), ()  # a copy has seen nothing

    def of(self, key: object, compute: Callable[[], V]) -> V:
        """The value of this object, computed unless it is the last one."""
        if self.holds(key) and self._value is not None:
            return self._value
        value = compute()
        self._object, self._value = weakref.ref(key, self._forget), value
        return value

    def holds(self, key: object) -> bool:
        """Whether this is the last object."""
        return self._object is not None and self._object() is key

    def _forget(self, reference: object) -> None:
        if reference is self._object:
            self._object = self._value = None
