"""The exported fingerprint: one row per device and window, with its counts.

The counts are included so that a fingerprint can be identified again with other settings, without the flows.
"""

from __future__ import annotations

import polars as pl

from ethogram.schema.biflow import TIME
from ethogram.schema.counts import COUNTS
from ethogram.schema.table import Column, Table

__all__ = ["FINGERPRINT", "FINGERPRINT_FORMAT", "STATUS"]

FINGERPRINT_FORMAT = "ethogram.fingerprint/1"
"""Stored in the metadata of every fingerprint file and library; another major number is refused."""

STATUS = pl.Enum(["converged", "unconverged", "gap", "change", "open"])
"""Why the window ended; *open*: the input ended first (a provisional fingerprint)."""

FINGERPRINT = Table(
    "fingerprint",
    "One row per exported fingerprint.",
    (
        Column("fingerprint", pl.String(), "", "identifier: device, start and status"),
        Column("device", pl.String(), "", "the device's name"),
        Column("start", TIME, "", "start of the first epoch of the window"),
        Column("end", TIME, "", "end of the last epoch of the window"),
        Column("status", STATUS, "", "why the window ended"),
        Column("epochs", pl.UInt32(), "epochs", "active epochs in the window"),
        Column("flows", pl.UInt64(), "flows", "flows counted"),
        Column("similarity", pl.Float64(), "", "similarity at the last comparison", nullable=True),
        Column("settings", pl.String(), "", "digest of the settings that made it"),
        Column(
            "counts",
            pl.List(pl.Struct({c.name: c.dtype for c in COUNTS.columns if c.name != "device"})),
            "",
            "the counts of the window, per sub-epoch and service",
        ),
    ),
)
