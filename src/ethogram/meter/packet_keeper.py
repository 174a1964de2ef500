"""Keep the packets of both directions beside the records of the custom meter.

A record opened by a device gets the packets the device sent in it, and the answers of the same five-tuple that arrive
after its first packet and within its interval. Earlier answers, and packets beyond the bounds, are counted. Later
fragments are assigned by identification and have no transport header. Truncated packets are kept as captured. The
packets kept of a record are always its first: once there is no room for a packet, no later one is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ethogram._hashing import empty_index
from ethogram.config import PacketFlowSettings
from ethogram.meter import custom_packets as packed
from ethogram.meter.columns import Ipv4Packets, OctetBlocks, PacketBounds
from ethogram.meter.custom_cache import BLOCK, FREE, MADE_BLOCKS, ROLE_COLUMNS
from ethogram.meter.fragments import FRAGMENT, REMEMBERED
from ethogram.schema import Accounting, PacketFlows
from ethogram.schema.packet_flows import PACKET_COLUMNS

__all__ = ["PacketKeeper"]

FIRST_RECORDS = 1 << 10
MOST_ROWS = 1 << 14  # of one call, so that the room needed beyond the bound is small


class PacketKeeper:
    """Keeps packets beside records; without settings it does nothing.

    Parameters
    ----------
    settings
        Bounds; None to keep nothing.
    senders
        Networks and masks that hold every device, uint32 [K, 2]; any address when empty.
    max_fragments
        Most first fragments from outside remembered at once.
    """

    def __init__(self, settings: PacketFlowSettings | None, senders: NDArray[np.uint32], max_fragments: int) -> None:
        self._settings = settings
        self._senders = senders
        self._state = np.zeros(packed.STATE, np.int64)
        self.others = (self._state, np.zeros(max_fragments, FRAGMENT), empty_index(max_fragments))
        self.roles = np.zeros((0, ROLE_COLUMNS), np.int64)
        if settings is None:
            return
        self._room = 2 * MOST_ROWS * packed.blocks_of_packet(max(settings.payload_octets, settings.later_octets))
        places = settings.max_octets // BLOCK + self._room
        self._bounds = PacketBounds(
            settings.packets, settings.payload_packets, settings.payload_octets, settings.later_octets,
            settings.max_octets // BLOCK,
        )  # fmt: skip
        self._ring = np.zeros(FIRST_RECORDS, packed.RECORD)
        self._blocks = OctetBlocks.empty(places, BLOCK)
        self._entry = np.zeros(packed.ENTRY, np.uint8)
        self._waiting: list[PacketFlows] = []

    @property
    def accounting(self) -> Accounting:
        """Packets considered, kept, and not kept by reason; a packet between two devices is considered for each."""
        accounting = Accounting("packets", int(self._state[packed.READ]), int(self._state[packed.KEPT]))
        for place, reason in packed.COUNTERS.items():
            accounting.ignore(reason, int(self._state[place]))
        accounting.drop("no room", int(self._state[packed.NO_ROOM]))
        accounting.correct("between two flows: asked for by each", int(self._state[packed.BOTH]))
        return accounting

    def begin(self, packets: Ipv4Packets, data: NDArray[np.uint8]) -> None:
        """Start a batch; the meter's cache then fills ``roles``."""
        if self._settings is not None:
            self._packets, self._data = packets, data
            self.roles = np.empty((len(packets.time), ROLE_COLUMNS), np.int64)

    def keep(self, first: int, last: int, opened: int) -> None:
        """Keep the packets of rows ``first`` to ``last``, exclusive, whose roles are known now.

        ``opened`` is the number of the next record to open.
        """
        if self._settings is None:
            return
        while opened - self._state[packed.FIRST] > self._ring.size:
            self._grow()
        for begin in range(first, last, MOST_ROWS):
            if self._blocks.octets.shape[0] - self._state[MADE_BLOCKS] + self._state[FREE] < self._room:
                self._waiting.append(self._give(int(self._state[packed.GONE])))
            packed.keep(
                self._packets, self._data, begin, min(begin + MOST_ROWS, last), self.roles, self._senders, self._state,
                self._ring, self._blocks, self._entry, self._bounds,
            )  # fmt: skip

    def given(self, last: int) -> PacketFlows | None:
        """Packets of the records ended since the last call, up to number ``last``, exclusive; None without settings."""
        if self._settings is None:
            return None
        parts = [*self._waiting, self._give(last)]
        self._waiting = []
        return PacketFlows.concat(parts)

    def forget(self) -> None:
        """Forget the fragments of a capture that has ended."""
        _, _, index = self.others
        index[:] = 0
        self._state[REMEMBERED] = 0

    def _give(self, last: int) -> PacketFlows:
        numbers = np.arange(self._state[packed.FIRST], last)
        records = self._ring[numbers % self._ring.size]
        first = np.concatenate([np.zeros(1, np.int64), np.cumsum(records["kept"], dtype=np.int64)])
        columns = {name: np.empty(int(first[-1]), kind) for name, kind in PACKET_COLUMNS.items()}
        data = np.empty(int(records["octets"].sum(dtype=np.int64)) - packed.ENTRY * int(first[-1]), np.uint8)
        stream = np.empty(int(records["octets"].max(initial=0)), np.uint8)
        packed.give(self._state, self._ring, self._blocks, last, stream, tuple(columns.values()), data)
        return PacketFlows.of_columns(first, columns, data)

    def _grow(self) -> None:
        """Double the ring. Records keep their numbers; only their places change."""
        size = self._ring.size
        numbers = np.arange(self._state[packed.FIRST], self._state[packed.LAST])
        ring = np.zeros(2 * size, packed.RECORD)
        ring[numbers % ring.size] = self._ring[numbers % size]
        self._ring = ring

