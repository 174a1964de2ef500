"""How much commands say on standard error, as ``--quiet`` and ``--verbose`` set it."""

from __future__ import annotations

__all__ = ["NORMAL", "QUIET", "VERBOSE", "is_quiet", "is_verbose", "set_verbosity"]

QUIET, NORMAL, VERBOSE = -1, 0, 1
_verbosity = NORMAL


def set_verbosity(level: int) -> None:
    """Choose what commands say, from ``QUIET`` to ``VERBOSE``."""
    global _verbosity  # noqa: PLW0603 (one terminal per process)
    _verbosity = level


def is_quiet() -> bool:
    """Whether ``--quiet`` was given."""
    return _verbosity <= QUIET


def is_verbose() -> bool:
    """Whether ``--verbose`` was given."""
    return _verbosity >= VERBOSE
