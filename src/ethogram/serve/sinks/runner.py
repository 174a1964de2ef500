"""Runs the sinks of the live service: one thread each, behind the stored events.

The events in the store are the queue: they survive a restart, and their number is bounded. A sink keeps the id of the
last event that its receiver has, in a file of its own. It sends events in order, each until the receiver has it, so
that after a crash one event may arrive twice, and none is lost. Nothing waits for a sink.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ethogram._files import write_bytes
from ethogram.config.sinks import (
    AppriseSettings,
    FileSinkSettings,
    MqttSettings,
    SinkSettings,
    SyslogSettings,
    WebhookSettings,
)
from ethogram.errors import EthogramError
from ethogram.schema import SEVERITIES, EventRow, ServiceHealth, SinkEvent
from ethogram.serve.exported import DevicesRead, sink_events
from ethogram.serve.sinks.sink import RefusedEventError, Sink, SinkError
from ethogram.serve.store import Store

__all__ = ["SinkRunner", "Sinks", "open_sink", "sample_event"]

FORMAT = "ethogram.sink/1"
BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
"""Time until a failed event is sent again; the last one repeats."""
POLL_S = 2.0
AT_ONCE = 200
STOP_S = 10.0


def open_sink(settings: SinkSettings) -> Sink:
    """The sink of some settings; nothing is connected yet.

    Raises
    ------
    ConfigurationError
        If a file that they name cannot be read, or a library is not installed.
    """
    if isinstance(settings, WebhookSettings):
        from ethogram.serve.sinks.webhook import Webhook

        return Webhook(settings)
    if isinstance(settings, SyslogSettings):
        from ethogram.serve.sinks.syslog import Syslog

        return Syslog(settings)
    if isinstance(settings, FileSinkSettings):
        from ethogram.serve.sinks.json_file import JsonFile

        return JsonFile(settings)
    if isinstance(settings, AppriseSettings):
        from ethogram.serve.sinks.apprise_service import AppriseService

        return AppriseService(settings)
    assert isinstance(settings, MqttSettings)
    from ethogram.serve.sinks.mqtt import Mqtt

    return Mqtt(settings)


def sample_event(time: datetime) -> SinkEvent:
    """The event that a test sends."""
    return SinkEvent(0, time, "test", "info", "Test", "This is a test of a sink of Ethogram.")


class SinkRunner:
    """One sink and its thread.

    Parameters
    ----------
    name, settings
        Of the sink.
    store
        Gives the store; None while it is not open.
    file
        Where the position of the sink is kept.
    say
        Called with lines for the user.
    """

    def __init__(
        self, name: str, settings: SinkSettings, store: Callable[[], Store | None], file: Path,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.name = name
        self._settings = settings
        self._store = store
        self._file = file
        self._say = say
        self._after: int | None = None
        self._kept: dict[str, Any] = {}
        self._devices: DevicesRead | None = None
        self._counters: Counter[str] = Counter()
        self._waiting = 0
        self._failures = 0
        self._sink: Sink | None = None
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.health = ServiceHealth(f"sink {name}", "starting", "", datetime.now(tz=UTC))

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=f"ethogram sink {self.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for events now; a sink that waits after a failure goes on waiting."""
        self._wake.set()

    def stop(self) -> None:
        """Stop after the event that is being sent; what waits is sent after the next start."""
        self._stopping.set()
        self._wake.set()

    def join(self) -> None:
        """Wait until the thread has ended, for ten seconds at most."""
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            wait = self._step()
            if self._failures:
                self._stopping.wait(wait)
            else:
                self._wake.wait(wait)
                self._wake.clear()
        if self._sink is not None:
            self._sink.close()
        self._set("stopped", "")

    def _step(self) -> float:
        """Send what waits; returns how long to wait until the next step."""
        store = self._store()
        if store is None:
            return 0.5
        try:
            if self._sink is None:
                self._sink = open_sink(self._settings)
            more = self._send_waiting(store, self._sink)
            if self._devices is None or self._devices.store is not store:
                self._devices = DevicesRead(store)
            state = self._sink.sync(self._devices, self._kept)
            if state != self._kept:
                self._kept = state
                self._save()
        except Exception as error:
            self._failures += 1
            if isinstance(error, SinkError):
                self._counters["failed"] += 1
            reason = str(error) if isinstance(error, EthogramError) else (
                f"internal error: {type(error).__name__}: {str(error).partition(chr(10))[0]}; please report it"
            )  # fmt: skip
            self._set("degraded", reason)
            wait = BACK_OFF_S[min(self._failures - 1, len(BACK_OFF_S) - 1)]
            return wait * random.uniform(0.8, 1.2)
        self._failures = 0
        self._set("running", "")
        return 0.0 if more else POLL_S

    def _send_waiting(self, store: Store, sink: Sink) -> bool:
        """Send a part of the events after the position; returns whether there are more."""
        latest = store.last_event()
        if self._after is None:
            self._load(latest)
        assert self._after is not None
        self._after = min(self._after, latest)  # the store was replaced by an older one
        self._drop_oldest(store, latest)
        rows = store.events(self._after, limit=AT_ONCE)
        wanted = [row for row in rows if self._is_wanted(row)]
        self._waiting = len(wanted) if len(rows) < AT_ONCE else max(latest - self._after, 0)
        begin = self._after
        try:
            for event in sink_events(store, wanted):
                if self._stopping.is_set():
                    return False
                try:
                    sink.send(event)
                    self._counters["sent"] += 1
                except RefusedEventError as error:
                    self._counters["refused"] += 1
                    self._say(f"sink {self.name}: event {event.id} is refused: {error}")
                self._after = event.id
                self._waiting = max(self._waiting - 1, 0)
            if rows:
                self._after = rows[-1].id
        finally:
            if self._after != begin:
                self._save()
        return len(rows) == AT_ONCE

    def _drop_oldest(self, store: Store, latest: int) -> None:
        """Pass over events beyond the bound, and count them."""
        assert self._after is not None
        first = latest - self._settings.max_waiting
        while self._after < first:
            rows = store.events(self._after, limit=AT_ONCE)
            passed = [row for row in rows if row.id <= first]
            self._counters["dropped"] += sum(map(self._is_wanted, passed))
            self._after = passed[-1].id if passed and len(passed) == len(rows) else first
            self._save()

    def _is_wanted(self, row: EventRow) -> bool:
        if row.kind not in self._settings.events:
            return False
        severity = row.data.get("severity", "info") if row.kind == "alert" else "critical"
        return severity not in SEVERITIES or SEVERITIES.index(severity) <= SEVERITIES.index(self._settings.severity)

    def _load(self, latest: int) -> None:
        """Position of an earlier run; a new sink begins with the next event."""
        try:
            saved = orjson.loads(self._file.read_bytes())
            self._after = int(saved["after"])
            self._kept = dict(saved["kept"])
            self._counters = Counter({str(key): int(value) for key, value in saved["counters"].items()})
        except FileNotFoundError:
            self._after = latest
            self._save()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._say(f"sink {self.name}: {self._file}: damaged; the sink begins with the next event")
            self._after = latest
            self._save()

    def _save(self) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes(self._file, orjson.dumps({
            "format": FORMAT, "after": self._after, "counters": dict(self._counters), "kept": self._kept,
        }))  # fmt: skip

    def _set(self, state: Any, message: str) -> None:
        before = self.health
        if message and message != before.message:
            self._say(f"sink {self.name}: {message}")
        elif before.message and state == "running":
            self._say(f"sink {self.name}: works again")
        since = before.since if state == before.state else datetime.now(tz=UTC)
        figures = {name: float(self._counters[name]) for name in ("sent", "failed", "refused", "dropped")}
        self.health = ServiceHealth(before.part, state, message, since, figures | {"waiting": float(self._waiting)})


class Sinks:
    """All sinks of a service.

    Parameters
    ----------
    settings
        By name.
    store, say
        As :class:`SinkRunner` has them.
    folder
        Of the positions.
    """

    def __init__(
        self, settings: Mapping[str, SinkSettings], store: Callable[[], Store | None], folder: Path,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._runners = [
            SinkRunner(name, each, store, folder / f"{name}.json", say) for name, each in settings.items()
        ]

    def check(self) -> list[str]:
        """What does not work of the settings, one line each; no receiver is asked."""
        problems = []
        for name, settings in self._settings.items():
            try:
                open_sink(settings).close()
            except EthogramError as error:
                problems.append(f"sink {name}: {error}")
        return problems

    def start(self) -> None:
        """Start all threads."""
        for runner in self._runners:
            runner.start()

    def wake(self) -> None:
        """Let all sinks look for events."""
        for runner in self._runners:
            runner.wake()

    def stop(self) -> None:
        """Stop all threads."""
        for runner in self._runners:
            runner.stop()
        for runner in self._runners:
            runner.join()

    def health(self) -> tuple[ServiceHealth, ...]:
        """State of every sink."""
        return tuple(runner.health for runner in self._runners)
