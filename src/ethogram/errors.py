"""Errors that Ethogram raises, and their exit codes.

EthogramError                1  an internal error
├── UsageError               2  wrong arguments or options
│   └── LeakError            2  two sides of a split overlap
├── InputError               3  a file or record cannot be read; names file, place and reason
├── LibraryError             4  a fingerprint library or model cannot be used
└── ConfigurationError       5  a setting, device file or mapping is wrong

EthogramWarning                 something was skipped; it is also counted
"""

from __future__ import annotations

from pathlib import Path

from ethogram._text import visible

__all__ = [
    "ConfigurationError",
    "EthogramError",
    "EthogramWarning",
    "InputError",
    "LeakError",
    "LibraryError",
    "UsageError",
]


class EthogramError(Exception):
    """Base of all errors; its text is one line, fit to be shown to a user."""

    exit_code = 1

    def __str__(self) -> str:
        return visible(super().__str__())


class UsageError(EthogramError):
    """The command or function was called with arguments that do not fit together."""

    exit_code = 2


class LeakError(UsageError):
    """Two sides of a split overlap; the message names the rows."""


class InputError(EthogramError):
    """A file or record that cannot be used.

    Parameters
    ----------
    reason
        What is wrong, without the file's name.
    file
        The file, when there is one.
    offset
        Octets from the start of the (decompressed) file at which it went wrong.
    line
        Line number from 1, for text formats.
    """

    exit_code = 3

    def __init__(
        self,
        reason: str,
        *,
        file: str | Path | None = None,
        offset: int | None = None,
        line: int | None = None,
    ) -> None:
        self.reason = reason
        self.file = None if file is None else str(file)
        self.offset = offset
        self.line = line
        super().__init__(str(self))

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}"
        if self.offset is not None:
            place += f" at octet {self.offset}"
        return visible(f"{place}: {self.reason}" if place else self.reason)


class LibraryError(EthogramError):
    """A fingerprint library, or a model, that is missing, broken or of another version."""

    exit_code = 4


class ConfigurationError(EthogramError):
    """A setting, a device file or a mapping that is wrong."""

    exit_code = 5


class EthogramWarning(UserWarning):
    """Something was left out; it is counted in an :class:`~ethogram.schema.Accounting` too."""
