"""The token of the first start, and comparing secrets.

The store makes tokens and session cookies (256 random bits) and holds SHA-256 digests only: a digest cannot be
reversed, and a lookup by digest tells nothing about a secret by its time.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from ethogram._files import fsync_dir
from ethogram.serve.store import Store

__all__ = ["TOKEN_FILE", "first_token", "same"]

TOKEN_FILE = "token"  # noqa: S105 (the name of a file)
"""Name of the file with the token of the first start, in the data folder."""

_FIRST_USER = "admin"


def same(first: str, second: str) -> bool:
    """Whether two texts are equal, in a time that does not depend on where they differ.

    >>> same("token", "token"), same("token", "tokem")
    (True, False)
    """
    return hmac.compare_digest(first.encode("utf-8", "surrogatepass"), second.encode("utf-8", "surrogatepass"))


def first_token(store: Store, folder: Path) -> Path | None:
    """Create the first user with the role editor, and write its token to ``folder/token`` with mode 0600.

    Returns
    -------
    The file; None if there are users already.
    """
    if store.users():
        return None
    path = folder / TOKEN_FILE
    path.unlink(missing_ok=True)  # of an earlier database
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(store.create_user(_FIRST_USER, "editor") + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    fsync_dir(folder)
    return path
