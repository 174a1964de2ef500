"""Open libraries, and add labelled windows to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ethogram.errors import LibraryError
from ethogram.identify import library_file
from ethogram.identify.flow_store import FlowStore
from ethogram.identify.labels import Label, match_labels
from ethogram.identify.leave_group_out import device_units
from ethogram.identify.library import Entry, Library, Source
from ethogram.pipeline.library_embeddings import embeddings_path, load_embeddings, write_library
from ethogram.pipeline.text import join_names, plural
from ethogram.pipeline.unread_library import UnreadEntries, digest_if_learnt, file_digest
from ethogram.pipeline.windows import STABLE, ObservedWindows

__all__ = ["PACKAGED", "EnrolReport", "OpenLibrary", "by_source", "devices_of", "enrol_windows", "open_library"]

PACKAGED = "library.jsonl.gz"
"""The library that comes with the package, in ``ethogram/data``."""


@dataclass(frozen=True)
class Origin:
    """Where the entries of a library come from.

    Parameters
    ----------
    entries
        The entries: a library made from another one by a change has other entries, and not this origin.
    octets
        SHA-256 of the octets of the file; of merged files, all of them with ``+`` between.
    digest
        Digest of the entries, if it is known without reading them; else empty.
    parts
        The libraries that were merged; empty if it is one file.
    """

    entries: Sequence[Entry]
    octets: str
    digest: str = ""
    parts: tuple[OpenLibrary, ...] = ()


@dataclass(frozen=True)
class OpenLibrary(Library):
    """A library with the embedded flows beside it.

    Parameters
    ----------
    store
        Embedded flows of the entries; None where there are none that can be used.
    message
        Why embedded flows are missing, or not all used; empty if there is nothing to say.
    path
        For messages: where the library was read from.
    bundled
        Whether this is the library of the package, which was observed on other networks.
    origin
        Where the entries come from; None if they were not read from a file, or not used for other entries.
    """

    store: FlowStore | None = field(default=None, compare=False)
    message: str = field(default="", compare=False)
    path: str = field(default="", compare=False)
    bundled: bool = field(default=False, compare=False)
    origin: Origin | None = field(default=None, compare=False, repr=False)

    @property
    def _own_origin(self) -> Origin | None:
        return self.origin if self.origin is not None and self.origin.entries is self.entries else None

    @property
    def octets(self) -> str:
        """SHA-256 of the octets that the entries were read from; empty if they were not read from a file."""
        return "" if self._own_origin is None else self._own_origin.octets

    @property
    def parts(self) -> tuple[OpenLibrary, ...]:
        """The libraries that this one was merged from; itself if it is one."""
        return (self._own_origin.parts if self._own_origin is not None else ()) or (self,)

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over all entries, which need not be read if the origin states it."""
        stated = "" if self._own_origin is None else self._own_origin.digest
        return stated or Library(self.entries).digest

    def with_origin(self, octets: str, digest: str = "", parts: Sequence[OpenLibrary] = ()) -> OpenLibrary:
        """The same library, with what is known of its files."""
        return replace(self, origin=Origin(self.entries, octets, digest, tuple(parts)))

    def without_embeddings(self) -> OpenLibrary:
        """The same library, without embedded flows."""
        return replace(self, store=None, flows="")

    @property
    def file(self) -> Path | None:
        """The file of the library; None if it was not read from a file of its own."""
        if not self.bundled:
            return Path(self.path) if self.path else None
        path = Path(str(resources.files("ethogram") / "data" / PACKAGED))
        return path if path.is_file() else None

    @classmethod
    def opened(cls, library: Library, store: FlowStore | None = None, **values: Any) -> OpenLibrary:
        """Add embedded flows to a library."""
        return cls(library.entries, library.sources, library.name, library.flows, store, **values)

    def save(self, path: str | Path) -> list[str]:
        """Write the library, and its embedded flows beside it; returns lines for the user."""
        return write_library(replace(self, name=Path(path).name), self.store, Path(path))


def open_library(path: str | Path | None = None) -> OpenLibrary:
    """Open a library and the embedded flows beside it.

    Parameters
    ----------
    path
        A file written by ``ethogram enrol``; None: the bundled library.

    Raises
    ------
    LibraryError
        If the file is missing, damaged or of another version.

    Examples
    --------
    >>> library = open_library()
    >>> library.bundled, len(library) > 50
    (True, True)
    """
    if path is not None:
        return _open_own(Path(path))
    bundled = resources.files("ethogram") / "data" / PACKAGED
    if not bundled.is_file():
        raise LibraryError("this installation has no bundled library: name one with --library")
    with resources.as_file(bundled) as file:
        digest = digest_if_learnt(file, least=0)
        if not digest:
            return OpenLibrary.opened(library_file.read(file), bundled=True)
        return _unread(OpenLibrary.opened(library_file.read_header(file), bundled=True), file, digest)


def _open_own(path: Path) -> OpenLibrary:
    """Open a library of the user, without its entries if it was learnt before and has no embedded flows."""
    digest = "" if embeddings_path(path).exists() else digest_if_learnt(path)
    octets = file_digest(path)
    library = library_file.read_header(path) if digest else library_file.read(path)
    store, message = load_embeddings(path, library)
    opened = OpenLibrary.opened(library, store, message=message, path=str(path))
    return _unread(opened, path, digest, octets) if digest else opened.with_origin(octets)


def _unread(opened: OpenLibrary, path: Path, digest: str, octets: str = "") -> OpenLibrary:
    """The library with entries that are read when something asks for them, and the digest that they have."""
    library = replace(opened, entries=cast(tuple[Entry, ...], UnreadEntries(path)))
    return library.with_origin(octets, digest)


@dataclass
class EnrolReport:
    """What was enrolled, and what did not fit together."""

    entries: int = 0
    labels: int = 0
    unfinished: int = 0
    devices_without_label: list[str] = field(default_factory=list)
    labels_without_device: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """One line for people about each kind."""
        lines = [f"{plural(self.entries, 'window')} of {plural(self.labels, 'label')} enrolled"]
        if self.devices_without_label:
            names = self.devices_without_label
            lines.append(f"left out, without a label: {plural(len(names), 'device')}: {join_names(names)}")
        if self.labels_without_device:
            names = self.labels_without_device
            lines.append(f"labelled, but not seen: {plural(len(names), 'device')}: {join_names(names)}")
        if self.unfinished:
            lines.append(f"left out, unfinished: {plural(self.unfinished, 'fingerprint')} of finished devices")
        return lines


def enrol_windows(
    seen: ObservedWindows,
    labels: Sequence[Label],
    *,
    source: Source,
    extend: Library | None = None,
    name: str = "library",
) -> tuple[Library, EnrolReport]:
    """Add labelled windows to a library.

    A device of which some fingerprint converged is enrolled by its converged ones alone; one without by what there is.

    Parameters
    ----------
    seen
        Windows.
    labels
        Who is who.
    source
        Provenance.
    extend
        A library to add to; without it a new one.
    name
        Its name.

    Raises
    ------
    LibraryError
        When no window has a label.
    """
    matched = match_labels(seen.windows, labels)
    identities = list(matched.identities)
    device = seen.windows.items["device"].to_list()
    final = {d for d, status in zip(device, seen.status, strict=True) if status in STABLE}
    report = EnrolReport(
        devices_without_label=matched.devices_without_label, labels_without_device=matched.labels_without_device
    )
    for i, status in enumerate(seen.status):
        if identities[i] is not None and status not in STABLE and device[i] in final:
            identities[i] = None
            report.unfinished += 1
    added = Library.of(seen.windows, identities, source=source, status=seen.status, name=name)
    if not added.entries:
        seen_are = f"; seen: {join_names(sorted(set(device)))}" if device else ""
        raise LibraryError(f"nothing to enrol: no window with traffic belongs to a labelled device{seen_are}")
    report.entries = len(added)
    report.labels = len(set(added.labels()))
    return (added if extend is None else extend.merge(added)), report


def by_source(library: Library) -> NDArray[np.int64] | None:
    """Entries of one source leave together: how a label scores elsewhere is learnt elsewhere. None with one source."""
    sources = [entry.observed[0].source for entry in library.entries]
    if len(set(sources)) < 2:
        return None
    return np.unique(np.array(sources), return_inverse=True)[1].astype(np.int64)


def devices_of(library: Library) -> list[str]:
    """The device of each entry: where it moved from one source to another it is one still."""
    first = [entry.observed[0] for entry in library.entries]
    return device_units([observation.device for observation in first], [observation.source for observation in first])
