"""Folder of the disk cache of compiled code.

Numba caches compiled functions as pickles, so whoever can write such a file can run code as the user who loads it. A
folder is therefore used only if it belongs to this user or to root, and nobody else can write to it or replace it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["OWN_FOLDER", "CompiledFolder", "compiled_folder", "distrust"]

OWN_FOLDER = "ETHOGRAM_CACHE_DIR"
EXPLICIT = (OWN_FOLDER, "NUMBA_CACHE_DIR")
"""Variables that name a cache folder; if a folder named there cannot be used, this is reported."""

_ROOT = 0
_OTHERS_WRITE, _OTHERS_ENTER = stat.S_IWGRP | stat.S_IWOTH, stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True)
class CompiledFolder:
    """Cache folder of the compiled functions of one source folder.

    Attributes
    ----------
    path
        The folder; None if there is none.
    writable
        Whether new functions can be cached there.
    refused
        Why folders named by the user are not used, one line each.
    """

    path: Path | None
    writable: bool
    refused: tuple[str, ...] = ()


@cache
def compiled_folder(source: Path) -> CompiledFolder:
    """Choose the cache folder for the modules of one source folder.

    Candidates, in order: the folder in ``ETHOGRAM_CACHE_DIR`` or ``NUMBA_CACHE_DIR``; ``__pycache__`` beside the
    modules; the folder in ``CACHE_DIRECTORY``, which systemd sets; the user's cache folder. The first one that this
    user alone can write is used; failing that, the first one that already contains compiled functions.

    Parameters
    ----------
    source
        The folder of the modules.
    """
    refused: list[str] = []
    readable: Path | None = None
    for variable, path in _candidates(source):
        reason = _unusable(path)
        if reason is None:
            return CompiledFolder(path, writable=True, refused=tuple(refused))
        if variable in EXPLICIT:
            refused.append(f"{variable}={os.environ[variable]} is not used for compiled code: {reason}")
        if readable is None and _holds_compiled(path):
            readable = path
    return CompiledFolder(readable, writable=False, refused=tuple(refused))


def _candidates(source: Path) -> Iterator[tuple[str, Path]]:
    """Candidates of :func:`compiled_folder` in order, each with the variable that names it."""
    # Several installations may share a cache folder, so the subfolder's name identifies the installation.
    below = f"{source.name}-{hashlib.sha256(str(source).encode()).hexdigest()[:16]}"
    for variable in EXPLICIT:
        if value := os.environ.get(variable):
            yield variable, Path(value).absolute() / below
    yield "", source / "__pycache__"
    if value := os.environ.get("CACHE_DIRECTORY"):
        yield "CACHE_DIRECTORY", Path(value.split(":")[0]).absolute() / "compiled" / below
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore relative paths.
    home = Path(shared) if shared.startswith("/") else Path("~/.cache").expanduser()
    if home.is_absolute():
        yield "HOME", home / "ethogram" / "compiled" / below


def _unusable(path: Path) -> str | None:
    """Why a folder cannot be used, or None; it is created if missing."""
    try:
        if (reason := distrust(_nearest_existing(path))) is not None:
            return reason
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (reason := distrust(path)) is not None:
            return reason
        with tempfile.TemporaryFile(dir=path):
            return None
    except OSError as error:
        return f"it cannot be written: {error.strerror or error}"


def _nearest_existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _holds_compiled(path: Path) -> bool:
    try:
        return distrust(path) is None and next(path.glob("*.nbi"), None) is not None
    except OSError:
        return False


def distrust(path: Path) -> str | None:
    """Why someone else could have put files into a folder; None if nobody but root could.

    All parent folders are checked too, since whoever can write to one can replace the folder. Folders below one that
    only its owner can enter are out of reach of others.

    Raises
    ------
    OSError
        If it does not exist or cannot be reached.
    """
    path = path.resolve(strict=True)
    user, private = os.geteuid(), False
    for folder in (*reversed(path.parents), path):
        status = folder.stat()
        if status.st_uid not in {_ROOT, user}:
            return f"{folder} belongs to another user (uid {status.st_uid})"
        # In a folder with the sticky bit, such as /tmp, others cannot replace files that are not theirs.
        replaceable = folder == path or not status.st_mode & stat.S_ISVTX
        if status.st_mode & _OTHERS_WRITE and replaceable and not private:
            return f"other users can write to {folder} (mode {stat.S_IMODE(status.st_mode):04o})"
        private = private or not status.st_mode & _OTHERS_ENTER
    return None
