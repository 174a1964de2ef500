"""Alerts: one row for each cause while it holds, so that one that flaps or repeats is counted and not raised again.

Alerts of one kind that come together are one alert. Muted alerts are counted and not stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, desc, func, insert, or_, select, update

from ethogram.config import AlertRule, AlertSettings
from ethogram.errors import InputError, UsageError
from ethogram.schema import (
    ALERT_KINDS,
    ALERT_STATES,
    SEVERITIES,
    AlertPage,
    AlertPass,
    AlertRow,
    AlertSighting,
    MuteRow,
)
from ethogram.serve.store.log import log_change
from ethogram.serve.store.reads import pattern_of, root_of
from ethogram.serve.store.rounds import set_meta
from ethogram.serve.store.rows import chunks
from ethogram.serve.store.tables import alert, device, event, meta, mute

__all__ = [
    "acknowledge", "add_mute", "alert_counters", "alert_state", "alerts", "alerts_by_kind", "count_open", "mutes",
    "open_subjects", "record_pass", "remove_mute", "reopen", "restart",
]  # fmt: skip

META_EVENT, META_STATE, META_COUNTED = "alert event", "alert state", "alert counters"
MOST, MOST_TEXT, MOST_EVIDENCE = 1000, 1000, 10
MOST_MUTES = 1000
FLAPPING = timedelta(hours=1)
"""A cause that comes back sooner after its alert was closed is no event again: it would send one at each turn."""
_ACTIVE = ("open", "acknowledged")
_CLOSED_SINGLY = ("silent device", "unknown group")
"""Kinds whose causes end one by one: one alert for many of them has no end, and is closed by age."""
_Key = tuple[str, str]


def _value(connection: Connection, name: str, default: Any) -> Any:
    value = connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar()
    return default if value is None else value


def alert_state(connection: Connection) -> tuple[int, dict[str, Any]]:
    """Latest event that the rules have seen, and what they stored for the next pass."""
    return int(_value(connection, META_EVENT, 0)), dict(_value(connection, META_STATE, {}))


def alert_counters(connection: Connection) -> dict[str, int]:
    """What became of everything that the rules found, since the store was created."""
    return dict(sorted(_value(connection, META_COUNTED, {}).items()))


def open_subjects(connection: Connection, kind: str) -> dict[str, datetime]:
    """Subjects of the alerts of a kind that are not closed, and when each was raised."""
    query = select(alert.c.subject, alert.c.last).where(alert.c.kind == kind, alert.c.state.in_(_ACTIVE)).limit(MOST)
    return {row.subject: row.last for row in connection.execute(query)}


def record_pass(connection: Connection, alert_pass: AlertPass, settings: AlertSettings) -> int:
    """Store one pass of the rules; returns the number of new alerts.

    Raises
    ------
    InputError
        If the store has another position, so that an alert would be raised twice or lost.
    """
    position, _ = alert_state(connection)
    if position != alert_pass.after:
        raise InputError(f"alerts: event {position} is stored, not {alert_pass.after}: no alert is raised twice")
    writer = _Writer(connection, alert_pass, settings)
    writer.write()
    counters = Counter(alert_counters(connection))
    counters.update(writer.counters)
    counters.update(alert_pass.counters)
    set_meta(connection, META_EVENT, alert_pass.event)
    set_meta(connection, META_STATE, dict(alert_pass.state))
    set_meta(connection, META_COUNTED, dict(counters))
    return writer.counters["raised"]


def restart(connection: Connection, since: datetime) -> None:
    """Forget all alerts, and apply the rules anew to events since a time; what is in conflict stays known."""
    state = {name: value for name, value in alert_state(connection)[1].items() if name in ("conflicts", "identities")}
    last = select(func.max(event.c.id)).where(event.c.time < since)
    connection.execute(delete(alert))
    set_meta(connection, META_EVENT, int(connection.execute(last).scalar() or 0))
    set_meta(connection, META_STATE, state)
    set_meta(connection, META_COUNTED, {})


class _Writer:
    """Writes one pass."""

    def __init__(self, connection: Connection, current: AlertPass, settings: AlertSettings) -> None:
        self._connection, self._found, self._settings = connection, current, settings
        self._now = current.time
        self._kinds: dict[str, str] = {}  # of devices, as rules need them
        self.counters: Counter[str] = Counter()
        self._mutes = [row for row in mutes(connection) if row.until is None or row.until > self._now]
        kinds = {each.kind for each in current.raised} | set(current.holding) | {kind for kind, _ in current.ended}
        query = select(alert).where(alert.c.kind.in_(sorted(kinds)), alert.c.state.in_(_ACTIVE)).order_by(alert.c.id)
        self._active: dict[_Key, RowMapping] = {}
        self._doubles: list[int] = []  # of devices that were merged
        for row in connection.execute(query).mappings():
            key = (row["kind"], row["subject"])
            if key in self._active:
                self._doubles.append(self._active[key]["id"])
            self._active[key] = row

    def write(self) -> None:
        """Close what has ended, then raise what is new."""
        ended = [self._active[key]["id"] for key in self._found.ended if key in self._active]
        self._close([*self._doubles, *ended])
        raised: dict[str, list[AlertSighting]] = {}
        for each in self._unmuted(self._found.raised):
            raised.setdefault(each.kind, []).append(each)
        for kind, sightings in raised.items():
            self._raise(kind, sightings)
        for kind, holding in self._found.holding.items():
            self._hold(kind, self._unmuted(holding))
        self._remove_old()

    def _unmuted(self, sightings: Iterable[AlertSighting]) -> list[AlertSighting]:
        rest: list[AlertSighting] = []
        for each in sightings:
            if each.kind in self._settings.off:
                self.counters["switched off"] += 1
            elif any(row.kind in ("", each.kind) and row.device in ("", each.device) for row in self._mutes):
                self.counters["muted"] += 1
            elif (rule := self._rule(each)) is not None and rule.mute:
                self.counters["muted by a rule"] += 1
            else:
                rest.append(each)
        return rest

    def _rule(self, each: AlertSighting) -> AlertRule | None:
        """The first rule that fits."""
        if not self._settings.rule:
            return None
        if each.device and each.device not in self._kinds:
            query = select(device.c.kind).where(device.c.id == each.device)
            self._kinds[each.device] = str(self._connection.execute(query).scalar() or "")
        kind = self._kinds.get(each.device, "")
        return next((rule for rule in self._settings.rule if rule.fits(each.kind, kind)), None)

    def _severity(self, each: AlertSighting) -> str:
        rule = self._rule(each)
        return ALERT_KINDS[each.kind].severity if rule is None or rule.severity is None else rule.severity

    def _raise(self, kind: str, sightings: Sequence[AlertSighting]) -> None:
        """Alerts of single occurrences: a repetition is counted."""
        fresh: list[AlertSighting] = []
        for each in sightings:
            row = self._active.get((kind, each.subject[:255]))
            if row is None:
                fresh.append(each)
            else:
                self.counters["repeated"] += 1
                self._update(row, each, row["count"] + each.count)
        if not self._together(kind, len(fresh)):
            for each in fresh:
                self._open(each)
            return
        self.counters["grouped"] += len(fresh)
        group = self._active.get((kind, ""))
        count = len(fresh) + (group["count"] if group is not None else 0)
        self._open_group(kind, fresh, count)

    def _hold(self, kind: str, holding: Sequence[AlertSighting]) -> None:
        """Alerts of conditions that hold: those of other subjects are closed."""
        subjects = {each.subject[:255] for each in holding}
        group = self._active.get((kind, ""))
        total = max(self._found.totals.get(kind, 0), len(holding))
        fresh = [each for each in holding if (kind, each.subject[:255]) not in self._active]
        together = bool(fresh) and (
            self._together(kind, len(fresh)) or (group is not None and total > self._settings.group_from // 2)
        )
        self._close([
            row["id"] for (of, subject), row in self._active.items()
            if of == kind and subject not in subjects and not (together and subject == "")
        ])  # fmt: skip
        for each in holding:
            row = self._active.get((kind, each.subject[:255]))
            if row is not None and row["text"] != each.text[:MOST_TEXT]:
                self._update(row, each, max(each.count, row["count"]))
        if not together:
            for each in fresh:
                self._open(each)
            return
        count = total - (len(holding) - len(fresh))
        if group is None:
            self.counters["grouped"] += count
        self._open_group(kind, fresh, count)

    def _together(self, kind: str, fresh: int) -> bool:
        """Whether new alerts of a kind are one alert."""
        if fresh >= self._settings.group_from:
            return True
        since = self._now - timedelta(hours=1)
        query = select(func.count()).where(alert.c.kind == kind, alert.c.first > since)
        return fresh > 0 and fresh + (self._connection.execute(query).scalar() or 0) > self._settings.hourly

    def _open_group(self, kind: str, sightings: Sequence[AlertSighting], count: int) -> None:
        text = ALERT_KINDS[kind].many.format(count=f"{count:,}")
        lines = [f"{each.name}: {each.text}" if each.name else each.text for each in sightings[:MOST_EVIDENCE]]
        if count > len(lines):
            lines[-1] = f"and {count - len(lines) + 1:,} more"
        together = AlertSighting(kind, "", text, tuple(lines), count=count)
        row = self._active.get((kind, ""))
        if row is None:
            self._open(together)
        elif row["text"] != text:
            self._update(row, together, count)

    def _open(self, each: AlertSighting) -> None:
        """A new row, or the latest one of the same cause if it was closed a short time ago."""
        recent = select(alert).where(
            alert.c.kind == each.kind, alert.c.subject == each.subject[:255],
            alert.c.changed > self._now - timedelta(seconds=self._settings.repeat_s),
        ).order_by(desc(alert.c.id)).limit(1)  # fmt: skip
        row = self._connection.execute(recent).mappings().first()
        if row is not None:
            self.counters["reopened"] += 1
            self._update(row, each, row["count"] + each.count, state="open", changed=None, user="")
            if self._now - row["changed"] >= FLAPPING:
                self._write_event(row["id"], row["severity"], each, reopened=True)
            return
        self.counters["raised"] += 1
        severity = self._severity(each)
        result = self._connection.execute(insert(alert).values(
            kind=each.kind, severity=severity, subject=each.subject[:255], device=each.device, first=self._now,
            last=self._now, count=each.count, state="open", changed=None, user="", **_texts(each),
        ))  # fmt: skip
        primary = result.inserted_primary_key
        self._write_event(primary[0] if primary else 0, severity, each)

    def _write_event(self, id_: int, severity: str, each: AlertSighting, *, reopened: bool = False) -> None:
        """An event, which sinks send."""
        data = {"alert": id_, "kind": each.kind, "severity": severity, "name": each.name, "text": each.text[:MOST_TEXT]}
        if reopened:
            data["reopened"] = True
        self._connection.execute(insert(event).values(time=self._now, kind="alert", device=each.device, data=data))

    def _update(self, row: RowMapping, each: AlertSighting, count: int, **values: Any) -> None:
        self._connection.execute(
            update(alert).where(alert.c.id == row["id"]).values(last=self._now, count=count, **_texts(each), **values)
        )

    def _close(self, ids: Sequence[int]) -> None:
        self.counters["closed"] += len(ids)
        for part in chunks(ids):
            self._connection.execute(
                update(alert).where(alert.c.id.in_(part)).values(state="closed", changed=self._now)
            )

    def _remove_old(self) -> None:
        """Close by age what does not last; remove what was closed long ago, and what is beyond the bound."""
        passing = or_(
            alert.c.kind.in_([name for name, kind in ALERT_KINDS.items() if not kind.lasts]),
            alert.c.kind.in_(_CLOSED_SINGLY) & (alert.c.subject == ""),
        )
        old = self._now - timedelta(days=self._settings.open_days)
        ids = select(alert.c.id).where(passing, alert.c.state.in_(_ACTIVE), alert.c.last < old)
        self._close(list(self._connection.execute(ids).scalars()))
        gone = self._now - timedelta(days=self._settings.keep_days)
        removed = self._connection.execute(delete(alert).where(alert.c.state == "closed", alert.c.changed < gone))
        self.counters["removed by age"] += removed.rowcount
        total = self._connection.execute(select(func.count()).select_from(alert)).scalar() or 0
        if total > self._settings.max_alerts:
            oldest = select(alert.c.id).order_by(alert.c.state != "closed", alert.c.last, alert.c.id)
            ids_ = self._connection.execute(oldest.limit(total - self._settings.max_alerts)).scalars().all()
            for part in chunks(ids_):
                self._connection.execute(delete(alert).where(alert.c.id.in_(part)))
            self.counters["removed beyond the bound"] += len(ids_)
        self._connection.execute(delete(mute).where(mute.c.until <= self._now))


def _texts(each: AlertSighting) -> dict[str, Any]:
    return {"text": each.text[:MOST_TEXT],
            "evidence": [line[:MOST_TEXT] for line in each.evidence[:MOST_EVIDENCE]]}  # fmt: skip


# What the page and the API read


def _conditions(
    state: str | None, kind: str | None, severity: str | None, device_: str | None, search: str
) -> list[ColumnElement[bool]]:  # fmt: skip
    for value, known, what in ((state, ALERT_STATES, "state"), (kind, ALERT_KINDS, "kind"),
                               (severity, SEVERITIES, "severity")):  # fmt: skip
        if value is not None and value not in known:
            raise UsageError(f"the {what} of an alert is {', '.join(known)}, not {value!r}")
    pairs = ((alert.c.state, state), (alert.c.kind, kind), (alert.c.severity, severity), (alert.c.device, device_))
    conditions = [column == value for column, value in pairs if value is not None]
    for word in search.split()[:8]:
        text = pattern_of(word)
        conditions.append(or_(func.lower(alert.c.text).like(text, escape="\\"), device.c.words.like(text, escape="\\")))
    return conditions


def alerts(
    connection: Connection, *, id_: int | None = None, state: str | None = None, kind: str | None = None,
    severity: str | None = None, device_: str | None = None, search: str = "", offset: int = 0, limit: int = 100,
) -> AlertPage:  # fmt: skip
    """A part of the list of alerts, the latest first."""
    if device_ is not None and (root := root_of(connection, device_)) is not None:
        device_ = root["id"]
    conditions = _conditions(state, kind, severity, device_, search)
    if id_ is not None:
        conditions.append(alert.c.id == id_)
    joined = alert.outerjoin(device, device.c.id == alert.c.device)
    counted = select(func.count()).select_from(joined if search else alert).where(*conditions)
    total = connection.execute(counted).scalar() or 0
    query = (
        select(alert, device.c.name.label("device_name"), device.c.kind.label("device_kind"))
        .select_from(joined)
        .where(*conditions)
        .order_by(desc(alert.c.last), desc(alert.c.id))
        .offset(max(offset, 0))
        .limit(min(max(limit, 0), MOST))
    )
    rows = tuple(_row(row) for row in connection.execute(query).mappings())
    by_severity = select(alert.c.severity, func.count()).where(alert.c.state == "open").group_by(alert.c.severity)
    counts = {str(name): int(count) for name, count in connection.execute(by_severity)}
    return AlertPage(rows, int(total), {name: counts.get(name, 0) for name in SEVERITIES})


def _row(row: RowMapping) -> AlertRow:
    return AlertRow(
        row["id"], row["kind"], row["severity"], row["subject"], row["text"], tuple(row["evidence"]), row["device"],
        row["device_name"] or "", row["device_kind"] or "", row["state"], row["first"], row["last"], row["count"],
        row["changed"], row["user"],
    )  # fmt: skip


def count_open(connection: Connection) -> int:
    """Number of alerts that are open."""
    return connection.execute(select(func.count()).where(alert.c.state == "open")).scalar() or 0


def alerts_by_kind(connection: Connection) -> dict[tuple[str, str], int]:
    """Number of alerts by kind and state."""
    query = select(alert.c.kind, alert.c.state, func.count()).group_by(alert.c.kind, alert.c.state)
    return {(kind, state): int(count) for kind, state, count in connection.execute(query)}


def mutes(connection: Connection) -> tuple[MuteRow, ...]:
    """What is muted, the latest first."""
    query = select(mute, device.c.name.label("device_name")).outerjoin(device, device.c.id == mute.c.device)
    rows = connection.execute(query.order_by(desc(mute.c.id))).mappings()
    return tuple(
        MuteRow(row["id"], row["kind"], row["device"], row["device_name"] or "", row["until"], row["user"], row["time"])
        for row in rows
    )


# What users change


def acknowledge(connection: Connection, ids: Sequence[int], user: str) -> int:
    """Acknowledge alerts that are open; returns how many were."""
    now, changed = datetime.now(tz=UTC), 0
    for part in chunks(sorted(set(ids))):
        changed += connection.execute(
            update(alert).where(alert.c.id.in_(part), alert.c.state == "open")
            .values(state="acknowledged", changed=now, user=user)
        ).rowcount  # fmt: skip
    if changed:
        log_change(connection, user, "acknowledge", "", {"alerts": list(ids)[:100], "count": changed})
    return changed


def reopen(connection: Connection, id_: int, user: str) -> None:
    """Take back that an alert was acknowledged."""
    changed = connection.execute(
        update(alert).where(alert.c.id == id_, alert.c.state == "acknowledged")
        .values(state="open", changed=None, user="")
    ).rowcount  # fmt: skip
    if not changed:
        return
    log_change(connection, user, "reopen alert", "", {"alerts": [id_]})
    row = connection.execute(select(alert).where(alert.c.id == id_)).mappings().one()
    connection.execute(insert(event).values(
        time=datetime.now(tz=UTC), kind="alert", device=row["device"],
        data={"alert": id_, "kind": row["kind"], "severity": row["severity"], "text": row["text"], "reopened": True},
    ))  # fmt: skip


def add_mute(connection: Connection, kind: str, device_: str, until: datetime | None, user: str) -> int:
    """Mute a kind, a device, a kind about a device, or all; open alerts that it covers are closed. Returns its id."""
    if kind and kind not in ALERT_KINDS:
        raise UsageError(f"there is no kind of alert {kind!r}; there are {', '.join(ALERT_KINDS)}")
    if device_:
        row = root_of(connection, device_)
        if row is None:
            raise UsageError(f"there is no device {device_!r}")
        device_ = row["id"]
    now = datetime.now(tz=UTC)
    if until is not None and until <= now:
        raise UsageError("a mute ends in the future")
    connection.execute(delete(mute).where(mute.c.kind == kind, mute.c.device == device_))
    if (connection.execute(select(func.count()).select_from(mute)).scalar() or 0) >= MOST_MUTES:
        raise UsageError(f"there are {MOST_MUTES} mutes already")
    result = connection.execute(insert(mute).values(kind=kind, device=device_, until=until, user=user, time=now))
    covered: list[ColumnElement[bool]] = [alert.c.state.in_(_ACTIVE)]
    covered += [alert.c.kind == kind] if kind else []
    covered += [alert.c.device == device_] if device_ else []
    connection.execute(update(alert).where(*covered).values(state="closed", changed=now, user=user))
    log_change(connection, user, "mute", device_, {"kind": kind, "until": until.isoformat() if until else None})
    primary = result.inserted_primary_key
    return int(primary[0]) if primary else 0


def remove_mute(connection: Connection, id_: int, user: str) -> None:
    """Remove a mute."""
    row = connection.execute(select(mute).where(mute.c.id == id_)).mappings().first()
    if row is None:
        raise UsageError(f"there is no mute {id_}")
    connection.execute(delete(mute).where(mute.c.id == id_))
    log_change(connection, user, "unmute", row["device"], {"kind": row["kind"]})
