"""An export: the text of its one file, or of its files, and where they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ethogram._files import atomic_write, require_ours
from ethogram.errors import InputError, UsageError
from ethogram.export.registry import Written

__all__ = ["ExportedFiles", "write_file", "write_folder"]


@dataclass(frozen=True)
class ExportedFiles:
    """The devices of a network in the format of another tool.

    Parameters
    ----------
    files
        Text by name of the file; the name is empty if the format has one file for all devices.
    notes
        What the user should know, one line each.
    devices
        Number of devices.
    """

    files: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    devices: int = 0

    @classmethod
    def of(cls, parts: Iterable[Written], devices: int) -> ExportedFiles:
        """Put the parts that a format writes together."""
        texts: dict[str, list[str]] = {}
        notes: list[str] = []
        for part in parts:
            if part.text or not part.note:
                texts.setdefault(part.name, []).append(part.text)
            notes += [part.note] if part.note else []
        return cls({name: "".join(each) for name, each in texts.items()}, tuple(notes), devices)

    @property
    def text(self) -> str:
        """Text of the one file.

        Raises
        ------
        UsageError
            If there are several: they are in ``files``.
        """
        if len(self.files) > 1:
            raise UsageError("there is a file for each device: read them from files, or save them to a folder")
        return next(iter(self.files.values()), "")

    def save(self, path: str | Path) -> None:
        """Write the file, or the files to a folder; files that exist are replaced.

        Raises
        ------
        InputError
            If they cannot be written.
        """
        if any(self.files):
            write_folder((Written(name, text) for name, text in self.files.items()), Path(path))
        else:
            write_file([self.text], Path(path))


def write_file(texts: Iterable[str], path: Path) -> None:
    """Write the parts of one file; without any text, an empty file says that there was nothing to export.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        with atomic_write(path, empty=True) as target, target.open("w", encoding="utf-8") as file:
            file.writelines(texts)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=path) from None


def write_folder(parts: Iterable[Written], folder: Path) -> int:
    """Write a file for each device, and return their number.

    Raises
    ------
    InputError
        If one cannot be written.
    UsageError
        If one exists that Ethogram did not write, in a command without ``--force``.
    """
    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in parts:
            require_ours(folder / part.name)
            write_file([part.text], folder / part.name)
            written += 1
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", file=folder) from None
    return written
