"""What rules of alerts would raise of what is stored: they run on a copy of the store, and nothing is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from ethogram.config import AlertSettings, ServeSettings
from ethogram.schema import AlertRow, DueDevice
from ethogram.serve.alert_rules import AlertRules, ServiceState
from ethogram.serve.service import Service
from ethogram.serve.store import Store

__all__ = ["AlertTrial", "try_rules"]

MOST_PASSES, PAGE, MOST_SHOWN = 1000, 1000, 20_000


@dataclass(frozen=True)
class AlertTrial:
    """Alerts that the rules raise, the latest first, and what they left out, by reason."""

    rows: tuple[AlertRow, ...]
    counters: Mapping[str, int]


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
    counts = Service(settings).stored_counts()

    def active_days(devices: Sequence[DueDevice]) -> dict[str, int]:
        days = counts.of_devices(devices).group_by("device").agg(pl.col("time").dt.date().n_unique())
        return {str(device): int(number) for device, number in days.iter_rows()}

    service = ServiceState(
        active_days=active_days, window_days=settings.judge.window_days, counts=counts.of_devices
    )
    with tempfile.TemporaryDirectory(prefix="ethogram-alerts-") as folder:
        backup, copy = Path(folder) / "store.jsonl.gz", Path(folder) / "store.db"
        with Store.open(place, settings.judge) as store:
            store.save(backup)
        with Store.restore(backup, copy, settings.judge) as store:
            clock = store.clock()
            if clock is None:  # no flows yet
                return AlertTrial((), {})
            _run(store, rules, service, clock - since)
            rows: list[AlertRow] = []
            while part := store.alerts(offset=len(rows), limit=PAGE).rows:
                rows += part
                if len(rows) >= MOST_SHOWN:
                    break
            return AlertTrial(tuple(rows), store.alert_counters())


def _run(store: Store, rules: AlertSettings, service: ServiceState, since: datetime) -> None:
    """Passes until all events are read and all devices with traffic are looked at."""
    store.restart_alerts(since)
    runner = AlertRules(store, rules)
    for _ in range(MOST_PASSES):
        runner.run(service)
        position, state = store.alert_state()
        waiting = state.get("behaviour", {}).get("id") or state.get("silent id")
        if position == store.last_event() and not waiting:
            return
