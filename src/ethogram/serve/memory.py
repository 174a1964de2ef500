"""Memory of a process that runs for years: what is freed goes back to the system, and few arenas are kept.

Allocators keep freed memory for later use, in a pool for each thread or core. A service whose rounds need much memory
for a moment therefore grows for hours, although it holds no more than before. Three allocators are at work: that of the
C library (NumPy, Python, SQLite), jemalloc (Polars) and that of Arrow.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow

__all__ = ["POLARS_MEMORY", "cycles_kept", "limit_arenas", "release_memory"]

POLARS_MEMORY = "_RJEM_MALLOC_CONF"
"""Variable that jemalloc reads when Polars is loaded."""
_JEMALLOC = "narenas:4,muzzy_decay_ms:0"
_ARENA_MAX, _ARENAS = -8, 4  # M_ARENA_MAX of mallopt(3)


def limit_arenas() -> None:
    """Keep few pools of freed memory; called before Polars is loaded.

    A setting of jemalloc in the environment stays as it is. Without glibc or Polars' jemalloc this changes nothing.
    """
    os.environ.setdefault(POLARS_MEMORY, _JEMALLOC)
    library = _c_library()
    if hasattr(library, "mallopt") and "MALLOC_ARENA_MAX" not in os.environ:
        library.mallopt(_ARENA_MAX, _ARENAS)


def release_memory() -> None:
    """Give freed memory of the C library and of Arrow back to the system."""
    pyarrow.default_memory_pool().release_unused()
    library = _c_library()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


@contextmanager
def cycles_kept() -> Iterator[None]:
    """Do not search for reference cycles during a bounded piece of work that makes many objects and no cycles.

    The search visits all objects of the process again and again while a batch of verdicts is made.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _c_library() -> Any:
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None
