"""How the custom meter's functions are compiled: they call one another across files, and what is kept knows that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["compiled", "inner"]

ROOM = Path(__file__).parent
COMPILED = ("cache", "custom_cache", "fragments")
STAMP = tuple((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in (ROOM / f"{name}.py" for name in COMPILED))
F = TypeVar("F", bound=Callable[..., Any])


def kept(function: F, **options: bool) -> F:
    """Compile; what is kept on disk is void when any of the compiled modules changes (Numba looks at one alone)."""
    dispatcher = cast(Any, njit)(cache=True, nogil=True, error_model="numpy", **options)(function)
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):
        file._source_stamp = STAMP
    return cast(F, dispatcher)


def compiled(function: F) -> F:
    """Compile a function that Python calls."""
    return kept(function)


def inner(function: F) -> F:
    """Compile a function that only compiled ones call: without the wrapper for Python."""
    return kept(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)
