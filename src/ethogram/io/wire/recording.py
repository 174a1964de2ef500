"""Recordings: received export messages in pcapng files that any standard tool opens.

Each message is a UDP datagram from its exporter, with its arrival time in nanoseconds. The destination is a loopback
address, which distinguishes UDP (127.0.0.1 or ::1) from TCP sessions (higher numbers). The application name in the file
is :data:`APPLICATION`, which distinguishes recordings from captures. The comment contains the settings with which the
messages were decoded live, so that a replay uses the same ones.
Reference: draft-ietf-opsawg-pcapng sections 4.1 to 4.3; LINKTYPE_RAW.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ethogram._arrays import read_only
from ethogram.config import WireSettings
from ethogram.errors import ConfigurationError, InputError
from ethogram.io.wire.compiled import compiled
from ethogram.schema import DatagramBatch, Exporter

__all__ = ["APPLICATION", "HEAD_OCTETS", "Recording", "is_recording", "session_of", "settings_of"]

APPLICATION = b"ethogram recording"
HEAD_OCTETS = 4096
MAGIC = b"\x0a\x0d\x0d\x0a"
LINKTYPE_RAW = 101
COMMENT = 1  # comment option of any block
BLOCK_OCTETS, TRAILER_OCTETS, HEADERS = 28, 4, 64  # of an enhanced packet block; maximum octets of IP and UDP headers
FIRST_V4, FIRST_V6 = 0x7F000001, 1
MOST_SESSIONS = 1 << 23


def is_recording(head: bytes) -> bool:
    """Whether a file with this head is a recording."""
    return head[:4] == MAGIC and APPLICATION in head[:HEAD_OCTETS]


def settings_of(head: bytes) -> WireSettings | None:
    """Settings stored in a recording with this head; None if there are none, or not in the expected form.

    Examples
    --------
    >>> settings_of(section(WireSettings(segment_s=5.0))).segment_s
    5.0
    """
    at, end = 24, min(int.from_bytes(head[4:8], "little") - 4, len(head))
    while is_recording(head) and end - at >= 4:
        code, length = struct.unpack_from("<HH", head, at)
        if code == COMMENT:
            try:
                return WireSettings.of(**orjson.loads(head[at + 4 : at + 4 + length]))
            except (ValueError, TypeError, ConfigurationError):
                return None
        at += 4 + (length + 3) // 4 * 4
    return None


def session_of(version: int, destination: int) -> int | None:
    """Session number in the low half of a destination address; None for UDP."""
    number = destination - (FIRST_V4 if version == 4 else FIRST_V6)
    return number - 1 if number > 0 else None


def section(settings: WireSettings | None) -> bytes:
    """Section header and interface description of a file."""

    def option(code: int, value: bytes) -> bytes:
        return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)

    def block(kind: int, body: bytes) -> bytes:
        length = len(body) + 12
        return struct.pack("<II", kind, length) + body + struct.pack("<I", length)

    comment = b"" if settings is None else option(COMMENT, orjson.dumps(settings.model_dump(mode="json")))
    options = option(4, APPLICATION) + comment + option(0, b"")
    header = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)
    options = option(9, b"\x09") + option(0, b"")  # if_tsresol: nanoseconds
    return header + block(1, struct.pack("<HHI", LINKTYPE_RAW, 0, 0) + options)


def ip_header(exporter: Exporter) -> bytes:
    """IP and UDP header of an exporter's datagrams, without lengths and checksum."""
    session = 0 if exporter.transport == "udp" else 1 + exporter.session % MOST_SESSIONS
    udp = struct.pack(">HHHH", exporter.port, 0, 0, 0)
    try:
        source = socket.inet_pton(socket.AF_INET, exporter.address)
        return struct.pack(">BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 17, 0) + source + (FIRST_V4 + session).to_bytes(4) + udp
    except OSError:
        pass
    try:
        source = socket.inet_pton(socket.AF_INET6, exporter.address.split("%")[0])
    except (OSError, ValueError):
        source = bytes(16)
    return struct.pack(">IHBB", 6 << 28, 0, 17, 64) + source + (FIRST_V6 + session).to_bytes(16) + udp


def write_all(stream: IO[bytes], octets: bytes | memoryview) -> None:
    """Write all octets to an unbuffered file."""
    rest = memoryview(octets)
    while rest:
        rest = rest[stream.write(rest) :]


@compiled
def write_blocks(
    data: Any, offset: Any, octets: Any, arrival_ns: Any, exporter: Any, heads: Any, lengths: Any, out: Any
) -> Any:
    """Write an enhanced packet block for each message; returns the octets written."""
    at = np.int64(0)
    for row in range(offset.shape[0]):
        size = np.int64(octets[row])
        header = np.int64(lengths[exporter[row]])
        packet = header + size
        padded = (packet + 3) // 4 * 4
        block = BLOCK_OCTETS + padded + TRAILER_OCTETS
        time = np.uint64(arrival_ns[row])
        little(out, at, 6)
        little(out, at + 4, block)
        little(out, at + 8, 0)
        little(out, at + 12, np.int64(time >> np.uint64(32)))
        little(out, at + 16, np.int64(time & np.uint64(0xFFFFFFFF)))
        little(out, at + 20, packet)
        little(out, at + 24, packet)
        begin = at + BLOCK_OCTETS
        for i in range(header):
            out[begin + i] = heads[exporter[row], i]
        udp = begin + header - 8
        source = np.int64(offset[row])
        version = data[source + 1] if size >= 2 else 0
        big(out, udp + 2, 2055 if version == 5 or version == 9 else 4739)  # noqa: PLR1714 (compiled)
        # Messages too long for UDP came over TCP: their lengths are 0, which readers interpret as "to the end".
        big(out, udp + 4, size + 8 if size + 8 <= 65535 else 0)
        if header == 28:
            big(out, begin + 2, packet if packet <= 65535 else 0)
            total = np.int64(0)
            for i in range(0, 20, 2):
                total += (np.int64(out[begin + i]) << 8) | np.int64(out[begin + i + 1])
            total = (total & 0xFFFF) + (total >> 16)
            total = (total & 0xFFFF) + (total >> 16)
            big(out, begin + 10, 0xFFFF - total)
        else:
            big(out, begin + 4, size + 8 if size + 8 <= 65535 else 0)
        out[begin + header : begin + packet] = data[source : source + size]
        for i in range(packet, padded):
            out[begin + i] = 0
        little(out, begin + padded, block)
        at += block
    return at


@compiled
def little(out: Any, at: Any, value: Any) -> None:
    """Write four octets, little-endian."""
    for i in range(4):
        out[at + i] = (value >> (8 * i)) & 0xFF


@compiled
def big(out: Any, at: Any, value: Any) -> None:
    """Write two octets, big-endian."""
    out[at] = (value >> 8) & 0xFF
    out[at + 1] = value & 0xFF


class Recording:
    """A folder to which messages are written on arrival, in files whose names sort by time.

    Parameters
    ----------
    folder
        Created if it does not exist.
    settings
        Settings of the decoder of these messages, for the replay.
    file_octets
        Size at which a new file begins.
    file_s
        Age at which a new file begins, counted from the first message.

    Raises
    ------
    InputError
        If the folder cannot be created.
    """

    def __init__(
        self, folder: Path, settings: WireSettings | None = None, *, file_octets: int = 1 << 28, file_s: float = 3600.0
    ) -> None:
        self._folder = folder
        self._section = section(settings)
        self._file_octets = file_octets
        self._file_ns = int(file_s * 1e9)
        self._stream: IO[bytes] | None = None
        self._octets = 0
        self._begun_ns = 0
        self._heads: NDArray[np.uint8] = np.zeros((0, HEADERS), np.uint8)
        self._lengths: NDArray[np.int32] = np.zeros(0, np.int32)
        self._known: list[Exporter | None] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot be created: {error.strerror or error}", file=folder) from None

    def write(self, batch: DatagramBatch) -> None:
        """Write the messages of a batch.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        if not len(batch):
            return
        self._learn(batch)
        octets = np.ascontiguousarray(batch.octets)
        room = int(octets.sum(dtype=np.int64)) + len(batch) * (BLOCK_OCTETS + TRAILER_OCTETS + HEADERS)
        out = np.empty(room, np.uint8)
        size = write_blocks(
            read_only(batch.data), batch.offset, octets, batch.arrival_ns, batch.exporter, self._heads, self._lengths,
            out,
        )  # fmt: skip
        now_ns = int(batch.arrival_ns[0])
        full = self._octets >= self._file_octets or now_ns - self._begun_ns >= self._file_ns
        try:
            if self._stream is None or full:
                self._next(now_ns)
            assert self._stream is not None
            write_all(self._stream, memoryview(out)[:size])  # type: ignore[arg-type]
        except OSError as error:
            self._give_up()
            raise InputError(f"cannot be written: {error.strerror or error}", file=self._folder) from None
        self._octets += size

    def _learn(self, batch: DatagramBatch) -> None:
        """Create the headers of new exporters, including one that reuses the index of another."""
        more = len(batch.exporters) - len(self._lengths)
        if more > 0:
            self._heads = np.concatenate([self._heads, np.zeros((more, HEADERS), np.uint8)])
            self._lengths = np.concatenate([self._lengths, np.zeros(more, np.int32)])
            self._known += [None] * more
        for number in np.unique(batch.exporter).tolist():
            exporter = batch.exporters[number]
            if self._known[number] != exporter:
                head = ip_header(exporter)
                self._heads[number, : len(head)] = np.frombuffer(head, np.uint8)
                self._lengths[number] = len(head)
                self._known[number] = exporter

    def _next(self, now_ns: int) -> None:
        self.close()
        seconds, rest = divmod(now_ns, 1_000_000_000)
        stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%S")
        number = 0
        while (path := self._folder / f"{stamp}.{rest:09d}Z-{number:04d}.pcapng").exists():  # a clock was set back
            number += 1
        self._stream = path.open("xb", buffering=0)
        self._octets, self._begun_ns = 0, now_ns
        write_all(self._stream, self._section)
        self._octets = len(self._section)

    def _give_up(self) -> None:
        """Restore the file as it was before a failed write; the next message begins a new file."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.truncate(self._octets)
                if not self._octets:
                    Path(stream.name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                stream.close()

    def close(self) -> None:
        """Close the file; the next message begins a new one."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
