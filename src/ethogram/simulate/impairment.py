"""Network impairment: loss and reordering of messages, counted and reproducible by seed.

Messages are only lost where sequence numbers can show it: a collector cannot know what was sent before its first
message or after its last. So the first messages of each run of a domain arrive in order, up to the first with records,
which shows the restart; and the last one arrives.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ethogram.errors import UsageError

__all__ = ["Impairment", "Message"]


@dataclass(frozen=True, slots=True)
class Message:
    """One export message.

    Parameters
    ----------
    octets
        The message.
    time_ms
        Export time, milliseconds since 1970.
    domain
        Observation domain.
    run
        Number of exporter restarts before it.
    flows
        Number of flow records.
    units
        Sequence increment: flow records (v5), 1 (v9), data records with options (IPFIX).
    """

    octets: bytes
    time_ms: int
    domain: int
    run: int
    flows: int
    units: int


class Impairment:
    """Loses and delays messages.

    Parameters
    ----------
    loss, reorder
        Shares of lost messages, and of messages overtaken by later ones.
    window
        Maximum number of messages that overtake one.
    seed
        Random seed.

    Attributes
    ----------
    lost
        Lost messages, flow records and sequence units.
    reordered
        Messages that arrived after a later one of their domain and have a sequence increment.
    """

    def __init__(self, loss: float = 0.0, reorder: float = 0.0, window: int = 8, seed: int = 1) -> None:
        if not (0 <= loss < 1 and 0 <= reorder <= 1 and window >= 1):
            raise UsageError("loss and reorder must be between 0 and 1, and window at least 1")
        self._loss, self._reorder, self._window = loss, reorder, window
        self._random = np.random.default_rng([seed, 0x10552])
        self.lost = {"messages": 0, "flows": 0, "units": 0}
        self.reordered = 0

    def __call__(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield the messages that arrive, in order of arrival."""
        return self._delayed(self._survivors(messages)) if self._loss or self._reorder else iter(messages)

    def _survivors(self, messages: Iterable[Message]) -> Iterator[Message]:
        missing: dict[int, list[Message]] = {}  # by domain: messages that are lost if another one follows
        run = 0
        for message in messages:
            if message.run != run:
                yield from self._last_of(missing)
                run, missing = message.run, {}
            if message.domain in missing:
                if self._random.random() < self._loss:
                    missing[message.domain].append(message)
                    continue
                self._lose(missing[message.domain])
                missing[message.domain] = []
            elif message.units:
                missing[message.domain] = []
            yield message
        yield from self._last_of(missing)

    def _last_of(self, missing: dict[int, list[Message]]) -> Iterator[Message]:
        for waiting in missing.values():
            self._lose(waiting[:-1])
            yield from waiting[-1:]

    def _lose(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.lost["messages"] += 1
            self.lost["flows"] += message.flows
            self.lost["units"] += message.units

    def _delayed(self, messages: Iterable[Message]) -> Iterator[Message]:
        held: list[tuple[float, int, Message]] = []
        newest: dict[tuple[int, int], int] = {}
        begun: set[tuple[int, int]] = set()
        run = 0
        for place, message in enumerate(messages):
            if message.run != run:
                yield from (self._arrives(heapq.heappop(held), newest) for _ in range(len(held)))
                run = message.run
            delay = 0.0
            if (run, message.domain) in begun and self._random.random() < self._reorder:
                delay = float(self._random.integers(1, self._window + 1)) + 0.5
            elif message.units:
                begun.add((run, message.domain))
            heapq.heappush(held, (place + delay, place, message))
            while held and held[0][0] <= place:
                yield self._arrives(heapq.heappop(held), newest)
        while held:
            yield self._arrives(heapq.heappop(held), newest)

    def _arrives(self, entry: tuple[float, int, Message], newest: dict[tuple[int, int], int]) -> Message:
        _, place, message = entry
        key = (message.run, message.domain)
        if place < newest.get(key, -1) and message.units:
            self.reordered += 1
        newest[key] = max(place, newest.get(key, -1))
        return message
