"""What a user's inputs name: files, directories, globs and archives, expanded in an order that is always the same."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from ethogram.errors import InputError
from ethogram.io.compressed import PackedFile
from ethogram.io.open_text import TextInput

__all__ = ["MAX_FILES", "expand", "texts_of"]

MAX_FILES = 1 << 20


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


def texts_of(path: Path) -> Iterator[tuple[TextInput, str | None]]:
    """What a file holds: itself, or every member of an archive; beside it why it cannot be read.

    Each is to be looked at before the next one is asked for.

    Raises
    ------
    InputError
        When the file cannot be opened, or is an archive that is damaged or too full; members before that were given.
    """
    packed = PackedFile(path)
    for place, member in enumerate(packed.members()):
        yield TextInput(path, member.inside, place, packed), member.problem
