"""What the page and the API read: devices, history, groups, events, exporters and counters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    case,
    desc,
    func,
    nulls_last,
    or_,
    select,
)

from ethogram.config import JudgeSettings
from ethogram.errors import UsageError
from ethogram.schema import (
    DEVICE_STATES,
    AuditRow,
    CounterSample,
    DeviceDetail,
    DeviceFact,
    DeviceKey,
    DevicePage,
    DeviceRow,
    EventRow,
    ExporterRow,
    GroupRow,
    LabelRow,
    NoteRow,
    Overview,
    VerdictChange,
)
from ethogram.serve.store.rows import chunks, device_row, state_conditions
from ethogram.serve.store.tables import (
    audit,
    counter_sample,
    device,
    device_group,
    device_key,
    event,
    exporter,
    feedback,
    group_member,
    identity_fact,
    label,
    meta,
    source,
    traffic,
    verdict,
    verdict_change,
)

__all__ = [
    "SORTS",
    "audit_rows",
    "changes",
    "changes_after",
    "clock_of",
    "counters",
    "detail",
    "devices",
    "events",
    "exporters",
    "groups",
    "last_event",
    "overview",
    "overview_key",
    "pattern_of",
    "root_of",
    "rows_of_ids",
    "traffic_by_kind",
]

SORTS = {
    # Names that are addresses sort by number.
    "name": case((device.c.name == device.c.address, device.c.address_order), else_=func.lower(device.c.name)),
    "address": device.c.address_order, "kind": device.c.kind,
    "vendor": device.c.vendor, "statement": device.c.statement, "score": device.c.score,
    "network": device.c.network, "first_seen": device.c.first_seen, "last_seen": device.c.last_seen,
    "octets_a_day": device.c.octets_a_day, "flows": device.c.flows, "changed": device.c.changed,
}  # fmt: skip
"""Columns by which devices are sorted."""
_NULLABLE = {"octets_a_day", "changed"}
MOST = 1000
MOST_HISTORY = 200


def clock_of(connection: Connection) -> datetime | None:
    """Time up to which data has been judged."""
    clock: datetime | None = connection.execute(
        select(source.c.clock).where(source.c.clock.is_not(None)).order_by(desc(source.c.clock)).limit(1)
    ).scalar()
    return clock


def pattern_of(text: str) -> str:
    """Pattern of LIKE for texts that contain one."""
    escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def devices(
    connection: Connection, settings: JudgeSettings, *, search: str, kind: str | None, vendor: str | None,
    state: str | None, network: str | None, sort: str, descending: bool, offset: int, limit: int,
) -> DevicePage:  # fmt: skip
    """A part of the list of devices."""
    if sort not in SORTS:
        raise UsageError(f"devices are sorted by {', '.join(SORTS)}, not by {sort!r}")
    if state is not None and state not in DEVICE_STATES:
        raise UsageError(f"a state is {', '.join(DEVICE_STATES)}, not {state!r}")
    clock = clock_of(connection)
    conditions: list[ColumnElement[bool]] = [device.c.merged_into.is_(None)]
    if state != "ignored":
        conditions.append(device.c.ignored.is_(False))
    if state is not None:
        by_state = state_conditions(clock, settings)
        if state not in by_state:
            return DevicePage((), 0)
        conditions.append(by_state[state])
    for column, value in ((device.c.kind, kind), (device.c.vendor, vendor), (device.c.network, network)):
        if value is not None:
            conditions.append(column == value)
    conditions += [device.c.words.like(pattern_of(word), escape="\\") for word in search.split()[:8]]
    total = connection.execute(select(func.count()).select_from(device).where(*conditions)).scalar() or 0
    order = desc(SORTS[sort]) if descending else SORTS[sort]
    # Ids are sorted alone: whole rows are ten times as long.
    query = (
        select(device.c.id)
        .where(*conditions)
        .order_by(nulls_last(order) if sort in _NULLABLE else order, device.c.id)
        .offset(max(offset, 0))
        .limit(min(max(limit, 0), MOST))
    )
    ids = list(connection.execute(query).scalars())
    stored = connection.execute(select(device).where(device.c.id.in_(ids))).mappings() if ids else ()
    by_id = {row["id"]: device_row(row, clock, settings) for row in stored}
    return DevicePage(tuple(by_id[id_] for id_ in ids), int(total))


def overview_key(connection: Connection) -> tuple[object, ...]:
    """What changes whenever the numbers of devices may: latest event, round and clock."""
    latest = select(meta.c.value).where(meta.c.name == "judged")
    return (last_event(connection), connection.execute(latest).scalar(), clock_of(connection))


def overview(connection: Connection, settings: JudgeSettings) -> Overview:
    """Numbers of all devices."""
    clock = clock_of(connection)
    shown = (device.c.merged_into.is_(None), device.c.ignored.is_(False))

    def by(column: ColumnElement[Any]) -> dict[str, int]:
        query = select(column, func.count()).where(*shown).group_by(column).order_by(desc(func.count()), column)
        return {str(value): int(number) for value, number in connection.execute(query)}

    conditions = state_conditions(clock, settings)
    # One pass over the table; devices that are ignored count as such alone.
    sums = [
        func.sum(case((condition if state == "ignored" else and_(shown[1], condition), 1), else_=0)).label(state)
        for state, condition in conditions.items()
    ]
    counted = connection.execute(select(*sums).where(shown[0])).mappings().one()
    states = {state: int(counted[state] or 0) for state in conditions}
    values = {row.name: row.value for row in connection.execute(select(meta))}
    by_kind = by(device.c.kind)
    judged = values.get("judged")
    return Overview(
        devices=sum(by_kind.values()), by_kind=by_kind, by_vendor=by(device.c.vendor),
        by_state={state: states[state] for state in DEVICE_STATES if state in states},
        by_network=by(device.c.network), judged=datetime.fromisoformat(judged) if judged else None, clock=clock,
        library=str(values.get("library", "")),
    )  # fmt: skip


def root_of(connection: Connection, id_: str) -> RowMapping | None:
    """The row of a device, or of the device that it was merged into."""
    for _ in range(MOST):  # a chain of merges has an end; the bound is for damaged data
        row = connection.execute(select(device).where(device.c.id == id_)).mappings().first()
        if row is None or row["merged_into"] is None:
            return row
        id_ = row["merged_into"]
    return None


def detail(connection: Connection, settings: JudgeSettings, id_: str) -> DeviceDetail | None:
    """Everything about a device; None if there is none of this id."""
    row = root_of(connection, id_)
    if row is None:
        return None
    id_ = row["id"]
    merged = _merged_into(connection, id_)
    ids = [id_, *merged]
    stored = connection.execute(select(verdict).where(verdict.c.device == id_)).mappings().first()
    keys = connection.execute(
        select(device_key).where(device_key.c.device == id_).order_by(desc(device_key.c.last), device_key.c.id)
    ).mappings()
    facts = connection.execute(
        select(identity_fact)
        .where(identity_fact.c.device == id_)
        .order_by(nulls_last(desc(identity_fact.c.last)), identity_fact.c.id)
        .limit(MOST)
    ).mappings()
    labels = connection.execute(select(label).where(label.c.device.in_(ids)).order_by(desc(label.c.id))).mappings()
    notes = connection.execute(
        select(feedback).where(feedback.c.device.in_(ids)).order_by(desc(feedback.c.id)).limit(MOST)
    ).mappings()
    return DeviceDetail(
        row=device_row(row, clock_of(connection), settings),
        verdict=None if stored is None else stored["document"],
        candidate=None if stored is None else stored["candidate"],
        keys=tuple(DeviceKey(k["kind"], k["value"], k["first"], k["last"], k["by_user"]) for k in keys),
        facts=tuple(DeviceFact(f["fact"], f["value"], f["source"], f["first"], f["last"]) for f in facts),
        history=changes(connection, ids=ids, limit=MOST_HISTORY),
        labels=tuple(label_row(each) for each in labels),
        notes=tuple(
            NoteRow(n["id"], n["device"], n["kind"], n["text"], n["user"], n["time"]) for n in notes
        ),
        merged=tuple(merged),
    )  # fmt: skip


def names_and_reasons(
    connection: Connection, ids: Sequence[str]
) -> dict[str, tuple[dict[str, list[str]], str, tuple[str, ...]]]:  # fmt: skip
    """Values of the keys of devices by kind, the latest first, and reason and evidence of their latest change."""
    query = select(device.c.id, device.c.merged_into).where(device.c.merged_into.is_not(None))
    merged: dict[str, str] = {row.id: row.merged_into for row in connection.execute(query)}
    members: dict[str, str] = {id_: id_ for id_ in ids}
    for id_ in merged:
        root, steps = id_, 0
        while root in merged and steps <= len(merged):
            root, steps = merged[root], steps + 1
        if root in members:
            members[id_] = root
    values: dict[str, dict[str, list[str]]] = {id_: {} for id_ in ids}
    reasons: dict[str, tuple[int, str, tuple[str, ...]]] = {}
    for part in chunks(list(members)):
        keys = select(device_key.c.device, device_key.c.kind, device_key.c.value).where(device_key.c.device.in_(part))
        for id_, kind, value in connection.execute(keys.order_by(desc(device_key.c.last), device_key.c.id)):
            if id_ in values:
                values[id_].setdefault(kind, []).append(value)
        latest = select(func.max(verdict_change.c.id)).where(verdict_change.c.device.in_(part))
        rows = select(
            verdict_change.c.id, verdict_change.c.device, verdict_change.c.reason, verdict_change.c.evidence
        ).where(verdict_change.c.id.in_(latest.group_by(verdict_change.c.device)))
        for number, id_, reason, evidence in connection.execute(rows):
            root = members[id_]
            if root not in reasons or reasons[root][0] < number:
                reasons[root] = (number, reason, tuple(evidence))
    return {id_: (values[id_], *reasons.get(id_, (0, "", ()))[1:]) for id_ in ids}


def _merged_into(connection: Connection, id_: str) -> list[str]:
    """Devices that were merged into a device, directly or not."""
    merged: list[str] = []
    level = [id_]
    while level and len(merged) < MOST:
        level = list(connection.execute(select(device.c.id).where(device.c.merged_into.in_(level))).scalars())
        merged += level
    return merged


def label_row(row: RowMapping) -> LabelRow:
    """A row of the table of labels."""
    return LabelRow(row["id"], row["device"], row["value"], row["kind"], row["vendor"], row["model"], row["user"],
                    row["time"], row["removed"])  # fmt: skip


def changes(
    connection: Connection, *, ids: Sequence[str] | None = None, since: datetime | None = None, offset: int = 0,
    limit: int = 100,
) -> tuple[VerdictChange, ...]:  # fmt: skip
    """Changes of statements, the latest first; with a time, those since then but for first statements."""
    query: Select[Any] = select(verdict_change, device.c.name.label("device_name")).join(
        device, device.c.id == verdict_change.c.device
    )
    if ids is not None:
        query = query.where(verdict_change.c.device.in_(list(ids)))
    if since is not None:
        query = query.where(verdict_change.c.time >= since, verdict_change.c.before != "")
    query = query.order_by(desc(verdict_change.c.id)).offset(max(offset, 0)).limit(min(max(limit, 0), MOST))
    return tuple(
        VerdictChange(row["id"], row["device"], row["device_name"], row["time"], row["before"], row["after"],
                      row["level"], row["score"], row["reason"], tuple(row["evidence"]), row["library"])
        for row in connection.execute(query).mappings()
    )  # fmt: skip


def changes_after(connection: Connection, id_: int) -> tuple[VerdictChange, ...]:
    """All changes of statements after one, in order."""
    newest = connection.execute(select(func.count()).where(verdict_change.c.id > id_)).scalar() or 0
    rows: list[VerdictChange] = []
    for offset in range(0, int(newest), MOST):
        rows += changes(connection, offset=offset, limit=MOST)
    return tuple(reversed(rows[: int(newest)]))


def groups(connection: Connection, settings: JudgeSettings) -> tuple[GroupRow, ...]:
    """Groups of unknown devices, the largest first."""
    clock = clock_of(connection)
    members: dict[str, list[DeviceRow]] = {}
    query = select(group_member.c.group.label("of_group"), device).join(
        device, device.c.id == group_member.c.device
    ).where(device.c.merged_into.is_(None)).order_by(device.c.id)  # fmt: skip
    for row in connection.execute(query).mappings():
        members.setdefault(row["of_group"], []).append(device_row(row, clock, settings))
    rows = [
        GroupRow(row["id"], row["name"], tuple(row["shares"]), tuple(members.get(row["id"], ())), row["first_seen"])
        for row in connection.execute(select(device_group)).mappings()
    ]
    return tuple(sorted((row for row in rows if row.devices), key=lambda row: (-len(row.devices), row.id)))


def exporters(connection: Connection) -> tuple[ExporterRow, ...]:
    """Exporters, the latest first."""
    query = select(exporter).order_by(desc(exporter.c.last_seen), exporter.c.address, exporter.c.port).limit(MOST)
    return tuple(ExporterRow(**row) for row in connection.execute(query).mappings())


def counters(
    connection: Connection, *, since: datetime | None = None, limit: int = MOST * 10
) -> tuple[CounterSample, ...]:
    """Samples of counters in order of time; without a time, the latest sample of each counter."""
    key = (counter_sample.c.stage, counter_sample.c.outcome, counter_sample.c.reason)
    if since is None:
        latest = select(func.max(counter_sample.c.id)).group_by(*key)
        query = select(counter_sample).where(counter_sample.c.id.in_(latest)).order_by(*key)
    else:
        query = select(counter_sample).where(counter_sample.c.time >= since).order_by(counter_sample.c.id)
    rows = connection.execute(query.limit(limit)).mappings()
    return tuple(
        CounterSample(row["time"], row["stage"], row["outcome"], row["reason"], row["unit"], row["value"])
        for row in rows
    )


def traffic_by_kind(connection: Connection, since: datetime) -> tuple[tuple[datetime, str, int], ...]:
    """Octets by hour and kind since a time, in order."""
    query = select(traffic).where(traffic.c.hour >= since).order_by(traffic.c.hour, traffic.c.kind)
    return tuple((row["hour"], row["kind"], row["octets"]) for row in connection.execute(query).mappings())


def events(connection: Connection, after: int, limit: int) -> tuple[EventRow, ...]:
    """Events after an id, in order."""
    query = select(event).where(event.c.id > after).order_by(event.c.id).limit(min(max(limit, 0), MOST))
    return tuple(
        EventRow(row["id"], row["time"], row["kind"], row["device"], row["data"])
        for row in connection.execute(query).mappings()
    )


def last_event(connection: Connection) -> int:
    """Id of the latest event; 0 if there is none."""
    return int(connection.execute(select(func.max(event.c.id))).scalar() or 0)


def audit_rows(connection: Connection, *, id_: str | None, offset: int, limit: int) -> tuple[AuditRow, ...]:
    """Changes by users, the latest first."""
    query = select(audit).order_by(desc(audit.c.id)).offset(max(offset, 0)).limit(min(max(limit, 0), MOST))
    if id_ is not None:
        query = query.where(or_(audit.c.device == id_, audit.c.device.in_(_merged_into(connection, id_))))
    return tuple(
        AuditRow(row["id"], row["time"], row["user"], row["action"], row["device"], row["detail"])
        for row in connection.execute(query).mappings()
    )


def rows_of_ids(connection: Connection, settings: JudgeSettings, ids: Sequence[str]) -> dict[str, DeviceRow]:
    """Rows of devices by id."""
    clock = clock_of(connection)
    rows: dict[str, DeviceRow] = {}
    for part in chunks(ids):
        query = select(device).where(device.c.id.in_(part), device.c.merged_into.is_(None))
        for row in connection.execute(query).mappings():
            rows[row["id"]] = device_row(row, clock, settings)
    return rows
