"""Data sets that wait for their template, limited by octets, age and exporter; the oldest are evicted first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ethogram._arrays import read_only
from ethogram.config import WireSettings
from ethogram.io.wire.gather import copy_sets
from ethogram.io.wire.templates import Key
from ethogram.schema import Exporter

__all__ = ["EVICTED", "EXPIRED", "REFUSED", "SESSION_ENDED", "WAITING", "HeldSets", "PendingSets", "key_columns"]

WAITING, EVICTED, EXPIRED = "waiting for a template", "evicted while waiting", "expired while waiting"
REFUSED, SESSION_ENDED = "no template, and no room to wait", "session ended while waiting"

MOST_GROUPS = 1 << 14
"""Maximum missing templates in one chunk of messages."""

SET_COST, GROUP_COST = 128, 2048
"""Memory overhead of a held set, and of a group of sets, in octets; it counts towards the limits."""


@dataclass(frozen=True)
class HeldSets:
    """Sets of one template from one batch.

    Parameters
    ----------
    key
        Key of the template.
    exporters
        Exporters indexed by the headers.
    data, offset, octets
        Bodies of the sets.
    headers
        Message of each set.
    """

    key: Key
    exporters: Sequence[Exporter]
    data: NDArray[np.uint8]
    offset: NDArray[np.int64]
    octets: NDArray[np.int32]
    headers: NDArray[np.void]

    @property
    def cost(self) -> int:
        """Octets of memory used."""
        return self.data.size + SET_COST * len(self.octets) + GROUP_COST


class PendingSets:
    """Sets that wait for a template.

    Parameters
    ----------
    settings
        Limits.
    leave
        Called with a reason and a number of sets when sets are discarded undecoded.
    """

    def __init__(self, settings: WireSettings, leave: Callable[[str, int], None]) -> None:
        self._settings = settings
        self.leave = leave
        self._groups: OrderedDict[int, HeldSets] = OrderedDict()  # oldest first
        self._of_key: dict[Key, list[int]] = {}
        self._of_slot: dict[int, OrderedDict[int, None]] = {}
        self._cost_of_slot: dict[int, int] = {}
        self._next = 0
        self.octets = 0

    def __len__(self) -> int:
        return sum(len(held.octets) for held in self._groups.values())

    def hold(
        self, data: NDArray[np.uint8], exporters: Sequence[Exporter], headers: NDArray[np.void],
        slots: NDArray[np.int64], sets: NDArray[np.void],
    ) -> None:  # fmt: skip
        """Copy sets; those above the limits are discarded at once.

        Parameters
        ----------
        data, exporters, slots
            Data and exporters of the batch; the slot of each exporter.
        headers
            Messages of the batch.
        sets
            The sets, in order of arrival.
        """
        header = headers[sets["message"]]
        first, second = key_columns(headers, slots, sets)
        order = np.lexsort((second, first))
        differs = (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)
        bounds = [0, *(np.flatnonzero(differs) + 1).tolist(), len(sets)]
        # Groups are ordered by their first set, so that the oldest are evicted first.
        groups = sorted((int(order[a]), a, b) for a, b in pairwise(bounds))
        waiting = 0
        for at, (row, begin, end) in enumerate(groups):
            key = (
                int(first[row]) >> 8, int(first[row]) & 0xFF, int(second[row]) >> 16, int(second[row]) & 0xFFFF,
            )  # fmt: skip
            if at >= MOST_GROUPS or (key not in self._of_key and len(self._of_key) >= self._settings.max_templates):
                # So many missing templates are treated as a flood and discarded.
                self.leave(REFUSED, sum(b - a for _, a, b in groups[at:]))
                break
            rows = order[begin:end]
            waiting += self._hold_key(key, data, exporters, header[rows], sets[rows])
        self.leave(WAITING, waiting)

    def _hold_key(
        self, key: Key, data: NDArray[np.uint8], exporters: Sequence[Exporter], headers: NDArray[np.void],
        sets: NDArray[np.void],
    ) -> int:  # fmt: skip
        """Hold the sets of one key, the most recent ones if there are too many; returns their number."""
        bound = min(self._settings.pending_octets_per_exporter, self._settings.pending_octets) - GROUP_COST
        cost = np.cumsum(sets["octets"][::-1].astype(np.int64) + SET_COST)
        count = int(np.searchsorted(cost, bound, side="right"))
        self.leave(REFUSED, len(sets) - count)
        if not count:
            return 0
        headers, sets = headers[len(sets) - count :], sets[len(sets) - count :]
        octets = np.ascontiguousarray(sets["octets"])
        offset = np.cumsum(octets, dtype=np.int64) - octets
        copy = np.empty(int(octets.sum()), np.uint8)
        copy_sets(read_only(data), np.ascontiguousarray(sets["offset"]), octets, copy)
        held = HeldSets(key, exporters, copy, offset, octets, headers)
        slot = key[0]
        while self._cost_of_slot.get(slot, 0) + held.cost > self._settings.pending_octets_per_exporter:
            self._drop(next(iter(self._of_slot[slot])), EVICTED)
        while self.octets + held.cost > self._settings.pending_octets:
            self._drop(next(iter(self._groups)), EVICTED)
        number = self._next
        self._next += 1
        self._groups[number] = held
        self._of_key.setdefault(key, []).append(number)
        self._of_slot.setdefault(slot, OrderedDict())[number] = None
        self._cost_of_slot[slot] = self._cost_of_slot.get(slot, 0) + held.cost
        self.octets += held.cost
        return count

    def missing(self) -> list[tuple[Key, HeldSets]]:
        """Missing templates, each with the first sets that wait for it."""
        return [(key, self._groups[numbers[0]]) for key, numbers in self._of_key.items()]

    def take(self, key: Key) -> list[HeldSets]:
        """Remove and return the sets that waited for a template, oldest first."""
        return [self._remove(number) for number in list(self._of_key.get(key, ()))]

    def expire(self, now_ns: int) -> None:
        """Discard sets that have waited too long."""
        before = now_ns - int(self._settings.pending_age_s * 1e9)
        while self._groups:
            number, held = next(iter(self._groups.items()))
            if int(held.headers["arrival_ns"][-1]) >= before:
                break
            self._drop(number, EXPIRED)

    def end_session(self, slot: int) -> None:
        """Discard the sets of an exporter whose session has ended."""
        for number in list(self._of_slot.get(slot, ())):
            self._drop(number, SESSION_ENDED)

    def _drop(self, number: int, reason: str) -> None:
        count = len(self._remove(number).octets)
        self.leave(WAITING, -count)
        self.leave(reason, count)

    def _remove(self, number: int) -> HeldSets:
        held = self._groups.pop(number)
        slot = held.key[0]
        numbers = self._of_key[held.key]
        numbers.remove(number)
        if not numbers:
            del self._of_key[held.key]
        del self._of_slot[slot][number]
        self._cost_of_slot[slot] -= held.cost
        if not self._of_slot[slot]:
            del self._of_slot[slot], self._cost_of_slot[slot]
        self.octets -= held.cost
        return held


def key_columns(
    headers: NDArray[np.void], slots: NDArray[np.int64], sets: NDArray[np.void]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The template key of each set as two numbers: slot and version, observation domain and id."""
    header = headers[sets["message"]]
    first = slots[header["exporter"]].astype(np.uint64) << np.uint64(8) | header["version"]
    second = header["domain"].astype(np.uint64) << np.uint64(16) | sets["id"].astype(np.uint64)
    return first, second
