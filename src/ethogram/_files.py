"""Atomic writing: files are written under a hidden name in the same folder, synced, then renamed.

All files for users are written through this module. A symbolic link is kept and its target replaced; an existing file
keeps its mode and, where permitted, its owner; devices, FIFOs, sockets and directories are never replaced. While a
command runs under :func:`guarding`, its inputs are not replaced either.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import os
import re
import shutil
import stat
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ethogram.errors import UsageError

__all__ = ["atomic_write", "atomic_write_all", "file_lock", "fsync_dir", "guarding", "is_ours", "protect",
           "require_ours", "target_of", "write_bytes"]  # fmt: skip

_HIDDEN = re.compile(r"\.(?P<pid>\d{1,19})\.(?:part|old)")
_LONGEST_NAME = 220  # of the 255 octets that file systems allow; the rest is for the process id and the suffix
_YOUNG_S = 60.0  # a hidden file may reach this age before its owner locks it
_KINDS = {
    stat.S_IFDIR: "a directory", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}  # fmt: skip
_HEAD_OCTETS = 1 << 16
_MARK = re.compile(rb'"format": ?"ethogram\.')


@dataclass
class _Guard:
    """Files that the running command must not replace: its inputs, and without force, files of other programs."""

    inputs: dict[tuple[int, int], Path] = field(default_factory=dict)
    force: bool = False


_guard: _Guard | None = None


@contextmanager
def guarding() -> Iterator[None]:
    """Apply :func:`protect` until the end of a command."""
    global _guard  # noqa: PLW0603 (one command at a time, in all its threads)
    before, _guard = _guard, _Guard()
    try:
        yield
    finally:
        _guard = before


def protect(inputs: Iterable[Path] = (), *, force: bool | None = None) -> None:
    """Refuse to overwrite these files until the command ends; with ``force``, foreign files may be replaced.

    It has no effect outside :func:`guarding`.
    """
    if _guard is None:
        return
    for path in inputs:
        with contextlib.suppress(OSError):
            status = path.stat()
            _guard.inputs.setdefault((status.st_dev, status.st_ino), path)
    if force is not None:
        _guard.force = force


def target_of(path: Path) -> Path:
    """File that a write to ``path`` replaces or creates; links are followed.

    Raises
    ------
    UsageError
        If it is not a regular file, or is an input of the running command.
    OSError
        If links form a loop, or the file is not writable.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is not None:
        raise UsageError(f"{path}: cannot be written: it is {kind}, not a regular file")
    given = _guard.inputs.get((status.st_dev, status.st_ino)) if _guard is not None else None
    if given is not None:
        same = "" if given == path else f", the same file as {given}"
        raise UsageError(f"{path}: cannot be written: it is an input of this command{same}")
    if not os.access(path, os.W_OK):
        raise PermissionError(13, "Permission denied", str(path))
    return Path(os.path.realpath(path))


def require_ours(path: Path) -> None:
    """Refuse to replace a file that Ethogram did not write, unless the running command was given ``--force``.

    Raises
    ------
    UsageError
        If Ethogram did not write it.
    """
    if _guard is None or _guard.force or is_ours(path):
        return
    raise UsageError(f"{path}: exists and has no mark of Ethogram: --force replaces it")


def is_ours(path: Path) -> bool:
    """Whether a file may be replaced without ``--force``: missing, empty, or marked as written by Ethogram.

    The marks are: Parquet metadata whose key begins with ``ethogram.``; in JSON, plain or gzip, a first line or object
    with ``"format": "ethogram...``; in a PNG, ``Ethogram`` as its software.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_OCTETS)
            if not head:
                return True
            if head.startswith(b"PAR1"):
                return b"ethogram." in _parquet_footer(stream.fileno())
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if head.startswith(b"\x1f\x8b"):
        with contextlib.suppress(OSError, EOFError, zlib.error), gzip.open(path) as unpacked:
            head = unpacked.read(_HEAD_OCTETS)
    if head.startswith(b"\x89PNG"):
        return b"Software\0Ethogram" in head
    return head.lstrip().startswith(b"{") and _MARK.search(head) is not None


def _parquet_footer(file: int) -> bytes:
    """Metadata of a Parquet file, in which keys are plain text."""
    size = os.fstat(file).st_size
    tail = os.pread(file, 8, max(size - 8, 0))
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > size - 12:
        return b""
    return os.pread(file, length, size - 8 - length)


@contextmanager
def atomic_write(path: Path, *, empty: bool = False) -> Iterator[Path]:
    """Yield a hidden file to write to; at the end it is renamed to ``path``, or after an error removed.

    If the hidden file is removed or left empty, ``path`` is not changed; with ``empty``, an empty file replaces it,
    too. Hidden files left by killed runs for the same target are removed. Callers handle OSErrors.

    Raises
    ------
    UsageError
        If the target is not a regular file, or is an input of the running command; checked before and after.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
    >>> with atomic_write(target) as part:
    ...     _ = part.write_text("kept")
    >>> [file.name for file in target.parent.iterdir()]
    ['notes.txt']
    """
    target = target_of(path)
    with _hidden(target) as part:
        yield part
        if _written(part) or (empty and part.exists()):
            _require_same(path, target)
            _finish(part, target)
            part.replace(target)
            fsync_dir(target.parent)


@contextmanager
def atomic_write_all(*paths: Path) -> Iterator[list[Path]]:
    """As :func:`atomic_write` for several files that belong together: all of them are replaced, or after an error none.

    A file for which nothing was written is removed. Only a crash of the machine during the final renames can leave some
    files new and others old.

    Examples
    --------
    >>> import tempfile
    >>> first, second = (Path(tempfile.mkdtemp()) / name for name in ("notes.txt", "index.txt"))
    >>> with atomic_write_all(first, second) as parts:
    ...     for part in parts:
    ...         _ = part.write_text("kept")
    >>> first.exists() and second.exists()
    True
    """
    targets = [target_of(path) for path in paths]
    olds = [_beside(target, "old") for target in targets]
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(_hidden(target)) for target in targets]
        try:
            yield parts
            for path, target, part in zip(paths, targets, parts, strict=True):
                _require_same(path, target)
                if _written(part):
                    _finish(part, target)
            for target, old in zip(targets, olds, strict=True):
                old.unlink(missing_ok=True)
                if target.exists():
                    shutil.copy2(target, old)
            _rename_all(targets, parts, olds)
            for folder in {target.parent for target in targets}:
                fsync_dir(folder)
        finally:
            for old in olds:
                old.unlink(missing_ok=True)


def _rename_all(targets: list[Path], parts: list[Path], olds: list[Path]) -> None:
    try:
        for target, part in zip(targets, parts, strict=True):
            if _written(part):
                part.replace(target)
            else:
                target.unlink(missing_ok=True)
    except OSError:
        for target, old in zip(targets, olds, strict=True):
            if old.exists():
                old.replace(target)
            else:
                target.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file atomically."""
    with atomic_write(path) as part:
        part.write_bytes(content)


@contextmanager
def file_lock(path: Path | None) -> Iterator[None]:
    """Lock a path for this process, and wait while another process holds the lock; None: do nothing.

    Two runs that need the same derived file make it once: the second one finds the file of the first.
    """
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # The system releases the lock when the process ends; the empty file stays.
    with path.with_name(f"{path.name}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fsync_dir(folder: Path) -> None:
    """Sync the entries of a folder to disk."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{_stem(target)}.{os.getpid()}.{suffix}")


def _stem(target: Path) -> str:
    """Name of a target within the names of its hidden files; long names are cut and get a digest."""
    octets = os.fsencode(target.name)
    if len(octets) <= _LONGEST_NAME:
        return target.name
    return os.fsdecode(octets[:100]) + hashlib.sha256(octets).hexdigest()[:16]


@contextmanager
def _hidden(target: Path) -> Iterator[Path]:
    """Create an empty, locked hidden file beside a target; it is removed at the end unless it was renamed.

    Its mode does not permit more readers than that of the file it replaces.
    """
    _remove_stale(target)
    part = _beside(target, "part")
    part.unlink(missing_ok=True)
    mode = 0o666
    with contextlib.suppress(FileNotFoundError):
        mode = 0o600 | (stat.S_IMODE(target.stat().st_mode) & 0o666)
    lock = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield part
    finally:
        part.unlink(missing_ok=True)
        os.close(lock)


def _remove_stale(target: Path) -> None:
    """Remove hidden files of this target left by processes that have ended."""
    prefix = f".{_stem(target)}"
    try:
        names = [entry.name for entry in os.scandir(target.parent) if entry.name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        match = _HIDDEN.fullmatch(name[len(prefix) :])
        if match is not None and int(match["pid"]) != os.getpid():
            with contextlib.suppress(OSError):
                _remove_if_stale(target.with_name(name), int(match["pid"]))


def _remove_if_stale(path: Path, pid: int) -> None:
    """Remove a hidden file that is not locked; the process id alone may belong to another container."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _alive(pid) or time.time() - os.fstat(file).st_mtime > _YOUNG_S:
            path.unlink()
    finally:
        os.close(file)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _written(part: Path) -> bool:
    return part.exists() and part.stat().st_size > 0


def _require_same(path: Path, target: Path) -> None:
    """Check that the target has not changed since writing began."""
    if target_of(path) != target:
        raise UsageError(f"{path}: cannot be written: the link was changed in the meantime")


def _finish(part: Path, target: Path) -> None:
    """Sync a written file, and give it the mode and owner of the file it replaces."""
    with part.open("rb") as stream:
        with contextlib.suppress(FileNotFoundError):
            before = target.stat()
            written = os.fstat(stream.fileno())
            if (written.st_uid, written.st_gid) != (before.st_uid, before.st_gid):
                with contextlib.suppress(PermissionError):
                    os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            os.fchmod(stream.fileno(), stat.S_IMODE(before.st_mode))
        os.fsync(stream.fileno())
