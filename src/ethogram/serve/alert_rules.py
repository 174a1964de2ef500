"""Rules that raise alerts: from events of the store, from what holds in it, and from the state of the service.

A pass reads the events since the last one and looks at what holds now; the store keeps it in one transaction with the
number of the last event, so that after a crash no alert is raised twice or lost.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ethogram.config import AlertSettings
from ethogram.schema import AlertPass, AlertSighting, DeviceRow, DueDevice, EventRow, MonitorAlarm, ServiceHealth
from ethogram.serve.behaviour_watch import BehaviourWatch, CountsOf
from ethogram.serve.store import Store

__all__ = ["AlertRules", "ServiceState"]

PART, PARTS = 1000, 10
MOST_WATCHED = 200
"""Devices whose behaviour is looked at in one pass."""
LOOK = timedelta(hours=1)
"""Time of the data between two looks at the behaviour of devices."""
BEHAVIOUR = ("outside profile", "unusual volume")
MOST_TRACKED, MOST_SILENT = 1000, 200
ALERTING = frozenset({"probable", "repeated"})
"""Causes of a changed statement that raise an alert; others refine the same, or follow from a change by the user."""
CLOCK_WORDS = ("ahead of arrival", "before arrival", "clock")
_CONFLICTS = {"hostname": "name conflict", "address": "address conflict", "mac": "several addresses"}
_OLDEST_EXPORTER = timedelta(days=30)
_LEAST_MESSAGES = 20


@dataclass(frozen=True)
class ServiceState:
    """What the rules read of the running service.

    Parameters
    ----------
    health
        State of every part.
    lost
        Gives counters of losses of the collector: ``place``, ``reason``, ``count`` and ``unit``.
    folder
        Data folder; None: free space is not looked at.
    active_days
        Gives the days with traffic of some devices in their latest days, by id.
    window_days
        How many days that are.
    counts
        Reads stored counts of devices; None: their behaviour is not looked at.
    """

    health: Sequence[ServiceHealth] = ()
    lost: Callable[[], Sequence[Mapping[str, Any]]] = field(default=lambda: ())
    folder: Path | None = None
    active_days: Callable[[Sequence[DueDevice]], Mapping[str, int]] = field(default=lambda _: {})
    window_days: int = 7
    counts: CountsOf | None = None


class AlertRules:
    """Applies all rules, one pass at a time.

    Parameters
    ----------
    store
        Read and written.
    settings
        Times and bounds.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "home.db") as store:
    ...     AlertRules(store).run(ServiceState())
    0
    """

    def __init__(self, store: Store, settings: AlertSettings | None = None) -> None:
        self._store, self._settings = store, settings or AlertSettings()
        self._started = datetime.now(tz=UTC)
        self._looked = self._compared = float("-inf")
        self._behaviour = BehaviourWatch(self._settings)

    def use(self, settings: AlertSettings) -> None:
        """Apply other settings from the next pass on."""
        self._settings = settings
        self._looked = self._compared = float("-inf")
        self._behaviour = BehaviourWatch(settings)

    def run(self, service: ServiceState, now: datetime | None = None) -> int:
        """One pass; returns the number of new alerts.

        Raises
        ------
        InputError
            If the store cannot be read or written; the next pass finds the same again.
        """
        now = now or datetime.now(tz=UTC)
        after, state = self._store.alert_state()
        look = time.monotonic() - self._looked >= self._settings.interval_s
        if not look and self._store.last_event() == after:
            return 0
        alert_pass = _Pass(self._store, self._settings, now, after, state, self._started)
        alert_pass.read_events()
        if look:
            alert_pass.look_at_devices(service)
            alert_pass.look_at_behaviour(service, self._behaviour)
            alert_pass.look_at_service(service)
            if time.monotonic() - self._compared >= self._settings.conflict_s / 6:
                alert_pass.look_at_conflicts()
                self._compared = time.monotonic()
            self._looked = time.monotonic()
        return self._store.record_alerts(alert_pass.result(), self._settings)


def _shared(mine: str, theirs: str) -> bool:
    """Whether two statements of one of two labels have one in common."""
    return bool({each.casefold() for each in mine.split(" or ")} & {each.casefold() for each in theirs.split(" or ")})


def _in_use(row: DeviceRow) -> str:
    """A device that shares a name or an address with another one: who it is, and when it was last seen."""
    keys = ", ".join(dict.fromkeys(each for each in (row.address, row.mac) if each and each != row.name))
    stated = f", {row.statement}" if row.statement not in ("", "unknown", row.name) else ""
    return f"{row.name}{f' ({keys})' if keys else ''}{stated}: latest flow {row.last_seen:%Y-%m-%d %H:%M} UTC"


class _Pass:
    """One pass of the rules."""

    def __init__(
        self, store: Store, settings: AlertSettings, now: datetime, after: int, state: dict[str, Any],
        started: datetime,
    ) -> None:  # fmt: skip
        self._store, self._settings, self._now, self._started = store, settings, now, started
        self._after = self._event = after
        self._state = state
        self._clock = store.clock()
        self._raised: list[AlertSighting] = []
        self._holding: dict[str, tuple[AlertSighting, ...]] = {}
        self._totals: dict[str, int] = {}
        self._ended: list[tuple[str, str]] = []
        self._counters: Counter[str] = Counter()

    def result(self) -> AlertPass:
        """What was found."""
        return AlertPass(
            self._now, self._after, self._event, tuple(self._raised), self._holding, tuple(self._ended),
            self._totals, self._counters, self._state,
        )  # fmt: skip

    # Events

    def read_events(self) -> None:
        """New devices and changed verdicts since the last pass; rows beyond the limit wait for the next pass."""
        events: list[EventRow] = []
        for _ in range(PARTS):
            part = self._store.events(self._event, limit=PART)
            events += [event for event in part if event.kind in ("device new", "verdict changed")]
            self._event = part[-1].id if part else self._event
            if len(part) < PART:
                break
        if not events:
            return
        rows = self._store.rows(sorted({event.device for event in events}))
        first = self._store.devices_since()
        libraries: dict[str, list[EventRow]] = {}
        for event in events:
            row = rows.get(event.device)
            if row is None or row.state == "ignored":
                self._counters["merged or ignored"] += 1
            elif event.kind == "device new":
                self._new_device(row, first)
            elif event.data.get("cause") == "library":
                libraries.setdefault(str(event.data["reason"]), []).append(event)
            else:
                self._changed_verdict(event, row)
        for reason, changes in libraries.items():
            lines = tuple(f"{each.data['name']}: {each.data['before']} → {each.data['after']}" for each in changes[:10])
            what = "1 device" if len(changes) == 1 else f"{len(changes):,} devices"
            self._raised.append(AlertSighting(
                "changed verdict", reason, f"{what}: {reason}", lines, count=len(changes)
            ))  # fmt: skip

    def _new_device(self, row: DeviceRow, first: datetime | None) -> None:
        if first is None or row.first_seen < first + timedelta(seconds=self._settings.learn_s):
            self._counters["new devices while learning"] += 1
            return
        place = " and ".join(each for each in (row.address, row.mac) if each and each != row.name)
        text = f"first seen {row.first_seen:%Y-%m-%d %H:%M} UTC{f' at {place}' if place else ''}"
        self._raised.append(AlertSighting("new device", row.id, text, device=row.id, name=row.name))

    def _changed_verdict(self, event: EventRow, row: DeviceRow) -> None:
        cause = str(event.data.get("cause", ""))
        if row.pinned or cause not in ALERTING:
            self._counters["changes of labelled devices" if row.pinned else "changes that raise no alert"] += 1
            return
        evidence = (str(event.data["reason"]), *(str(line) for line in event.data.get("evidence", ())))
        text = f"{event.data['before']} → {event.data['after']}"
        self._raised.append(AlertSighting("changed verdict", row.id, text, evidence, row.id, row.name))

    # Devices

    def look_at_devices(self, service: ServiceState) -> None:
        """Unknown, unusual and silent devices, and groups of unknown ones."""
        holding = self._store.holding(unknown_s=self._settings.unknown_s)
        self._holding["unknown device"] = tuple(
            AlertSighting("unknown device", row.id, f"unknown since {row.first_seen:%Y-%m-%d %H:%M} UTC",
                          device=row.id, name=row.name)
            for row in holding.unknown
        )  # fmt: skip
        conflicts = self._identity_conflicts(holding.unusual)
        self._holding["identity conflict"] = conflicts
        explained = {each.device for each in conflicts}
        self._holding["unusual device"] = tuple(
            AlertSighting("unusual device", row.id, f"does not behave like {row.statement}", device=row.id,
                          name=row.name)
            for row in holding.unusual if row.id not in explained
        )  # fmt: skip
        self._totals |= {"unknown device": holding.unknowns, "unusual device": holding.unusuals - len(explained)}
        self._silent(service)
        self._groups()

    def _identity_conflicts(self, unusual: Sequence[DeviceRow]) -> tuple[AlertSighting, ...]:
        """Labelled devices with the traffic of another kind or vendor, for some time."""
        before: dict[str, str] = self._state.get("identities", {})
        now: dict[str, str] = {}
        sightings: list[AlertSighting] = []
        for row in unusual[:MOST_TRACKED]:
            detail = self._store.device(row.id) if row.pinned and self._clock is not None else None
            ladder = ((detail.verdict or {}).get("ladder") or {}) if detail is not None else {}
            differs = [(part, mine, theirs) for part, mine in (("kind", row.kind), ("vendor", row.vendor))
                       if mine and (theirs := str(ladder.get(part) or "")) and not _shared(mine, theirs)]  # fmt: skip
            if not differs or self._clock is None or detail is None:
                continue
            now[row.id] = before.get(row.id, self._clock.isoformat())
            since = datetime.fromisoformat(now[row.id])
            if self._clock - since < timedelta(seconds=self._settings.conflict_s):
                continue
            facts = [str(fact["text"]) for level in ladder.get("levels", ()) if level.get("stated")
                     for fact in level.get("evidence", ())]  # fmt: skip
            keys = ", ".join(dict.fromkeys(key.value for key in detail.keys if key.kind != "flow"))
            evidence = (
                *(f"{part}: labelled {mine}, traffic of {theirs}" for part, mine, theirs in differs),
                *dict.fromkeys(facts[:4]), f"it uses {keys}", f"since {since:%Y-%m-%d %H:%M} UTC",
            )  # fmt: skip
            text = f"labelled {row.statement}, but its traffic is that of: {ladder.get('statement')}"
            sightings.append(AlertSighting("identity conflict", row.id, text, evidence, row.id, row.name))
        self._state["identities"] = now
        return tuple(sightings)

    def _silent(self, service: ServiceState) -> None:
        """Devices that crossed the bound of silence since the last pass; they end with their next flow."""
        if self._clock is None:
            return
        bound = self._clock - timedelta(seconds=self._store.settings.silent_s)
        stored = self._state.get("silent")
        after = datetime.fromisoformat(stored) if stored else bound - timedelta(days=30)
        last_id = self._state.get("silent id")  # set if the last pass left devices for this one
        devices = self._store.fell_silent(after, bound, limit=MOST_SILENT, after_id=last_id)
        days = service.active_days(devices) if devices else {}
        rows = self._store.rows([device.id for device in devices])
        for device in devices:
            span = (device.last_seen.date() - device.first_seen.date()).days + 1
            of = min(span, service.window_days + 1)
            active = days.get(device.id, 0)
            regular = active >= self._settings.regular_days and active >= self._settings.regular_share * of
            if not regular or device.id not in rows:
                self._counters["silent devices that were not regular"] += 1
                continue
            text = f"no traffic since {device.last_seen:%Y-%m-%d %H:%M} UTC"
            evidence = (f"traffic on {min(active, of)} of its last {of} days",)
            self._raised.append(AlertSighting(
                "silent device", device.id, text, evidence, device.id, rows[device.id].name
            ))  # fmt: skip
        full = len(devices) >= MOST_SILENT
        self._state["silent"] = (devices[-1].last_seen if full else max(after, bound)).isoformat()
        self._state["silent id"] = devices[-1].id if full else None
        known = [subject for subject in self._store.open_subjects("silent device") if subject]
        seen = self._store.rows(known)
        self._ended += [("silent device", id_) for id_ in known if id_ not in seen or seen[id_].last_seen > bound]

    def _groups(self) -> None:
        """Groups of unknown devices that have grown."""
        before: dict[str, int] = self._state.get("groups", {})
        groups = [group for group in self._store.groups() if not group.name][:MOST_TRACKED]
        for group in groups:
            count = len(group.devices)
            if count < 2 or count <= before.get(group.id, 0):
                continue
            was = before.get(group.id, 0)
            text = f"{count} unknown devices behave alike{f', {was} before' if was else ''}"
            names = ", ".join(row.name for row in group.devices[:8])
            self._raised.append(AlertSighting(
                "unknown group", group.id, text, (*[f"they share {each}" for each in group.shares[:5]], names)
            ))  # fmt: skip
        sizes = {group.id: max(len(group.devices), before.get(group.id, 0)) for group in groups}
        self._ended += [("unknown group", id_) for id_ in before if id_ not in sizes]
        self._state["groups"] = sizes

    def look_at_behaviour(self, service: ServiceState, watch: BehaviourWatch) -> None:
        """Devices with traffic since the last look, at most some in one pass, against their own past."""
        if service.counts is None or self._clock is None:
            return
        stored: dict[str, Any] = self._state.get("behaviour", {})
        after = datetime.fromisoformat(stored["after"]) if stored else self._clock - LOOK
        last_id = stored.get("id")  # set if the last pass left devices for this one
        if stored and last_id is None and self._clock - after < LOOK:
            return
        until = datetime.fromisoformat(stored["until"]) if last_id is not None else self._clock
        devices = self._store.fell_silent(after, until, limit=MOST_WATCHED, after_id=last_id)
        since = datetime.fromisoformat(stored["since"]) if stored else after
        rows = self._store.rows([device.id for device in devices])
        for id_, alarm in watch.look(devices, service.counts, self._clock).items():
            self._judge_behaviour(rows.get(id_), alarm, since)
        full = len(devices) >= MOST_WATCHED
        self._state["behaviour"] = {
            "after": (devices[-1].last_seen if full else until).isoformat(), "id": devices[-1].id if full else None,
            "until": until.isoformat(), "since": (since if full else until).isoformat(),
        }  # fmt: skip
        if not full:
            silent = self._clock - timedelta(days=1)
            for kind in BEHAVIOUR:
                known = [subject for subject in self._store.open_subjects(kind) if subject]
                seen = self._store.rows(known)
                self._ended += [(kind, id_) for id_ in known if id_ not in seen or seen[id_].last_seen < silent]

    def _judge_behaviour(self, row: DeviceRow | None, alarm: MonitorAlarm | None, since: datetime) -> None:
        """Raise what is new since the last look; end what is not the case on this day."""
        if row is None or row.state == "ignored":
            self._counters["merged or ignored"] += 1
            return
        inside = alarm is not None and all(each.inside for each in alarm.excesses)
        kind = "" if alarm is None else BEHAVIOUR[1] if inside else BEHAVIOUR[0]
        self._ended += [(other, row.id) for other in BEHAVIOUR if other != kind]
        if alarm is not None and alarm.end > since:
            evidence = (*(each.reason for each in alarm.excesses[1:4]), *alarm.services)
            self._raised.append(AlertSighting(kind, row.id, alarm.reason, evidence, row.id, row.name))

    def look_at_conflicts(self) -> None:
        """Names, addresses and MACs that are used twice for some time."""
        if self._clock is None:
            return
        before: dict[str, str] = self._state.get("conflicts", {})
        now: dict[str, str] = {}
        holding: dict[str, list[AlertSighting]] = {kind: [] for kind in _CONFLICTS.values()}
        for conflict in self._store.conflicts()[:MOST_TRACKED]:
            key = f"{conflict.kind} {conflict.value}"
            now[key] = before.get(key, self._clock.isoformat())
            if self._clock - datetime.fromisoformat(now[key]) < timedelta(seconds=self._settings.conflict_s):
                continue
            kind = _CONFLICTS[conflict.kind]
            id_, name = conflict.devices[0]
            rows = self._store.rows([each for each, _ in conflict.devices])
            text = f"{conflict.value} is used by {len(conflict.devices)} devices at once"
            evidence = tuple(_in_use(rows[each]) for each, _ in conflict.devices if each in rows)
            if conflict.kind == "mac":
                text = f"{conflict.value} uses {len(conflict.values)} addresses at once"
                evidence = (", ".join(conflict.values),)
            evidence = (*evidence, f"since {datetime.fromisoformat(now[key]):%Y-%m-%d %H:%M} UTC")
            holding[kind].append(AlertSighting(kind, conflict.value, text, evidence, id_, name))
        self._holding |= {kind: tuple(sightings) for kind, sightings in holding.items()}
        self._state["conflicts"] = now

    # Service

    def look_at_service(self, service: ServiceState) -> None:
        """Losses that move, clocks, exporters, parts and the disk."""
        self._losses(service.lost())
        self._exporters()
        trouble = timedelta(seconds=self._settings.trouble_s)
        self._holding["service trouble"] = tuple(
            AlertSighting("service trouble", part.part, f"{part.part}: {part.message or part.state}")
            for part in service.health
            if part.state in ("failed", "degraded") and self._now - part.since >= trouble
        )
        if service.folder is not None:
            self._disk(service.folder)

    def _losses(self, lost: Sequence[Mapping[str, Any]]) -> None:
        before: dict[str, Any] = self._state.get("losses", {})
        first = "losses" not in self._state
        losses: dict[str, Any] = {}
        holding: dict[str, list[AlertSighting]] = {"collector loss": [], "clock error": []}
        rest = timedelta(seconds=self._settings.rest_s)
        for loss in lost[:MOST_TRACKED]:
            subject, count = f"{loss['place']}: {loss['reason']}", int(loss["count"])
            was = before.get(subject, {"count": count if first else 0, "gain": 0, "moved": None})
            gain, moved = int(was["gain"]), was["moved"]
            if count > was["count"]:
                gain, moved = gain + count - int(was["count"]), self._now.isoformat()
            holds = moved is not None and self._now - datetime.fromisoformat(moved) < rest
            losses[subject] = {"count": count, "gain": gain if holds else 0, "moved": moved if holds else None}
            if holds:
                kind = "clock error" if any(text in subject for text in CLOCK_WORDS) else "collector loss"
                text = f"{subject}: {gain:,} {loss['unit']}"
                holding[kind].append(AlertSighting(kind, subject, text))
        self._holding |= {kind: tuple(sightings) for kind, sightings in holding.items()}
        self._state["losses"] = losses

    def _exporters(self) -> None:
        """Exporters without messages, by address, since a router that starts again sends from another port."""
        longest = timedelta(seconds=self._settings.exporter_s)
        if self._now - self._started < longest:
            return
        latest: dict[str, tuple[datetime, int]] = {}
        for each in self._store.exporters():
            seen, messages = latest.get(each.address, (each.last_seen, 0))
            latest[each.address] = (max(seen, each.last_seen), messages + each.messages)
        self._holding["silent exporter"] = tuple(
            AlertSighting("silent exporter", address, f"{address}: no message since {seen:%Y-%m-%d %H:%M} UTC",
                          (f"{messages:,} messages before",))
            for address, (seen, messages) in latest.items()
            if longest < self._now - seen < _OLDEST_EXPORTER and messages >= _LEAST_MESSAGES
        )  # fmt: skip

    def _disk(self, folder: Path) -> None:
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            return
        low = free < self._settings.disk_octets
        text = f"{free / 1e6:,.0f} MB are free on the disk of {folder}"
        self._holding["disk space"] = (AlertSighting("disk space", "data", text),) if low else ()
