"""How the compiled functions of this room are kept on disk, and the hash all of them use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

__all__ = ["compiled", "inner", "mixed"]

F = TypeVar("F", bound=Callable[..., Any])
ROOM = Path(__file__).parent
COMPILED = ("compiled", "tuples", "match", "twin_match", "chain", "numbers", "sides", "ports")
STAMP = tuple(
    (p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in (ROOM / f"{name}.py" for name in COMPILED) if p.exists()
)


def compiled(function: F) -> F:
    """Compile a function that Python calls, on first use, and keep the result on disk."""
    return kept(function, {})


def inner(function: F) -> F:
    """Compile a function that only compiled ones call: without the wrapper for Python, which takes longest."""
    return kept(function, {"no_cpython_wrapper": True, "no_cfunc_wrapper": True})


def kept(function: F, options: dict[str, bool]) -> F:
    """Compile a function whose kept result is void as soon as any of these modules changes.

    Numba looks at the file of the function alone, and would keep what it called from another.
    """
    dispatcher = cast(Any, njit)(cache=True, nogil=True, error_model="numpy", **options)(function)
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):
        file._source_stamp = STAMP
    return cast(F, dispatcher)


@inner
def mixed(one: Any, other: Any) -> Any:
    """Two 64-bit numbers to one: the finaliser of splitmix64 over both."""
    value = np.uint64(one) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(other)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
