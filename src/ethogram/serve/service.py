"""The live service: collector, judge, and page in one process, each supervised apart.

A part that cannot start or that fails says why in one line, is shown as such, and is tried again after a while; the
others go on. The judge and the page wait for the store; nothing waits for the page.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl

from ethogram.config import CountSettings, ServeSettings
from ethogram.errors import ConfigurationError, EthogramError, InputError, UsageError
from ethogram.identify.library import Library
from ethogram.io.receive.address import Listen
from ethogram.knowledge.tables import Knowledge
from ethogram.pipeline.device_names import DeviceNames
from ethogram.pipeline.libraries import PACKAGED_NAME
from ethogram.pipeline.own_similarity import EpochSimilarity
from ethogram.pipeline.read_options import ReadOptions
from ethogram.schema import (
    COUNTS,
    IDENTITY,
    DeviceBehaviour,
    DeviceDetail,
    DevicePeer,
    DueDevice,
    ServiceHealth,
    service_name,
)
from ethogram.serve import device_past
from ethogram.serve.alert_rules import AlertRules, ServiceState
from ethogram.serve.changes import StoredChanges, device_changes, due_of, stored_changes
from ethogram.serve.collector import COUNTERS, Collector, CollectorSettings
from ethogram.serve.facts import midnight_before
from ethogram.serve.feedback import ConfirmedLibrary
from ethogram.serve.forget import forget_files
from ethogram.serve.judge import Judge
from ethogram.serve.library_files import LibraryFiles
from ethogram.serve.memory import release_memory
from ethogram.serve.rejudge import LibraryChange
from ethogram.serve.retention import Retention
from ethogram.serve.rules_file import RulesFile
from ethogram.serve.sinks.runner import Sinks
from ethogram.serve.sources import CollectorSegments, SegmentSource, WatchedFolder
from ethogram.serve.store import Store
from ethogram.serve.stored_counts import StoredCounts

if TYPE_CHECKING:
    from ethogram.serve.api.server import Application, WebServer
    from ethogram.serve.api.service_view import HourlyOctets

__all__ = ["Service", "data_folder"]

RETRY_S = (2.0, 5.0, 15.0, 30.0)
"""Time until a part that failed is tried again; the last one repeats."""
LOCK = ".serve.lock"
SOURCES = (CollectorSegments.name, WatchedFolder.name)
"""Sources of which counts may be stored, whether or not they are read now."""
ACTIVITY_DAYS, SIMILARITY_DAYS = 7, 60
MOST_ALIKE = 5
"""Other devices of its model or label that a device is compared with."""
STOP_S = 60.0
RELEASE_S = 5.0
"""Freed memory goes back to the system at most this often, after rounds that did something."""
SWITCH_S = 0.001
"""Time after which a thread that computes lets others run: with Python's 5 ms, the page answers half as fast."""


def data_folder(settings: ServeSettings) -> Path:
    """The folder of everything that is stored: the setting, else ``ethogram`` in the user's data folder."""
    if settings.data:
        return Path(settings.data)
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "ethogram"


class _Part:
    """Health of one part."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self._name, self._say = name, say
        self.health = ServiceHealth(name, "starting", "", datetime.now(tz=UTC))
        self.failures = 0

    def set(self, state: Any, message: str = "", **figures: float) -> None:
        """Set the state; a new message is said once."""
        before = self.health
        if message and message != before.message:
            self._say(f"{self._name}: {message}")
        elif before.message and not message and state == "running":
            self._say(f"{self._name}: works again")
        since = before.since if state == before.state else datetime.now(tz=UTC)
        self.health = ServiceHealth(self._name, state, message, since, figures or before.figures)

    def failed(self, message: str, state: Any = "failed") -> float:
        """Count a failure; returns how long to wait."""
        self.set(state, message)
        wait = RETRY_S[min(self.failures, len(RETRY_S) - 1)]
        self.failures += 1
        return wait


class Service:
    """Runs collector, judge and page until stopped. Construction starts nothing.

    Parameters
    ----------
    settings
        All settings.
    say
        Called with lines for the user.

    Attributes
    ----------
    folder
        Where everything is stored.

    Examples
    --------
    >>> service = Service(ServeSettings(data="home"))
    >>> service.start()  # doctest: +SKIP
    >>> service.stop()  # doctest: +SKIP
    """

    def __init__(self, settings: ServeSettings, say: Callable[[str], None] = lambda _: None) -> None:
        self._settings = settings
        self.folder = data_folder(settings)
        self._say = say
        parts = {
            "collector": settings.collect, "store": True, "library": True, "judge": True, "alerts": True,
            "web": settings.page,
        }  # fmt: skip
        self._parts = {name: _Part(name, say) for name, used in parts.items() if used}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._collector: Collector | None = None
        self._store: Store | None = None
        self._judge: Judge | None = None
        self._files = LibraryFiles(settings.library, settings.knowledge)
        self._library_change = LibraryChange()
        self._confirmed, self._confirmed_open = ConfirmedLibrary(self.folder), False
        self._web: WebServer | None = None
        self._waiting_web: WebServer | None = None
        self._lock = -1
        self._switch_s = sys.getswitchinterval()
        self._alerts: AlertRules | None = None
        self._rules = RulesFile(settings)
        self._names: tuple[tuple[int, ...], pl.DataFrame] = ((), IDENTITY.empty())
        self._released = float("-inf")
        self._sinks = Sinks(settings.sinks, lambda: self._store, self.folder / "sinks", say)

    # Checks and start

    def check(self) -> list[str]:
        """Open everything that is configured without running it; returns what does not work, one line each."""
        problems: list[str] = []

        def attempt(step: Callable[[], object]) -> None:
            try:
                step()
            except EthogramError as error:
                problems.append(str(error))
            except OSError as error:
                problems.append(f"{error.filename}: {error.strerror}")

        settings = self._settings
        attempt(self.make_folder)
        attempt(lambda: Store.open(self._store_place(), settings.judge).close())
        attempt(self._files.new)
        attempt(lambda: [Listen.parse(text) for text in settings.listen])
        attempt(lambda: DeviceNames.load(Path(settings.devices) if settings.devices else None))
        attempt(self._name_facts)
        attempt(self._check_web)
        problems += self._sinks.check()
        if settings.watch and not Path(settings.watch).is_dir():
            problems.append(f"{settings.watch}: there is no such folder")
        return problems

    def _check_web(self) -> None:
        if self._settings.page:
            from ethogram.serve.api.server import check_bind

            check_bind(self._settings.web, self._certificate())

    def start(self) -> None:
        """Start all parts.

        Raises
        ------
        InputError
            If the data folder cannot be written.
        UsageError
            If another service uses it.
        ConfigurationError
            If an address is invalid, or the page is open to others without TLS.
        """
        listens = [Listen.parse(text) for text in self._settings.listen]
        if any(place.transport == "tls" for place in listens):
            raise ConfigurationError("tls:// addresses need 'ethogram collect' beside 'ethogram serve --no-collect'")
        self._check_web()
        self.make_folder()
        self._take_lock()
        self._finish_forgetting()
        self._switch_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        runs: list[tuple[str, Callable[[], None]]] = [("judge", self._run_judge)]
        if self._settings.collect:
            runs.append(("collect", lambda: self._run_collector(listens)))
        for name, run in runs:
            thread = threading.Thread(target=run, name=f"ethogram {name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._sinks.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait; returns whether the service is stopping."""
        return self._stopping.wait(timeout_s)

    def stop(self) -> None:
        """Write what has arrived, complete the round, and stop all parts."""
        self._stopping.set()
        if self._web is not None:
            self._web.stop()
        for thread in self._threads:
            thread.join(STOP_S)
        self._stop_waiting_web()  # after the thread that starts it
        self._sinks.stop()
        if self._store is not None:
            self._store.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        sys.setswitchinterval(self._switch_s)
        for part in self._parts.values():
            part.set("stopped")

    def make_folder(self) -> None:
        """Create the data folder; it can be read by its owner only.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise InputError("may not be written to", file=self.folder)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", file=self.folder) from None

    def _take_lock(self) -> None:
        self._lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            raise UsageError(f"{self.folder}: another service uses this folder") from None

    def _store_place(self) -> str:
        return self._settings.store or str(self.folder / "store.db")

    def _certificate(self) -> Path | None:
        return Path(self._settings.certificate) if self._settings.certificate else None

    @property
    def collector_folder(self) -> Path:
        """Where the collector writes."""
        return Path(self._settings.collector) if self._settings.collector else self.folder / "collector"

    # The collector

    def _run_collector(self, listens: Sequence[Listen]) -> None:
        part, settings = self._parts["collector"], self._settings
        while not self._stopping.is_set():
            try:
                collector = Collector(
                    listens, self.collector_folder,
                    CollectorSettings(
                        wire=settings.wire, collect=settings.receive, flow=settings.flow, exporter=settings.exporter,
                        counting=CountSettings(sub_epoch_s=min(3600, settings.exporter.epoch_s)),
                    ),
                    devices=Path(settings.devices) if settings.devices else None,
                )  # fmt: skip
                collector.start()
            except (EthogramError, OSError) as error:
                self._stopping.wait(part.failed(str(error)))
                continue
            self._collector = collector
            for line in collector.problems:
                self._say(f"collector: {line}")
            self._say(f"receiving flows at {', '.join(str(place) for place in collector.listening)}")
            part.set("running")
            while not self._stopping.is_set() and not collector.wait(0.5):
                problem = collector.output.problem
                part.set("degraded" if problem else "running", problem or "",
                         queue_share=collector.queue.octets / collector.queue.bound, flows=float(collector.flows))
                part.failures = 0
            try:
                collector.stop()
                part.set("stopped")
            except EthogramError as error:
                self._stopping.wait(part.failed(str(error)))
        self._collector = None

    # Store, judge and page

    def _run_judge(self) -> None:
        retention = Retention(self._settings.retention, self.collector_folder if self._settings.collect else None)
        while not self._stopping.is_set():
            wait = self._open_store()
            if wait == 0.0:
                self._start_web()
                wait = self._one_round(retention)
                self._look_for_alerts()
                self._sinks.wake()
            self._stopping.wait(wait)
        for name in ("library", "judge", "alerts"):
            self._parts[name].set("stopped")

    def _open_store(self) -> float:
        """Open the store; returns how long to wait until the next try, 0 if it is open."""
        if self._store is not None:
            return 0.0
        part = self._parts["store"]
        try:
            self._store = Store.open(self._store_place(), self._settings.judge)
        except EthogramError as error:
            self._parts["judge"].set("starting")
            wait = part.failed(str(error))
            self._start_waiting_web()
            return wait
        part.set("running")
        part.failures = 0
        self._stop_waiting_web()
        return 0.0

    def _one_round(self, retention: Retention) -> float:
        """One round of the judge; returns how long to wait until the next."""
        part, store = self._parts["judge"], self._parts["store"]
        begin = time.monotonic()
        try:
            judge = self._ready_judge()
            self._confirm(judge)
            report = judge.round()
            report.more |= self._library_change.part(judge)
            retention.run(judge)
        except EthogramError as error:
            try:
                assert self._store is not None
                self._store.check()
                of_store = isinstance(error, InputError) and str(error.file) == self._store.name
                store.set("degraded", str(error)) if of_store else store.set("running")
            except EthogramError as down:
                store.set("failed", str(down))
            return part.failed(str(error), "degraded")
        except Exception as error:
            reason = str(error).partition("\n")[0]
            return part.failed(f"internal error: {type(error).__name__}: {reason}; please report it")
        store.set("running")
        part.failures = 0
        clock = judge.store.clock()
        lag = max((datetime.now(tz=UTC) - clock).total_seconds(), 0.0) if clock else 0.0
        part.set("degraded" if report.problems else "running", report.problems[-1] if report.problems else "",
                 lag_s=lag, segments=float(report.segments), judged=float(report.judged),
                 round_s=time.monotonic() - begin)  # fmt: skip
        if (report.segments or report.judged) and time.monotonic() - self._released >= RELEASE_S:
            release_memory()
            self._released = time.monotonic()
        return 0.0 if report.more else self._settings.judge.interval_s

    def _look_for_alerts(self) -> None:
        """One pass of the rules; after an error, the next round tries it again."""
        part, store = self._parts["alerts"], self._store
        assert store is not None
        changed = self._rules.refresh()
        if self._alerts is None:
            self._alerts = AlertRules(store, self._rules.rules)
        elif changed:
            self._alerts.use(self._rules.rules)
            self._say(f"alerts: {self._settings.alert_rules} was read again")
        try:
            self._alerts.run(ServiceState(
                [health for health in self.health() if health.part != "alerts"], self._losses, self.folder,
                self._active_days, self._settings.judge.window_days, self._counts_since,
            ))  # fmt: skip
        except EthogramError as error:
            part.set("degraded", str(error))
        except Exception as error:
            part.set("degraded", f"internal error: {type(error).__name__}: {error}; please report it")
        else:
            part.set("degraded" if self._rules.problem else "running", self._rules.problem)

    def _losses(self) -> Sequence[dict[str, Any]]:
        """Losses of the collector, of this process or of another one that writes to the same folder."""
        counters = self.collector_counters()
        if counters is None:
            try:
                counters = orjson.loads((self.collector_folder / COUNTERS).read_bytes())
            except (OSError, ValueError):
                return ()
        lost = counters.get("lost") if isinstance(counters, dict) else None
        wanted = {"place", "reason", "count", "unit"}
        return [loss for loss in lost or () if isinstance(loss, dict) and wanted <= loss.keys()]

    def _active_days(self, devices: Sequence[DueDevice]) -> dict[str, int]:
        """Days with traffic of devices in the days before their latest flow."""
        if self._judge is None:
            return {}
        counts = self._judge.counts.of_devices(devices)
        days = counts.group_by("device").agg(pl.col("time").dt.date().n_unique())
        return {str(device): int(number) for device, number in days.iter_rows()}

    def _counts_since(self, devices: Sequence[DueDevice], since: datetime) -> pl.DataFrame:
        """Stored counts of devices from a time on."""
        return COUNTS.empty() if self._judge is None else self._judge.counts.of_devices(devices, since)

    def judge_apart(self, store: Store) -> Judge:
        """A judge over this store and the stored counts that reads no segments, for commands beside the service."""
        identifier = self._files.new(self._confirmed.open())
        return Judge(store, self.folder / "facts", (), identifier, self._settings.judge, stored=SOURCES)

    def forget_apart(self, store: Store, id_: str | None = None, *, dry_run: bool = False) -> dict[str, int]:
        """Forget a device, and what an interrupted run was to forget, while no service uses the folder.

        Parameters
        ----------
        store
            The store of this folder.
        id_
            Of the device; None: only complete interrupted runs.
        dry_run
            Only count.

        Returns
        -------
        Number of rows by table and by kind of file.

        Raises
        ------
        UsageError
            If a service uses the folder, or there is no such device.
        InputError
            If a file or the store cannot be written; the next call continues.
        """
        if id_ is not None and dry_run:
            request, rows = store.forget_request(id_)
            return forget_files(request, self.stored_counts(), self.collector_folder, dry_run=True) | rows
        self._take_lock()
        try:
            return self._forget(store, id_)
        finally:
            os.close(self._lock)
            self._lock = -1

    def _forget(self, store: Store, id_: str | None = None) -> dict[str, int]:
        """Files first, then the rows with the request, then the library of confirmed devices and free pages."""
        if id_ is not None:
            store.request_forget(id_)
        total: Counter[str] = Counter()
        for request in store.forget_requests():
            total.update(forget_files(request, self.stored_counts(), self.collector_folder))
            total.update(store.forget_rows(request))
        if store.free_pages_remain():
            library = ConfirmedLibrary(self.folder)
            library.update(store, self.stored_counts())
            if library.problem:  # the next run continues here
                raise InputError(library.problem, file=library.path)
            store.clear_free_pages()
        return dict(total)

    def _finish_forgetting(self) -> None:
        """Complete what an interrupted run was to forget, before the collector writes again."""
        place = self._store_place()
        if "://" in place or not Path(place).exists():  # a database that does not answer would hold up the collector
            return
        try:
            store = Store.open(place, self._settings.judge)
        except EthogramError:  # reported when the judge opens it
            return
        with store:
            try:
                if self._forget(store):
                    self._say("an interrupted run of 'ethogram forget' was completed")
            except EthogramError as error:
                self._say(f"forget: {error}")

    def stored_counts(self) -> StoredCounts:
        """The stored counts, for commands beside the service that judge nothing."""
        return StoredCounts(self.folder / "facts", SOURCES, self._settings.judge.window_days)

    def _ready_judge(self) -> Judge:
        """The judge, with the libraries as they are on disk now."""
        assert self._store is not None
        try:
            changed = self._files.refresh()
        except EthogramError as error:
            self._parts["library"].set("failed", str(error))
            raise
        identifier = self._files.identifier
        assert identifier is not None
        if changed:
            self._library_change.begin()
        if self._judge is None:
            self._judge = Judge(
                self._store, self.folder / "facts", self._sources(self._store), identifier, self._settings.judge,
                counters=self.collector_folder / COUNTERS, stored=SOURCES,
            )  # fmt: skip
        self._judge.identifier = identifier
        return self._judge

    def _confirm(self, judge: Judge) -> None:
        """Keep the library of confirmed devices, judge with it, and show what cannot be read."""
        changed = self._confirmed.update(judge.store, judge.counts)
        if changed or (not self._confirmed_open and self._confirmed.path.exists()):
            try:
                judge.identifier.add(self._confirmed.open())
            except EthogramError as error:
                self._confirmed.problem = str(error)
        self._confirmed_open = True
        problem = "; ".join(text for text in (self._files.problem, self._confirmed.problem) if text)
        self._parts["library"].set("degraded" if problem else "running", problem)

    def _sources(self, store: Store) -> list[SegmentSource]:
        settings = self._settings
        sources: list[SegmentSource] = [CollectorSegments(
            self.collector_folder, settings.wire.segment_s, settings.receive.ahead_s, settings.judge.oldest_days,
            lateness_s=settings.judge.lateness_s, names=self._name_facts,
        )]  # fmt: skip
        if settings.watch:
            reading = ReadOptions(
                Path(settings.devices) if settings.devices else None, settings.flow,
                names=tuple(Path(name) for name in settings.names),
            )  # fmt: skip
            sources.append(WatchedFolder(Path(settings.watch), reading, known=lambda: store.watched("watched")))
        return sources

    def _name_facts(self) -> pl.DataFrame:
        """Facts of the files that name devices, read again when one of them has changed."""
        paths = [Path(name) for name in self._settings.names]
        try:
            state = tuple(path.stat().st_mtime_ns for path in paths)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", file=error.filename) from None
        if paths and state != self._names[0]:
            self._names = (state, DeviceNames.load(None, names=paths).facts())
        return self._names[1]

    def _start_web(self) -> None:
        part = self._parts.get("web")
        if part is None or self._store is None:
            return
        if self._web is not None:
            if self._web.alive:
                part.set("running")
                return
            part.set("failed", self._web.failure or "the page has ended")
            self._web = None
        from ethogram.serve.api.app import create_app
        from ethogram.serve.api.secrets import TOKEN_FILE, first_token

        try:
            first_token(self._store, self.folder)
            web = self._serve(create_app(self._store, self, self._settings.web, folder=self.folder))
        except (EthogramError, OSError) as error:
            part.set("failed", str(error))  # tried again with the next round
            return
        self._web = web
        part.set("running")
        token = self.folder / TOKEN_FILE
        where = f"; the token to sign in with is in {token}" if token.exists() else ""
        self._say(f"page at {web.url}{where}")

    def _serve(self, app: Application) -> WebServer:
        from ethogram.serve.api.server import WebServer

        key = Path(self._settings.key) if self._settings.key else None
        web = WebServer(app, self._settings.web, self._certificate(), key)
        web.start()
        return web

    def _start_waiting_web(self) -> None:
        """Say on the page and in ``/readyz`` that the store cannot be opened."""
        part = self._parts.get("web")
        if part is None or (self._waiting_web is not None and self._waiting_web.alive):
            return
        from ethogram.serve.api.waiting import create_waiting_app

        try:
            self._waiting_web = self._serve(create_waiting_app(self.health, self._settings.web))
        except (EthogramError, OSError) as error:
            part.set("failed", str(error))  # tried again with the next attempt to open the store
            return
        part.set("degraded", f"waits for the store; its state is shown at {self._waiting_web.url}")

    def _stop_waiting_web(self) -> None:
        if self._waiting_web is not None:
            self._waiting_web.stop()
            self._waiting_web = None

    @property
    def store(self) -> Store | None:
        """The store; None while it is not open."""
        return self._store

    @property
    def url(self) -> str:
        """Address of the page; empty while it is not served."""
        return "" if self._web is None else self._web.url

    @property
    def token_file(self) -> Path:
        """Where the token of the first user is written at the first start."""
        from ethogram.serve.api.secrets import TOKEN_FILE

        return self.folder / TOKEN_FILE

    def visits(self) -> tuple[int, int]:
        """Requests that the page and the API have answered, and open streams of events."""
        return (0, 0) if self._web is None else self._web.visits()

    # What the page shows (ServiceView)

    def health(self) -> tuple[ServiceHealth, ...]:
        """State of every part."""
        return (*(part.health for part in self._parts.values()), *self._sinks.health())

    def listening(self) -> tuple[str, ...]:
        """Addresses at which flows are received, and folders that are watched."""
        collector = self._collector
        places = [str(place) for place in collector.listening] if collector is not None else []
        return (*places, *([self._settings.watch] if self._settings.watch else []))

    def collector_counters(self) -> dict[str, Any] | None:
        """Counters of the collector as they are now; None without a collector in this process."""
        collector = self._collector
        return None if collector is None else collector.counters.as_dict()

    def settings(self) -> dict[str, Any]:
        """Settings to show, without passwords."""
        from ethogram.serve.store.database import shown, url_of

        values = self._settings.model_dump(mode="json") | {"alerts": self._rules.rules.model_dump(mode="json")}
        return values | {"data": str(self.folder), "store": shown(url_of(self._store_place()))}

    def libraries(self) -> Sequence[Library]:
        """The libraries that devices are compared with, the user's own first; empty before they are read."""
        identifier = self._files.identifier
        return () if identifier is None else identifier.libraries

    def knowledge(self) -> Knowledge | None:
        """The knowledge pack; None before it is read."""
        identifier = self._files.identifier
        return None if identifier is None else identifier.knowledge

    def judged_with(self) -> tuple[Sequence[str], str]:
        """Library files by which captures are judged, with that of confirmed devices, and the file of knowledge."""
        names, identifier = self._settings.library, self._files.identifier
        if identifier is not None and identifier.own is not None:
            names = (*(names or (PACKAGED_NAME,)), str(self._confirmed.path))
        return names, self._settings.knowledge

    def activity(self, device: str) -> Sequence[HourlyOctets]:
        """Octets of a device by hour and service in its latest week."""
        from ethogram.serve.api.service_view import HourlyOctets

        store, judge = self._store, self._judge
        detail = None if store is None else store.device(device)
        if detail is None or judge is None:
            return ()
        names = [key.value for key in detail.keys if key.kind == "flow"]
        since = detail.row.last_seen - timedelta(days=ACTIVITY_DAYS)
        sums: dict[tuple[datetime, str], float] = {}
        for facts in judge.counts.by_source.values():
            hours = facts.hourly(since, names)
            for hour, protocol, port, octets in hours.select("time", "protocol", "port", "octets").iter_rows():
                key = (hour, service_name(protocol, port))
                sums[key] = sums.get(key, 0.0) + octets
        return tuple(HourlyOctets(hour, name, octets) for (hour, name), octets in sorted(sums.items()))

    def _past(self, device: str, days: int) -> tuple[list[str], pl.DataFrame]:
        """Names of a device in the flow table, and its counts of the days before its latest flow."""
        store, judge = self._store, self._judge
        detail = None if store is None else store.device(device)
        if detail is None or judge is None:
            return [], COUNTS.empty()
        names = [key.value for key in detail.keys if key.kind == "flow"]
        return names, judge.counts.of_names(names, midnight_before(detail.row.last_seen, days))

    def peers(self, device: str) -> Sequence[DevicePeer]:
        """Other ends of a device by name in its latest week, then, of what has no name, by network in the latest hour.

        Networks come from the segments of the collector; watched files leave none.
        """
        names, counts = self._past(device, ACTIVITY_DAYS)
        if not names:
            return ()
        flows = self.collector_folder / "flows"
        return (*device_past.peers_by_name(counts), *device_past.peers_by_network(flows, names))

    def similarity(self, device: str) -> tuple[int, Sequence[EpochSimilarity]]:
        """Length of an epoch in seconds, and the similarity of each epoch of a device to its earlier ones."""
        _, counts = self._past(device, SIMILARITY_DAYS)
        return device_past.similarity(counts)

    def behaviour(self, device: str) -> DeviceBehaviour:
        """Each day of a device against its own fingerprints and those of devices of the same model or label."""
        store, judge = self._store, self._judge
        detail = None if store is None else store.device(device)
        clock = None if store is None else store.clock()
        if store is None or judge is None or detail is None or clock is None:
            return device_past.behaviour(COUNTS.empty(), device, "", datetime.now(UTC))
        row = detail.row
        label = row.statement if row.pinned or row.level == "model" else ""
        alike = store.devices(search=label, limit=MOST_ALIKE * 4).rows if label else ()
        details = [detail, *(each for like in alike if like.statement == label and like.id != row.id
                             and (each := store.device(like.id)) is not None)][: MOST_ALIKE + 1]  # fmt: skip
        since = midnight_before(row.last_seen, SIMILARITY_DAYS)
        counts = judge.counts.of_devices([due_of(each) for each in details], since)
        return device_past.behaviour(counts, row.id, label if len(details) > 1 else "", clock)

    def changes(self, since: timedelta, end: datetime, *, every: bool = False) -> StoredChanges:
        """Services and names of all devices that changed."""
        return stored_changes(self._open(), self._counts(), since, every=every, end=end)

    def device_changes(self, detail: DeviceDetail, since: timedelta, *, every: bool = False) -> StoredChanges:
        """What changed about one device."""
        return device_changes(self._open(), self._counts(), detail, since, every=every)

    def _open(self) -> Store:
        if self._store is None:
            raise InputError("the store is not open")
        return self._store

    def _counts(self) -> StoredCounts:
        """Stored counts as the judge writes them."""
        return self.stored_counts() if self._judge is None else self._judge.counts

    def traffic(self) -> Sequence[HourlyOctets]:
        """Octets of all devices by hour and kind in the latest week."""
        from ethogram.serve.api.service_view import HourlyOctets

        store = self._store
        clock = None if store is None else store.clock()
        if store is None or clock is None:
            return ()
        return tuple(HourlyOctets(*row) for row in store.traffic(clock - timedelta(days=ACTIVITY_DAYS)))
