"""Names of devices as files of the user state them, before they are matched with flows."""

from __future__ import annotations

import polars as pl

from ethogram.schema.biflow import TIME
from ethogram.schema.table import Column, Table

__all__ = ["NAMED_DEVICE"]

NAMED_DEVICE = Table(
    "named_device",
    "Entries of files that name devices: one row per MAC or address and name.",
    (
        Column("mac", pl.String(), "", "aa:bb:cc:dd:ee:ff", nullable=True),
        Column("address", pl.String(), "", "canonical text", nullable=True),
        Column("name", pl.String(), "", "name that the user gave", nullable=True),
        Column("host_name", pl.String(), "", "name that the device gave itself, or that DNS has", nullable=True),
        Column("vendor", pl.String(), "", "as the file states it", nullable=True),
        Column("model", pl.String(), "", "as the file states it", nullable=True),
        Column("kind", pl.String(), "", "as the file states it: a role or category", nullable=True),
        Column("begin", TIME, "", "from when the MAC has the address; null if the file does not say", nullable=True),
        Column("source", pl.String(), "", "file name and format"),
        Column("line", pl.UInt32(), "", "line of the file, or number of the entry in JSON"),
    ),
)  # fmt: skip
