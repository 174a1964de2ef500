"""Made-up messages through a collector of its own before the first real one: what is compiled on use is compiled then.

With an empty cache compiling takes up to a minute; messages that come meanwhile would fill the queue. The way that
data goes is not listed here: a second collector, which listens nowhere and writes into a folder that is removed, goes
it from the queue to the disk, is stopped, and goes on from what it saved.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np

from ethogram.config import ExporterSettings
from ethogram.errors import EthogramError
from ethogram.io.receive.queue import Exporters, MessageQueue, SessionEnd
from ethogram.schema import DatagramBatch, Exporter
from ethogram.serve.warm_up_messages import WarmUpHosts, made_up_messages

__all__ = ["FOLDER", "warm_up"]

FOLDER = ".warm-up"
"""Folder below the collector's own that the second collector writes into."""

_GRACE_S = 120  # the made-up flows take a minute and a half


class WarmUpCollector(Protocol):
    """What is needed of the second collector."""

    queue: MessageQueue
    exporters: Exporters

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Write all that has come."""


_warmed: set[str] = set()


def warm_up(
    folder: Path, makers: Sequence[Callable[[Path], WarmUpCollector]], local: tuple[str, ...],
    exporter: ExporterSettings, key: str,
) -> None:  # fmt: skip
    """Let second collectors go the whole way twice.

    Parameters
    ----------
    folder
        The first collector's.
    makers
        Each makes a collector with the first one's settings, which writes into the folder that it is given.
    local, exporter
        Of those settings.
    key
        Names the settings: for each it is done once in a process.
    """
    if key in _warmed:
        return
    place = folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)  # that of a run that was killed
    now_ns = time.time_ns()
    # The second messages come when the epoch of the first is over, so that it is closed and counted too.
    before_ns = round((2 * exporter.epoch_s + exporter.lateness_s + _GRACE_S) * 1e9)
    ends = WarmUpHosts.of(local)
    try:
        # Whatever fails here would fail on real messages, where it is counted and said.
        with suppress(EthogramError, OSError):
            for number, make in enumerate(makers):
                for shift_ns in (before_ns, 0):
                    _run(make(place / str(number)), ends, now_ns - shift_ns)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    _warmed.add(key)


def _run(collector: WarmUpCollector, ends: WarmUpHosts, arrival_ns: int) -> None:
    collector.start()
    try:
        udp, tcp = Exporter("192.0.2.254", 4739), Exporter("192.0.2.254", 4739, "tcp", 1)
        index = collector.exporters.add([udp, tcp])
        start_ms = arrival_ns // 1_000_000 - 1000 * _GRACE_S
        for number in index:
            batch = _received(made_up_messages(ends, start_ms), number, arrival_ns, collector.exporters)
            collector.queue.put(batch, collector.queue.reserve(collector.queue.bound))
        collector.exporters.leave(index[1])
        collector.queue.end(SessionEnd(index[1], tcp))
    finally:
        collector.stop()


def _received(messages: list[bytes], exporter: int, arrival_ns: int, exporters: Exporters) -> DatagramBatch:
    """Messages as receivers hand them over: in arrays of their own, which may be written."""
    octets = np.array([len(message) for message in messages], np.int32)
    count = len(messages)
    return DatagramBatch(
        np.frombuffer(b"".join(messages), np.uint8).copy(), np.cumsum(octets, dtype=np.int64) - octets, octets,
        np.full(count, arrival_ns, np.int64), np.full(count, exporter, np.int32), exporters.now,
    )  # fmt: skip
