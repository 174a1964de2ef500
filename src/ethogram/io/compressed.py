"""Open any input as streams of octets: plain, compressed, or every member of an archive.

Compression and archives can be nested. Everything is streamed and nothing is written to disk; size, expansion ratio,
number of members and depth are limited.
"""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO

from ethogram.config import CaptureSettings
from ethogram.errors import InputError
from ethogram.io.tar import HEAD_OCTETS, TarFile, is_tar
from ethogram.io.unpack import COMPRESSION_SUFFIXES, ByteStream, Unpacked, compression_of

__all__ = ["Member", "PackedFile", "bare_name", "first_octets", "members_of_kind", "open_members"]

ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
RATIO_FROM = 1 << 26  # the ratio limit only applies above this size
STEP = 1 << 20  # limit of one read
MAX_MEMBERS = 1 << 16
MAX_DEPTH = 3
"""Limit of nested archives, and of compression layers of one stream."""

DAMAGE = (
    EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, struct.error, ValueError, KeyError,
    IndexError, OverflowError,
)  # fmt: skip
"""Exceptions that the libraries raise on damaged archives. Some are undocumented and were found by fuzzing."""


class Budget:
    """Limit of the octets unpacked from one file, or from one member of a zip.

    Parameters
    ----------
    name
        Name for messages.
    packed
        Compressed size; None if unknown.
    settings
        The limits.
    whole
        Budget of the file that contains this member.
    """

    def __init__(self, name: str, packed: int | None, settings: CaptureSettings, whole: Budget | None = None) -> None:
        self.name = name
        self.settings = settings
        self.members = 0
        self._packed = packed
        self._whole = whole
        self._octets = 0

    def add(self, count: int) -> None:
        """Count unpacked octets.

        Raises
        ------
        InputError
            If a limit is exceeded.
        """
        self._octets += count
        limit, ratio = self.settings.max_octets, self.settings.max_ratio
        if self._octets > limit:
            raise InputError(f"more than max_octets = {limit:,} octets", file=self.name, offset=self._octets)
        if self._packed is not None and self._octets > max(RATIO_FROM, ratio * max(self._packed, 1)):
            reason = f"expands to more than max_ratio = {ratio:g} times its size"
            raise InputError(reason, file=self.name, offset=self._octets)
        if self._whole is not None:
            self._whole.add(count)

    def member(self) -> None:
        """Count an archive member."""
        self.members += 1
        if self._whole is not None:
            self._whole.member()
        if self.members > MAX_MEMBERS:
            raise InputError(f"the archive has more than {MAX_MEMBERS} members", file=self.name)


class Stream:
    """Octets of one layer, with a look-ahead.

    Parameters
    ----------
    below
        Source of the octets.
    budget
        Counts the octets if this layer decompresses.
    """

    def __init__(self, below: ByteStream, budget: Budget | None = None) -> None:
        self._below = below
        self._budget = budget
        self._first = b""
        self._failure: InputError | None = None
        # read1 returns single steps, so that everything before a truncation is kept.
        self._step: Callable[[int], bytes | None] = getattr(below, "read1", below.read)

    def peek(self, count: int) -> bytes:
        """Return the next ``count`` octets without consuming them; fewer at the end or before damage."""
        pieces, there = [self._first], len(self._first)
        while there < count and self._failure is None:
            try:
                piece = self._next(min(count - there, STEP))
            except InputError as error:
                self._failure = error
                break
            if not piece:
                break
            pieces.append(piece)
            there += len(piece)
        self._first = b"".join(pieces)
        return self._first[:count]

    def read(self, size: int = -1, /) -> bytes:
        """Read up to ``size`` octets; none at the end."""
        if size < 0 or size > STEP:
            size = STEP
        if self._first:
            piece, self._first = self._first[:size], self._first[size:]
            return piece
        if self._failure is not None:
            raise self._failure
        return self._next(size)

    def _next(self, size: int) -> bytes:
        try:
            piece = self._step(size) or b""
        except DAMAGE as error:
            raise InputError(f"read error: {one_line(error)}") from None
        if self._budget is not None:
            self._budget.add(len(piece))
        return piece


class Member:
    """One stream of octets: a file, or a member of an archive.

    Parameters
    ----------
    name
        File name; for an archive member, followed by a colon and the member name.
    stream
        Source of the octets; None if the member cannot be read.
    settings
        Limits.
    inside
        Name inside the archive; None for the file itself.
    problem
        Why the member cannot be read.
    """

    def __init__(
        self, name: str, stream: Stream | None, settings: CaptureSettings, inside: str | None = None,
        problem: str | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.inside = inside
        self.problem = problem
        self.octets = 0
        self.ended = False
        self.walk: Iterator[Member] | None = None
        self._stream = Stream(io.BytesIO()) if stream is None else stream
        self._settings = settings

    def peek(self, count: int) -> bytes:
        """Return the next octets without consuming them; fewer at the end or before damage."""
        return self._stream.peek(count)

    def fill(self, view: memoryview) -> int:
        """Fill a buffer; fewer octets than requested mean the end of the stream.

        Raises
        ------
        InputError
            If the data are damaged or a limit is reached. The octets before that are in the buffer and counted in
            ``octets``.
        """
        filled = 0
        while filled < len(view):
            try:
                piece = self._stream.read(min(len(view) - filled, STEP))
            except InputError as error:
                self.ended = True
                raise error if error.file else InputError(error.reason, file=self.name, offset=self.octets) from None
            if not piece:
                self.ended = True
                break
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self.octets += len(piece)
            if self.octets > self._settings.max_octets:
                limit = self._settings.max_octets
                raise InputError(f"more than max_octets = {limit:,} octets", file=self.name, offset=self.octets)
        return filled


def one_line(error: BaseException) -> str:
    """The first line of an error message, or the exception type if it has none."""
    text = (getattr(error, "strerror", None) or str(error)).strip()
    return text.splitlines()[0] if text else type(error).__name__


def open_file(path: Path) -> IO[bytes]:
    """Open a file; errors have one-line messages."""
    try:
        if path.is_dir():
            raise InputError("is a directory, not a file", file=path)
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise InputError("no such file", file=path) from None
    except OSError as error:
        raise InputError(f"cannot be opened: {one_line(error)}", file=path) from None


def open_members(path: Path, settings: CaptureSettings | None = None) -> Iterator[Member]:
    """Yield the stream of a file, or of each archive member: zip members by name, tar members in archive order.

    Each stream is open until the next one is requested.

    Parameters
    ----------
    path
        The file.
    settings
        Limits.

    Raises
    ------
    InputError
        If the file cannot be opened or an archive is damaged; members before the damage are yielded first.
    """
    settings = settings or CaptureSettings()
    with ExitStack() as stack:
        file = stack.enter_context(open_file(path))
        size = path.stat().st_size if path.is_file() else None
        budget = Budget(str(path), size, settings)
        stream = Stream(file)
        if stream.peek(4) in ZIP_MAGICS:
            yield from _zip_members(file, path, budget, stack)
        else:
            yield from _members(stream, str(path), None, budget, 0)


def _members(stream: Stream, name: str, inside: str | None, budget: Budget, depth: int) -> Iterator[Member]:
    """Yield the stream, or the members of the tar archive inside it, below any compression."""
    settings = budget.settings
    for _ in range(MAX_DEPTH):
        compression = compression_of(stream.peek(8))
        if compression is None:
            break
        stream = Stream(Unpacked(stream, compression), budget)
    head = stream.peek(HEAD_OCTETS)
    problem = None
    if compression_of(head) is not None:
        problem = f"more than {MAX_DEPTH} nested compression layers"
    elif inside is not None and head[:4] in ZIP_MAGICS:
        problem = "a zip inside another file is not supported: unpack it first"
    elif is_tar(head):
        if depth < MAX_DEPTH:
            yield from _tar_members(stream, name, inside, budget, depth)
            return
        problem = f"more than {MAX_DEPTH} nested archives"
    elif inside is None and head[:4] in ZIP_MAGICS:
        problem = "a compressed zip is not supported: unpack it first"
    yield Member(name, stream, settings, inside, problem)


def _tar_members(stream: Stream, name: str, inside: str | None, budget: Budget, depth: int) -> Iterator[Member]:
    archive = TarFile(stream, name)
    try:
        for entry in archive.members():
            budget.member()
            within = entry.name if inside is None else f"{inside}:{entry.name}"
            full = f"{name}:{entry.name}"
            if entry.problem is not None:
                yield Member(full, None, budget.settings, within, entry.problem)
            elif not _is_side_file(entry.name):
                yield from _members(Stream(archive), full, within, budget, depth + 1)
    except InputError as error:
        raise error if error.file else InputError(error.reason, file=name) from None


def _zip_members(file: IO[bytes], path: Path, budget: Budget, stack: ExitStack) -> Iterator[Member]:
    settings = budget.settings
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
    except DAMAGE as error:
        raise InputError(f"damaged zip archive: {one_line(error)}", file=path) from None
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        if info.filename.endswith("/") or _is_side_file(info.filename):
            continue
        budget.member()
        name = f"{path}:{info.filename}"
        if info.flag_bits & 1:
            yield Member(name, None, settings, info.filename, "the zip is password-protected")
            continue
        with ExitStack() as opened:
            try:
                packed = opened.enter_context(archive.open(info))
            except DAMAGE as error:
                yield Member(name, None, settings, info.filename, f"cannot be opened: {one_line(error)}")
                continue
            member_budget = Budget(name, info.compress_size, settings, budget)
            yield from _members(Stream(packed, member_budget), name, info.filename, member_budget, 1)


def _is_side_file(name: str) -> bool:
    """Whether a member is macOS metadata."""
    return "__MACOSX/" in name or PurePosixPath(name).name.startswith("._")


def members_of_kind(
    path: Path, settings: CaptureSettings, sniff: Callable[[bytes], bool], octets: int = 64
) -> Iterator[Member]:
    """Yield a plain or compressed file unconditionally, and of an archive the members of one format.

    Parameters
    ----------
    path
        The file.
    settings
        Limits.
    sniff
        Tests the first octets of a member.
    octets
        Number of octets passed to ``sniff``.
    """
    for member in open_members(path, settings):
        if member.inside is None and member.problem is not None:
            raise InputError(member.problem, file=member.name)
        if member.inside is None or (member.problem is None and sniff(member.peek(octets))):
            yield member


def first_octets(path: Path, count: int = 64, wanted: Callable[[bytes], bool] | None = None) -> bytes:
    """The first unpacked octets of a file or archive member, for format detection.

    Parameters
    ----------
    path
        The file.
    count
        Number of octets; fewer if the file is shorter.
    wanted
        In an archive, the first member that satisfies this is used; otherwise the first member.
    """
    first: bytes | None = None
    for member in open_members(path):
        head = member.peek(count)
        if member.inside is None or wanted is None or wanted(head):
            return head
        first = head if first is None else first
    return first or b""


class PackedFile:
    """Members of one file by position. Opening them in order takes a single pass over the file.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._walk: Iterator[Member] | None = None
        self._current: Member | None = None
        self._at = -1

    def members(self) -> Iterator[Member]:
        """Yield all members, each as returned by :meth:`open`."""
        self._begin()
        while (member := self._advance()) is not None:
            yield member

    def open(self, place: int) -> Member:
        """Return the member at a position (from 0), at its beginning.

        Raises
        ------
        InputError
            If there is no such member because the file has changed.
        """
        current = self._current
        if current is not None and self._at == place and not current.octets:
            return current
        being_read = current is not None and current.octets and not current.ended
        if self._walk is None or place <= self._at or being_read:
            self._begin()
        while (member := self._advance()) is not None:
            if self._at == place:
                return member
        raise InputError("changed while it was read", file=self._path)

    def _begin(self) -> None:
        # A member that is being read keeps its own pass open.
        self._walk, self._current, self._at = open_members(self._path), None, -1

    def _advance(self) -> Member | None:
        assert self._walk is not None
        self._current = next(self._walk, None)
        if self._current is None:
            self._walk = None
        else:
            self._current.walk = self._walk
            self._at += 1
        return self._current


def bare_name(name: str) -> str:
    """The last component of a file or member name, without a compression suffix.

    >>> bare_name("day.tar:logs/conn.log.gz")
    'conn.log'
    """
    last = PurePosixPath(name).name.rpartition(":")[2]
    for suffix in COMPRESSION_SUFFIXES:
        last = last.removesuffix(suffix)
    return last
