"""Read tar archives as a stream: ustar, GNU and pax headers. Only regular files are read; nothing is extracted.

Reference: POSIX.1-2017, pax; the GNU tar manual. The length of every header is bounded before it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ethogram.errors import InputError
from ethogram.io.unpack import ByteStream

__all__ = ["HEAD_OCTETS", "TarFile", "TarMember", "is_tar"]

BLOCK = 512
HEAD_OCTETS = BLOCK
MAX_HEADER = 1 << 20
"""Maximum octets of an extended header."""
MAX_HEADERS = 1 << 18
"""Maximum headers of an archive."""
STEP = 1 << 20
_FOLDER = b"5"
_NOT_READ = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a named pipe",
    b"S": "a sparse file",
}  # fmt: skip


@dataclass(frozen=True)
class TarMember:
    """One entry that is not a directory.

    Parameters
    ----------
    name
        Name in the archive; never used as a path.
    octets
        Size.
    problem
        Why it cannot be read; None for a regular file.
    """

    name: str
    octets: int
    problem: str | None = None


def is_tar(head: bytes) -> bool:
    """Whether a file with these first octets is a tar archive: the checksum of the first header is correct.

    >>> is_tar(b"ts,uid" + bytes(600))
    False
    """
    return len(head) >= BLOCK and head[:1] != b"\0" and _sound(head[:BLOCK])


def _sound(block: bytes) -> bool:
    stated = _number(block[148:156])
    unsigned = sum(block) - sum(block[148:156]) + 8 * 32
    signed = unsigned - 256 * sum(octet > 127 for octet in block[:148] + block[156:])
    return stated in (unsigned, signed)


def _number(field: bytes) -> int | None:
    """An octal number, or the binary number that GNU tar writes for large values; None if invalid."""
    if field[0] in (0x80, 0xFF):
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else None
    text = field.split(b"\0")[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        return None


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "replace")


class TarFile:
    """Members of a tar archive in order; each must be read before the next one is requested.

    Parameters
    ----------
    stream
        Octets of the archive.
    name
        Name for messages.
    """

    def __init__(self, stream: ByteStream, name: str) -> None:
        self._stream = stream
        self._name = name
        self._left = 0
        self._padding = 0
        self._place = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read octets of the current member; none at its end."""
        if size < 0 or size > STEP:
            size = STEP
        wanted = min(size, self._left)
        if not wanted:
            return b""
        piece = self._stream.read(wanted) or b""
        if not piece:
            self._left = self._padding = 0
            raise InputError("the archive is truncated", file=self._name, offset=self._place)
        self._left -= len(piece)
        self._place += len(piece)
        return piece

    def members(self) -> Iterator[TarMember]:
        """Yield the entries that are not directories.

        Raises
        ------
        InputError
            If the archive is damaged; entries before the damage are yielded first.
        """
        name: str | None = None
        octets: int | None = None
        sparse = False
        for _ in range(MAX_HEADERS):
            self._skip()
            block = self._exactly(BLOCK)
            if not block.strip(b"\0"):
                return
            if not _sound(block):
                raise InputError("a damaged header in the archive", file=self._name, offset=self._place - BLOCK)
            size, kind = _number(block[124:136]), block[156:157]
            if size is None or size > 1 << 62:
                raise InputError("an invalid size in the archive", file=self._name, offset=self._place - BLOCK)
            if kind in {b"x", b"g", b"X", b"L", b"K"}:
                extension = self._extension(size)
                if kind == b"L":
                    name = _text(extension)
                elif kind in {b"x", b"X"}:
                    name, octets, sparse = self._pax(extension, name)
                continue
            size = size if octets is None else octets
            short_name = _text(block[:100])
            prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
            full = name or (f"{prefix}/{short_name}" if prefix else short_name)
            problem = "a sparse file" if sparse else _NOT_READ.get(kind)
            name, octets, sparse = None, None, False
            # Links and devices have no content, whatever size they state.
            self._left = 0 if kind in {b"1", b"2", b"3", b"4", b"5", b"6"} else size
            self._padding = -self._left % BLOCK
            if kind == _FOLDER or (kind in {b"\0", b"0"} and full.endswith("/")):
                continue
            if problem is None and kind not in {b"\0", b"0", b"7"}:
                problem = f"an entry of unknown type {kind!r}"
            yield TarMember(full, self._left, problem)
        raise InputError(f"the archive has more than {MAX_HEADERS} headers", file=self._name)

    def _skip(self) -> None:
        """Skip the unread rest of the current member."""
        while self._left:
            self.read(STEP)
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _exactly(self, count: int) -> bytes:
        pieces: list[bytes] = []
        while count:
            piece = self._stream.read(count) or b""
            if not piece:
                if not pieces and not self._left and count == BLOCK and self._place:
                    return bytes(BLOCK)  # the two empty blocks at the end are optional
                raise InputError("the archive is truncated", file=self._name, offset=self._place)
            pieces.append(piece)
            count -= len(piece)
            self._place += len(piece)
        return b"".join(pieces)

    def _extension(self, size: int) -> bytes:
        if size > MAX_HEADER:
            raise InputError(f"a header of more than {MAX_HEADER} octets in the archive", file=self._name,
                             offset=self._place)  # fmt: skip
        octets = self._exactly(size) if size else b""
        self._padding = -size % BLOCK
        self._skip()
        return octets

    def _pax(self, octets: bytes, name: str | None) -> tuple[str | None, int | None, bool]:
        """Name, size, and whether the file is sparse, from a pax header: lines of ``LENGTH KEY=VALUE``."""
        size, sparse, at = None, False, 0
        while at < len(octets):
            length = octets[at : octets.find(b" ", at, at + 20)]
            if not length.isdigit() or not 0 < int(length) <= len(octets) - at:
                raise InputError("a damaged header in the archive", file=self._name, offset=self._place)
            key, _, value = octets[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
            at += int(length)
            if key == b"path":
                name = _text(value)
            elif key == b"size" and value.isdigit() and len(value) < 19:
                size = int(value)
            elif key.startswith(b"GNU.sparse"):
                sparse = True
        return name, size, sparse
