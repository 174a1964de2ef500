"""Files that are there whole, or as they were before: written beside their place, brought to disk, moved there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["synced", "whole", "written_whole"]


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
