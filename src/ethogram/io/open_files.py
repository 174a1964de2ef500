"""What a user's inputs name: files, directories, globs and zips, expanded in an order that is always the same."""

from __future__ import annotations

import glob
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ethogram.errors import InputError
from ethogram.io.compressed import DAMAGE, one_line
from ethogram.io.open_text import ZIP_MAGIC, TextInput

__all__ = ["MAX_FILES", "expand", "texts_of"]

MAX_FILES = 1 << 20
MAX_MEMBERS = 1 << 16


def expand(inputs: Sequence[str | Path]) -> list[tuple[Path, bool]]:
    """Files that the inputs name, each once, and whether the user named the file itself.

    A directory stands for every file below it, a glob for what it matches (``**`` at any depth); hidden files are
    left out. Both are sorted by name.

    Raises
    ------
    InputError
        When an input names nothing, or more than :data:`MAX_FILES` files.
    """
    found: dict[Path, bool] = {}
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            names = [(p, False) for p in sorted(path.rglob("*")) if p.is_file() and not _hidden(p.relative_to(path))]
        elif path.exists():
            names = [(path, True)]
        elif glob.has_magic(str(given)):
            matches = sorted(map(Path, glob.glob(str(given), recursive=True)))  # noqa: PTH207 (absolute patterns)
            names = [(p, False) for p in matches if p.is_file()]
        else:
            raise InputError("no such file", file=path)
        if not names:
            raise InputError("no files there", file=path)
        for name, named in names:
            found[name] = found.get(name, False) or named
        if len(found) > MAX_FILES:
            raise InputError(f"more than {MAX_FILES} files", file=path)
    return list(found.items())


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def texts_of(path: Path) -> Iterator[TextInput]:
    """The texts in a file: itself, or every member of a zip in name order.

    Raises
    ------
    InputError
        When the file cannot be opened, or is a zip that is broken, locked or too full.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
        if magic != ZIP_MAGIC:
            yield TextInput(path)
            return
        with zipfile.ZipFile(path) as packed:
            names = [m for m in packed.infolist() if "__MACOSX/" not in m.filename]
    except DAMAGE as error:
        raise InputError(getattr(error, "strerror", None) or one_line(error), file=path) from None
    members = [member for member in names if not member.filename.endswith("/")]
    if len(members) > MAX_MEMBERS:
        raise InputError(f"a zip of more than {MAX_MEMBERS} members", file=path)
    for member in sorted(members, key=lambda m: m.filename):
        if member.flag_bits & 1:
            raise InputError("the zip is locked with a password", file=f"{path}:{member.filename}")
        yield TextInput(path, member.filename)
