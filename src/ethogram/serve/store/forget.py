"""Forgetting a device: what identifies it, the request that outlives a crash, and its rows.

A request is stored first, with everything that identifies the device. The files are then rewritten, and the rows are
deleted together with the request in one transaction: a process that dies in between finishes at its next start.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Table, Text, cast, delete, func, or_, select, update

from ethogram._parse_address import canonical_device
from ethogram.errors import UsageError
from ethogram.schema import ForgetRequest, NameSpan
from ethogram.serve.store.log import log_change
from ethogram.serve.store.reads import root_of
from ethogram.serve.store.rounds import set_meta
from ethogram.serve.store.tables import METADATA, alert, audit, device, device_key, event, identity_fact, meta

__all__ = ["find_devices", "forget_rows", "open_requests", "plan_of", "request_forget", "request_of", "rewritten"]

REQUESTS, REWRITE = "forget", "forget rewrite"
"""Names in ``meta``: open requests, and whether the database still holds deleted content in free pages."""
_NAMES = ("name", "host_name", "mdns_name", "nbns_name", "llmnr_name", "lldp_name")
_LEAST_NAME = 2
_ID = re.compile(r"[0-9a-f]{16}")


def find_devices(connection: Connection, text: str) -> list[str]:
    """Ids of the devices that a text means: an id, an address, a MAC, or a name, in any case."""
    if _ID.fullmatch(text) and (row := root_of(connection, text)) is not None:
        return [str(row["id"])]
    value = canonical_device(text)
    wanted = {value, value.lower(), text.strip()}
    query = select(device_key.c.device).where(
        or_(device_key.c.value.in_(wanted), func.lower(device_key.c.value) == value.lower())
    )  # fmt: skip
    named = select(device.c.id).where(func.lower(device.c.name) == text.strip().lower())
    devices = {*connection.execute(query).scalars(), *connection.execute(named).scalars()}
    roots = {str(row["id"]) for each in devices if (row := root_of(connection, each)) is not None}
    return sorted(roots)


def request_of(connection: Connection, id_: str) -> ForgetRequest:
    """Everything that identifies a device and those merged into it.

    Raises
    ------
    UsageError
        If there is no such device.
    """
    row = root_of(connection, id_)
    if row is None:
        raise UsageError(f"there is no device {id_!r}")
    ids, more = [str(row["id"])], [str(row["id"])]
    while more:
        more = [str(each) for each in connection.execute(select(device.c.id).where(device.c.merged_into.in_(more)))
                .scalars() if each not in ids]  # fmt: skip
        ids += more
    keys = connection.execute(select(device_key).where(device_key.c.device.in_(ids))).mappings().all()
    shared = {
        (kind, value) for kind, value in connection.execute(
            select(device_key.c.kind, device_key.c.value).where(
                device_key.c.device.not_in(ids), device_key.c.value.in_({key["value"] for key in keys})
            )
        )
    }  # fmt: skip
    spans: dict[str, list[NameSpan]] = {"flow": [], "address": []}
    values: dict[str, set[str]] = {"mac": {row["mac"]} - {""}, "hostname": set()}
    for key in keys:
        kind, value = key["kind"], key["value"]
        if kind in spans:
            spans[kind].append(NameSpan(value, key["first"], key["last"], (kind, value) not in shared))
        elif kind in values and (kind, value) not in shared:
            values[kind].add(value)
    facts = select(identity_fact.c.fact, identity_fact.c.value).where(identity_fact.c.device.in_(ids))
    for fact, value in connection.execute(facts):
        values["mac"] |= {value} if fact == "mac" else set()
        values["hostname"] |= {value} if fact in _NAMES else set()
    return ForgetRequest(
        tuple(ids), tuple(spans["flow"]), tuple(spans["address"]), tuple(sorted(values["mac"])),
        tuple(sorted(name for name in values["hostname"] if len(name) >= _LEAST_NAME)),
    )  # fmt: skip


def request_forget(connection: Connection, id_: str, user: str) -> ForgetRequest:
    """Store that a device is to be forgotten; asked again, nothing is added."""
    request = request_of(connection, id_)
    stored = [each for each in _stored(connection) if not set(each["ids"]) & set(request.ids)]
    set_meta(connection, REQUESTS, [*stored, request.as_dict() | {"user": user}])
    return request


def open_requests(connection: Connection) -> list[ForgetRequest]:
    """Requests that are not fulfilled."""
    return [ForgetRequest.of(each) for each in _stored(connection)]


def _stored(connection: Connection) -> list[dict[str, Any]]:
    value = connection.execute(select(meta.c.value).where(meta.c.name == REQUESTS)).scalar()
    return list(value or ())


def _owned() -> list[tuple[Table, Column[Any]]]:
    """Tables with rows of a device, those that refer to others first."""
    return [
        (table, column)
        for table in reversed(METADATA.sorted_tables)
        for column in table.columns
        if table not in (device, audit) and (
            column.name == "device" or any(key.column.table is device for key in column.foreign_keys))
    ]  # fmt: skip


def plan_of(connection: Connection, request: ForgetRequest) -> dict[str, int]:
    """Number of rows by table that forgetting would delete or clear."""
    plan = {"device": len(request.ids)}
    for table, column in _owned():
        plan[table.name] = connection.execute(
            select(func.count()).select_from(table).where(column.in_(request.ids))
        ).scalar() or 0  # fmt: skip
    for table, _, ids in _mentions(connection, request):
        plan[table.name] = plan.get(table.name, 0) + len(ids)
    return {name: count for name, count in plan.items() if count}


def _mentions(connection: Connection, request: ForgetRequest) -> list[tuple[Table, Column[Any] | None, list[int]]]:
    """Rows of alerts and events that are of another device or none, but name this one; and entries of the audit log."""
    mentions: list[tuple[Table, Column[Any] | None, list[int]]] = []
    for table, texts in ((alert, (alert.c.subject, alert.c.text, alert.c.evidence)), (event, (event.c.data,))):
        other = table.c.device.not_in(request.ids)
        mentions.append((table, table.c.device, _matching(connection, table, texts, request, other)))
    everywhere = or_(audit.c.device.in_(request.ids), audit.c.device.not_in(request.ids))
    ids = set(_matching(connection, audit, (audit.c.detail,), request, everywhere))
    ids |= set(connection.execute(select(audit.c.id).where(audit.c.device.in_(request.ids))).scalars())
    mentions.append((audit, None, sorted(ids)))
    return mentions


def _matching(
    connection: Connection, table: Table, texts: Sequence[Column[Any]], request: ForgetRequest, where: Any
) -> list[int]:
    """Ids of rows in which a word is one that identifies the device."""
    pattern = request.pattern()
    if pattern is None:
        return []
    columns = [cast(column, Text) for column in texts]
    rows = connection.execute(select(table.c.id, *columns).where(where).execution_options(yield_per=10_000))
    return [int(row[0]) for row in rows if any(text and pattern.search(text) for text in row[1:])]


def forget_rows(connection: Connection, request: ForgetRequest) -> dict[str, int]:
    """Delete the rows of a device with its request; what users did about it stays in the audit log, without details."""
    users = [each.get("user", "") for each in _stored(connection) if set(each["ids"]) & set(request.ids)]
    plan = plan_of(connection, request)
    for table, of_device, ids in _mentions(connection, request):
        for part in _parts(ids):
            if of_device is None:
                connection.execute(update(table).where(table.c.id.in_(part)).values(device="", detail={}))
            else:
                connection.execute(delete(table).where(table.c.id.in_(part)))
    for table, column in _owned():
        connection.execute(delete(table).where(column.in_(request.ids)))
    connection.execute(update(device).where(device.c.id.in_(request.ids)).values(merged_into=None))
    connection.execute(delete(device).where(device.c.id.in_(request.ids)))
    _clear_meta(connection, request)
    rest = [each for each in _stored(connection) if not set(each["ids"]) & set(request.ids)]
    set_meta(connection, REQUESTS, rest)
    set_meta(connection, REWRITE, 1)
    log_change(connection, users[0] if users else "", "forget", "", {"rows": sum(plan.values())})
    return plan


def _parts(ids: Sequence[int], size: int = 500) -> list[Sequence[int]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _clear_meta(connection: Connection, request: ForgetRequest) -> None:
    """Remove the device from what parts of the service stored for their next pass."""
    pattern = request.pattern()
    if pattern is None:
        return
    for name, value in connection.execute(select(meta.c.name, meta.c.value)).all():
        if name not in (REQUESTS, REWRITE):
            remaining = _without(value, pattern)
            if remaining != value:
                set_meta(connection, name, remaining)


def _without(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _without(each, pattern) for key, each in value.items()
                if not pattern.search(str(key)) and not _is_match(each, pattern)}  # fmt: skip
    if isinstance(value, Collection) and not isinstance(value, str):
        return [_without(each, pattern) for each in value if not _is_match(each, pattern)]
    return value


def _is_match(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.search(value) is not None


def rewritten(connection: Connection, done: datetime | None = None) -> bool:
    """Whether free pages may still hold what was deleted; with a time, remember that they do not."""
    if done is not None:
        set_meta(connection, REWRITE, 0)
    return bool(connection.execute(select(meta.c.value).where(meta.c.name == REWRITE)).scalar())
