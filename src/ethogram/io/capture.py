"""Read packets from pcap and pcapng files in batches of bounded size.

A capture is read in blocks. A record that crosses the end of a block is completed with the next one, so memory depends
on the block size, not on the file size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ethogram.config import CaptureSettings
from ethogram.errors import EthogramWarning, InputError
from ethogram.io.compressed import Member, bare_name, members_of_kind
from ethogram.io.ip_packet import (
    CORRECTED,
    COUNTERS,
    DROPPED,
    IGNORED,
    LINK_TYPES,
    LLDP,
    LLDP_FIELDS,
    LLDP_FRAMES,
    MOST_LLDP,
    PACKET,
    READ,
    USED,
)
from ethogram.io.link_types import link_type_reason
from ethogram.io.pcap import FULL, MAGICS, STOP, parse_header, scan_pcap
from ethogram.io.pcapng import MAGIC, new_section, scan_pcapng
from ethogram.io.unsupported import describe
from ethogram.schema import Accounting, PacketBatch

__all__ = ["CaptureSource", "LinkMessage", "is_capture", "open_capture"]

ROWS = 1 << 15  # maximum packets per batch
MAX_LINK_MESSAGES, MAX_LINK_OCTETS = 1 << 12, 1500
NAMES: tuple[str, ...] = PACKET.names or ()
Scan = Callable[[NDArray[np.uint8], int, int, Any, NDArray[np.int64]], tuple[int, int, int]]


def is_capture(first_octets: bytes) -> bool:
    """Test whether a file with these first octets (after decompression) is a pcap or pcapng capture.

    Examples
    --------
    >>> is_capture(bytes.fromhex("d4c3b2a1")), is_capture(b"ts,uid")
    (True, False)
    """
    return bytes(first_octets[:4]) == MAGIC or bytes(first_octets[:4]) in MAGICS


def open_capture(path: Path | str, settings: CaptureSettings | None = None) -> CaptureSource:
    """Open a pcap or pcapng file, plain or compressed, or all captures of an archive.

    Parameters
    ----------
    path
        The file.
    settings
        Limits, block size, and whether damage is an error.

    Raises
    ------
    InputError
        If the file does not exist. Damage is reported while reading.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file", file=path)
    return CaptureSource(path, settings or CaptureSettings())


class LinkMessage(NamedTuple):
    """An LLDP frame: its time in nanoseconds since 1970, source MAC, and octets after the Ethernet header."""

    time_ns: int
    mac: int
    octets: bytes


class CaptureSource:
    """Packets of one file (:class:`~ethogram.schema.PacketSource`).

    Attributes
    ----------
    accounting
        Over packets. A truncated or damaged record counts as one packet.
    notes
        One line for each place where reading stopped early; also issued as warnings.
    link_messages
        The first 16 LLDP frames of each block, and at most 4,096.
    """

    def __init__(self, path: Path, settings: CaptureSettings) -> None:
        self.name = str(path)
        self.accounting = Accounting("packets")
        self.notes: list[str] = []
        self.link_messages: list[LinkMessage] = []
        self._path = path
        self._settings = settings

    def batches(self) -> Iterator[PacketBatch]:
        """Yield the packets in file order.

        Raises
        ------
        InputError
            If the file is not a capture; with ``strict``, also at the first damage.
        """
        captures = 0
        for member in members_of_kind(self._path, self._settings, is_capture):
            captures += 1
            yield from self._member(member)
        if captures == 0:
            raise InputError("contains no capture", file=self._path)

    def _member(self, member: Member) -> Iterator[PacketBatch]:
        start = bytearray(24)
        try:
            length = member.fill(memoryview(start))
        except InputError as error:
            self._damage(error)
            return
        head = bytes(start[:length])
        if not is_capture(head):
            reason = describe(head + member.peek(512), bare_name(member.name)) or "neither pcap nor pcapng"
            reason = "empty file" if length == 0 else f"not a capture: {reason}"
            raise InputError(reason, file=member.name, offset=0)
        if length < len(start) and head[:4] != MAGIC:
            self._damage(InputError("truncated file header", file=member.name, offset=length))
            return
        begin, scan = scanner_of(head, self._settings.tunnels)
        yield from self._blocks(member, head, begin, scan)

    def _blocks(self, member: Member, head: bytes, begin: int, scan: Scan) -> Iterator[PacketBatch]:
        """Scan a member block by block; ``tail`` holds the octets not scanned yet."""
        tail: NDArray[np.uint8] = np.frombuffer(head, np.uint8)[begin:]
        place = begin  # offset of ``tail`` in the member
        ended = False
        while not ended:
            data = np.empty(max(self._settings.block_octets, 2 * tail.size), np.uint8)
            data[: tail.size] = tail
            damage: InputError | None = None
            before = member.octets
            try:
                member.fill(memoryview(data)[tail.size :])  # type: ignore[arg-type]
            except InputError as error:
                damage = error
            end = tail.size + member.octets - before
            ended = end < data.size or damage is not None
            at = 0
            why = FULL
            while why == FULL:
                packets = np.empty(ROWS, PACKET)
                counters = np.zeros(COUNTERS, np.int64)
                at, rows, why = scan(data, at, end, packets, counters)
                self._count(counters)
                if counters[LLDP]:
                    self._keep_link_messages(data, counters)
                if rows:
                    yield PacketBatch(*[packets[name][:rows] for name in NAMES] + [data[:end]])
            if why == STOP:
                self._damage(InputError("bad length: the rest is skipped", file=member.name, offset=place + at))
                return
            place += at
            tail = data[at:end]
        self._end(member, tail.size, place, damage)

    def _keep_link_messages(self, data: NDArray[np.uint8], counters: NDArray[np.int64]) -> None:
        """Copy the LLDP frames whose places a scan has noted."""
        number = min(int(counters[LLDP]), MOST_LLDP)
        places = counters[LLDP_FRAMES : LLDP_FRAMES + number * LLDP_FIELDS].reshape(number, LLDP_FIELDS)
        for time_ns, mac, begin, end in places.tolist():
            octets = data[begin : min(end, begin + MAX_LINK_OCTETS)].tobytes()
            if octets and len(self.link_messages) < MAX_LINK_MESSAGES:
                self.link_messages.append(LinkMessage(time_ns, mac, octets))

    def _end(self, member: Member, left: int, place: int, damage: InputError | None) -> None:
        if left:
            self.accounting.read += 1
            self.accounting.drop("truncated record")
        if damage is not None:
            self._damage(damage)
        elif left:
            self._damage(InputError("truncated record: the last packet is incomplete", file=member.name, offset=place))

    def _damage(self, error: InputError) -> None:
        if self._settings.strict:
            raise error
        self.notes.append(str(error))
        warnings.warn(str(error), EthogramWarning, stacklevel=2)

    def _count(self, counters: NDArray[np.int64]) -> None:
        accounting = self.accounting
        accounting.read += int(counters[READ])
        accounting.used += int(counters[USED])
        for place, reason in IGNORED.items():
            accounting.ignore(reason, int(counters[place]))
        for number in np.flatnonzero(counters[LINK_TYPES:]):
            accounting.ignore(link_type_reason(int(number)), int(counters[LINK_TYPES + number]))
        for place, reason in DROPPED.items():
            accounting.drop(reason, int(counters[place]))
        for place, reason in CORRECTED.items():
            accounting.correct(reason, int(counters[place]))


def scanner_of(head: bytes, tunnels: bool) -> tuple[int, Scan]:
    """The offset of the first record of a capture, and a scan function for its format."""
    if head[:4] == MAGIC:
        section, interfaces = new_section()

        def scan_blocks(
            data: NDArray[np.uint8], at: int, end: int, rows: Any, counters: NDArray[np.int64]
        ) -> tuple[int, int, int]:
            return scan_pcapng(data, at, end, section, interfaces, tunnels, rows, counters)

        return 0, scan_blocks
    header = parse_header(head)
    unit = 1 if header.nanoseconds else 1000

    def scan_records(
        data: NDArray[np.uint8], at: int, end: int, rows: Any, counters: NDArray[np.int64]
    ) -> tuple[int, int, int]:
        return scan_pcap(data, at, end, header.little, unit, header.record_header, header.link, tunnels, rows, counters)

    return len(head), scan_records
