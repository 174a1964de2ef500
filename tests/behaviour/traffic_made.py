"""Flows of a made-up plug, and attacks on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from ethogram.schema import FLOW

START = datetime(2026, 3, 2, tzinfo=UTC)


def flow(at: datetime, seconds: float = 1.0, **values: object) -> dict[str, object]:
    """One row of a flow table: HTTPS to the vendor unless values say otherwise."""
    row: dict[str, object] = {
        "device": "plug", "device_address": "192.168.1.5", "remote": "198.51.100.7", "local_port": 40_000,
        "remote_port": 443, "protocol": 6, "start": at, "end": at + timedelta(seconds=seconds), "octets_out": 800,
        "octets_in": 1600, "packets_out": 8, "packets_in": 8, "initiator": "device", "service_port": 443,
        "role": "client", "scope": "wan", "answered": True, "joined": 1, "remote_name": "api.example.com",
        "remote_domain": "example.com",
    }  # fmt: skip
    return row | values


def usual(days: int, device: str = "plug", first: datetime = START) -> list[dict[str, object]]:
    """Flows of ordinary days: HTTPS every ten minutes, DNS and NTP every hour."""
    rows = []
    for minute in range(0, days * 1440, 10):
        at = first + timedelta(minutes=minute)
        rows.append(flow(at, device=device))
        if minute % 60 == 0:
            rows.append(flow(at, device=device, protocol=17, service_port=53, remote_port=53, scope="lan",
                             remote="192.168.1.1", packets_out=1, packets_in=1, octets_out=60,
                             octets_in=120))  # fmt: skip
            rows.append(flow(at, device=device, protocol=17, service_port=123, remote_port=123, remote="203.0.113.9",
                             remote_name="pool.ntp.org", remote_domain="ntp.org", packets_out=1, packets_in=1,
                             octets_out=76, octets_in=76))  # fmt: skip
    return rows


def scan(at: datetime, count: int, device: str = "plug") -> list[dict[str, object]]:
    """Telnet to so many other ends within five minutes, none of which answers."""
    return [
        flow(at + timedelta(seconds=300 * i / count), device=device, service_port=23, remote_port=23,
             remote=f"203.0.{i // 250}.{i % 250 + 1}", packets_out=1, packets_in=0, octets_out=40, octets_in=0,
             answered=False, remote_name=None, remote_domain=None)
        for i in range(count)
    ]  # fmt: skip


def table(rows: list[dict[str, object]]) -> pl.DataFrame:
    """A flow table of rows."""
    return FLOW.conform(pl.DataFrame(rows, infer_schema_length=None)).sort("start")
