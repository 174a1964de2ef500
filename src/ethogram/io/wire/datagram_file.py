"""Files of raw datagrams as received from a socket: one NetFlow v9 message, or v5 or IPFIX messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ethogram.config import CaptureSettings
from ethogram.errors import InputError
from ethogram.io.compressed import Member, members_of_kind
from ethogram.io.wire.blocks import batch_of
from ethogram.io.wire.walk import V5, V5_RECORD, V9
from ethogram.schema import Accounting, DatagramBatch, Exporter

__all__ = ["DatagramFile", "sniff"]

V5_HEADER, V5_MOST, V9_HEADER = 24, 30, 20
LONGEST = 65535


def sniff(head: bytes) -> bool:
    """Whether a file with this head is a NetFlow v5 or v9 message.

    Examples
    --------
    >>> sniff(bytes.fromhex("0009" "0001" + "00" * 16 + "0000" "0008" "01000000"))
    True
    >>> sniff(b"time,octets")
    False
    """
    version, count = int.from_bytes(head[:2]), int.from_bytes(head[2:4])
    if version == V5:
        return 1 <= count <= V5_MOST and len(head) >= V5_HEADER + V5_RECORD
    if version == V9 and count and len(head) >= V9_HEADER + 4:
        number, octets = int.from_bytes(head[20:22]), int.from_bytes(head[22:24])
        return (number in (0, 1) or number >= 256) and octets >= 4
    return False


class DatagramFile:
    """Messages of a file of raw datagrams (:class:`~ethogram.schema.DatagramSource`).

    A v9 message does not state its length and occupies the whole file; v5 messages can be concatenated. The export time
    serves as arrival time, and the files of one folder come from one exporter.

    Parameters
    ----------
    path
        The file, plain or compressed.
    settings
        Limits.
    exporters
        List of exporters to extend, when several files are read as one source.
    """

    def __init__(
        self, path: Path, settings: CaptureSettings | None = None, *, exporters: list[Exporter] | None = None
    ) -> None:
        self.name = str(path)
        self.accounting = Accounting("messages")
        self._path = path
        self._settings = settings or CaptureSettings()
        self._exporters = [] if exporters is None else exporters

    def datagrams(self) -> Iterator[DatagramBatch]:
        """Yield the messages.

        Raises
        ------
        InputError
            If the file contains anything after its messages.
        """
        exporter = Exporter(str(self._path.parent), 0, "file")
        if exporter not in self._exporters:
            self._exporters.append(exporter)
        number = self._exporters.index(exporter)
        for member in members_of_kind(self._path, self._settings, sniff, V5_HEADER + V5_RECORD):
            messages, rest = self._messages(member)
            self.accounting.read += len(messages)
            self.accounting.used += len(messages)
            times = np.array([int.from_bytes(message[8:12]) for message in messages], np.int64) * 1_000_000_000
            if messages:
                yield batch_of(messages, times, number, self._exporters)
            if rest is not None:
                self.accounting.read += 1
                self.accounting.drop("no message")
                raise InputError("not a NetFlow message: the rest is skipped", file=member.name, offset=rest)

    def _messages(self, member: Member) -> tuple[list[bytes], int | None]:
        """The messages, and the offset of anything else that follows."""
        buffer = bytearray(self._settings.block_octets)
        octets = buffer[: member.fill(memoryview(buffer))]
        if octets[:2] == b"\0\x09":
            return [bytes(octets[:LONGEST])], LONGEST if len(octets) > LONGEST else None
        messages, at = [], 0
        while len(octets) - at >= V5_HEADER and octets[at : at + 2] == b"\0\x05":
            stated = V5_HEADER + V5_RECORD * int.from_bytes(octets[at + 2 : at + 4])
            if stated > len(octets) - at or octets[at + stated : at + stated + 2] != b"\0\x05":
                stated = len(octets) - at  # the count may be wrong, and no other message follows
            messages.append(bytes(octets[at : at + min(stated, LONGEST)]))
            at += stated
        return messages, at if at < len(octets) or not messages else None
