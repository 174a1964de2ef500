"""Patterns of texts with ``*`` and ``?``, indexed so that a text is compared with few of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["Patterns"]

_MAX_TEXT = 512
_START = 2  # characters of the index


class Patterns:
    """Patterns for whole texts, without regard to case.

    Examples
    --------
    >>> patterns = Patterns(["roku-*", "*camera*", "ro??"])
    >>> patterns.matches("Roku-Camera"), patterns.matches("rock")
    (['*camera*', 'roku-*'], ['ro??'])
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._by_start: dict[str, list[str]] = {}
        self._compiled: dict[str, re.Pattern[str]] = {}
        for pattern in patterns:
            start = re.split(r"[*?]", pattern.lower(), maxsplit=1)[0][:_START]
            self._by_start.setdefault(start, []).append(pattern)

    def matches(self, text: str) -> list[str]:
        """Patterns that match, the one with the most literal characters first; only the first 512 characters count."""
        text = text[:_MAX_TEXT].lower()
        matching = [
            pattern
            for length in range(_START + 1)
            if length <= len(text)
            for pattern in self._by_start.get(text[:length], ())
            if self._regex(pattern).fullmatch(text)
        ]
        return sorted(
            set(matching), key=lambda pattern: (pattern.count("*") + pattern.count("?") - len(pattern), pattern)
        )

    def _regex(self, pattern: str) -> re.Pattern[str]:
        regex = self._compiled.get(pattern)
        if regex is None:
            # Repeated asterisks would make matching slow on hostile text.
            parts = re.split(r"(\*+|\?)", pattern.lower())
            text = "".join(".*" if part.startswith("*") else "." if part == "?" else re.escape(part) for part in parts)
            regex = self._compiled[pattern] = re.compile(text, flags=re.DOTALL)
        return regex
