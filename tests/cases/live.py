"""Cases without a file: exporters that send to a running collector over loopback.

Each function plays one case in a folder and gives lines that say what became of the flows.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from ethogram.config import CountSettings, ExporterSettings, FlowSettings, WireSettings
from ethogram.io.receive.address import Listen
from ethogram.io.wire.build import MessageBuilder, data, template_set
from ethogram.io.wire.template import Field, Template
from ethogram.serve.collector import Collector, CollectorSettings

__all__ = ["LIVE"]

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
TEMPLATE = Template(
    10, 1, 300,
    tuple(Field(0, element, octets) for element, octets in (
        (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (152, 8), (153, 8), (56, 6),
    )),
)  # fmt: skip
REMOTE = 0xC6336407  # 198.51.100.7
GOOD, OTHER = 0xC0A80105, 0xC0A80106  # 192.168.1.5 and .6
MAC = bytes.fromhex("020000000011")


class Exporter:
    """An IPFIX exporter at an address of its own, which sends one-way records."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.connect(("127.0.0.1", port))
        self._build = MessageBuilder(10, domain=1)
        self._records = 0

    def send(self, device: int, times_ms: Iterable[int], export_ms: int | None = None) -> None:
        """Send a message with one record of a device for each start time."""
        starts = np.array(list(times_ms), np.int64)
        rows = len(starts)
        ports = 40_000 + self._records + np.arange(rows)
        self._records += rows
        columns = [
            np.full(rows, device), np.full(rows, REMOTE), ports, np.full(rows, 443), np.full(rows, 6),
            np.full(rows, 1000), np.full(rows, 10), starts, starts + 500, [MAC] * rows,
        ]  # fmt: skip
        sets = [template_set(TEMPLATE), data(TEMPLATE, columns)]
        [message] = self._build.messages(sets, int(time.time() * 1000) if export_ms is None else export_ms)
        self._socket.send(message)

    def close(self) -> None:
        """Close its socket."""
        self._socket.close()


def _collect(folder: Path, play: Callable[[int], int], epoch_s: int = 86_400) -> Collector:
    """Run a collector while ``play`` sends to its port; ``play`` gives the number of records sent."""
    settings = CollectorSettings(
        wire=WireSettings.of(segment_s=0.5),
        flow=FlowSettings.of(device_by="address"),
        exporter=ExporterSettings.of(epoch_s=epoch_s),
        counting=CountSettings.of(sub_epoch_s=min(epoch_s, 3600)),
    )
    collector = Collector([Listen.parse("udp://127.0.0.1:0")], folder / "collected", settings)
    collector.start()
    try:
        sent = play(collector.listening[0].port)
        until = time.monotonic() + 20
        while collector.decoder.records.read < sent and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        collector.stop()
    return collector


def _counted(collector: Collector) -> list[str]:
    accounting = collector.counters.accountings()["fingerprints"]
    lost = [f"dropped ({reason} {count})" for reason, count in sorted(accounting.dropped.items())]
    return [f"note: fingerprints: {accounting.used} flows used", *lost]


def _one_ahead(ahead_ms: int, epoch_s: int, rounds: int = 7) -> Callable[[Path], tuple[None, list[str]]]:
    """One flow of a clock that is wrong, then flows of an exporter that is right."""

    def play(folder: Path) -> tuple[None, list[str]]:
        def send(port: int) -> int:
            right, wrong = Exporter("127.0.0.1", port), Exporter("127.0.0.2", port)
            now_ms = int(time.time() * 1000)
            wrong_ms = now_ms + ahead_ms if ahead_ms else 0
            wrong.send(OTHER, [wrong_ms], wrong_ms)
            time.sleep(0.7)  # in a segment before the right ones
            for second in range(rounds):
                right.send(GOOD, [now_ms - 1000 * (rounds - second)])
            right.close()
            wrong.close()
            return rounds + 1

        return None, _counted(_collect(folder, send, epoch_s))

    return play


def _future_and_restart(folder: Path) -> tuple[None, list[str]]:
    """140 flows of the right exporter beside one of the year after next, then six more after a restart."""

    def first(port: int) -> int:
        right, wrong = Exporter("127.0.0.1", port), Exporter("127.0.0.2", port)
        now_ms = int(time.time() * 1000)
        for part in range(7):
            right.send(GOOD, range(now_ms - 20_000 + part * 20, now_ms - 20_000 + part * 20 + 20))
            if part == 1:
                wrong.send(OTHER, [now_ms + 400 * DAY_MS], now_ms + 400 * DAY_MS)
                time.sleep(0.7)
        right.close()
        wrong.close()
        return 141

    def second(port: int) -> int:
        right = Exporter("127.0.0.1", port)
        right.send(GOOD, range(int(time.time() * 1000) - 6, int(time.time() * 1000)))
        right.close()
        return 6

    lines = _counted(_collect(folder, first))
    return None, [*lines, *_counted(_collect(folder, second))]


def _six_leases(folder: Path) -> tuple[None, list[str]]:
    """One MAC with six addresses, one after the other over weeks; then its first address again."""
    start_ms = int(datetime(2023, 9, 1, 22, 13, 20, tzinfo=UTC).timestamp() * 1000)

    def send(port: int) -> int:
        exporter = Exporter("127.0.0.1", port)
        for week, last in enumerate((50, 51, 52, 53, 54, 55, 50)):
            time_ms = start_ms + week * 7 * DAY_MS
            exporter.send(0xC0A80100 + last, [time_ms], time_ms + 1000)
        exporter.close()
        return 7

    settings = CollectorSettings(wire=WireSettings.of(segment_s=0.5))
    collector = Collector([Listen.parse("udp://127.0.0.1:0")], folder / "collected", settings)
    collector.start()
    try:
        send(collector.listening[0].port)
        time.sleep(1.0)
    finally:
        collector.stop()
    flows = pl.concat(pl.read_parquet(path) for path in sorted((folder / "collected/flows").glob("*.parquet")))
    return None, [f"note: {flows.height} flows of {', '.join(flows['device'].unique().sort())}"]


LIVE: dict[str, Callable[[Path], tuple[None, list[str]]]] = {
    "176-collect-future-clock": _future_and_restart,
    "176c-collect-3h-ahead": _one_ahead(3 * HOUR_MS, 3600),
    "176d-collect-400d-1d": _one_ahead(400 * DAY_MS, 86_400),
    "176e-collect-zero-clock": _one_ahead(0, 86_400),
    "193-collect-six-leases": _six_leases,
}
