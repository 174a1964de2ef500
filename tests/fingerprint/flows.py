"""Flow tables written for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from ethogram.schema import COUNTS, FLOW

T0 = datetime(2026, 3, 1, tzinfo=UTC)

PLAIN_FLOW: dict[str, Any] = {
    "device": "camera", "device_address": "192.168.1.10", "remote": "198.51.100.7", "local_port": 50000,
    "remote_port": 443, "protocol": 6, "start": T0, "end": T0 + timedelta(seconds=2), "octets_out": 600,
    "octets_in": 4000, "packets_out": 6, "packets_in": 8, "first_flags_out": 2, "first_flags_in": 18,
    "initiator": "device", "service_port": 443, "role": "client", "scope": "wan", "answered": True,
    "end_reason": 3, "joined": 1, "remote_name": None, "remote_domain": None,
}  # fmt: skip

PLAIN_COUNT: dict[str, Any] = {
    "device": "camera", "time": T0, "protocol": 6, "port": 443, "role": "client", "scope": "wan", "answered": True,
    "name": None, "flows": 1, "octets_out": 600, "octets_in": 4000, "packets_out": 6, "packets_in": 8,
    "duration_ms": 2000,
}  # fmt: skip


def flow_table(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Flows that differ from a plain one as each mapping says."""
    return pl.DataFrame([{**PLAIN_FLOW, **row} for row in rows], schema=FLOW.schema)


def count_table(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Counts that differ from a plain one as each mapping says."""
    return pl.DataFrame([{**PLAIN_COUNT, **row} for row in rows], schema=COUNTS.schema)


def hours(n: float) -> datetime:
    """A time n hours after the start of all tests."""
    return T0 + timedelta(hours=n)
