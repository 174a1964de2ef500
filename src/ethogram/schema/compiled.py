"""How functions that Numba compiles are kept on disk, where they call one another across files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["Compiler"]

F = TypeVar("F", bound=Callable[..., Any])


class Compiler:
    """Compiles the functions of a group of modules whose kept results are void as soon as any of the group changes.

    Numba voids a kept result when the function's own file changes, but not when that of a function it calls does. So
    the stamp of all of them takes that of the one.

    Parameters
    ----------
    room
        Folder of the modules.
    modules
        Their names, those of all that hold compiled functions.
    """

    def __init__(self, room: Path, modules: Sequence[str]) -> None:
        files = [room / f"{name}.py" for name in modules]
        self._stamp = tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)

    def compiled(self, function: F) -> F:
        """Compile a function that Python calls, on first use, and keep the result on disk."""
        return self._kept(function, {})

    def inner(self, function: F) -> F:
        """Compile a function that only compiled ones call: without the wrapper for Python, which takes longest."""
        return self._kept(function, {"no_cpython_wrapper": True, "no_cfunc_wrapper": True})

    def _kept(self, function: F, options: dict[str, bool]) -> F:
        dispatcher = cast(Any, njit)(cache=True, nogil=True, error_model="numpy", **options)(function)
        file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
        if file is not None and hasattr(file, "_source_stamp"):
            file._source_stamp = self._stamp
        return cast(F, dispatcher)
