"""The flow table: one row per flow and device. All later stages read this table and nothing else.

It contains no labels: those are kept separately, by device and time. A flow between two devices gives a row for each.
"""

from __future__ import annotations

import polars as pl

from ethogram.schema.biflow import TIME
from ethogram.schema.table import Column, Table

__all__ = ["FLOW", "FLOW_METADATA", "INITIATOR", "ROLE", "SCOPE"]

FLOW_METADATA = {b"ethogram.format": b"ethogram.flow-table/1"}
"""Metadata of a flow table in Parquet: a file that has it may be replaced by another run."""

ROLE = pl.Enum(["client", "server"])
SCOPE = pl.Enum(["wan", "lan", "multicast"])
INITIATOR = pl.Enum(["device", "remote"])

FLOW = Table(
    "flow",
    "One row per flow and device, seen from the device.",
    (
        Column("device", pl.String(), "", "the device's name: from the device file, else its MAC, else its address"),
        Column("device_address", pl.String(), "", "the device's address in this flow"),
        Column("remote", pl.String(), "", "the other end's address"),
        Column("local_port", pl.UInt16(), "", "port on the device; 0 where the protocol has none"),
        Column("remote_port", pl.UInt16(), "", "port on the other end; 0 where the protocol has none"),
        Column("protocol", pl.UInt8(), "", "protocolIdentifier (IANA protocol number)"),
        Column("start", TIME, "", "first packet"),
        Column("end", TIME, "", "last packet"),
        Column("octets_out", pl.UInt64(), "octets", "IP octets the device sent"),
        Column("octets_in", pl.UInt64(), "octets", "IP octets the device received"),
        Column("packets_out", pl.UInt64(), "packets", "packets the device sent"),
        Column("packets_in", pl.UInt64(), "packets", "packets the device received"),
        Column("first_flags_out", pl.UInt8(), "", "flags of the device's first TCP packet", nullable=True),
        Column("first_flags_in", pl.UInt8(), "", "flags of the other end's first TCP packet", nullable=True),
        Column("initiator", INITIATOR, "", "who began, after correction"),
        Column("service_port", pl.UInt16(), "", "port of the service side; 0 where the protocol has none"),
        Column("role", ROLE, "", "the device's side of the service"),
        Column("scope", SCOPE, "", "where the other end is: wan, lan, or multicast (and broadcast)"),
        Column("answered", pl.Boolean(), "", "whether both sides sent something"),
        Column("end_reason", pl.UInt8(), "", "flowEndReason (RFC 5102) of the last joined record", nullable=True),
        Column("joined", pl.UInt32(), "records", "records that were joined into this row (1 = none was cut)"),
        Column("remote_name", pl.String(), "", "host name of the other end, or asked for by DNS", nullable=True),
        Column("remote_domain", pl.String(), "", "its registrable domain, or a longer name below a cloud or CDN; a "
               "multicast group is its own", nullable=True),
        Column("raw_octets_out", pl.UInt64(), "octets", "octets out as exported, where sampling was scaled away",
               nullable=True),
        Column("raw_octets_in", pl.UInt64(), "octets", "octets in as exported, where sampling was scaled away",
               nullable=True),
        Column("raw_packets_out", pl.UInt64(), "packets", "packets out as exported, where sampling was scaled away",
               nullable=True),
        Column("raw_packets_in", pl.UInt64(), "packets", "packets in as exported, where sampling was scaled away",
               nullable=True),
    ),
)  # fmt: skip
