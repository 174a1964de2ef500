"""Read IPFIX files (RFC 5655): consecutive messages including templates, plain or compressed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.config import CaptureSettings
from ethogram.errors import InputError
from ethogram.io.compressed import Member, members_of_kind
from ethogram.io.wire.compiled import compiled, u16, u32
from ethogram.io.wire.walk import IPFIX
from ethogram.schema import Accounting, DatagramBatch, Exporter

__all__ = ["IpfixFile", "sniff"]

HEADER = 16
LONGEST = 65535
ROWS = 1 << 15  # maximum messages per batch
DONE, WRONG, FULL = 0, 1, 2


def sniff(head: bytes) -> bool:
    """Whether a file with this head is an IPFIX file: its first message and first set are valid.

    Examples
    --------
    >>> sniff(bytes.fromhex("000a0018" "00000000" "00000000" "00000000" "0100000800000000"))
    True
    """
    length = int.from_bytes(head[2:4])
    if head[:2] != b"\0\x0a" or length < HEADER or len(head) < HEADER:
        return False
    if length == HEADER:
        return True
    number, octets = int.from_bytes(head[16:18]), int.from_bytes(head[18:20])
    return (number in (2, 3) or number >= 256) and 4 <= octets <= length - HEADER


@compiled
def frame(data: Any, end: int, offset: Any, octets: Any, time_s: Any) -> tuple[Any, Any, int]:
    """Find messages by their lengths, from the beginning of ``data``.

    Returns
    -------
    at, count, why
        The first unused octet, the number of messages, and whether the rest is incomplete (``DONE``), not a message
        (``WRONG``), or did not fit the output (``FULL``).
    """
    at, count = np.int64(0), 0
    while end - at >= HEADER:
        if count == offset.shape[0]:
            return at, count, FULL
        length = u16(data, at + 2)
        if u16(data, at) != IPFIX or length < HEADER:
            return at, count, WRONG
        if length > end - at:
            break
        offset[count] = at
        octets[count] = length
        time_s[count] = u32(data, at + 4)
        at += length
        count += 1
    return at, count, DONE


class IpfixFile:
    """Messages of an IPFIX file (:class:`~ethogram.schema.DatagramSource`); each file is a session.

    Parameters
    ----------
    path
        The file.
    settings
        Limits and block size.
    address
        Name of the exporter; by default the file name. Files with the same address share templates.
    exporters
        List of exporters to extend, when several files are read as one source.
    """

    def __init__(
        self, path: Path, settings: CaptureSettings | None = None, *, address: str | None = None,
        exporters: list[Exporter] | None = None,
    ) -> None:  # fmt: skip
        self.name = str(path)
        self.accounting = Accounting("messages")
        self._path = path
        self._settings = settings or CaptureSettings()
        self._address = address
        self._exporters = [] if exporters is None else exporters

    def datagrams(self) -> Iterator[DatagramBatch]:
        """Yield the messages in file order, with their export time as arrival time.

        Raises
        ------
        InputError
            If the file is damaged; the messages before that are yielded first.
        """
        for member in members_of_kind(self._path, self._settings, sniff):
            session = len(self._exporters)
            exporter = Exporter(self._address or member.name, 0, "file", 0 if self._address else session)
            self._exporters.append(exporter)
            yield from self._member(member, session)

    def _member(self, member: Member, exporter: int) -> Iterator[DatagramBatch]:
        tail: NDArray[np.uint8] = np.empty(0, np.uint8)
        place = 0
        ended = False
        while not ended:
            data = np.empty(max(self._settings.block_octets, LONGEST + 1) + tail.size, np.uint8)
            data[: tail.size] = tail
            before, damage = member.octets, None
            try:
                member.fill(memoryview(data)[tail.size :])  # type: ignore[arg-type]
            except InputError as error:
                damage = error
            end = tail.size + member.octets - before
            ended = end < data.size or damage is not None
            at, why = 0, FULL
            while why == FULL:
                offset, octets, time_s = np.empty(ROWS, np.int64), np.empty(ROWS, np.int32), np.empty(ROWS, np.int64)
                step, count, why = frame(data[at:], end - at, offset, octets, time_s)
                if count:
                    self.accounting.read += count
                    self.accounting.used += count
                    rows = np.full(count, exporter, np.int32)
                    yield DatagramBatch(
                        data[:end], offset[:count] + at, octets[:count], time_s[:count] * 1_000_000_000, rows,
                        self._exporters,
                    )  # fmt: skip
                at += int(step)
            if why == WRONG:
                self._drop("no message")
                raise InputError("not an IPFIX message: the rest is skipped", file=member.name, offset=place + at)
            place += at
            tail = data[at:end]
        if damage is not None:
            self._drop("cut short", tail.size)
            raise damage
        if tail.size:
            self._drop("cut short")
            raise InputError("the last message is incomplete", file=member.name, offset=place)

    def _drop(self, reason: str, octets: int = 1) -> None:
        if octets:
            self.accounting.read += 1
            self.accounting.drop(reason)
