"""Counts and identity facts of made-up devices, for tests of the ladder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from ethogram.schema import IDENTITY, ITEM, ITEM_COUNTS, Windows

__all__ = ["counted", "facts", "windows"]

START = datetime(2026, 3, 1, tzinfo=UTC)


def counted(
    hour: int = 0, *, item: int = 0, protocol: int = 6, port: int = 443, role: str = "client", scope: str = "wan",
    answered: bool = True, name: str | None = None,
) -> dict[str, object]:  # fmt: skip
    volumes = dict.fromkeys(("flows", "octets_out", "octets_in", "packets_out", "packets_in", "duration_ms"), 10)
    return {"item": item, "time": START + timedelta(hours=hour), "protocol": protocol, "port": port, "role": role,
            "scope": scope, "answered": answered, "name": name, **volumes}  # fmt: skip


def windows(*rows: dict[str, object], items: int = 1) -> Windows:
    table = [{"item": i, "device": f"d{i}", "start": START, "end": START + timedelta(days=1)} for i in range(items)]
    counts = pl.DataFrame(list(rows), schema=dict(ITEM_COUNTS.schema)) if rows else ITEM_COUNTS.empty()
    return Windows(pl.DataFrame(table, schema=dict(ITEM.schema)), counts)


def facts(**values: str) -> pl.DataFrame:
    rows = [
        {"device": "d0", "mac": None, "address": None, "fact": fact, "value": value, "source": "test", "first": None,
         "last": None, "times": 1} for fact, value in values.items()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=dict(IDENTITY.schema))
