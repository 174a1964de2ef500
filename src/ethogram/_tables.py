"""Text files that people write: labels, devices, mappings. Read alike, and what is wrong is said with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator

__all__ = ["TextFileError", "rows_of", "utf8_text"]

_HINT = "save it as UTF-8"


class TextFileError(ValueError):
    """Why a text file cannot be read, and the line where it shows, from 1."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


def utf8_text(content: bytes) -> str:
    """The text of a file; a byte order mark is left out.

    Raises
    ------
    TextFileError
        When it is not UTF-8: says which encoding it seems to have, and what to do.

    Examples
    --------
    >>> utf8_text("K\u00fcche\\n".encode("latin-1"))
    Traceback (most recent call last):
    ethogram._tables.TextFileError: not UTF-8: octet 0xfc at column 2, perhaps Latin-1 or Windows-1252; save it as UTF-8
    """
    for mark, name in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\x1f\x8b", "a gzip file")):
        if content.startswith(mark):
            does = "unpack it" if "gzip" in name else _HINT
            raise TextFileError(f"it is {name}, not UTF-8 text; {does}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        begin = before.rfind(b"\n") + 1
        raise TextFileError(
            f"not UTF-8: octet 0x{content[error.start]:02x} at column {error.start - begin + 1}, "
            f"perhaps Latin-1 or Windows-1252; {_HINT}",
            before.count(b"\n") + 1,
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise TextFileError(f"a NUL octet: binary, or UTF-16 without a byte order mark; {_HINT}", line)
    return text


def rows_of(content: bytes) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The columns of a CSV, and its rows with their line numbers; rows without any text are left out.

    Names of columns are compared without regard to case; spaces around names and values do not count, nor do columns
    without a name and values.

    Raises
    ------
    TextFileError
        When it is no such text; while reading, when a row has more fields than there are columns.
    """
    lines = utf8_text(content).splitlines(keepends=True)
    reader = csv.reader(lines, skipinitialspace=True, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
    except csv.Error as error:
        raise TextFileError(str(error), reader.line_num) from None
    twice = next((name for i, name in enumerate(names) if name and name in names[:i]), None)
    if twice is not None:
        raise TextFileError(f"two columns {twice!r}", 1)
    return [name for name in names if name], _rows(reader, names)


def _rows(reader: Iterator[list[str]], names: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise TextFileError(str(error), _line_of(reader)) from None
        values = [field.strip() for field in fields]
        if not any(values):
            continue
        if len(values) > len(names):
            raise TextFileError("more fields than columns", _line_of(reader))
        row = dict.fromkeys(filter(None, names), "")
        for name, value in zip(names, values, strict=False):
            if value and not name:
                raise TextFileError("a value in a column without a name", _line_of(reader))
            if name:
                row[name] = value
        yield _line_of(reader), row


def _line_of(reader: Iterator[list[str]]) -> int:
    return int(reader.line_num)  # type: ignore[attr-defined]
