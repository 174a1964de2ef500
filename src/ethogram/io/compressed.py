"""Files that may be compressed: plain, gzip, or zip with every member; one stream of octets per member.

Decompression is streamed, so a bomb costs time only, and both its size and its ratio are capped.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from ethogram.config import CaptureSettings
from ethogram.errors import InputError

__all__ = ["DAMAGE", "GZIP_MAGIC", "ZIP_MAGIC", "Member", "first_octets", "open_members"]

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
RATIO_FROM = 1 << 26  # small files may be as repetitive as they like
STEP = 1 << 20  # no single decompression is asked for more

DAMAGE = (
    EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, struct.error, ValueError, KeyError,
    IndexError, OverflowError,
)  # fmt: skip
"""What the libraries raise over damaged archives: not all of it is documented, a fuzzer found the rest."""


class Member:
    """One stream of octets that is filled into a buffer, with the caps applied.

    Parameters
    ----------
    name
        The file's name, and the member's where it is one of an archive.
    stream
        Where the octets come from.
    compressed_octets
        Size of what they come from; None when it is not compressed.
    """

    def __init__(self, name: str, stream: IO[bytes], compressed_octets: int | None, settings: CaptureSettings) -> None:
        self.name = name
        self.octets = 0
        # One step at a time: where a compressed stream breaks off, all that came before it is kept.
        self._read: Callable[[memoryview], int] = getattr(stream, "readinto1", None) or stream.readinto  # type: ignore[attr-defined]
        self._compressed = compressed_octets
        self._settings = settings

    def fill(self, view: memoryview) -> int:
        """Fill as much of a buffer as there are octets; fewer than asked for means the end.

        Raises
        ------
        InputError
            When the compressed data are damaged or a cap is reached. Octets up to there are in the buffer, and
            ``octets`` counts them.
        """
        filled = 0
        while filled < len(view):
            try:
                count = self._read(view[filled : filled + STEP])
            except DAMAGE as error:
                raise InputError(f"cannot be read on: {one_line(error)}", file=self.name, offset=self.octets) from None
            if not count:
                break
            filled += count
            self.octets += count
            self._check_caps()
        return filled

    def _check_caps(self) -> None:
        limit = self._settings.max_octets
        if self.octets > limit:
            raise InputError(f"more than max_octets = {limit:,} octets", file=self.name, offset=self.octets)
        if self._compressed is not None and self.octets > RATIO_FROM:
            ratio = self.octets / max(self._compressed, 1)
            if ratio > self._settings.max_ratio:
                raise InputError(
                    f"expands more than max_ratio = {self._settings.max_ratio:g} times", file=self.name,
                    offset=self.octets,
                )  # fmt: skip


def one_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind when it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def open_file(path: Path) -> IO[bytes]:
    """Open a file; what can go wrong is one line."""
    try:
        if path.is_dir():
            raise InputError("is a folder, not a file", file=path)
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except OSError as error:
        raise InputError(f"cannot be opened: {error.strerror or one_line(error)}", file=path) from None


def open_members(path: Path, settings: CaptureSettings) -> Iterator[Member]:
    """Give the file's stream, or that of each member of a zip archive in the archive's order.

    Each stream is open only until the next one is asked for.

    Raises
    ------
    InputError
        When the file cannot be opened or is no sound archive.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open_file(path))
        magic = file.read(4) or b""
        file.seek(0)
        size = path.stat().st_size
        if magic != ZIP_MAGIC:
            yield member_of(str(path), file, magic, size, None, settings, stack)
            return
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
        except DAMAGE as error:
            raise InputError(f"damaged zip archive: {one_line(error)}", file=path) from None
        for info in archive.infolist():
            if info.filename.endswith("/"):
                continue
            name = f"{path}:{info.filename}"
            with ExitStack() as inner:
                try:
                    magic = b"" if info.file_size == 0 else first_of(archive, info)
                    stream = inner.enter_context(archive.open(info))
                except DAMAGE as error:
                    raise InputError(f"cannot be opened: {one_line(error)}", file=name) from None
                yield member_of(name, stream, magic, info.compress_size, info.compress_size, settings, inner)


def first_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The first four octets of a zip member."""
    with archive.open(info) as stream:
        return stream.read(4)


def member_of(
    name: str,
    stream: IO[bytes],
    magic: bytes,
    size: int,
    compressed: int | None,
    settings: CaptureSettings,
    stack: ExitStack,
) -> Member:
    """A member, decompressed when its first octets are gzip's."""
    if magic[:2] == GZIP_MAGIC:
        unpacked = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=stream)))
        return Member(name, unpacked, size, settings)
    return Member(name, stream, compressed, settings)


def first_octets(path: Path, count: int = 64) -> bytes:
    """The first octets of a file, or of its first zip member, decompressed: what formats are told by.

    Parameters
    ----------
    path
        The file.
    count
        Octets wanted; fewer when the file is shorter.
    """
    for member in open_members(path, CaptureSettings()):
        buffer = bytearray(count)
        filled = member.fill(memoryview(buffer))
        return bytes(buffer[:filled])
    return b""
