"""Decompress gzip, bzip2, xz, Zstandard and LZ4 streams, also concatenated ones, detected by their first octets.

No read requests more than the needed octets from a library, so a decompression bomb costs time, not memory. The caller
enforces limits.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from ethogram.errors import InputError

__all__ = ["COMPRESSIONS", "COMPRESSION_SUFFIXES", "ByteStream", "Unpacked", "compression_of"]

CHUNK = 1 << 16
STEP = 1 << 20
XZ_MEMORY = 1 << 28
"""Memory limit of an xz stream; the highest preset of the tool needs 65 MiB."""


class ByteStream(Protocol):
    """Interface of the layer below."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Read up to ``size`` octets; none at the end."""
        ...


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """The gzip decompressor of the standard library with the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Zstd:
    """The Zstandard decompressor, with its error converted to one that callers catch."""

    def __init__(self) -> None:
        module = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
        self._inner = module.ZstdDecompressor()
        self._error: type[Exception] = module.ZstdError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return bytes(self._inner.decompress(data, max_length))
        except self._error as error:
            raise OSError(str(error)) from None


def _lz4() -> Any:
    return importlib.import_module("lz4.frame").LZ4FrameDecompressor()


COMPRESSIONS: dict[str, tuple[bytes, Callable[[], Any]]] = {
    "gzip": (b"\x1f\x8b", _Gzip),
    "bzip2": (b"BZh", bz2.BZ2Decompressor),
    "xz": (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)),
    "zstd": (b"\x28\xb5\x2f\xfd", _Zstd),
    "lz4": (b"\x04\x22\x4d\x18", _lz4),
}
"""First octets and decompressor factory by compression name."""

COMPRESSION_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd", ".lz4")


def compression_of(head: bytes) -> str | None:
    """The compression of a stream with these first octets; None if it is not supported.

    >>> compression_of(b"BZh91AY&SY"), compression_of(b"ts,uid")
    ('bzip2', None)
    """
    for name, (magic, _) in COMPRESSIONS.items():
        # The block size digit distinguishes bzip2 from text that begins with the same letters.
        if head.startswith(magic) and (name != "bzip2" or head[3:4].isdigit()):
            return name
    return None


class Unpacked:
    """Octets of a compressed stream, followed by further streams of the same compression.

    Parameters
    ----------
    stream
        Compressed octets.
    compression
        A key of :data:`COMPRESSIONS`.

    Examples
    --------
    >>> import io
    >>> stream = Unpacked(io.BytesIO(bz2.compress(b"one ") + bz2.compress(b"two")), "bzip2")
    >>> stream.read() + stream.read()
    b'one two'
    """

    def __init__(self, stream: ByteStream, compression: str) -> None:
        self._stream = stream
        self._compression = compression
        self._magic, self._make = COMPRESSIONS[compression]
        self._decompressor: _Decompressor = self._make()
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """Read the result of one step, at most ``size`` octets; none at the end.

        Raises
        ------
        InputError
            If the stream is truncated or followed by other octets.
        """
        size = STEP if size < 0 else size
        while not self._ended and size:
            if self._decompressor.eof and not self._next():
                break
            data = b""
            if self._decompressor.needs_input:
                data = self._stream.read(CHUNK) or b""
                if not data:
                    raise InputError("the compressed file is truncated")
            unpacked = self._decompressor.decompress(data, size)
            if unpacked:
                return unpacked
        return b""

    def _next(self) -> bool:
        """Begin the next stream; False at the end. Zero octets between streams are padding."""
        rest = self._decompressor.unused_data or b""
        while not (rest := rest.lstrip(b"\0")) or len(rest) < len(self._magic):
            more = self._stream.read(CHUNK) or b""
            if not more:
                break
            rest += more
        if not rest:
            self._ended = True
            return False
        if not rest.startswith(self._magic):
            raise InputError(f"octets that are not {self._compression} follow the compressed data")
        self._decompressor = self._make()
        self._stream = _Behind(rest, self._stream)
        return True


class _Behind:
    """A stream whose first octets were already read."""

    def __init__(self, first: bytes, stream: ByteStream) -> None:
        self._first, self._stream = first, stream

    def read(self, size: int = -1, /) -> bytes:
        if self._first:
            piece, self._first = self._first[:size], self._first[size:]
            return piece
        return self._stream.read(size) or b""
