"""The one door to Numba: how functions are compiled, kept on disk, and loaded again.

Compiling everything takes about a minute, so what is compiled is kept in a folder that
:mod:`ethogram.schema.compiled_folder` chooses. Where there is none, or a kept file is damaged or cannot be written,
functions are compiled again; that is slow, never an error.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache

from ethogram.schema.compiled_folder import OWN_FOLDER, CompiledFolder, compiled_folder

__all__ = ["QUIET", "Compiler", "compiled_functions", "inlined", "types"]

QUIET = "ETHOGRAM_QUIET"
"""Variable that, set to anything but 0, keeps the lines about compiling off standard error."""

F = TypeVar("F", bound=Callable[..., Any])


class Compiler:
    """Compiles the functions of a group of modules whose kept results are void as soon as any of the group changes.

    Numba voids a kept result when the function's own file changes, but not when that of a function it calls, or of a
    constant it uses, does. So the stamp of all of them, the digest of their text, takes the place of that of the one.

    Parameters
    ----------
    room
        Folder of the modules.
    modules
        Their names, those of all that hold compiled functions or their constants; ``..schema/address`` names one
        elsewhere.
    """

    def __init__(self, room: Path, modules: Sequence[str]) -> None:
        self.files = tuple((room / f"{name}.py").resolve() for name in modules)
        digest = hashlib.sha256()
        for file in self.files:
            content = file.read_bytes()
            digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
        self._stamp = digest.hexdigest()

    @classmethod
    def of(cls, file: str) -> Self:
        """For a module whose compiled functions call only one another: pass ``__file__``."""
        path = Path(file)
        return cls(path.parent, (path.stem,))

    def compiled(self, function: F) -> F:
        """Compile a function that Python calls, on first use; divisions by zero give inf or nan, as in NumPy."""
        return self._kept(function, error_model="numpy")

    def checked(self, function: F) -> F:
        """Likewise, but a division by zero raises, as in Python."""
        return self._kept(function)

    def inner(self, function: F) -> F:
        """Compile a function that only compiled ones call: without the wrapper for Python, which takes longest."""
        return self._kept(function, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

    def reordered(self, *permissions: str) -> Callable[[F], F]:
        """As :meth:`compiled`, with LLVM's permissions to change the order or form of arithmetic (``fastmath``)."""
        return lambda function: self._kept(function, error_model="numpy", fastmath=set(permissions))

    def _kept(self, function: F, **options: Any) -> F:
        dispatcher = cast(Any, njit)(nogil=True, **options)(function)
        if hasattr(dispatcher, "enable_caching"):  # with NUMBA_DISABLE_JIT it is the function itself
            dispatcher._cache = _cache_of(function, self._stamp)
            _functions.append((dispatcher, self.files))
        return cast(F, dispatcher)


_functions: list[tuple[Any, tuple[Path, ...]]] = []


def compiled_functions() -> list[tuple[Any, tuple[Path, ...]]]:
    """Numba's dispatcher of every function that is compiled and kept, in the modules loaded so far.

    Beside each stand the files whose change voids what is kept of it.
    """
    return list(_functions)


def inlined(function: F) -> F:
    """A function whose text is compiled as a part of each compiled function that calls it."""
    return cast(F, cast(Any, njit)(inline="always")(function))


def _cache_of(function: Callable[..., Any], stamp: str) -> Any:
    folder = compiled_folder(Path(function.__code__.co_filename).resolve().parent)
    if folder.path is None:
        return _NotKept(folder)
    kept = _Kept(function)  # type: ignore[no-untyped-call]
    kept.folder, kept._cache_file._source_stamp = folder, stamp
    return kept


class _Locator:
    """Tells Numba which folder and which names the kept files of a function have."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file, self._line = file, function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> Self:
        return cls(function, file)

    def get_cache_path(self) -> str:
        return str(compiled_folder(Path(self._py_file).resolve().parent).path)

    def ensure_cache_path(self) -> None:
        """The folder was made when it was chosen."""

    def get_source_stamp(self) -> str:
        return ""  # the compiler of the group sets it

    def get_disambiguator(self) -> str:
        return str(self._line)


class _KeptFiles(CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012 - as Numba declares it


class _Kept(FunctionCache):
    """The kept results of one function; no file of it can end a run."""

    _impl_class = _KeptFiles
    folder: CompiledFolder

    def load_overload(self, signature: Any, context: Any) -> Any:
        try:
            found = super().load_overload(signature, context)  # type: ignore[no-untyped-call]
        except Exception:  # a file cut short by a crash raises whatever unpickling raises
            found = None
        if found is None:
            _announce(self.folder)
        return found

    def save_overload(self, signature: Any, result: Any) -> None:
        if not self.folder.writable:
            return
        try:
            super().save_overload(signature, result)  # type: ignore[no-untyped-call]
        except OSError:
            return  # the disk is full, say: it is compiled again next time
        except Exception:  # the index that is to be extended is damaged
            try:
                self.flush()  # type: ignore[no-untyped-call]
                super().save_overload(signature, result)  # type: ignore[no-untyped-call]
            except OSError:
                return


class _NotKept(NullCache):
    """Nothing is kept, and that is said when it first costs something."""

    def __init__(self, folder: CompiledFolder) -> None:
        self.folder = folder

    def load_overload(self, signature: Any, context: Any) -> None:
        del signature, context
        _announce(self.folder)


_announced: set[str] = set()


def _announce(folder: CompiledFolder) -> None:
    """Say, once in a process, that compiling begins, or that its results cannot be kept."""
    for line in folder.refused:
        _say_once(line, line)
    if folder.writable:
        _say_once("compiling", "compiling for first use; this takes up to a minute and happens once")
    else:
        _say_once(
            "compiling",
            "compiling, which takes up to a minute at every start, because no folder to keep compiled code in can be "
            f"written by this user alone; {OWN_FOLDER} may name one",
        )


def _say_once(key: str, line: str) -> None:
    if key in _announced:
        return
    _announced.add(key)
    if os.environ.get(QUIET, "0") in {"", "0"} and sys.stderr is not None:
        sys.stderr.write(f"ethogram: {line}\n")
        sys.stderr.flush()
