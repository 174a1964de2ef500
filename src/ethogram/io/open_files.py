"""Expand user inputs (files, directories, globs, archives) in a deterministic order."""

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
    """Files of the inputs without duplicates, and whether the user named each one itself.

    A directory stands for all files below it, a glob for its matches (``**`` at any depth); hidden files are skipped.
    Both are sorted by name.

    Raises
    ------
    InputError
        If an input is empty or matches nothing, or there are more than :data:`MAX_FILES` files.
    """
    files: dict[Path, bool] = {}
    for entry in inputs:
        if not str(entry):  # Path("") is the current folder, which nobody means by an unset variable
            raise InputError("an input is empty; it must name a file, a folder or a glob")
        path = Path(entry)
        if path.is_dir():
            names = [(p, False) for p in sorted(path.rglob("*")) if p.is_file() and not _hidden(p.relative_to(path))]
        elif path.exists():
            names = [(path, True)]
        elif glob.has_magic(str(entry)):
            matches = sorted(map(Path, glob.glob(str(entry), recursive=True)))  # noqa: PTH207 (absolute patterns)
            names = [(p, False) for p in matches if p.is_file()]
        else:
            raise InputError("no such file", file=path)
        if not names:
            raise InputError("contains no files", file=path)
        for name, named in names:
            files[name] = files.get(name, False) or named
        if len(files) > MAX_FILES:
            raise InputError(f"more than {MAX_FILES} files", file=path)
    return list(files.items())


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def texts_of(path: Path) -> Iterator[tuple[TextInput, str | None]]:
    """Yield the file, or every member of an archive, with the reason if it cannot be read.

    Each item must be used before the next one is requested.

    Raises
    ------
    InputError
        If the file cannot be opened, or is a damaged or too large archive; members before the damage are yielded first.
    """
    packed = PackedFile(path)
    for place, member in enumerate(packed.members()):
        yield TextInput(path, member.inside, place, packed), member.problem
