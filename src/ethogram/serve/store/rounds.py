"""What the judge writes: sightings, decisions and the number of the segment that they rest on, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, case, delete, func, insert, select, update

from ethogram.config import JudgeSettings
from ethogram.errors import InputError
from ethogram.pipeline.device_facts import NAMING
from ethogram.schema import ConfirmedStatement, DeviceFact, DeviceSighting, DueDevice, Judgement, RoundResult
from ethogram.serve.hysteresis import Stated, StatementDecision, decide
from ethogram.serve.store.display import columns_of, is_unusual, refresh, stated_of
from ethogram.serve.store.resolve import KnownDevice, KnownKey, Resolver, keys_of
from ethogram.serve.store.rows import chunks
from ethogram.serve.store.tables import (
    alert,
    audit,
    counter_sample,
    device,
    device_key,
    event,
    exporter,
    feedback,
    identity_fact,
    label,
    meta,
    source,
    verdict,
    verdict_change,
    watched_file,
)
from ethogram.serve.store.tables import (
    traffic as traffic_table,
)
from ethogram.serve.store.upsert import upsert

__all__ = ["BEYOND", "all_devices", "confirmed_statements", "due_devices", "feedback_mark", "forget_facts", "position",
           "record_round", "remove_before", "set_meta", "unknown_devices"]  # fmt: skip

BEYOND = "devices beyond the bound"
KEPT_EVENTS = 100_000
KEPT_SAMPLES = 500_000


def position(connection: Connection, name: str) -> int:
    """Last segment of a source that is stored; 0 before the first."""
    value = connection.execute(select(source.c.segment).where(source.c.name == name)).scalar()
    return 0 if value is None else int(value)


def set_meta(connection: Connection, name: str, value: Any) -> None:
    """Store a value by name."""
    upsert(connection, meta, [{"name": name, "value": value}], ["name"])


def record_round(connection: Connection, result: RoundResult, settings: JudgeSettings) -> None:
    """Store one round.

    Raises
    ------
    InputError
        If the store has another position, so that segments would be counted twice or left out.
    """
    stored = position(connection, result.source)
    if result.after == result.segment and not result.sightings:  # decisions alone, at whatever segment the store is
        _record_judgements(connection, replace(result, segment=stored), settings)
        set_meta(connection, "judged", datetime.now(tz=UTC).isoformat())
        set_meta(connection, "library", result.library)
        return
    if stored != result.after:
        raise InputError(f"{result.source}: segment {stored} is stored, not {result.after}: nothing is counted twice")
    upsert(connection, source, [{"name": result.source, "segment": result.segment, "clock": result.clock}], ["name"])
    _record_sightings(connection, result, settings)
    _record_judgements(connection, result, settings)
    now = datetime.now(tz=UTC)
    files = [
        {"source": result.source, "path": path, "octets": octets, "modified_ns": ns, "time": now, "message": message}
        for path, octets, ns, message in result.files
    ]
    upsert(connection, watched_file, files, ["source", "path"])
    if result.counters:
        connection.execute(insert(counter_sample), [
            {"time": each.time, "stage": each.stage, "outcome": each.outcome, "reason": each.reason[:255],
             "unit": each.unit, "value": each.value}
            for each in result.counters
        ])  # fmt: skip
        newest = connection.execute(select(func.max(counter_sample.c.id))).scalar() or 0
        connection.execute(delete(counter_sample).where(counter_sample.c.id <= newest - KEPT_SAMPLES))
    upsert(connection, exporter, [
        {"address": each.address, "port": each.port, "transport": each.transport, "first_seen": now, "last_seen": now,
         "messages": each.messages, "records": each.records, "gaps": each.gaps, "detail": each.detail}
        for each in result.exporters
    ], ["address", "port", "transport"], lambda new: {
        **{name: new[name] for name in ("messages", "records", "gaps", "detail")},
        "last_seen": case((new.messages > exporter.c.messages, new.last_seen), else_=exporter.c.last_seen),
    })  # fmt: skip
    set_meta(connection, "judged", now.isoformat())
    set_meta(connection, "library", result.library)
    newest = connection.execute(select(func.max(event.c.id))).scalar() or 0
    connection.execute(delete(event).where(event.c.id <= newest - KEPT_EVENTS))


def _record_sightings(connection: Connection, result: RoundResult, settings: JudgeSettings) -> None:
    if not result.sightings:
        return
    resolver = _resolver(connection, result.sightings, settings)
    existing: int = connection.execute(select(func.count()).select_from(device)).scalar() or 0
    created: dict[str, DeviceSighting] = {}
    traffic: dict[str, list[DeviceSighting]] = {}
    beyond = 0
    for sighting in result.sightings:
        id_, new = resolver.resolve(sighting)
        if new and existing + len(created) >= settings.max_devices:
            beyond += sighting.flows
            del resolver.devices[id_]
            for key in keys_of(sighting):
                resolver.keys[key] = [each for each in resolver.keys[key] if each.device != id_]
            continue
        if new:
            created[id_] = sighting
        traffic.setdefault(id_, []).append(sighting)
    if beyond:
        total = connection.execute(select(meta.c.value).where(meta.c.name == BEYOND)).scalar() or 0
        set_meta(connection, BEYOND, int(total) + beyond)
    if created:
        connection.execute(insert(device), [_new_device(id_, each) for id_, each in created.items()])
        connection.execute(insert(event), [
            {"time": datetime.now(tz=UTC), "kind": "device new", "device": id_, "data": {"name": each.name}}
            for id_, each in created.items()
        ])  # fmt: skip
    _add_traffic(connection, traffic, result.epoch_due)
    _add_keys(connection, traffic)
    _add_facts(connection, traffic)
    _add_hours(connection, traffic)
    for id_ in sorted(resolver.renamed & traffic.keys()):
        refresh(connection, id_)


def _resolver(connection: Connection, sightings: Sequence[DeviceSighting], settings: JudgeSettings) -> Resolver:
    """The keys of these sightings and the devices that have them."""
    wanted = {value for sighting in sightings for _, value in keys_of(sighting)}
    keys: dict[tuple[str, str], list[KnownKey]] = {}
    for values in chunks(sorted(wanted)):
        query = select(device_key).where(device_key.c.value.in_(values))
        for row in connection.execute(query).mappings():
            stored = KnownKey(row["device"], row["last"], row["by_user"])
            keys.setdefault((row["kind"], row["value"]), []).append(stored)
    ids = sorted({key.device for each in keys.values() for key in each})
    devices: dict[str, KnownDevice] = {}
    for values in chunks(ids):
        query = select(device.c.id, device.c.mac, device.c.address, device.c.last_seen).where(device.c.id.in_(values))
        for row in connection.execute(query).mappings():
            devices[row["id"]] = KnownDevice(row["id"], row["mac"], row["address"], row["last_seen"])
        names = select(device_key).where(device_key.c.device.in_(values), device_key.c.kind == "hostname")
        for row in connection.execute(names).mappings():
            devices[row["device"]].host_names.add(row["value"])
    return Resolver(timedelta(seconds=settings.address_gap_s), keys, devices)


def _new_device(id_: str, sighting: DeviceSighting) -> dict[str, Any]:
    address = sighting.addresses[0] if sighting.addresses else ""
    names = sighting.host_names
    columns = columns_of(
        stated=None, label=None, host_name=names[0] if names else "", address=address, mac=sighting.mac
    )
    return columns | {
        "id": id_, "merged_into": None, "first_seen": sighting.first, "last_seen": sighting.last, "due": sighting.due,
        "flows": 0, "octets": 0, "octets_a_day": None, "ignored": False, "provisional": True, "judged": None,
        "changed": None, "name": columns["name"] or sighting.name[:1024],
    }  # fmt: skip


def _add_traffic(connection: Connection, traffic: dict[str, list[DeviceSighting]], due: datetime | None) -> None:
    rows = []
    for id_, sightings in traffic.items():
        latest = max(sightings, key=lambda each: each.last)
        rows.append({
            "id_": id_, "first": min(each.first for each in sightings), "last": latest.last,
            "more_flows": sum(each.flows for each in sightings),
            "more_octets": sum(each.octets for each in sightings), "new_due": due,
        })  # fmt: skip
    table = device.c
    new_due = bindparam("new_due", type_=table.due.type)
    first, last = bindparam("first", type_=table.first_seen.type), bindparam("last", type_=table.last_seen.type)
    statement = (
        update(device)
        .where(table.id == bindparam("id_"))
        .values(
            first_seen=case((table.first_seen > first, first), else_=table.first_seen),
            last_seen=case((table.last_seen < last, last), else_=table.last_seen),
            flows=table.flows + bindparam("more_flows"),
            octets=table.octets + bindparam("more_octets"),
            # A time far ahead is of a clock that was wrong, and set back since.
            due=case((table.due.is_(None) | (table.due > new_due), new_due), else_=table.due),
        )
    )
    connection.execute(statement, rows)


def _add_keys(connection: Connection, traffic: dict[str, list[DeviceSighting]]) -> None:
    spans: dict[tuple[str, str, str], tuple[datetime, datetime]] = {}
    for id_, sightings in traffic.items():
        for sighting in sightings:
            for kind, value in keys_of(sighting):
                key = (kind, value[:1024], id_)
                first, last = spans.get(key, (sighting.first, sighting.last))
                spans[key] = (min(first, sighting.first), max(last, sighting.last))
    rows = [
        {"device": id_, "kind": kind, "value": value, "first": first, "last": last, "by_user": False}
        for (kind, value, id_), (first, last) in spans.items()
    ]
    upsert(connection, device_key, rows, ["kind", "value", "device"], lambda new: {
        "first": case((new.first < device_key.c.first, new.first), else_=device_key.c.first),
        "last": case((new.last > device_key.c.last, new.last), else_=device_key.c.last),
    })  # fmt: skip


def _add_facts(connection: Connection, traffic: dict[str, list[DeviceSighting]]) -> None:
    facts: dict[tuple[str, str, str, str], tuple[datetime | None, datetime | None]] = {}
    for id_, sightings in traffic.items():
        for sighting in sightings:
            for fact in sighting.facts:
                key = (id_, fact.fact, fact.value[:255], fact.source[:255])
                first, last = facts.get(key, (fact.first, fact.last))
                times = [each for each in (first, last, fact.first, fact.last) if each is not None]
                facts[key] = (min(times), max(times)) if times else (None, None)
    rows = [
        {"device": id_, "fact": fact, "value": value, "source": source_, "first": first, "last": last}
        for (id_, fact, value, source_), (first, last) in facts.items()
    ]
    upsert(connection, identity_fact, rows, ["device", "fact", "value", "source"], lambda new: {
        "first": func.coalesce(case((new.first < identity_fact.c.first, new.first), else_=identity_fact.c.first),
                               new.first),
        "last": func.coalesce(case((new.last > identity_fact.c.last, new.last), else_=identity_fact.c.last), new.last),
    })  # fmt: skip


def _add_hours(connection: Connection, traffic: dict[str, list[DeviceSighting]]) -> None:
    kinds: dict[str, str] = {}
    for ids in chunks(list(traffic)):
        query = select(device.c.id, device.c.kind).where(device.c.id.in_(ids))
        kinds |= {row.id: row.kind for row in connection.execute(query)}
    octets: dict[tuple[datetime, str], int] = {}
    for id_, sightings in traffic.items():
        for sighting in sightings:
            for hour, value in sighting.hours:
                octets[hour, kinds[id_]] = octets.get((hour, kinds[id_]), 0) + value
    _add_octets(connection, octets)


def _add_octets(connection: Connection, octets: Mapping[tuple[datetime, str], int]) -> None:
    """Add octets to hours and kinds, or take them away where they are negative; none goes below 0."""
    stored = traffic_table.c
    given = [{"hour": hour, "kind": kind, "octets": n} for (hour, kind), n in sorted(octets.items()) if n > 0]
    upsert(connection, traffic_table, given, ["hour", "kind"],
           lambda new: {"octets": stored.octets + new.octets})  # fmt: skip
    taken = [{"hour_": hour, "kind_": kind, "taken": -n} for (hour, kind), n in sorted(octets.items()) if n < 0]
    if taken:
        less = stored.octets - bindparam("taken", type_=stored.octets.type)
        statement = update(traffic_table).where(
            stored.hour == bindparam("hour_", type_=stored.hour.type), stored.kind == bindparam("kind_")
        )
        connection.execute(statement.values(octets=case((less > 0, less), else_=0)), taken)


def due_devices(connection: Connection, clock: datetime, limit: int) -> list[DueDevice]:
    """Devices that are due to be judged, the longest due first; of the same time, neighbours in the files of counts."""
    table = device.c
    query = (
        select(table.id, table.first_seen, table.last_seen, table.due)
        .where(table.due <= clock, table.merged_into.is_(None))
        .order_by(table.due, table.mac, table.address_order, table.id)
        .limit(limit)
    )
    rows = list(connection.execute(query).mappings())
    return devices_of(connection, rows)


def unknown_devices(connection: Connection, limit: int) -> list[DueDevice]:
    """Devices about which nothing is stated, those with the latest traffic first."""
    table = device.c
    query = (
        select(table.id, table.first_seen, table.last_seen, table.due)
        .where(table.level == "unknown", table.merged_into.is_(None), table.ignored.is_(False))
        .order_by(table.last_seen.desc(), table.id)
        .limit(limit)
    )
    return devices_of(connection, list(connection.execute(query).mappings()))


def all_devices(connection: Connection, after: str, limit: int, library: str = "") -> list[DueDevice]:
    """Devices that were judged, in order of their ids, after one; with a library, those judged with another one."""
    table = device.c
    query = (
        select(table.id, table.first_seen, table.last_seen, table.due)
        .where(table.id > after, table.judged.is_not(None), table.merged_into.is_(None))
        .order_by(table.id)
        .limit(limit)
    )
    if library:
        query = query.join(verdict, verdict.c.device == table.id).where(verdict.c.library != library[:255])
    return devices_of(connection, list(connection.execute(query).mappings()))


def forget_facts(connection: Connection, before: datetime) -> int:
    """Delete identity facts that were last seen before a time; those without times, of files, stay."""
    return connection.execute(delete(identity_fact).where(identity_fact.c.last < before)).rowcount


def remove_before(connection: Connection, limits: Mapping[str, datetime]) -> int:
    """Delete what is older than a time: history, alerts that are closed, events, entries of the audit log."""
    kinds = {
        "history": (verdict_change, verdict_change.c.time), "event": (event, event.c.time),
        "alert": (alert, alert.c.last), "audit": (audit, audit.c.time),
    }  # fmt: skip
    removed = 0
    for kind, before in limits.items():
        table, column = kinds[kind]
        statement = delete(table).where(column < before)
        if kind == "alert":
            statement = statement.where(alert.c.state == "closed")
        removed += connection.execute(statement).rowcount
    return removed


def confirmed_statements(connection: Connection, limit: int) -> list[ConfirmedStatement]:
    """Devices whose statement is confirmed by the latest feedback, those confirmed last at the end."""
    last = (
        select(func.max(feedback.c.id)).where(feedback.c.kind.in_(("confirm", "reject", "withdraw")))
        .group_by(feedback.c.device)
    )  # fmt: skip
    query = (
        select(
            device.c.id, device.c.first_seen, device.c.last_seen, device.c.due, feedback.c.text, feedback.c.user,
            feedback.c.time, verdict.c.document,
        )
        .select_from(feedback)
        .join(device, device.c.id == feedback.c.device)
        .join(verdict, verdict.c.device == feedback.c.device)
        .where(feedback.c.id.in_(last), feedback.c.kind == "confirm", device.c.merged_into.is_(None))
        .order_by(feedback.c.id.desc()).limit(limit)
    )  # fmt: skip
    rows = list(connection.execute(query).mappings())[::-1]
    return [
        ConfirmedStatement(due, row["text"], row["user"], row["time"], row["document"])
        for due, row in zip(devices_of(connection, rows), rows, strict=True)
    ]


def feedback_mark(connection: Connection) -> tuple[int, int, str]:
    """Changes whenever :func:`confirmed_statements` may.

    The latest entry of feedback, the latest merge or split, and when a confirmed device was judged last.
    """
    latest = connection.execute(select(func.max(feedback.c.id))).scalar() or 0
    moved = connection.execute(select(func.max(audit.c.id)).where(audit.c.action.in_(("merge", "split")))).scalar() or 0
    confirmed = select(feedback.c.device).where(feedback.c.kind == "confirm")
    judged = connection.execute(select(func.max(device.c.judged)).where(device.c.id.in_(confirmed))).scalar()
    return int(latest), int(moved), str(judged)


def devices_of(connection: Connection, rows: Sequence[RowMapping]) -> list[DueDevice]:
    """Names and facts of devices."""
    names: dict[str, list[tuple[str, datetime, datetime]]] = {row["id"]: [] for row in rows}
    facts: dict[str, list[DeviceFact]] = {row["id"]: [] for row in rows}
    for ids in chunks(list(names)):
        keys = select(device_key).where(device_key.c.device.in_(ids), device_key.c.kind == "flow")
        for row in connection.execute(keys).mappings():
            names[row["device"]].append((row["value"], row["first"], row["last"]))
        query = select(identity_fact).where(identity_fact.c.device.in_(ids)).order_by(identity_fact.c.id)
        for row in connection.execute(query).mappings():
            facts[row["device"]].append(
                DeviceFact(row["fact"], row["value"], row["source"], row["first"], row["last"])
            )
    return [
        DueDevice(row["id"], tuple(names[row["id"]]), row["first_seen"], row["last_seen"],
                  row["due"], tuple(facts[row["id"]]))
        for row in rows
    ]  # fmt: skip


def _record_judgements(connection: Connection, result: RoundResult, settings: JudgeSettings) -> None:
    by_id = {each.device: each for each in result.judgements}
    for ids in chunks(sorted(by_id)):
        now = _Current(connection, ids)
        writes = _Writes()
        for id_ in ids:
            if id_ in now.devices:
                writes.judge(now, by_id[id_], result, settings)
        writes.flush(connection)


class _Current:
    """What is stored about devices that were judged."""

    def __init__(self, connection: Connection, ids: Sequence[str]) -> None:
        self.devices = {
            row["id"]: row
            for row in connection.execute(
                select(device).where(device.c.id.in_(ids), device.c.merged_into.is_(None))
            ).mappings()
        }
        self.verdicts = {
            row["device"]: row
            for row in connection.execute(select(verdict).where(verdict.c.device.in_(ids))).mappings()
        }
        self.labels = {
            row["device"]: row
            for row in connection.execute(
                select(label).where(label.c.device.in_(ids), label.c.removed.is_(None)).order_by(label.c.id)
            ).mappings()
        }
        self.rejected: dict[str, set[str]] = {}
        query = select(feedback.c.device, feedback.c.kind, feedback.c.text).where(
            feedback.c.device.in_(ids), feedback.c.kind.in_(("reject", "confirm", "withdraw"))
        ).order_by(feedback.c.id)  # fmt: skip
        for id_, kind, text in connection.execute(query):
            statements = self.rejected.setdefault(id_, set())
            statements.add(text) if kind == "reject" else statements.discard(text)


class _Writes:
    """Rows that a set of judgements writes."""

    def __init__(self) -> None:
        self.verdicts: list[dict[str, Any]] = []
        self.candidates: list[dict[str, Any]] = []
        self.devices: list[dict[str, Any]] = []
        self.changes: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.undue: list[dict[str, Any]] = []
        self.octets: dict[tuple[datetime, str], int] = {}

    def judge(self, now: _Current, judgement: Judgement, result: RoundResult, settings: JudgeSettings) -> None:
        """Decide whether the new statement about one device holds, and collect what follows from it."""
        id_, document = judgement.device, judgement.verdict
        if not document:  # it has no counts any more
            self.undue.append({"id_": id_, "due_": judgement.due})
            return
        row, stored, given = now.devices[id_], now.verdicts.get(id_), now.labels.get(id_)
        before = None if stored is None else stated_of(stored, provisional=row["provisional"])
        after = Stated.of(document, result.library, provisional=judgement.provisional)
        if after.statement in now.rejected.get(id_, ()):
            after = replace(after, statement="unknown", level="unknown", score=0.0, kind="", vendor="", model="")
        decision = decide(
            before, after, None if stored is None else stored["candidate"], result.clock, settings, again=result.again
        )
        stated = after if decision.accepted else before
        assert stated is not None
        if decision.accepted:
            self.verdicts.append({
                "device": id_, "time": result.clock, "document": document, "candidate": None,
                "statement": after.statement[:1024], "level": after.level, "score": after.score,
                "library": result.library[:255], "source": result.source, "segment": result.segment,
            })  # fmt: skip
        else:
            self.candidates.append({"device_": id_, "new": decision.candidate})
        changed = row["changed"]
        if decision.reason:
            if before is not None and not before.provisional:
                changed = result.clock
            self._change(row, before, after, decision, result)
        columns = columns_of(
            stated=stated, label=given, host_name=_host_name(document), address=row["address"], mac=row["mac"],
            unusual=is_unusual(document, stated),
        )  # fmt: skip
        if columns["kind"] != row["kind"]:
            for hour, octets in judgement.hours:
                for kind, change in ((row["kind"], -octets), (columns["kind"], octets)):
                    self.octets[hour, kind] = self.octets.get((hour, kind), 0) + change
        if columns["unusual"] and not row["unusual"]:
            self.events.append({"time": datetime.now(tz=UTC), "kind": "unusual", "device": id_,
                                "data": {"name": columns["name"], "statement": after.statement}})  # fmt: skip
        self.devices.append(columns | {
            "id_": id_, "due": judgement.due, "octets_a_day": document.get("octets_a_day"),
            "provisional": judgement.provisional, "judged": result.clock, "changed": changed,
            "name": columns["name"] or row["name"],
        })  # fmt: skip

    def _change(
        self, row: RowMapping, before: Stated | None, after: Stated, decision: StatementDecision, result: RoundResult
    ) -> None:
        was = "" if before is None else before.statement[:1024]
        self.changes.append({
            "device": row["id"], "time": result.clock, "before": was, "after": after.statement[:1024],
            "level": after.level, "score": after.score, "reason": decision.reason,
            "evidence": list(decision.evidence),
            "library": result.library[:255],
        })  # fmt: skip
        self.events.append({
            "time": datetime.now(tz=UTC), "kind": "verdict changed", "device": row["id"],
            "data": {"name": row["name"], "before": was, "after": after.statement, "reason": decision.reason,
                     "cause": decision.cause, "evidence": list(decision.evidence)},
        })  # fmt: skip

    def flush(self, connection: Connection) -> None:
        """Write everything."""
        upsert(connection, verdict, self.verdicts, ["device"])
        _add_octets(connection, self.octets)
        if self.candidates:
            statement = update(verdict).where(verdict.c.device == bindparam("device_"))
            connection.execute(statement.values(candidate=bindparam("new", type_=verdict.c.candidate.type)),
                               self.candidates)  # fmt: skip
        if self.devices:
            names = [name for name in self.devices[0] if name != "id_"]
            values = {name: bindparam(f"{name}_", type_=device.c[name].type) for name in names}
            rows = [{"id_": row["id_"]} | {f"{name}_": row[name] for name in names} for row in self.devices]
            connection.execute(update(device).where(device.c.id == bindparam("id_")).values(values), rows)
        if self.undue:
            due = bindparam("due_", type_=device.c.due.type)
            connection.execute(update(device).where(device.c.id == bindparam("id_")).values(due=due), self.undue)
        for table, new in ((verdict_change, self.changes), (event, self.events)):
            if new:
                connection.execute(insert(table), new)


def _host_name(document: dict[str, Any]) -> str:
    """Name of the device in the verdict, unless it is an address or MAC."""
    values = {fact["value"] for fact in document.get("identity") or () if fact["fact"] in NAMING}
    return str(document.get("name") or "") if document.get("name") in values else ""
