"""Text inputs, unpacked and decoded to UTF-8, in batches of numbered lines."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ethogram.errors import InputError
from ethogram.io.compressed import Member, PackedFile, bare_name
from ethogram.io.encoding import MARK, Utf8

__all__ = ["HEAD_OCTETS", "MAX_LINE_OCTETS", "Lines", "TextInput"]

HEAD_OCTETS = 1 << 16
"""Number of octets used for format detection."""
BLOCK_OCTETS = 1 << 22
MAX_LINE_OCTETS = 1 << 26


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines of a file, without line ends.

    Parameters
    ----------
    first
        Number of the first line, from 1.
    lines
        The lines, including blank ones.
    """

    first: int
    lines: list[bytes]

    def filled(self) -> tuple[list[int], list[bytes]]:
        """Line numbers and lines that are not blank, both of length N."""
        numbers, lines = [], []
        for number, line in enumerate(self.lines, self.first):
            if line and not line.isspace():
                numbers.append(number)
                lines.append(line)
        return numbers, lines


@dataclass(frozen=True, slots=True)
class TextInput:
    """One text: a file, or a member of an archive.

    Parameters
    ----------
    path
        The file.
    member
        Name inside the archive, if any.
    place
        Position of the member, from 0, in reading order.
    packed
        Members of the file, shared by the texts of one archive: reading them in order takes a single pass.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "two.txt"
    >>> _ = file.write_bytes(b"one\\n\\ntwo")
    >>> [batch.filled() for batch in TextInput(file).batches()]
    [([1, 3], [b'one', b'two'])]
    """

    path: Path
    member: str | None = None
    place: int = 0
    packed: PackedFile | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Name for messages: the path, followed by a colon and the member name if any."""
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    @property
    def file_name(self) -> str:
        """Name of the innermost file without compression suffix, for format detection."""
        return bare_name(self.member or self.path.name)

    def head(self) -> bytes:
        """The first octets, unpacked, as UTF-8 without a byte order mark."""
        octets = self.raw_head()
        return Utf8(octets)(octets).removeprefix(MARK)

    def raw_head(self) -> bytes:
        """The first octets, unpacked but not decoded, for detecting binary formats.

        Raises
        ------
        InputError
            If the text cannot be opened or unpacked.
        """
        member = self._open()
        head = member.peek(HEAD_OCTETS)
        if not head:
            _, failure = self._fill(member, bytearray(1))
            if failure is not None:
                raise failure
        return head

    def _open(self) -> Member:
        member = (self.packed or PackedFile(self.path)).open(self.place)
        if member.problem is not None:
            raise InputError(member.problem, file=self.name)
        return member

    def _fill(self, member: Member, buffer: bytearray) -> tuple[int, InputError | None]:
        """Fill the buffer; returns the number of octets read, and the error that ended reading."""
        before = member.octets
        try:
            return member.fill(memoryview(buffer)), None
        except InputError as error:
            return member.octets - before, InputError(error.reason, file=self.name)

    def batches(self, block_octets: int = BLOCK_OCTETS) -> Iterator[Lines]:
        """Yield the lines in batches of about ``block_octets``.

        Raises
        ------
        InputError
            If the file is damaged or expands beyond the limits, or a line is longer than :data:`MAX_LINE_OCTETS`. The
            lines before that are yielded first.
        """
        member = self._open()
        first, rest = 1, b""
        utf8 = Utf8(member.peek(HEAD_OCTETS))
        buffer = bytearray(block_octets)
        ended = False
        while not ended:
            count, failure = self._fill(member, buffer)
            ended = count < len(buffer) or failure is not None
            block = utf8(bytes(memoryview(buffer)[:count]), last=ended)
            lines = (rest + block).split(b"\n")
            # The last piece is incomplete: it is continued in the next block, or is the last line.
            rest = lines.pop()
            if ended and rest and failure is None:
                lines.append(rest)
            # Concatenated files each begin with a mark. Searching for one octet is much faster than for three.
            if (MARK[:1] in block and MARK in block) or (lines and lines[0].startswith(MARK)):
                lines = [line.removeprefix(MARK) for line in lines]
            if lines:
                yield Lines(first, lines)
                first += len(lines)
            if failure is not None:
                raise failure
            if len(rest) > MAX_LINE_OCTETS:
                raise InputError(f"a line of more than {MAX_LINE_OCTETS} octets", file=self.name, line=first)


def first_line(head: bytes) -> bytes:
    """The first non-blank line of a head, stripped."""
    for line in io.BytesIO(head):
        if line.strip():
            return line.strip()
    return b""
