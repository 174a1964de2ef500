"""A library whose entries are read when something asks for them.

Parsing ten thousand windows takes longer than judging by what was learnt from them, so a large library whose file is,
octet by octet, one that was read and learnt before is not parsed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial, reduce
from glob import escape
from pathlib import Path
from typing import overload

from ethogram.errors import LibraryError
from ethogram.identify import library_file
from ethogram.identify.learnt_file import header_of
from ethogram.identify.library import Entry, Library

__all__ = [
    "LARGE", "UnreadEntries", "digest_if_learnt", "digest_of_octets", "file_digest", "learnt_ladder_path", "stem",
]  # fmt: skip

LARGE = 1 << 20
"""Octets of a file from which on entries are read only when needed."""


def stem(library: Path) -> str:
    """The name of a library without its endings.

    >>> stem(Path("home.jsonl.gz"))
    'home'
    """
    name = library.name
    for suffix in (".gz", ".jsonl"):
        name = name.removesuffix(suffix)
    return name


def learnt_ladder_path(library: Path) -> Path:
    """The file beside a library with what the ladder learnt of it.

    >>> learnt_ladder_path(Path("home.jsonl.gz")).name
    'home.learnt-ladder.npz'
    """
    return library.with_name(f"{stem(library)}.learnt-ladder.npz")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's octets, in hexadecimal; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def digest_if_learnt(path: Path, *, least: int | None = None) -> str:
    """Digest of a library's content, as a file learnt from the same octets states it; empty if there is none.

    Also empty for files of fewer than ``least`` octets, by default :data:`LARGE`.
    """
    try:
        if path.stat().st_size < (LARGE if least is None else least):
            return ""
    except OSError:
        return ""
    return digest_of_octets(path, partial(file_digest, path))


def digest_of_octets(path: Path, octets: Callable[[], str]) -> str:
    """Digest of the content of a library at ``path``, if a file beside it was learnt from these octets; else empty.

    Parameters
    ----------
    path
        Place of the library; of several merged ones, a place where there need be no file.
    octets
        Digest of the octets of its file or files; called only if something was learnt there.
    """
    small_first = learnt_ladder_path(path)
    present = ""
    for learnt in [small_first, *sorted(path.parent.glob(f"{escape(stem(path))}.learnt-*.npz"))]:
        try:
            header = header_of(learnt)
        except LibraryError:
            continue
        present = present or octets()
        digest = header.get("library")
        if present and header.get("file") == present and isinstance(digest, str) and digest:
            return digest
    return ""


class UnreadEntries(Sequence[Entry]):
    """Entries of a library file, or of several that are merged, read on first use."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    @property
    def were_read(self) -> bool:
        """Whether the entries are in memory; until then they are those that the file has at that moment."""
        return "_entries" in vars(self)

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        first, *others = (library_file.read(path) for path in self.paths)
        return reduce(Library.merge, others, first).entries

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Entry, ...]: ...
    def __getitem__(self, index: int | slice) -> Entry | tuple[Entry, ...]:
        return self._entries[index]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __eq__(self, other: object) -> bool:
        return self._entries == (other._entries if isinstance(other, UnreadEntries) else other)

    def __hash__(self) -> int:
        return hash(self._entries)
