"""Cache of embeddings: files are written atomically."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

__all__ = ["Embedded", "read_embedded", "write_embedded"]

Embedded = tuple[NDArray[np.int64], NDArray[np.float32], dict[str, float]]
"""Rows of a corpus, their embeddings, and the cost of computing them."""


def read_embedded(path: Path) -> Embedded | None:
    """Read embeddings; None when the file is missing or cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as held:
            rows, z, cost = held["rows"], held["z"], orjson.loads(held["cost"].tobytes())
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return (rows, z, cost) if len(rows) == len(z) and isinstance(cost, dict) else None


def write_embedded(path: Path, embedded: Embedded) -> None:
    """Write embeddings atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            np.savez(file, rows=embedded[0], z=embedded[1], cost=np.frombuffer(orjson.dumps(embedded[2]), np.uint8))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
