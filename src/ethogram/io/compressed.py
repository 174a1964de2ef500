"""One way to the octets of any input: plain, compressed, or an archive with every member; one stream a member.

Compressions and archives may stand inside one another. Everything is streamed and nothing is written to disk; size,
ratio, members and depth are bounded.
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
RATIO_FROM = 1 << 26  # small files may be as repetitive as they like
STEP = 1 << 20  # no single decompression is asked for more
MAX_MEMBERS = 1 << 16
MAX_DEPTH = 3
"""Archives in one another, and compressions of one stream."""

DAMAGE = (
    EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, struct.error, ValueError, KeyError,
    IndexError, OverflowError,
)  # fmt: skip
"""What the libraries raise over damaged archives: not all of it is documented, a fuzzer found the rest."""


class Budget:
    """Octets that may be unpacked from one file, or from one member of a zip.

    Parameters
    ----------
    name
        For messages.
    packed
        Size of what is unpacked; None where it is not known.
    settings
        The caps.
    whole
        The budget of the file that this one is part of.
    """

    def __init__(self, name: str, packed: int | None, settings: CaptureSettings, whole: Budget | None = None) -> None:
        self.name = name
        self.settings = settings
        self.members = 0
        self._packed = packed
        self._whole = whole
        self._octets = 0

    def add(self, count: int) -> None:
        """Count octets that were unpacked.

        Raises
        ------
        InputError
            When they are more than a cap allows.
        """
        self._octets += count
        limit, ratio = self.settings.max_octets, self.settings.max_ratio
        if self._octets > limit:
            raise InputError(f"more than max_octets = {limit:,} octets", file=self.name, offset=self._octets)
        if self._packed is not None and self._octets > max(RATIO_FROM, ratio * max(self._packed, 1)):
            raise InputError(f"expands more than max_ratio = {ratio:g} times", file=self.name, offset=self._octets)
        if self._whole is not None:
            self._whole.add(count)

    def member(self) -> None:
        """Count a member of an archive."""
        self.members += 1
        if self._whole is not None:
            self._whole.member()
        if self.members > MAX_MEMBERS:
            raise InputError(f"an archive of more than {MAX_MEMBERS} members", file=self.name)


class Stream:
    """Octets of one layer, of which the first can be looked at before they are read.

    Parameters
    ----------
    below
        Where they come from.
    budget
        Counts them when this layer unpacks.
    """

    def __init__(self, below: ByteStream, budget: Budget | None = None) -> None:
        self._below = below
        self._budget = budget
        self._first = b""
        self._failure: InputError | None = None
        # One step at a time: where a compressed stream breaks off, all that came before it is kept.
        self._step: Callable[[int], bytes | None] = getattr(below, "read1", below.read)

    def peek(self, count: int) -> bytes:
        """The next ``count`` octets, fewer at the end or before damage; they are still to be read."""
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
        """Up to ``size`` octets; none at the end."""
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
            raise InputError(f"cannot be read on: {one_line(error)}") from None
        if self._budget is not None:
            self._budget.add(len(piece))
        return piece


class Member:
    """One stream of octets: a file, or one member of an archive.

    Parameters
    ----------
    name
        The file's name, and the member's behind a colon where it is one of an archive.
    stream
        Where the octets come from; None for one that cannot be read.
    settings
        Caps.
    inside
        The name inside the archive; None for the file itself.
    problem
        Why it cannot be read.
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
        """The first octets of what is not read yet; fewer at the end or before damage."""
        return self._stream.peek(count)

    def fill(self, view: memoryview) -> int:
        """Fill as much of a buffer as there are octets; fewer than asked for means the end.

        Raises
        ------
        InputError
            When the packed data are damaged or a cap is reached. Octets up to there are in the buffer, and
            ``octets`` counts them.
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
    """The first line of an error's text, or its kind when it has none."""
    text = (getattr(error, "strerror", None) or str(error)).strip()
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
        raise InputError(f"cannot be opened: {one_line(error)}", file=path) from None


def open_members(path: Path, settings: CaptureSettings | None = None) -> Iterator[Member]:
    """Give the file's stream, or that of each member of an archive: of a zip by name, of a tar in its order.

    Each stream is open only until the next one is asked for.

    Parameters
    ----------
    path
        The file.
    settings
        Caps.

    Raises
    ------
    InputError
        When the file cannot be opened or an archive is damaged; members before the damage were given.
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
    """The stream itself, or the members of the tar archive that it is, below any compression."""
    settings = budget.settings
    for _ in range(MAX_DEPTH):
        compression = compression_of(stream.peek(8))
        if compression is None:
            break
        stream = Stream(Unpacked(stream, compression), budget)
    head = stream.peek(HEAD_OCTETS)
    problem = None
    if compression_of(head) is not None:
        problem = f"more than {MAX_DEPTH} compressions of one stream"
    elif inside is not None and head[:4] in ZIP_MAGICS:
        problem = "a zip inside another file is not read: unpack it"
    elif is_tar(head):
        if depth < MAX_DEPTH:
            yield from _tar_members(stream, name, inside, budget, depth)
            return
        problem = f"more than {MAX_DEPTH} archives inside one another"
    elif inside is None and head[:4] in ZIP_MAGICS:
        problem = "a compressed zip is not read: unpack it"
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
            yield Member(name, None, settings, info.filename, "the zip is locked with a password")
            continue
        with ExitStack() as opened:
            try:
                packed = opened.enter_context(archive.open(info))
            except DAMAGE as error:
                yield Member(name, None, settings, info.filename, f"cannot be opened: {one_line(error)}")
                continue
            own = Budget(name, info.compress_size, settings, budget)
            yield from _members(Stream(packed, own), name, info.filename, own, 1)


def _is_side_file(name: str) -> bool:
    """Whether a member is what macOS puts beside each file."""
    return "__MACOSX/" in name or PurePosixPath(name).name.startswith("._")


def members_of_kind(
    path: Path, settings: CaptureSettings, sniff: Callable[[bytes], bool], octets: int = 64
) -> Iterator[Member]:
    """Give a plain or compressed file whatever it is, and the members of an archive that are of a kind.

    Parameters
    ----------
    path
        The file.
    settings
        Caps.
    sniff
        Whether first octets are of the kind.
    octets
        How many it is given.
    """
    for member in open_members(path, settings):
        if member.inside is None and member.problem is not None:
            raise InputError(member.problem, file=member.name)
        if member.inside is None or (member.problem is None and sniff(member.peek(octets))):
            yield member


def first_octets(path: Path, count: int = 64, wanted: Callable[[bytes], bool] | None = None) -> bytes:
    """The first octets of a file, or of a member of an archive, unpacked: what formats are told by.

    Parameters
    ----------
    path
        The file.
    count
        Octets wanted; fewer when the file is shorter.
    wanted
        Of an archive, the first member that this is true of; none: its first.
    """
    first: bytes | None = None
    for member in open_members(path):
        head = member.peek(count)
        if member.inside is None or wanted is None or wanted(head):
            return head
        first = head if first is None else first
    return first or b""


class PackedFile:
    """The members of one file, to be opened by their place; in the order of the file one pass gives them all.

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
        """Give all members, each as :meth:`open` would."""
        self._begin()
        while (member := self._advance()) is not None:
            yield member

    def open(self, place: int) -> Member:
        """The member at a place, from 0, at its beginning.

        Raises
        ------
        InputError
            When there is none, as in a file that has changed.
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
        raise InputError("has changed while it was read", file=self._path)

    def _begin(self) -> None:
        # What is being read goes on with its own pass, which it keeps open.
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
    """The last part of a member's or file's name, without the suffix of a compression.

    >>> bare_name("day.tar:logs/conn.log.gz")
    'conn.log'
    """
    last = PurePosixPath(name).name.rpartition(":")[2]
    for suffix in COMPRESSION_SUFFIXES:
        last = last.removesuffix(suffix)
    return last
