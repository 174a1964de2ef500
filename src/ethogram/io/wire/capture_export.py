"""Read the export messages of a packet capture (pcap or pcapng), including recordings."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.config import CaptureSettings
from ethogram.io.capture import CaptureSource, is_capture
from ethogram.io.compressed import first_octets
from ethogram.io.wire.compiled import compiled, inner, u16
from ethogram.io.wire.fragments import FRAGMENT, Fragments, find_fragments
from ethogram.io.wire.no_records import CUT, describe_payload
from ethogram.io.wire.recording import HEAD_OCTETS, is_recording, session_of
from ethogram.io.wire.walk import IPFIX, V5, V9
from ethogram.schema import Accounting, DatagramBatch, Exporter, PacketBatch

__all__ = ["CaptureExport", "is_export"]

UDP = 17
V5_MOST, V9_MOST = 30, 4096  # maximum plausible counts of records and sets in a header


@inner
def set_begins(data: Any, at: Any, template_id: Any) -> Any:
    """Whether a set can begin here."""
    number = u16(data, at)
    return (number >= 256 or number == template_id or number == template_id + 1) and u16(data, at + 2) >= 4


@compiled
def is_export(data: Any, at: Any, size: Any) -> Any:
    """Whether octets begin like an export message: its header and the start of its first set are valid."""
    if size < 16:
        return False
    version = u16(data, at)
    if version == V5:
        return size >= 24 and u16(data, at + 2) <= V5_MOST
    if version == V9:
        return size >= 20 and u16(data, at + 2) <= V9_MOST and (size < 24 or set_begins(data, at + 20, 0))
    if version == IPFIX:
        length = u16(data, at + 2)
        return length >= 16 and (length < 20 or size < 20 or set_begins(data, at + 16, 2))
    return False


@compiled
def payloads(data: Any, protocol: Any, offset: Any, captured: Any, every: bool, octets: Any) -> tuple[int, int, int]:
    """Write the size of each payload that is an export message; -1 for other packets.

    If ``every`` is true (recordings), every payload counts, so that a replay equals what was received. The length in
    the UDP header separates payload from padding.

    Returns
    -------
    not_udp, not_export, cut
        Packets that are not messages, by reason, and messages that the capture truncated.
    """
    not_udp, not_export, cut = 0, 0, 0
    for row in range(protocol.shape[0]):
        if octets[row] == FRAGMENTED:
            continue
        octets[row] = -1
        if protocol[row] != UDP or offset[row] < 8:
            not_udp += 1
            continue
        there = np.int64(captured[row])
        stated = u16(data, offset[row] - 4) - 8
        if stated < 0:  # 0: the length exceeds the header field
            stated = there
        if not every and not is_export(data, offset[row], min(stated, there)):
            not_export += 1
            continue
        if stated > there:
            cut += 1
        octets[row] = min(stated, there)
    return not_udp, not_export, cut


FRAGMENTED, NO_MESSAGE = -2, -1
MOST_OTHERS = 1000


class CaptureExport:
    """Export messages of a capture (:class:`~ethogram.schema.DatagramSource`).

    Every UDP payload that begins like an export message is used, whatever its ports. Fragmented datagrams are
    reassembled.

    Parameters
    ----------
    path
        pcap or pcapng, plain or compressed.
    settings
        Limits.
    exporters
        List of exporters to extend, when several captures are read as one source.

    Attributes
    ----------
    accounting
        Over packets.
    others
        Descriptions of the first UDP payloads that are not export messages.
    """

    def __init__(
        self, path: Path, settings: CaptureSettings | None = None, *, exporters: list[Exporter] | None = None
    ) -> None:
        self.name = str(path)
        self.accounting = Accounting("packets")
        self.others: Counter[str] = Counter()
        self._path = path
        # Damage is an error here, which the caller reports at the end.
        self._settings = (settings or CaptureSettings()).model_copy(update={"strict": True, "tunnels": False})
        self._exporters = [] if exporters is None else exporters
        self._numbers: dict[tuple[int, ...], int] = {}

    def datagrams(self) -> Iterator[DatagramBatch]:
        """Yield the messages in capture order.

        Raises
        ------
        InputError
            If the file is not a capture, or damaged; the messages before that are yielded first.
        """
        recorded = is_recording(first_octets(self._path, HEAD_OCTETS, is_capture))
        fragments = Fragments()
        capture = CaptureSource(self._path, self._settings)
        try:
            for packets in capture.batches():
                batch = self._messages(packets, fragments, recorded)
                if len(batch):
                    yield batch
        finally:
            self.accounting.drop("fragments of incomplete datagrams", fragments.end())
            self.accounting.merge(_only_lost(capture.accounting))

    def _messages(self, packets: PacketBatch, fragments: Fragments, recorded: bool) -> DatagramBatch:
        data, octets = packets.data, np.zeros(len(packets), np.int64)
        offset = packets.payload_offset.copy()
        pieces = np.empty(len(packets), FRAGMENT)
        pieces = pieces[: find_fragments(data, packets.version, packets.internet_offset, pieces)]
        pieces = pieces[packets.protocol[pieces["row"]] == UDP]
        self.accounting.read += len(packets)
        octets[pieces["row"]] = FRAGMENTED
        not_udp, not_export, cut = payloads(data, packets.protocol, offset, packets.payload_octets, recorded, octets)
        self.accounting.ignore("not UDP", not_udp)
        self.accounting.ignore("not an export message", not_export)
        self.accounting.correct(CUT, cut)
        self._look_at_others(packets, octets)
        joined: list[bytes] = []
        size = data.size
        for piece in pieces:
            whole = fragments.add(packets, piece)
            if whole is None:
                continue
            payload, count = whole
            if not is_export(np.frombuffer(payload, np.uint8), 0, len(payload)):
                self.accounting.ignore("not an export message", count)
                continue
            offset[piece["row"]], octets[piece["row"]] = size, len(payload)
            joined.append(payload)
            size += len(payload)
            self.accounting.ignore("further fragments of a message", count - 1)
        if joined:
            data = np.concatenate([data, np.frombuffer(b"".join(joined), np.uint8)])
        rows = np.flatnonzero(octets >= 0)
        self.accounting.used += rows.size
        return DatagramBatch(
            data, offset[rows], octets[rows].astype(np.int32), packets.time_ns[rows],
            self._exporter(packets, rows, recorded), self._exporters,
        )  # fmt: skip

    def _look_at_others(self, packets: PacketBatch, octets: NDArray[np.int64]) -> None:
        """Describe UDP payloads that are not messages; a few are enough to inform the user."""
        room = MOST_OTHERS - self.others.total()
        if room <= 0:
            return
        rows = np.flatnonzero((octets == NO_MESSAGE) & (packets.protocol == UDP) & (packets.payload_offset >= 8))
        for row in rows[:room].tolist():
            begin, there = int(packets.payload_offset[row]), int(packets.payload_octets[row])
            stated = int.from_bytes(packets.data[begin - 4 : begin - 2].tobytes()) - 8
            payload = packets.data[begin : begin + min(there, 8)].tobytes()
            self.others[describe_payload(payload, cut=stated > there)] += 1

    def _exporter(self, packets: PacketBatch, rows: NDArray[np.int64], recorded: bool) -> NDArray[np.int32]:
        """Index of the exporter of each message, by source address and port; in a recording also by session."""
        key = np.zeros((rows.size, 5), np.uint64)
        key[:, 0] = packets.version[rows]
        key[:, 1], key[:, 2] = packets.source_high[rows], packets.source_low[rows]
        key[:, 3] = packets.source_port[rows]
        if recorded:
            key[:, 4] = packets.destination_low[rows]
        distinct, inverse = np.unique(key.view(np.dtype((np.void, 40))), return_inverse=True)
        numbers = np.empty(distinct.shape[0], np.int32)
        for i, identity in enumerate(distinct.view(np.uint64).reshape(-1, 5).tolist()):
            if tuple(identity) not in self._numbers:
                self._numbers[tuple(identity)] = len(self._exporters)
                self._exporters.append(exporter_of(recorded, *identity))
            numbers[i] = self._numbers[tuple(identity)]
        return numbers[inverse.reshape(-1)]


def exporter_of(recorded: bool, version: int, high: int, low: int, port: int, destination: int) -> Exporter:
    """The exporter with this source."""
    if version == 4:
        address = socket.inet_ntop(socket.AF_INET, low.to_bytes(4))
    else:
        address = socket.inet_ntop(socket.AF_INET6, (high << 64 | low).to_bytes(16))
    session = session_of(version, destination) if recorded else None
    return Exporter(address, port) if session is None else Exporter(address, port, "tcp", session)


def _only_lost(capture: Accounting) -> Accounting:
    """Packets that the capture reader discarded; the packets it yielded are counted here."""
    lost = Accounting("packets", capture.read - capture.used)
    lost.ignored, lost.dropped = capture.ignored, capture.dropped
    return lost
