"""Digests of the contents of files, remembered so that a corpus is read for them only once.

The time of a file only says whether the remembered digest still stands: a copy of a corpus has the digests of the
corpus, and results on both belong together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import orjson

from ethogram._files import write_bytes

__all__ = ["content_digests"]

_MOST = 1 << 16
"""Files remembered; beyond, all are forgotten: their digests cost no more than reading them again."""


def content_digests(files: Iterable[Path], memory: Path | None) -> list[str]:
    """Give 24 hexadecimal digits of SHA-256 for each file.

    Parameters
    ----------
    files
        What to read.
    memory
        File in which digests are remembered; without it, or where it cannot be read or written, every file is read.
    """
    remembered = _read(memory)
    known = dict(remembered)
    digests = []
    for file in files:
        path, state = str(file.resolve()), file.stat()
        stamp = [state.st_size, state.st_mtime_ns]
        entry = known.get(path)
        if entry is None or entry[:2] != stamp:
            with file.open("rb") as stream:
                entry = [*stamp, hashlib.file_digest(stream, "sha256").hexdigest()[:24]]
            known[path] = entry
        digests.append(str(entry[2]))
    if memory is not None and known != remembered:
        with suppress(OSError):
            memory.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(memory, orjson.dumps(known if len(known) <= _MOST else {}))
    return digests


def _read(memory: Path | None) -> dict[str, list[int | str]]:
    """What is remembered; nothing where the file is not of this form."""
    if memory is None:
        return {}
    with suppress(OSError, orjson.JSONDecodeError):
        held = orjson.loads(memory.read_bytes())
        if isinstance(held, dict) and all(isinstance(e, list) and len(e) == 3 for e in held.values()):
            return held
    return {}
