"""The custom meter: packets to one-minute custom flows, addressed by endpoints.

A record opens at the first packet of its five-tuple and ends a minute later, whatever TCP does; a packet exactly a
minute after the first opens the next record. Only IPv4 is metered; IPv6, other protocols, and fragments whose first
fragment is missing are counted. :meth:`CustomFlowBatch.from_devices` assigns devices afterwards.

Reference: A. Sivanathan et al., arXiv 2601.19315; RFC 791 section 3.2 (fragments).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram._hashing import empty_index
from ethogram.config import CustomFlowSettings, PacketFlowSettings
from ethogram.errors import ConfigurationError
from ethogram.meter import custom_cache as cache
from ethogram.meter.columns import CustomOutput, CustomRules, Ipv4Packets, KeepRules, OctetBlocks
from ethogram.meter.fragments import FRAGMENT, REMEMBERED
from ethogram.meter.packet_keeper import PacketKeeper
from ethogram.schema import CustomFlows, PacketBatch, PacketFlows, ipv4_networks, private_mask

__all__ = ["CustomFlowBatch", "CustomMeter"]

FIRST_RECORDS = 1 << 10
OUTPUT_ROWS = 1 << 12
OUTPUT_OCTETS = 1 << 22
MOST_SENDERS = 64  # with more, testing each packet costs more than it saves
BEFORE_ALL_TIMES = -(1 << 62)


@dataclass(frozen=True)
class CustomFlowBatch:
    """Ended custom flows, in order of their starts.

    ``records`` has the form ``RECORD``, length N, and ``packet_way`` is 1 for packets from the record's source. The
    other columns are those of :class:`~ethogram.schema.CustomFlows`.
    """

    records: NDArray[np.void]
    first_packet: NDArray[np.int64]
    packet_offset_us: NDArray[np.uint32]
    packet_octets: NDArray[np.uint32]
    packet_way: NDArray[np.uint8]
    payload_octets: NDArray[np.uint16]
    first_octet: NDArray[np.int64]
    payload: NDArray[np.uint8]
    packets: PacketFlows | None = None  # packets of both directions, if kept

    def __len__(self) -> int:
        return int(self.records.shape[0])

    def part(self, begin: int, end: int) -> CustomFlowBatch:
        """Rows ``begin`` to ``end``, exclusive."""
        packets = slice(self.first_packet[begin], self.first_packet[end])
        octets = slice(self.first_octet[begin], self.first_octet[end])
        return CustomFlowBatch(
            self.records[begin:end],
            self.first_packet[begin : end + 1] - self.first_packet[begin],
            self.packet_offset_us[packets],
            self.packet_octets[packets],
            self.packet_way[packets],
            self.payload_octets[packets],
            self.first_octet[begin : end + 1] - self.first_octet[begin],
            self.payload[octets],
            None if self.packets is None else self.packets.take(slice(begin, end)),
        )

    @classmethod
    def concat(cls, parts: Sequence[CustomFlowBatch]) -> CustomFlowBatch:
        """Concatenate at least one part; either all parts keep packets or none."""
        packets = [part.packets for part in parts if part.packets is not None]
        return cls(
            np.concatenate([part.records for part in parts]),
            _joined([part.first_packet for part in parts]),
            np.concatenate([part.packet_offset_us for part in parts]),
            np.concatenate([part.packet_octets for part in parts]),
            np.concatenate([part.packet_way for part in parts]),
            np.concatenate([part.payload_octets for part in parts]),
            _joined([part.first_octet for part in parts]),
            np.concatenate([part.payload for part in parts]),
            PacketFlows.concat(packets) if packets else None,
        )

    def from_devices(
        self, rows: NDArray[np.int64], reverse: NDArray[np.bool_], device: pl.Series, private: Sequence[str]
    ) -> CustomFlows:
        """Convert records to custom flows as seen by their devices.

        Parameters
        ----------
        rows
            Record of each flow, length K; a record between two devices occurs twice.
        reverse
            Whether the device is the destination of the first packet, length K.
        device
            Name of the device, length K.
        private
            Prefixes of remote addresses that are replaced by 0.0.0.0.
        """
        fields = self.records
        from_source = CustomFlows(
            device=pl.Series("device", [None] * len(self), dtype=pl.String),
            start_us=fields["start"] // 1000,
            remote=fields["destination"].copy(),
            remote_port=fields["destination_port"].copy(),
            device_port=fields["source_port"].copy(),
            protocol=fields["protocol"].copy(),
            octets=fields["octets"].copy(),
            packets=fields["packets"].copy(),
            first_packet=self.first_packet,
            packet_offset_us=self.packet_offset_us,
            packet_octets=self.packet_octets,
            packet_out=self.packet_way,
            payload_octets=self.payload_octets,
            first_octet=self.first_octet,
            payload=self.payload,
        )
        flows = from_source.take(rows)
        source = fields["source"][rows]
        remote = np.where(reverse, source, flows.remote)
        remote[private_mask(remote, private)] = 0
        turned = np.repeat(reverse, np.diff(flows.first_packet))
        return CustomFlows(
            **{
                **vars(flows),
                "device": device.alias("device"),
                "remote": remote,
                "remote_port": np.where(reverse, flows.device_port, flows.remote_port),
                "device_port": np.where(reverse, flows.remote_port, flows.device_port),
                "packet_out": flows.packet_out ^ turned,
            }
        )


class CustomMeter:
    """Meter packets into custom flows.

    Parameters
    ----------
    settings
        Interval, what is kept of packets, and bounds.
    senders
        IPv4 prefixes that hold every device. Packets sent from elsewhere are counted but not metered. Without prefixes
        all packets are metered.
    packets
        Also keep the packets of both directions (see :mod:`~ethogram.meter.packet_keeper`); the records do not depend
        on this.

    Raises
    ------
    ConfigurationError
        When a prefix or protocol number is invalid, or packets are to be kept of bidirectional records.

    Examples
    --------
    >>> meter = CustomMeter(CustomFlowSettings())
    >>> len(meter.flush()), meter.live
    (0, 0)
    """

    def __init__(
        self, settings: CustomFlowSettings, senders: Sequence[str] = (), packets: PacketFlowSettings | None = None
    ) -> None:
        private_mask(np.zeros(1, np.uint32), settings.private)  # reports an invalid prefix before anything is read
        self._settings = settings
        self._both = settings.direction == "bidirectional"
        if packets is not None and self._both:
            raise ConfigurationError("setting direction: packets are kept beside outgoing flows alone")
        self._allowed = np.zeros(256, np.bool_)
        if not all(0 <= number <= 255 for number in settings.protocols):
            raise ConfigurationError("setting protocols: a protocol number is 0 to 255")
        self._allowed[list(settings.protocols)] = True
        self._senders = np.zeros((0, 2), np.uint32)
        if not self._both and len(senders) <= MOST_SENDERS:
            self._senders = ipv4_networks(senders, "local")
        self._rules = CustomRules(
            _ns(settings.interval_s), _ns(settings.lateness_s), _ns(settings.leap_s), settings.max_flows
        )
        self._keep = KeepRules(settings.packets, settings.packet_octets, _ns(settings.fragment_s))
        self._seed = np.uint64(np.random.default_rng().integers(1 << 63))
        self._output = CustomOutput(
            np.zeros(OUTPUT_ROWS, cache.RECORD),
            np.zeros((cache.PACKET_COLUMNS, OUTPUT_ROWS * cache.MAX_DESCRIBED), np.uint32),
            np.zeros(OUTPUT_OCTETS, np.uint8),
        )
        self._state = np.zeros(cache.STATE, np.int64)
        self._state[cache.CLOCK] = BEFORE_ALL_TIMES
        self._ring = np.zeros(FIRST_RECORDS, cache.RECORD)
        self._described = np.zeros((FIRST_RECORDS, cache.PACKET_COLUMNS, cache.MAX_DESCRIBED), np.uint32)
        self._index = empty_index(FIRST_RECORDS)
        self._blocks = OctetBlocks.empty(settings.max_octets // cache.BLOCK, cache.BLOCK)
        self._fragments = np.zeros(settings.max_fragments, FRAGMENT)
        self._fragment_index = empty_index(settings.max_fragments)
        self.keeper = PacketKeeper(packets, self._senders, settings.max_fragments if packets is not None else 1)

    @property
    def live(self) -> int:
        """Number of live records."""
        return int(self._state[cache.TAIL] - self._state[cache.HEAD])

    @property
    def read(self) -> int:
        """Packets read so far."""
        return int(self._state[cache.READ])

    @property
    def metered(self) -> int:
        """Packets that are part of a record."""
        return int(self._state[cache.METERED])

    @property
    def ignored(self) -> dict[str, int]:
        """Packets not metered, by reason."""
        return {reason: int(self._state[place]) for place, reason in cache.COUNTERS.items()}

    @property
    def corrected(self) -> dict[str, int]:
        """Counts of truncated payloads, fragments joined, leaps of the clock, and records ended early."""
        names = {
            cache.NO_PAYLOAD: "payload not captured whole",
            cache.FRAGMENTS: "fragment joined to its first",
            cache.LEAPS: "time went back",
            cache.EVICTED: "record ended early for lack of room",
        }
        return {name: int(self._state[place]) for place, name in names.items()}

    def feed(self, batch: PacketBatch) -> list[CustomFlowBatch]:
        """Meter a batch.

        Parameters
        ----------
        batch
            P packets in the order of the capture.

        Returns
        -------
        The records that ended in the batch, in parts of bounded size. The concatenated result does not depend on how
        the packets are cut into batches.
        """
        packets = Ipv4Packets.of(batch)
        parts = []
        row = 0
        self.keeper.begin(packets, batch.data)
        while row < len(batch):
            first = row
            row, why = cache.feed(
                packets, batch.data, row, self._allowed, self._senders, self._both, self._rules, self._keep,
                self._state, self._ring, self._described, self._blocks, self._index, self._fragments,
                self._fragment_index, self._seed, self._output, self.keeper.roles, self.keeper.others,
            )  # fmt: skip
            self.keeper.keep(first, row, int(self._state[cache.TAIL]))
            if why == cache.OUTPUT_FULL:
                parts.append(self._given())
            elif why == cache.GROW:
                self._grow_ring()
        if self._state[cache.GIVEN_ROWS]:
            parts.append(self._given())
        return parts

    def flush(self) -> list[CustomFlowBatch]:
        """End all live records; the meter is empty afterwards, but keeps its counters."""
        parts = []
        done = False
        while not done:
            done = cache.drain(self._state, self._ring, self._described, self._blocks, self._index, self._output)
            if self._state[cache.GIVEN_ROWS]:
                parts.append(self._given())
        self._state[cache.CLOCK] = BEFORE_ALL_TIMES
        self._fragment_index[:] = 0
        self._state[REMEMBERED] = 0
        self.keeper.forget()
        return parts

    def _grow_ring(self) -> None:
        """Double the queue. Records keep their numbers; only their places change."""
        size = self._ring.size
        numbers = np.arange(self._state[cache.HEAD], self._state[cache.TAIL])
        ring = np.zeros(2 * size, cache.RECORD)
        described = np.zeros((2 * size, cache.PACKET_COLUMNS, cache.MAX_DESCRIBED), np.uint32)
        ring[numbers % ring.size] = self._ring[numbers % size]
        described[numbers % ring.size] = self._described[numbers % size]
        self._ring, self._described, self._index = ring, described, empty_index(ring.size)
        cache.enter_all(ring, self._index, self._state)

    def _given(self) -> CustomFlowBatch:
        """Take the records in the output, and clear it."""
        rows, packets, octets = (
            int(self._state[place]) for place in (cache.GIVEN_ROWS, cache.GIVEN_PACKETS, cache.GIVEN_OCTETS)
        )
        self._state[[cache.GIVEN_ROWS, cache.GIVEN_PACKETS, cache.GIVEN_OCTETS]] = 0
        records, (offset, size, way, payload_octets), payload = self._output
        first_packet = _offsets(records["kept"][:rows])
        lengths = payload_octets[:packets].astype(np.uint16)
        return CustomFlowBatch(
            records=records[:rows].copy(),
            first_packet=first_packet,
            packet_offset_us=offset[:packets].copy(),
            packet_octets=size[:packets].copy(),
            packet_way=way[:packets].astype(np.uint8),
            payload_octets=lengths,
            first_octet=_offsets(lengths)[first_packet],
            payload=payload[:octets].copy(),
            packets=self.keeper.given(int(self._state[cache.HEAD])),
        )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Offsets of consecutive runs of these lengths, and the end of the last."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _joined(offsets: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Offsets of the runs of several parts, concatenated."""
    return _offsets(np.concatenate([np.diff(part) for part in offsets]))
