"""Several libraries at once: your own ones as one library, and the packaged one beside it.

Your own libraries are merged: a label that several of them have is one label, with the details (vendor, kind, model)
of the first library that names it. The packaged library was observed on other networks, so it is judged by another
method, and both verdicts are joined (:mod:`ethogram.identify.joint_verdict`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import cast

from ethogram.errors import UsageError
from ethogram.identify.library import Entry, Library
from ethogram.pipeline.library import OpenLibrary, open_library
from ethogram.pipeline.library_embeddings import merged_sides
from ethogram.pipeline.unread_library import UnreadEntries, digest_of_octets, stem

__all__ = ["PACKAGED_NAME", "KnownLibraries", "merged_libraries", "open_libraries"]

PACKAGED_NAME = "packaged"
"""Name of the bundled library among the libraries of a run."""
LONGEST_NAME = 80


@dataclass(frozen=True)
class KnownLibraries:
    """The libraries of one run.

    Parameters
    ----------
    own
        What the user enrolled; None: nothing.
    packaged
        The bundled library; None: not asked for.
    """

    own: OpenLibrary | None
    packaged: OpenLibrary | None

    @classmethod
    def of(cls, libraries: OpenLibrary | Iterable[OpenLibrary], *, flows: bool = True) -> KnownLibraries:
        """Merge all libraries but the bundled one; without any, the bundled one.

        Parameters
        ----------
        libraries
            The libraries.
        flows
            Keep their embedded flows.
        """
        given = [libraries] if isinstance(libraries, OpenLibrary) else list(libraries)
        if not flows:
            given = [library.without_embeddings() for library in given]
        own = [library for library in given if not library.bundled]
        packaged = next((library for library in given if library.bundled), None)
        if not given:
            packaged = open_library()
        return cls(merged_libraries(own) if own else None, packaged)

    @property
    def all(self) -> list[OpenLibrary]:
        """The user's own first."""
        return [library for library in (self.own, self.packaged) if library is not None]

    @property
    def first(self) -> OpenLibrary:
        """The user's own; without one, the bundled one."""
        return self.all[0]


def open_libraries(names: Sequence[str | Path] = ()) -> list[OpenLibrary]:
    """Open libraries by path; ``packaged`` is the bundled one, which is also what no name at all means.

    A file that is named twice is opened once. A file of the name ``packaged`` is ``./packaged``.

    Raises
    ------
    LibraryError
        If a file is missing, damaged or of another version.

    Examples
    --------
    >>> [library.bundled for library in open_libraries(["packaged"])]
    [True]
    """
    opened: dict[Path | None, OpenLibrary] = {}
    for name in names:
        path = None if str(name) == PACKAGED_NAME and not isinstance(name, Path) else Path(name)
        key = None if path is None else path.resolve()
        if key not in opened:
            opened[key] = open_library(path)
    return list(opened.values()) or [open_library()]


def merged_libraries(libraries: Sequence[OpenLibrary]) -> OpenLibrary:
    """The user's own libraries as one; what is learnt of it is kept beside the first.

    Large libraries that were learnt together before are not read again.

    Raises
    ------
    LibraryError
        If they were enrolled with different encoders.
    UsageError
        If there is none.
    """
    if not libraries:
        raise UsageError("no library to merge")
    first = libraries[0]
    if len(libraries) == 1:
        return first
    name = "+".join(library.name for library in libraries)
    sources = tuple(sorted({source for library in libraries for source in library.sources}))
    store = merged_sides([(Path(library.path or library.name), library.store) for library in libraries])
    message = "; ".join(library.message for library in libraries if library.message)
    paths = [Path(library.path) for library in libraries if library.path]
    path = _place(paths) if len(paths) == len(libraries) else None
    octets = "+".join(library.octets for library in libraries)
    known = OpenLibrary((), sources, name, first.flows if store is None else store.encoder, store, message,
                        "" if path is None else str(path))  # fmt: skip
    unread = all(isinstance(library.entries, UnreadEntries) for library in libraries)
    digest = digest_of_octets(path, lambda: octets) if path is not None and unread else ""
    if digest:
        merged = replace(known, entries=cast(tuple[Entry, ...], UnreadEntries(*paths)))
    else:
        merged = replace(known, entries=reduce(Library.merge, libraries[1:], cast(Library, first)).entries)
    return merged.with_origin(octets, digest, libraries)


def _place(paths: Sequence[Path]) -> Path:
    """Where a file of the merged libraries would be: beside the first, with the names of all."""
    names = "+".join(stem(path) for path in paths)
    if len(names) > LONGEST_NAME:
        names = f"{names[:LONGEST_NAME]}-{sha256(names.encode()).hexdigest()[:12]}"
    return paths[0].with_name(f"{names}.jsonl.gz")
