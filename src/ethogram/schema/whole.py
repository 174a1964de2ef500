"""Files that are there whole, or as they were before: written beside their place, brought to disk, moved there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["synced", "together", "whole", "written_whole"]


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write to; at the end the file gets its own name, or after an error is gone.

    When nothing was written there, or it was removed again, ``path`` stays as it was. Errors are the caller's to name.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
    >>> with whole(target) as part:
    ...     _ = part.write_text("kept")
    >>> [file.name for file in target.parent.iterdir()]
    ['notes.txt']
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if part.exists():
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
            part.replace(path)
            synced(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def together(*paths: Path) -> Iterator[list[Path]]:
    """Give names beside files that belong together; at the end all of them get their own name, or after an error none.

    A file for which nothing was written is removed. Only a machine that stops between two of the last steps leaves
    one new and another old.

    Examples
    --------
    >>> import tempfile
    >>> first, second = (Path(tempfile.mkdtemp()) / name for name in ("notes.txt", "index.txt"))
    >>> with together(first, second) as parts:
    ...     for part in parts:
    ...         _ = part.write_text("kept")
    >>> first.exists() and second.exists()
    True
    """
    parts = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    olds = [path.with_name(f".{path.name}.{os.getpid()}.old") for path in paths]
    try:
        yield parts
        for part in filter(Path.exists, parts):
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
        for path, old in zip(paths, olds, strict=True):
            old.unlink(missing_ok=True)
            if path.exists():
                shutil.copy2(path, old)
        try:
            for path, part in zip(paths, parts, strict=True):
                if part.exists():
                    part.replace(path)
                else:
                    path.unlink(missing_ok=True)
        except OSError:
            for path, old in zip(paths, olds, strict=True):
                if old.exists():
                    old.replace(path)
                else:
                    path.unlink(missing_ok=True)
            raise
        for folder in {path.parent for path in paths}:
            synced(folder)
    finally:
        for rest in (*parts, *olds):
            rest.unlink(missing_ok=True)


def written_whole(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all."""
    with whole(path) as part:
        part.write_bytes(content)


def synced(folder: Path) -> None:
    """Make sure that the names in a folder are on disk."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
