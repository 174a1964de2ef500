"""What was received and not yet decoded: bounded by octets, in one order of arrival for all sockets."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from ethogram.schema import DatagramBatch, Exporter

__all__ = ["MESSAGE_OVERHEAD", "Exporters", "MessageQueue", "SessionEnd"]

MESSAGE_OVERHEAD = 64
"""Octets that a message costs beside its own: place, length, time and exporter."""


@dataclass(frozen=True)
class SessionEnd:
    """An exporter will send no more under this index: its TCP connection has ended, or it was silent for long."""

    index: int
    exporter: Exporter


class Exporters:
    """Exporters by index, for all sockets; an index is given again only after :meth:`release`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: tuple[Exporter, ...] = ()
        self._index: dict[Exporter, int] = {}
        self._free: list[int] = []

    def add(self, exporters: list[Exporter]) -> list[int]:
        """Give each an index: the one it has, if it is known."""
        with self._lock:
            known, indexes = list(self._all), []
            for exporter in exporters:
                index = self._index.get(exporter)
                if index is None and self._free:
                    index = self._free.pop()
                    known[index] = exporter
                elif index is None:
                    index = len(known)
                    known.append(exporter)
                self._index[exporter] = index
                indexes.append(index)
            self._all = tuple(known)
            return indexes

    def leave(self, index: int) -> None:
        """Forget an exporter: should it come again, it gets another index."""
        with self._lock:
            if self._index.get(self._all[index]) == index:
                del self._index[self._all[index]]

    def release(self, index: int) -> None:
        """Allow the index of one that has left to be given again; nothing with it may be on its way any more."""
        with self._lock:
            self._free.append(index)

    @property
    def now(self) -> tuple[Exporter, ...]:
        """All of them, as they are now; never changed later."""
        return self._all

    @property
    def live(self) -> dict[int, Exporter]:
        """Those whose index is in use."""
        with self._lock:
            return {index: exporter for exporter, index in self._index.items()}

    def restore(self, live: dict[int, Exporter]) -> None:
        """Begin with the indexes of an earlier run."""
        with self._lock:
            nobody = Exporter("", 0)
            self._all = tuple(live.get(index, nobody) for index in range(max(live, default=-1) + 1))
            self._index = {exporter: index for index, exporter in live.items()}
            self._free = [index for index in range(len(self._all)) if index not in live]


class MessageQueue:
    """Messages between receivers and the decoder.

    A receiver reserves octets before it reads and gives back what it did not need: the bound holds at every moment.

    Parameters
    ----------
    octets
        Bound, with :data:`MESSAGE_OVERHEAD` for each message.
    """

    def __init__(self, octets: int) -> None:
        self.bound = octets
        self._free = octets
        self._items: deque[DatagramBatch | SessionEnd] = deque()
        self._changed = threading.Condition()
        self._latest_ns = 0
        self.highest_octets = 0

    @property
    def octets(self) -> int:
        """Octets held or reserved."""
        return self.bound - self._free

    def reserve(self, octets: int, *, wait_s: float = 0.0) -> int:
        """Take up to ``octets`` of what is free, waiting for some at most ``wait_s``; returns how many were taken."""
        with self._changed:
            if not self._free and wait_s:
                self._changed.wait(wait_s)
            taken = min(octets, self._free)
            self._free -= taken
            return taken

    def put(self, batch: DatagramBatch, reserved: int) -> None:
        """Add messages for which octets were reserved; what they do not need is given back.

        Times of arrival never go back from one batch to the next: the clock may be set, and sockets are read by turns.
        """
        needed = int(batch.data.shape[0]) + MESSAGE_OVERHEAD * len(batch)
        with self._changed:
            self._free += reserved - needed
            if len(batch):
                arrival = np.maximum.accumulate(np.maximum(batch.arrival_ns, self._latest_ns))
                self._latest_ns = int(arrival[-1])
                self._items.append(replace(batch, arrival_ns=arrival))
            self.highest_octets = max(self.highest_octets, self.octets)
            self._changed.notify_all()

    def give_back(self, reserved: int) -> None:
        """Free octets that were reserved and not used."""
        with self._changed:
            self._free += reserved
            self._changed.notify_all()

    def end(self, session: SessionEnd) -> None:
        """Say that a session has ended, after its last message."""
        with self._changed:
            self._items.append(session)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> DatagramBatch | SessionEnd | None:
        """The next item; None when none came in time."""
        with self._changed:
            if not self._items:
                self._changed.wait(timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            if isinstance(item, DatagramBatch):
                self._free += int(item.data.shape[0]) + MESSAGE_OVERHEAD * len(item)
                self._changed.notify_all()
            return item

    def passed(self, time_ns: int) -> bool:
        """Whether nothing is queued; then what comes later counts as arrived at ``time_ns`` or after."""
        with self._changed:
            if self._items:
                return False
            self._latest_ns = max(self._latest_ns, time_ns)
            return True
