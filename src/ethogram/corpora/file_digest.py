"""Digests of the contents of files, cached so that a corpus is read for them only once.

The modification time of a file only tells whether its cached digest is valid. A copy of a corpus has the same digests
as the corpus, so that results on both can be compared.
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
"""Maximum number of cached digests; when it is exceeded, all are dropped."""


def content_digests(files: Iterable[Path], memory: Path | None) -> list[str]:
    """24 hexadecimal digits of SHA-256 for each file.

    Parameters
    ----------
    files
        Files to read.
    memory
        File with cached digests; without it, or when it cannot be used, every file is read.
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
    """The cached digests; none when the file has another form."""
    if memory is None:
        return {}
    with suppress(OSError, orjson.JSONDecodeError):
        held = orjson.loads(memory.read_bytes())
        if isinstance(held, dict) and all(isinstance(e, list) and len(e) == 3 for e in held.values()):
            return held
    return {}
