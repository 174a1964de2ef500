"""Process synthetic messages in a separate collector before the first real one, so that everything is compiled.

With an empty cache, compilation takes up to a minute, in which real messages would fill the queue. The compiled
functions are not listed here: a second collector, which does not listen and writes to a temporary folder, processes the
messages from the queue to the disk, is stopped, and resumes from its state.
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
from ethogram.serve.warm_up_messages import WarmUpHosts, synthetic_messages

__all__ = ["FOLDER", "warm_up"]

FOLDER = ".warm-up"
"""Temporary folder of the second collector, below the folder of the first."""

_GRACE_S = 120  # the synthetic flows take a minute and a half


class WarmUpCollector(Protocol):
    """Interface of the second collector."""

    queue: MessageQueue
    exporters: Exporters

    def start(self) -> None:
        """Start."""

    def stop(self) -> None:
        """Write everything that has arrived."""


_warmed: set[str] = set()


def warm_up(
    folder: Path, makers: Sequence[Callable[[Path], WarmUpCollector]], local: tuple[str, ...],
    exporter: ExporterSettings, key: str,
) -> None:  # fmt: skip
    """Run second collectors twice from start to stop.

    Parameters
    ----------
    folder
        Folder of the first collector.
    makers
        Each creates a collector with the settings of the first one, which writes to the given folder.
    local, exporter
        Of those settings.
    key
        Identifies the settings: the warm-up runs once per process for each.
    """
    if key in _warmed:
        return
    place = folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)  # left by a killed run
    now_ns = time.time_ns()
    # The second messages arrive after the epoch of the first, so that it is closed and counted too.
    before_ns = round((2 * exporter.epoch_s + exporter.lateness_s + _GRACE_S) * 1e9)
    hosts = WarmUpHosts.of(local)
    try:
        # Failures here would recur with real messages, where they are counted and reported.
        with suppress(EthogramError, OSError):
            for number, make in enumerate(makers):
                for shift_ns in (before_ns, 0):
                    _run(make(place / str(number)), hosts, now_ns - shift_ns)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    _warmed.add(key)


def _run(collector: WarmUpCollector, hosts: WarmUpHosts, arrival_ns: int) -> None:
    collector.start()
    try:
        udp, tcp = Exporter("192.0.2.254", 4739), Exporter("192.0.2.254", 4739, "tcp", 1)
        index = collector.exporters.add([udp, tcp])
        start_ms = arrival_ns // 1_000_000 - 1000 * _GRACE_S
        for number in index:
            batch = _received(synthetic_messages(hosts, start_ms), number, arrival_ns, collector.exporters)
            collector.queue.put(batch, collector.queue.reserve(collector.queue.bound))
        collector.exporters.leave(index[1])
        collector.queue.end(SessionEnd(index[1], tcp))
    finally:
        collector.stop()


def _received(messages: list[bytes], exporter: int, arrival_ns: int, exporters: Exporters) -> DatagramBatch:
    """Messages as receivers queue them: in separate, writable arrays."""
    octets = np.array([len(message) for message in messages], np.int32)
    count = len(messages)
    return DatagramBatch(
        np.frombuffer(b"".join(messages), np.uint8).copy(), np.cumsum(octets, dtype=np.int64) - octets, octets,
        np.full(count, arrival_ns, np.int64), np.full(count, exporter, np.int32), exporters.now,
    )  # fmt: skip
