"""What rules of alerts would raise of what is stored, or of files.

They run on a copy of the store, or on one that is made of the files, and nothing is kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from ethogram.config import AlertSettings, ServeSettings
from ethogram.errors import InputError
from ethogram.pipeline.read_options import ReadOptions
from ethogram.schema import AlertRow, DueDevice
from ethogram.serve.alert_rules import AlertRules, ServiceState
from ethogram.serve.judge import Judge
from ethogram.serve.library_files import LibraryFiles
from ethogram.serve.service import Service
from ethogram.serve.sources import WatchedFolder
from ethogram.serve.store import Store
from ethogram.serve.stored_counts import StoredCounts

__all__ = ["AlertTrial", "try_rules", "try_rules_on_files"]

MOST_PASSES, PAGE, MOST_SHOWN = 1000, 1000, 20_000


@dataclass(frozen=True)
class AlertTrial:
    """Alerts that the rules raise, the latest first, what they left out by reason, and what could not be read."""

    rows: tuple[AlertRow, ...]
    counters: Mapping[str, int]
    problems: tuple[str, ...] = ()


def try_rules(
    place: str | Path, settings: ServeSettings, since: timedelta, rules: AlertSettings | None = None
) -> AlertTrial:  # fmt: skip
    """Apply rules to the events of some time, and to what holds now.

    Parameters
    ----------
    place
        The store, which is only read.
    settings
        Of the service: where counts are, and the rules unless others are given.
    since
        How long before the time of the data events count.
    rules
        Other rules.

    Raises
    ------
    InputError
        If the store or the counts cannot be read.
    """
    rules = (rules or settings.rules_in_force()).model_copy(update={"interval_s": 1e-9})
    service = _service_of(Service(settings).stored_counts())
    with tempfile.TemporaryDirectory(prefix="ethogram-alerts-") as folder:
        backup, copy = Path(folder) / "store.jsonl.gz", Path(folder) / "store.db"
        with Store.open(place, settings.judge) as store:
            store.save(backup)
        with Store.restore(backup, copy, settings.judge) as store:
            clock = store.clock()
            if clock is None:  # no flows yet
                return AlertTrial((), {})
            store.restart_alerts(clock - since)
            _run(store, AlertRules(store, rules), service)
            return AlertTrial(_rows(store), store.alert_counters())


def try_rules_on_files(
    files: Sequence[str | Path], settings: ServeSettings, rules: AlertSettings | None = None,
    reading: ReadOptions | None = None,
) -> AlertTrial:  # fmt: skip
    """Judge files one after the other as the service judges a watched folder, and apply the rules after each of them.

    Parameters
    ----------
    files
        In the order of their flows; captures, logs and flow files of any kind.
    settings
        Of the service: libraries, the judge, and the rules unless others are given.
    rules
        Other rules.
    reading
        How files become flows of devices.

    Raises
    ------
    InputError
        If a file does not exist. Files that cannot be read are among ``problems``.
    LibraryError, ConfigurationError
        If a library or the file of knowledge cannot be used.
    """
    rules = (rules or settings.rules_in_force()).model_copy(update={"interval_s": 1e-9})
    paths = list(dict.fromkeys(Path(file) for file in files))
    for path in paths:
        if not path.is_file():
            raise InputError("is not a file" if path.exists() else "there is no such file", file=path)
    identifier = LibraryFiles(settings.library, settings.knowledge).new()
    problems: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="ethogram-alerts-") as folder,
        Store.open(Path(folder) / "store.db", settings.judge) as store,
    ):
        source = _GivenFiles(paths, reading, known=lambda: store.watched(_GivenFiles.name))
        judge = Judge(store, Path(folder) / "facts", [source], identifier, settings.judge)
        service, runner = _service_of(judge.counts), AlertRules(store, rules)
        more = True
        while more:
            report = judge.round()
            problems += report.problems
            runner.use(rules)  # every rule looks after every file, however little time has passed
            _run(store, runner, service, store.clock())
            more = report.more
        return AlertTrial(_rows(store), store.alert_counters(), tuple(dict.fromkeys(problems)))


class _GivenFiles(WatchedFolder):
    """Some files in their order, each one segment."""

    def __init__(
        self, paths: Sequence[Path], reading: ReadOptions | None, *, known: Callable[[], dict[str, tuple[int, int]]]
    ) -> None:  # fmt: skip
        super().__init__(Path(), reading, known=known)
        self._paths, self._known_files = paths, known

    def waiting(self) -> list[Path]:
        """Files that were not read."""
        known = self._known_files()
        return [path for path in self._paths if str(path) not in known]


def _service_of(counts: StoredCounts) -> ServiceState:
    """What the rules read of a service that only has counts."""

    def active_days(devices: Sequence[DueDevice]) -> dict[str, int]:
        days = counts.of_devices(devices).group_by("device").agg(pl.col("time").dt.date().n_unique())
        return {str(device): int(number) for device, number in days.iter_rows()}

    return ServiceState(active_days=active_days, window_days=counts.window_days, counts=counts.of_devices)


def _rows(store: Store) -> tuple[AlertRow, ...]:
    rows: list[AlertRow] = []
    while len(rows) < MOST_SHOWN and (part := store.alerts(offset=len(rows), limit=PAGE).rows):
        rows += part
    return tuple(rows)


def _run(store: Store, runner: AlertRules, service: ServiceState, now: datetime | None = None) -> None:
    """Passes until all events are read and all devices with traffic are looked at."""
    for _ in range(MOST_PASSES):
        runner.run(service, now)
        position, state = store.alert_state()
        waiting = state.get("behaviour", {}).get("id") or state.get("silent id")
        if position == store.last_event() and not waiting:
            return
