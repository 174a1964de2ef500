"""Compilation with Numba, and the disk cache of compiled functions. No other module imports Numba.

Compiling everything takes about a minute, so compiled functions are kept in a folder chosen by
:mod:`ethogram._numba_cache`. Without such a folder, or when a cached file is damaged or cannot be written, functions
are compiled again: that is slow, but never an error.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache

from ethogram._numba_cache import OWN_FOLDER, CompiledFolder, compiled_folder

__all__ = ["QUIET", "Compiler", "compiled_functions", "inlined", "types"]

QUIET = "ETHOGRAM_QUIET"
"""Environment variable: any value but 0 suppresses the messages about compiling."""

F = TypeVar("F", bound=Callable[..., Any])


class Compiler:
    """Compiles the functions of a group of modules, and discards their cache when any module of the group changes.

    Numba discards a cached function when its own file changes, but not when a function it calls, or a constant it uses,
    changes in another file. Here the stamp of a function is a digest of all files of its group.

    Parameters
    ----------
    room
        Folder of the modules.
    modules
        Names of all modules that hold compiled functions or their constants; ``../_hashing`` names one elsewhere.
    """

    def __init__(self, room: Path, modules: Sequence[str]) -> None:
        self.files = tuple((room / f"{name}.py").resolve() for name in modules)
        digest = hashlib.sha256()
        for file in self.files:
            content = file.read_bytes()
            digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
        self._stamp = digest.hexdigest()

    @classmethod
    def of(cls, file: str, *others: str) -> Self:
        """Compiler of a single module (pass ``__file__``), and of ``others`` whose functions or constants it uses."""
        path = Path(file)
        return cls(path.parent, (path.stem, *others))

    def compiled(self, function: F) -> F:
        """Compile a function on first use; divisions by zero give inf or nan, as in NumPy."""
        return self._cached(function, error_model="numpy")

    def checked(self, function: F) -> F:
        """As :meth:`compiled`, but a division by zero raises, as in Python."""
        return self._cached(function)

    def inner(self, function: F) -> F:
        """Compile a function that only compiled functions call: it has no wrapper for Python, the slowest part."""
        return self._cached(function, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

    def reordered(self, *permissions: str) -> Callable[[F], F]:
        """As :meth:`compiled`, and allow LLVM to reorder arithmetic: values of Numba's ``fastmath``."""
        return lambda function: self._cached(function, error_model="numpy", fastmath=set(permissions))

    def _cached(self, function: F, **options: Any) -> F:
        dispatcher = cast(Any, njit)(nogil=True, **options)(function)
        if hasattr(dispatcher, "enable_caching"):  # with NUMBA_DISABLE_JIT it is the function itself
            dispatcher._cache = _cache_of(function, self._stamp)
            _functions.append((dispatcher, self.files))
        return cast(F, dispatcher)


_functions: list[tuple[Any, tuple[Path, ...]]] = []


def compiled_functions() -> list[tuple[Any, tuple[Path, ...]]]:
    """Numba's dispatcher of each compiled function in the modules imported so far, with the files of its group."""
    return list(_functions)


def inlined(function: F) -> F:
    """Inline a function into each compiled function that calls it."""
    return cast(F, cast(Any, njit)(inline="always")(function))


def _cache_of(function: Callable[..., Any], stamp: str) -> Any:
    folder = compiled_folder(Path(function.__code__.co_filename).resolve().parent)
    if folder.path is None:
        return _NoCache(folder)
    cache = _DiskCache(function)  # type: ignore[no-untyped-call]
    cache.folder, cache._cache_file._source_stamp = folder, stamp
    return cache


class _Locator:
    """Tells Numba the folder and the names of a function's cache files."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file, self._line = file, function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> Self:
        return cls(function, file)

    def get_cache_path(self) -> str:
        return str(compiled_folder(Path(self._py_file).resolve().parent).path)

    def ensure_cache_path(self) -> None:
        """Do nothing: the folder was made when it was chosen."""

    def get_source_stamp(self) -> str:
        return ""  # set by the compiler of the group

    def get_disambiguator(self) -> str:
        return str(self._line)


class _CacheFiles(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012 - as Numba declares it


class _DiskCache(FunctionCache):
    """Disk cache of one function; a damaged or unwritable file only costs time."""

    _impl_class = _CacheFiles
    folder: CompiledFolder

    def load_overload(self, signature: Any, context: Any) -> Any:
        _import_array_functions()
        try:
            overload = super().load_overload(signature, context)  # type: ignore[no-untyped-call]
        except Exception:  # a file truncated by a crash raises whatever unpickling raises
            overload = None
        if overload is None:
            _announce(self.folder)
        return overload

    def save_overload(self, signature: Any, result: Any) -> None:
        if not self.folder.writable:
            return
        try:
            super().save_overload(signature, result)  # type: ignore[no-untyped-call]
        except OSError:
            return  # for example, the disk is full: the function is compiled again next time
        except Exception:  # the index to be extended is damaged
            try:
                self.flush()  # type: ignore[no-untyped-call]
                super().save_overload(signature, result)  # type: ignore[no-untyped-call]
            except OSError:
                return


@cache
def _import_array_functions() -> None:
    """Import Numba's array functions without SciPy, which Numba imports only to see whether it is there.

    That takes a fifth of a second, and no function here calls linear algebra. One that does imports SciPy when it is
    compiled, as before.
    """
    linalg: Any = importlib.import_module("numba.np.linalg")
    ensure_blas = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        arrays: Any = importlib.import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = ensure_blas
    arrays.ensure_blas = ensure_blas


class _NoCache(NullCache):
    """Used without a folder; reports that once, when it first costs time."""

    def __init__(self, folder: CompiledFolder) -> None:
        self.folder = folder

    def load_overload(self, signature: Any, context: Any) -> None:
        del signature, context
        _announce(self.folder)


_announced: set[str] = set()


def _announce(folder: CompiledFolder) -> None:
    """Report, once in a process, that compiling starts, or that its results cannot be kept."""
    for line in folder.refused:
        _print_once(line, line)
    if folder.writable:
        _print_once("compiling", "compiling for first use; this takes up to a minute and happens once")
    else:
        _print_once(
            "compiling",
            "compiling, which takes up to a minute at every start, because no folder to keep compiled code in can be "
            f"written by this user alone; {OWN_FOLDER} may name one",
        )


def _print_once(key: str, line: str) -> None:
    if key in _announced:
        return
    _announced.add(key)
    if os.environ.get(QUIET, "0") in {"", "0"} and sys.stderr is not None:
        sys.stderr.write(f"ethogram: {line}\n")
        sys.stderr.flush()
