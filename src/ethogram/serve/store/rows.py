"""Rows of tables as the records that leave the store."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, RowMapping, and_, or_

from ethogram.config import JudgeSettings
from ethogram.schema import DEVICE_STATES, DeviceRow
from ethogram.serve.store.tables import device

__all__ = ["address_order", "chunks", "device_row", "network_of", "state_conditions", "words_of"]

_T = TypeVar("_T")
_CHUNK = 5000  # values in one statement; SQLite takes 32,766


def chunks(values: Iterable[_T], size: int = _CHUNK) -> Iterator[list[_T]]:
    """Parts of at most ``size`` values."""
    rest = list(values)
    for start in range(0, len(rest), size):
        yield rest[start : start + size]


def state_conditions(clock: datetime | None, settings: JudgeSettings) -> dict[str, ColumnElement[bool]]:
    """Condition of each state of a device, at a time of the data."""
    table = device.c
    conditions: dict[str, ColumnElement[bool]] = {"ignored": table.ignored.is_(True)}
    if clock is not None:
        conditions["silent"] = table.last_seen < clock - timedelta(seconds=settings.silent_s)
        conditions["new"] = table.first_seen >= clock - timedelta(seconds=settings.new_s)
        conditions["changed"] = and_(
            table.changed.is_not(None), table.changed >= clock - timedelta(seconds=settings.changed_s)
        )
    unknown = and_(table.pinned.is_(False), or_(table.level == "unknown", table.level == ""))
    conditions["several"] = and_(table.pinned.is_(False), table.level == "several")
    return {**conditions, "unknown": unknown, "known": ~unknown}


def states_of(row: RowMapping, clock: datetime | None, settings: JudgeSettings) -> tuple[str, ...]:
    """States that apply, as :func:`state_conditions` selects them."""
    unknown = not row["pinned"] and row["level"] in ("", "unknown")
    applies = {"ignored": row["ignored"], "unknown": unknown, "known": not unknown,
               "several": not row["pinned"] and row["level"] == "several"}  # fmt: skip
    if clock is not None:
        applies["silent"] = row["last_seen"] < clock - timedelta(seconds=settings.silent_s)
        applies["new"] = row["first_seen"] >= clock - timedelta(seconds=settings.new_s)
        applies["changed"] = (
            row["changed"] is not None and row["changed"] >= clock - timedelta(seconds=settings.changed_s)
        )
    return tuple(state for state in DEVICE_STATES if applies.get(state))


def device_row(row: RowMapping, clock: datetime | None, settings: JudgeSettings) -> DeviceRow:
    """One row of the table of devices."""
    states = states_of(row, clock, settings)
    names = ("id", "name", "address", "mac", "network", "kind", "vendor", "model", "statement", "level", "score",
             "first_seen", "last_seen", "octets_a_day", "flows", "pinned", "unusual", "provisional", "judged",
             "changed")  # fmt: skip
    values: dict[str, Any] = {name: row[name] for name in names}
    if row["judged"] is None:
        values["seen_s"] = None
    else:
        until = min(row["last_seen"], row["judged"])
        values["seen_s"] = max((until - row["first_seen"]).total_seconds(), 0.0)
    return DeviceRow(**values, state=states[0], states=states)  # type: ignore[arg-type]


def network_of(address: str) -> str:
    """The IPv4 /24 or IPv6 /64 of an address; empty for other text.

    >>> network_of("192.168.1.20"), network_of("fd00::1"), network_of("")
    ('192.168.1.0/24', 'fd00::/64', '')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 64), strict=False))


def address_order(address: str) -> str:
    """Text that sorts addresses by number, IPv4 first.

    >>> address_order("10.0.0.9") < address_order("10.0.0.10") < address_order("fd00::1")
    True
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "9"
    return f"{parsed.version}{parsed.packed.hex()}"


def words_of(columns: Mapping[str, Any], more: Sequence[str] = ()) -> str:
    """Text that a search looks at."""
    names = ("name", "address", "mac", "statement", "kind", "vendor", "model")
    return "\n".join(dict.fromkeys(str(each).lower() for each in (*(columns[name] for name in names), *more) if each))
