"""Where compiled code is kept on disk, and which folders it is never loaded from.

Numba keeps compiled functions as pickles: whoever can write such a file runs code as the user who loads it. A folder is
therefore used only if it belongs to this user or to root, and nobody else can write to it or replace it.
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
"""Variables that name a folder for compiled code; a folder named there that cannot be used is reported."""

_ROOT = 0
_OTHERS_WRITE, _OTHERS_ENTER = stat.S_IWGRP | stat.S_IWOTH, stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True)
class CompiledFolder:
    """Where the compiled functions of one source folder are kept.

    Attributes
    ----------
    path
        The folder; None when there is none.
    writable
        Whether new functions can be kept there.
    refused
        Why folders that the user named are not used, a line each.
    """

    path: Path | None
    writable: bool
    refused: tuple[str, ...] = ()


@cache
def compiled_folder(source: Path) -> CompiledFolder:
    """Choose the folder for the functions in the modules of one folder.

    In this order: what ``ETHOGRAM_CACHE_DIR`` or ``NUMBA_CACHE_DIR`` names; ``__pycache__`` beside the modules; what
    ``CACHE_DIRECTORY`` names, as systemd sets it; the user's cache folder. The first that can be written and that
    nobody else can write is taken; failing that, the first that already holds compiled functions.

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
    """Folders in the order of :func:`compiled_folder`, each with the variable that names it."""
    # Installations at several places may share a cache folder: the name says which one a subfolder is of.
    below = f"{source.name}-{hashlib.sha256(str(source).encode()).hexdigest()[:16]}"
    for variable in EXPLICIT:
        if value := os.environ.get(variable):
            yield variable, Path(value).absolute() / below
    yield "", source / "__pycache__"
    if value := os.environ.get("CACHE_DIRECTORY"):
        yield "CACHE_DIRECTORY", Path(value.split(":")[0]).absolute() / "compiled" / below
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path there is to be ignored, as its specification says.
    home = Path(shared) if shared.startswith("/") else Path("~/.cache").expanduser()
    if home.is_absolute():
        yield "HOME", home / "ethogram" / "compiled" / below


def _unusable(path: Path) -> str | None:
    """Why nothing can be kept in a folder, which is made if need be; None when it can."""
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
    """Why somebody else could have put files into a folder; None when nobody but root could.

    Every folder above counts too, since whoever can write there can put another folder into this one's place. What
    stands below a folder that only its owner can enter is out of reach of others.

    Raises
    ------
    OSError
        When it does not exist or cannot be reached.
    """
    path = path.resolve(strict=True)
    user, private = os.geteuid(), False
    for folder in (*reversed(path.parents), path):
        found = folder.stat()
        if found.st_uid not in {_ROOT, user}:
            return f"{folder} belongs to another user (uid {found.st_uid})"
        # In a folder with the sticky bit, as /tmp, others cannot replace what is not theirs.
        replaceable = folder == path or not found.st_mode & stat.S_ISVTX
        if found.st_mode & _OTHERS_WRITE and replaceable and not private:
            return f"other users can write to {folder} (mode {stat.S_IMODE(found.st_mode):04o})"
        private = private or not found.st_mode & _OTHERS_ENTER
    return None
