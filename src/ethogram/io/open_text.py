"""Text inputs: plain, gzip or a member of a zip, read as batches of lines with their numbers, under caps."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ethogram.errors import InputError
from ethogram.io.compressed import DAMAGE

__all__ = ["GZIP_MAGIC", "HEAD_OCTETS", "MAX_LINE_OCTETS", "ZIP_MAGIC", "Lines", "TextInput"]

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
HEAD_OCTETS = 1 << 16
"""How much of an input is looked at to tell its format."""
BLOCK_OCTETS = 1 << 22
MAX_LINE_OCTETS = 1 << 26
MAX_RATIO = 1000
"""Largest compression ratio believed of an input that is large when unpacked: flow records reach about 30."""
RATIO_FROM_OCTETS = 1 << 30


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that follow each other in a file, without line ends.

    Parameters
    ----------
    first
        Number of the first line, from 1.
    lines
        The lines, blank ones included.
    """

    first: int
    lines: list[bytes]

    def filled(self) -> tuple[list[int], list[bytes]]:
        """Line numbers and lines of those that are not blank, both of length N."""
        numbers, lines = [], []
        for number, line in enumerate(self.lines, self.first):
            if line and not line.isspace():
                numbers.append(number)
                lines.append(line)
        return numbers, lines


@dataclass(frozen=True, slots=True)
class TextInput:
    """One text: a file, or one member of a zip.

    Parameters
    ----------
    path
        The file.
    member
        Name inside the zip, when the file is one.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "two.txt"
    >>> _ = file.write_bytes(b"one\\n\\ntwo")
    >>> [batch.filled() for batch in TextInput(file).batches()]
    [([1], [b'one']), ([3], [b'two'])]
    """

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """The file's name for messages: the path, and the member after a colon."""
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    @property
    def file_name(self) -> str:
        """The innermost file's name without compression suffix, for telling formats by suffix."""
        name = Path(self.member).name if self.member is not None else self.path.name
        return name.removesuffix(".gz")

    def head(self) -> bytes:
        """The first octets, unpacked."""
        with self.open() as stream:
            block, failure = self._read(stream, HEAD_OCTETS)
        if not block and failure is not None:
            raise failure
        return block

    def open(self) -> IO[bytes]:
        """Open the text for reading, unpacked."""
        try:
            if self.member is not None:
                packed: IO[bytes] = zipfile.ZipFile(self.path).open(self.member)  # noqa: SIM115 (given to the caller)
                # A .gz inside a zip is common enough (rotated logs packed together).
                return gzip.open(packed) if self.member.endswith(".gz") else packed  # type: ignore[return-value]
            stream = self.path.open("rb")
            if stream.read(2) == GZIP_MAGIC:
                stream.seek(0)
                return gzip.open(stream)  # type: ignore[return-value]
            stream.seek(0)
            return stream
        except DAMAGE as error:
            raise InputError(f"cannot be opened: {_reason(error)}", file=self.name) from None

    def _read(self, stream: IO[bytes], octets: int) -> tuple[bytes, InputError | None]:
        """Up to ``octets`` octets, and what went wrong after them."""
        pieces: list[bytes] = []
        wanted = octets
        try:
            while wanted > 0:
                # One piece at a time: what was unpacked before the damage must not be lost with it.
                piece = stream.read1(wanted)  # type: ignore[attr-defined]
                if not piece:
                    break
                pieces.append(piece)
                wanted -= len(piece)
        except EOFError:
            return b"".join(pieces), InputError("the compressed file is cut short", file=self.name)
        except DAMAGE as error:
            return b"".join(pieces), InputError(f"cannot be read: {_reason(error)}", file=self.name)
        return b"".join(pieces), None

    def batches(self, block_octets: int = BLOCK_OCTETS) -> Iterator[Lines]:
        """Give the lines in batches of about ``block_octets``.

        Raises
        ------
        InputError
            When the file is damaged, a line is longer than :data:`MAX_LINE_OCTETS`, or the file unpacks to
            absurdly more than it is. Lines before that were given.
        """
        packed = max(self.path.stat().st_size, 1)
        total, first, rest = 0, 1, b""
        with self.open() as stream:
            while True:
                block, failure = self._read(stream, block_octets)
                total += len(block)
                if total > RATIO_FROM_OCTETS and total > MAX_RATIO * packed:
                    raise InputError(f"unpacks to more than {MAX_RATIO} times its size", file=self.name)
                lines = (rest + block).split(b"\n")
                # The last piece has no line end yet: it waits for the next block, or is the last line.
                rest = lines.pop()
                if not block and rest and failure is None:
                    lines.append(rest)
                if lines:
                    yield Lines(first, lines)
                    first += len(lines)
                if failure is not None:
                    raise failure
                if not block:
                    return
                if len(rest) > MAX_LINE_OCTETS:
                    raise InputError(f"a line of more than {MAX_LINE_OCTETS} octets", file=self.name, line=first)


def first_line(head: bytes) -> bytes:
    """The first line of a head that is not blank, without spaces around it."""
    for line in io.BytesIO(head):
        if line.strip():
            return line.strip()
    return b""


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
