"""Segments of a collector folder with made flows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from ethogram.schema import FLOW
from ethogram.serve.segments import SegmentName, SegmentWriter

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def flows(device: str, at: datetime, number: int = 3, *, port: int = 443, address: str = "", octets: int = 100,
          name: str | None = "example.com") -> pl.DataFrame:  # fmt: skip
    """Flows of one device, one a second."""
    return FLOW.conform(pl.DataFrame({
        "device": [device] * number, "device_address": address or device, "remote": "192.0.2.1", "local_port": 50000,
        "remote_port": port, "protocol": 6,
        "start": [at + timedelta(seconds=i) for i in range(number)],
        "end": [at + timedelta(seconds=i + 1) for i in range(number)],
        "octets_out": octets, "octets_in": octets, "packets_out": 5, "packets_in": 5, "first_flags_out": 2,
        "first_flags_in": 18, "initiator": "device", "service_port": port, "role": "client", "scope": "wan",
        "answered": True, "end_reason": 3, "joined": 1, "remote_name": name, "remote_domain": name,
        "raw_octets_out": None, "raw_octets_in": None, "raw_packets_out": None, "raw_packets_in": None,
    }))  # fmt: skip


def segment(folder: Path, number: int, *tables: pl.DataFrame, at: datetime | None = None) -> Path:
    """Write a committed segment that arrived at a time, by default ``number`` minutes after the start."""
    at = at or START + number * MINUTE
    (folder / "flows").mkdir(parents=True, exist_ok=True)
    writer = SegmentWriter(folder / "flows", SegmentName(number, int(at.timestamp()) * 1_000_000_000))
    writer.write(pl.concat(tables).sort("end"), int((at + MINUTE).timestamp() * 1e6))
    writer.close()
    writer.commit()
    return writer.path
