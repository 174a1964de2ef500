"""What the page and the API read from the running service, in addition to the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from ethogram.identify.library import Library
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.own_similarity import EpochSimilarity
from ethogram.schema import DeviceBehaviour, DeviceDetail, DevicePeer, ServiceHealth
from ethogram.serve.changes import StoredChanges

__all__ = ["HourlyOctets", "ServiceView"]


class HourlyOctets(NamedTuple):
    """Octets of one service or kind in one hour."""

    hour: datetime
    name: str
    octets: float


class ServiceView(Protocol):
    """The service as its page sees it; every method but :meth:`changes` returns at once."""

    def health(self) -> tuple[ServiceHealth, ...]:
        """State of every part."""
        ...

    def listening(self) -> tuple[str, ...]:
        """Addresses at which flows are received, or folders that are watched."""
        ...

    def collector_counters(self) -> dict[str, Any] | None:
        """``counters.json`` of the collector as it is now; None without a collector in this process."""
        ...

    def settings(self) -> dict[str, Any]:
        """Settings to show, without secrets."""
        ...

    def libraries(self) -> Sequence[Library]:
        """The libraries that devices are compared with, the user's own first; empty if they cannot be read."""
        ...

    def knowledge(self) -> Knowledge | None:
        """The knowledge pack; None if it cannot be read."""
        ...

    def judged_with(self) -> tuple[Sequence[str], str]:
        """Library files by which uploaded captures are judged, ``packaged`` among them, and the file of knowledge.

        No file means the bundled library, and an empty text no knowledge.
        """
        ...

    def activity(self, device: str) -> Sequence[HourlyOctets]:
        """Octets of a device by hour and service, at most a week; empty where counts are not at hand."""
        ...

    def peers(self, device: str) -> Sequence[DevicePeer]:
        """Other ends of a device by name in its latest week, then, of what has no name, by network in the latest hour.

        Empty where counts are not at hand.
        """
        ...

    def similarity(self, device: str) -> tuple[int, Sequence[EpochSimilarity]]:
        """Length of an epoch in seconds, and the similarity of each epoch of a device to its earlier ones."""
        ...

    def behaviour(self, device: str) -> DeviceBehaviour:
        """Each day of a device against the fingerprints that were exported before it."""
        ...

    def changes(self, since: timedelta, end: datetime, *, every: bool = False) -> StoredChanges:
        """Services and names of all devices that changed; takes seconds for a thousand devices.

        Raises
        ------
        InputError
            If the counts cannot be read.
        """
        ...

    def device_changes(self, detail: DeviceDetail, since: timedelta, *, every: bool = False) -> StoredChanges:
        """What changed about one device.

        Raises
        ------
        InputError
            If the counts cannot be read, or nothing is stored yet.
        """
        ...

    def traffic(self) -> Sequence[HourlyOctets]:
        """Octets of all devices by hour and kind, at most a week; empty where counts are not at hand."""
        ...
