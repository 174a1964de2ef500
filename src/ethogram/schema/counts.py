"""Counts per device, hour and service, from which all representations are computed. A window is a sum of rows."""

from __future__ import annotations

import polars as pl

from ethogram.schema.biflow import TIME
from ethogram.schema.flow import ROLE, SCOPE
from ethogram.schema.table import Column, Table

__all__ = ["COUNTS", "COUNT_KEYS", "COUNT_VOLUMES", "GROUP"]

COUNTS = Table(
    "counts",
    "One row per device, sub-epoch and service at its finest key. Rows with the same key may be added.",
    (
        Column("device", pl.String(), "", "the device's name"),
        Column("time", TIME, "", "start of the sub-epoch (an hour by default); a flow belongs to that of its start"),
        Column("protocol", pl.UInt8(), "", "protocolIdentifier"),
        Column("port", pl.UInt16(), "", "service port; 0 where the protocol has none"),
        Column("role", ROLE, "", "the device's side of the service"),
        Column("scope", SCOPE, "", "wan, lan or multicast"),
        Column("answered", pl.Boolean(), "", "whether both sides sent something"),
        Column("name", pl.String(), "", "domain of the other end, or its group", nullable=True),
        Column("flows", pl.UInt64(), "flows", "flows of this service that began in the sub-epoch"),
        Column("octets_out", pl.UInt64(), "octets", "IP octets the device sent"),
        Column("octets_in", pl.UInt64(), "octets", "IP octets the device received"),
        Column("packets_out", pl.UInt64(), "packets", "packets the device sent"),
        Column("packets_in", pl.UInt64(), "packets", "packets the device received"),
        Column("duration_ms", pl.UInt64(), "ms", "sum of the flows' durations"),
    ),
)  # fmt: skip

GROUP = r"^(22[4-9]|23[0-9])\.|^ff0[0-9a-f]::([^1]|1$|1:[0-9]$)"
"""Text of a multicast group that no address is part of: which of them a device speaks to tells its software."""

COUNT_KEYS = ["device", "time", "protocol", "port", "role", "scope", "answered", "name"]
COUNT_VOLUMES = ["flows", "octets_out", "octets_in", "packets_out", "packets_in", "duration_ms"]
