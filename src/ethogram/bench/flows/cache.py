"""Encoders and embeddings on disk, shared by runs: written whole or not at all, and made by one process at a time."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

__all__ = ["Embedded", "file_lock", "read_embedded", "write_embedded"]

Embedded = tuple[NDArray[np.int64], NDArray[np.float32], dict[str, float]]
"""Rows of a corpus, their embeddings, and what making them took."""


@contextmanager
def file_lock(path: Path | None) -> Iterator[None]:
    """Wait until no other process is at work on what is named; None: nothing is shared, nothing waited for.

    Two runs that need one encoder then train it once: the second finds what the first has made.
    """
    if path is None:
        yield
        return
    try:
        import fcntl
    except ImportError:  # where files cannot be locked, both make it: the same
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock is the system's and goes with the process, however that ends; the empty file stays.
    with path.with_name(f"{path.name}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_embedded(path: Path) -> Embedded | None:
    """Embeddings of a file; None where it is missing or cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as held:
            rows, z, cost = held["rows"], held["z"], orjson.loads(held["cost"].tobytes())
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return (rows, z, cost) if len(rows) == len(z) and isinstance(cost, dict) else None


def write_embedded(path: Path, found: Embedded) -> None:
    """Write embeddings to a file that appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            np.savez(file, rows=found[0], z=found[1], cost=np.frombuffer(orjson.dumps(found[2]), np.uint8))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
