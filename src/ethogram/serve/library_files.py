"""The identifier of the service follows the files that it is made of.

Between rounds of the judge the files of libraries and of knowledge are looked at: by time of change and size, then by
digest. A changed file makes a new identifier; while a file cannot be read, the earlier identifier stays in force.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ethogram.errors import EthogramError, LibraryError
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.pipeline.libraries import PACKAGED_NAME
from ethogram.pipeline.library import OpenLibrary
from ethogram.pipeline.unread_library import file_digest

__all__ = ["LibraryFiles", "file_mark"]


class LibraryFiles:
    """Keeps an identifier that is made of the files as they are on disk.

    Parameters
    ----------
    libraries
        Library files, ``packaged`` among them; none: the bundled library.
    knowledge
        File of rows that add to the knowledge pack; empty: none.

    Attributes
    ----------
    identifier
        The one in force; None before the files were read.
    problem
        Why the files as they are now cannot be used; empty if they are in force.

    Examples
    --------
    >>> files = LibraryFiles([], "")
    >>> files.refresh(), files.refresh()
    (True, False)
    """

    def __init__(self, libraries: Sequence[str], knowledge: str) -> None:
        self._libraries, self._knowledge = tuple(libraries), Path(knowledge) if knowledge else None
        self._paths = [Path(name) for name in (*libraries, knowledge) if name and name != PACKAGED_NAME]
        self.identifier: DeviceIdentifier | None = None
        self.problem = ""
        self._marks: list[tuple[int, int]] = []
        self._digests: list[str] = []

    def new(self, own: OpenLibrary | None = None) -> DeviceIdentifier:
        """An identifier of the files as they are now.

        Parameters
        ----------
        own
            A further library of devices of this network.

        Raises
        ------
        LibraryError
            If a library is missing, damaged or empty.
        ConfigurationError
            If the file of knowledge is invalid.
        """
        try:
            return DeviceIdentifier(self._libraries, self._knowledge, own=own)
        except OSError as error:
            raise LibraryError(f"{error.filename}: {error.strerror or error}") from None

    def refresh(self) -> bool:
        """Make a new identifier if the content of a file has changed; returns whether there is a new one.

        Raises
        ------
        LibraryError, ConfigurationError
            If there is no identifier yet, and the files cannot be used.
        """
        marks = [file_mark(path) for path in self._paths]
        if self.identifier is not None and marks == self._marks and not self.problem:
            return False
        digests = [file_digest(path) for path in self._paths]
        if self.identifier is not None and digests == self._digests:
            self._marks, self.problem = marks, ""
            return False
        try:
            identifier = self.new(None if self.identifier is None else self.identifier.own)
        except EthogramError as error:
            if self.identifier is None:
                raise
            self.problem = f"{error}; devices are judged with the library that was read before"
            return False
        self.identifier, self._marks, self._digests, self.problem = identifier, marks, digests, ""
        return True


def file_mark(path: Path) -> tuple[int, int]:
    """Time of change and size of a file; zeros if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
