"""What the rules of alerts read: devices that are unknown, unusual or silent, and names and addresses used twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from ethogram.config import JudgeSettings
from ethogram.pipeline.device_facts import GENERIC_NAMES
from ethogram.schema import NETWORK_EQUIPMENT, DeviceRow, DueDevice
from ethogram.serve.store.reads import clock_of
from ethogram.serve.store.rounds import devices_of
from ethogram.serve.store.rows import chunks, device_row
from ethogram.serve.store.tables import device, device_key

__all__ = ["Conflict", "Holding", "conflicts", "fell_silent", "first_of_all", "holding"]

AT_ONCE = timedelta(minutes=10)
"""Two keys are in use at one time if their latest flows are this close."""
RECENT = timedelta(hours=1)
MOST = 200
MOST_ADDRESSES = 4
"""A MAC with more addresses forwards for others."""
_SHOWN = (device.c.merged_into.is_(None), device.c.ignored.is_(False))


class Holding(NamedTuple):
    """Devices that are unknown for long, and that are unusual: the first ones, and how many."""

    unknown: tuple[DeviceRow, ...]
    unknowns: int
    unusual: tuple[DeviceRow, ...]
    unusuals: int


class Conflict(NamedTuple):
    """Something that is used twice at one time.

    Parameters
    ----------
    kind
        ``hostname`` or ``address`` of several devices, or ``mac`` with several addresses.
    value
        The name, address or MAC.
    devices
        Id and name of each device.
    values
        Addresses, for ``mac``.
    """

    kind: str
    value: str
    devices: tuple[tuple[str, str], ...]
    values: tuple[str, ...]


def first_of_all(connection: Connection) -> datetime | None:
    """Time of the first flow of all devices."""
    first: datetime | None = connection.execute(select(func.min(device.c.first_seen))).scalar()
    return first


def holding(connection: Connection, settings: JudgeSettings, unknown_s: float, limit: int) -> Holding:
    """Devices that are unknown for longer than ``unknown_s`` and not silent, and devices that are unusual."""
    clock = clock_of(connection)
    if clock is None:
        return Holding((), 0, (), 0)
    unknown = and_(
        device.c.level == "unknown", device.c.pinned.is_(False),
        device.c.first_seen < clock - timedelta(seconds=unknown_s),
        device.c.last_seen >= clock - timedelta(seconds=settings.silent_s),
    )  # fmt: skip

    def first(condition: ColumnElement[bool]) -> tuple[tuple[DeviceRow, ...], int]:
        count = connection.execute(select(func.count()).select_from(device).where(*_SHOWN, condition)).scalar() or 0
        query = select(device).where(*_SHOWN, condition).order_by(device.c.first_seen, device.c.id).limit(limit)
        rows = connection.execute(query).mappings() if count else ()
        return tuple(device_row(row, clock, settings) for row in rows), int(count)

    return Holding(*first(unknown), *first(device.c.unusual.is_(True)))


def fell_silent(
    connection: Connection, after: datetime, before: datetime, limit: int, after_id: str | None
) -> list[DueDevice]:  # fmt: skip
    """Devices whose latest flow lies after one time and not after another, in order of that time and of their ids."""
    table = device.c
    later = table.last_seen > after
    if after_id is not None:
        later |= (table.last_seen == after) & (table.id > after_id)
    query = (
        select(table.id, table.first_seen, table.last_seen, table.due)
        .where(*_SHOWN, later, table.last_seen <= before)
        .order_by(table.last_seen, table.id)
        .limit(limit)
    )
    return devices_of(connection, list(connection.execute(query).mappings()))


def conflicts(connection: Connection) -> list[Conflict]:
    """Names, addresses and MACs that are used twice at the time of the data, at most some of each."""
    clock = clock_of(connection)
    if clock is None:
        return []
    columns = (device_key.c.kind, device_key.c.value, device_key.c.first, device_key.c.last, device.c.id,
               device.c.name, device.c.mac)  # fmt: skip
    joined = device_key.join(device, device.c.id == device_key.c.device)
    recent = (*_SHOWN, device_key.c.last >= clock - RECENT, device_key.c.by_user.is_(False))
    shared = (
        select(device_key.c.kind, device_key.c.value)
        .select_from(joined)
        .where(*recent, or_(device_key.c.kind == "hostname", device_key.c.kind == "address"))
        .group_by(device_key.c.kind, device_key.c.value)
        .having(func.count(device.c.id.distinct()) > 1)
        .limit(MOST)
    )
    wanted = [(kind, value) for kind, value in connection.execute(shared) if _is_distinct(kind, value)]
    by_key: dict[tuple[str, str], list[Any]] = {key: [] for key in wanted}
    for part in chunks(sorted({value for _, value in wanted})):
        of_values = select(*columns).select_from(joined).where(*recent, device_key.c.value.in_(part))
        for row in connection.execute(of_values):
            if (row.kind, row.value) in by_key:
                by_key[row.kind, row.value].append(row)
    clashes = []
    for (kind, value), rows in by_key.items():
        if at_once := _at_once(rows):
            clashes.append(Conflict(kind, value, tuple((row.id, row.name) for row in at_once), ()))
    several = (
        select(device.c.id)
        .select_from(joined)
        .where(*recent, device_key.c.kind == "address", device_key.c.value.like("%.%"), device.c.mac != "",
               device.c.kind.not_in(sorted(NETWORK_EQUIPMENT)))
        .group_by(device.c.id)
        .having(func.count().between(2, MOST_ADDRESSES))
        .limit(MOST)
    )  # fmt: skip
    ids = list(connection.execute(several).scalars())
    rows_of: dict[str, list[Any]] = {id_: [] for id_ in ids}
    query = select(*columns).select_from(joined).where(*recent, device_key.c.kind == "address", device.c.id.in_(ids))
    for row in connection.execute(query) if ids else ():
        if _is_distinct("address", row.value):
            rows_of[row.id].append(row)
    for rows in rows_of.values():
        if at_once := _at_once(rows):
            first = at_once[0]
            clashes.append(Conflict("mac", first.mac, ((first.id, first.name),), tuple(row.value for row in at_once)))
    return clashes


def _is_distinct(kind: str, value: str) -> bool:
    """Whether two devices should not share a name or address."""
    if kind == "hostname":
        return value not in GENERIC_NAMES
    return "." in value and not value.startswith(("169.254.", "0."))


def _at_once(rows: Sequence[Any]) -> list[Any]:
    """Rows used at the same time as another row: their spans overlap, and their latest flows are close."""
    used: dict[int, Any] = {}
    for (i, first), (j, other) in combinations(enumerate(rows[:20]), 2):
        if max(first.first, other.first) < min(first.last, other.last) and abs(first.last - other.last) <= AT_ONCE:
            used |= {i: first, j: other}
    return [row for _, row in sorted(used.items())]
