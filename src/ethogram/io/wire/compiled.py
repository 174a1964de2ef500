"""How the compiled functions of the wire are kept on disk, and the reads all of them use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

__all__ = ["compiled", "inner", "u8", "u16", "u32"]

F = TypeVar("F", bound=Callable[..., Any])
ROOM = Path(__file__).parent
COMPILED = ("compiled", "walk", "gather", "lookup", "file", "fragments", "capture_export", "recording")
STAMP = tuple((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in (ROOM / f"{name}.py" for name in COMPILED))


def compiled(function: F) -> F:
    """Compile a function that Python calls, on first use, and keep the result on disk."""
    return kept(function, {})


def inner(function: F) -> F:
    """Compile a function that only compiled ones call: without the wrapper for Python, which takes longest."""
    return kept(function, {"no_cpython_wrapper": True, "no_cfunc_wrapper": True})


def kept(function: F, options: dict[str, bool]) -> F:
    """Compile a function whose kept result is void as soon as any of these modules changes, as in ``io.internet``."""
    dispatcher = cast(Any, njit)(cache=True, nogil=True, error_model="numpy", **options)(function)
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):
        file._source_stamp = STAMP
    return cast(F, dispatcher)


@inner
def u8(data: Any, at: Any) -> Any:
    """One octet; signed like all lengths and places here, since mixing signs would give floats."""
    return np.int64(data[at])


@inner
def u16(data: Any, at: Any) -> Any:
    """Two octets, big-endian."""
    return (u8(data, at) << 8) | u8(data, at + 1)


@inner
def u32(data: Any, at: Any) -> Any:
    """Four octets, big-endian."""
    return (u8(data, at) << 24) | (u8(data, at + 1) << 16) | (u8(data, at + 2) << 8) | u8(data, at + 3)
