"""Bounded queue of received messages, in a single order of arrival for all sockets."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from ethogram.schema import DatagramBatch, Exporter

__all__ = ["MESSAGE_OVERHEAD", "Exporters", "MessageQueue", "SessionEnd"]

MESSAGE_OVERHEAD = 64
"""Overhead of a message in octets: position, length, time and exporter."""


@dataclass(frozen=True)
class SessionEnd:
    """No more messages will arrive under this index: the connection ended, or the exporter was silent for long."""

    index: int
    exporter: Exporter


class Exporters:
    """Exporters by index, for all sockets; an index is only reused after :meth:`release`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: tuple[Exporter, ...] = ()
        self._index: dict[Exporter, int] = {}
        self._free: list[int] = []

    def add(self, exporters: list[Exporter]) -> list[int]:
        """Assign an index to each exporter; known exporters keep theirs."""
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
        """Forget an exporter; if it returns, it gets another index."""
        with self._lock:
            if self._index.get(self._all[index]) == index:
                del self._index[self._all[index]]

    def release(self, index: int) -> None:
        """Allow an index to be reused, once no message refers to it."""
        with self._lock:
            self._free.append(index)

    @property
    def now(self) -> tuple[Exporter, ...]:
        """An immutable snapshot of all exporters."""
        return self._all

    @property
    def live(self) -> dict[int, Exporter]:
        """Exporters whose index is in use."""
        with self._lock:
            return {index: exporter for exporter, index in self._index.items()}

    def restore(self, live: dict[int, Exporter]) -> None:
        """Start with the indices of an earlier run."""
        with self._lock:
            nobody = Exporter("", 0)
            self._all = tuple(live.get(index, nobody) for index in range(max(live, default=-1) + 1))
            self._index = {exporter: index for index, exporter in live.items()}
            self._free = [index for index in range(len(self._all)) if index not in live]


class MessageQueue:
    """Messages between receivers and the decoder.

    A receiver reserves octets before it reads and returns what it did not use, so the limit holds at all times.

    Parameters
    ----------
    octets
        Limit, including :data:`MESSAGE_OVERHEAD` per message.
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
        """Reserve up to ``octets`` octets, waiting at most ``wait_s`` seconds; return the number reserved."""
        with self._changed:
            if not self._free and wait_s:
                self._changed.wait(wait_s)
            taken = min(octets, self._free)
            self._free -= taken
            return taken

    def put(self, batch: DatagramBatch, reserved: int) -> None:
        """Add messages for which octets were reserved; unused ones are freed.

        Arrival times never decrease between batches: the clock can be set, and sockets are read in turn.
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
        """Free reserved octets."""
        with self._changed:
            self._free += reserved
            self._changed.notify_all()

    def end(self, session: SessionEnd) -> None:
        """Add the end of a session after its last message."""
        with self._changed:
            self._items.append(session)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> DatagramBatch | SessionEnd | None:
        """The next item; None after the timeout."""
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
        """Whether the queue is empty; later messages then count as received at ``time_ns`` or after."""
        with self._changed:
            if self._items:
                return False
            self._latest_ns = max(self._latest_ns, time_ns)
            return True
