"""What is kept of the packets of both directions beside the records of the custom meter.

A record that a device opened has the packets it sent, and the answers of the same five-tuple that come within the
record's minute, after its first packet: what came before is counted, and so is what is beyond the bounds. Later
fragments join by identification, and have no transport header. Of a capture that was cut, what is there is kept. What
is kept of a record are always its first packets: when there is no room for one, none behind it is kept either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram.config import PacketFlowSettings
from ethogram.meter import custom_packets as packed
from ethogram.meter.custom_cache import BLOCK, FREE, MADE_BLOCKS
from ethogram.meter.fragments import FRAGMENT, REMEMBERED
from ethogram.schema import Accounting, PacketFlows
from ethogram.schema.packet_flows import PACKET_COLUMNS

__all__ = ["PacketKeeper", "new_index"]

FIRST_RECORDS = 1 << 10
MOST_ROWS = 1 << 14  # kept in one go, so that the room this needs beyond the bound is small


class PacketKeeper:
    """Keeps packets beside records; without settings it keeps none and costs nothing.

    Parameters
    ----------
    settings
        Bounds; None: nothing is kept.
    senders
        Networks and masks that hold every device, uint32 [K, 2]; anything when there are none.
    max_fragments
        Fragmented packets from outside remembered at once.
    """

    def __init__(self, settings: PacketFlowSettings | None, senders: NDArray[np.uint32], max_fragments: int) -> None:
        self._settings = settings
        self._senders = senders
        self._state = np.zeros(packed.STATE, np.int64)
        self.others = (self._state, np.zeros(max_fragments, FRAGMENT), new_index(max_fragments))
        self.roles = np.zeros((0, 3), np.int64)
        if settings is None:
            return
        self._room = 2 * MOST_ROWS * packed.blocks_of_packet(max(settings.payload_octets, settings.later_octets))
        places = settings.max_octets // BLOCK + self._room
        self._bounds = (
            settings.packets, settings.payload_packets, settings.payload_octets, settings.later_octets,
            settings.max_octets // BLOCK,
        )  # fmt: skip
        self._ring = np.zeros(FIRST_RECORDS, packed.RECORD)
        # Memory that was never touched is not there yet: this costs what the busiest minute needs.
        self._blocks: tuple[NDArray[Any], ...] = (
            np.zeros((places, BLOCK), np.uint8), np.zeros(places, np.int32), np.zeros(places, np.int32)
        )  # fmt: skip
        self._entry = np.zeros(packed.ENTRY, np.uint8)
        self._waiting: list[PacketFlows] = []

    @property
    def accounting(self) -> Accounting:
        """Packets asked for, kept, and not kept by reason; one between two devices is asked for by each."""
        accounting = Accounting("packets", int(self._state[packed.READ]), int(self._state[packed.KEPT]))
        for place, reason in packed.COUNTERS.items():
            accounting.ignore(reason, int(self._state[place]))
        accounting.drop("no room", int(self._state[packed.NO_ROOM]))
        accounting.correct("between two flows: asked for by each", int(self._state[packed.BOTH]))
        return accounting

    def begin(self, packets: tuple[NDArray[Any], ...], data: NDArray[np.uint8]) -> None:
        """Take a batch, as the meter's cache reads it, whose ``roles`` the cache then fills."""
        if self._settings is not None:
            self._packets, self._data = packets, data
            self.roles = np.empty((len(packets[0]), 3), np.int64)

    def keep(self, first: int, last: int, opened: int) -> None:
        """Keep the packets of rows ``first`` to ``last``, excluded, now that their roles are known.

        ``opened`` is the number of the next record that the cache will open.
        """
        if self._settings is None:
            return
        while opened - self._state[packed.FIRST] > self._ring.size:
            self._grow()
        for begin in range(first, last, MOST_ROWS):
            if self._blocks[0].shape[0] - self._state[MADE_BLOCKS] + self._state[FREE] < self._room:
                self._waiting.append(self._give(int(self._state[packed.GONE])))
            packed.keep(
                self._packets, self._data, begin, min(begin + MOST_ROWS, last), self.roles, self._senders, self._state,
                self._ring, self._blocks, self._entry, self._bounds,
            )  # fmt: skip

    def given(self, last: int) -> PacketFlows | None:
        """The packets of the records that ended since, up to number ``last``, excluded; None when none are kept."""
        if self._settings is None:
            return None
        parts = [*self._waiting, self._give(last)]
        self._waiting = []
        return PacketFlows.concat(parts)

    def forget(self) -> None:
        """Forget the fragments of a capture that ended."""
        self.others[2][:] = 0
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
        """Double the ring; records keep their number, so only their place changes."""
        size = self._ring.size
        numbers = np.arange(self._state[packed.FIRST], self._state[packed.LAST])
        ring = np.zeros(2 * size, packed.RECORD)
        ring[numbers % ring.size] = self._ring[numbers % size]
        self._ring = ring


def new_index(places: int) -> NDArray[np.uint64]:
    """An empty index for that many, at most half full; its size is a power of two."""
    return np.zeros(1 << (2 * places - 1).bit_length(), np.uint64)
