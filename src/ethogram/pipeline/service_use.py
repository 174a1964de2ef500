"""Use of services by devices, from inputs of any kind: what MUD profiles and firewall rules are learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ethogram.fingerprint.mud_profile import sum_uses
from ethogram.pipeline.flows import read_flows
from ethogram.pipeline.read_options import OnProgress, ReadOptions
from ethogram.pipeline.run_log import RunLog, run_log
from ethogram.pipeline.text import plural
from ethogram.schema import MUD_USE, TCP, UDP

__all__ = ["MOST_USES", "UsesRead", "add_uses", "uses_of_counts", "uses_of_flows", "uses_of_inputs"]

MOST_USES = 1 << 19
"""Rows of uses in memory; beyond, addresses without a name are left out."""
_DNS = 53


@dataclass
class UsesRead:
    """Use of services (:data:`ethogram.schema.MUD_USE`), and what the run has to say."""

    uses: pl.DataFrame
    log: RunLog


def uses_of_flows(flows: pl.DataFrame) -> pl.DataFrame:
    """Uses in a flow table; the other end is its host name, its address where it has none, or its multicast group."""
    remote, multicast = pl.col("remote").cast(pl.String), pl.col("scope") == "multicast"
    dns = pl.col("protocol").is_in([TCP, UDP]) & (pl.col("service_port") == _DNS)
    uses = flows.select(
        "device",
        pl.when(remote.str.contains(":")).then(6).otherwise(4).alias("version"),
        "protocol",
        pl.col("service_port").alias("port"),
        "role",
        "scope",
        pl.when(~multicast).then(pl.col("remote_name")).alias("name"),
        pl.when(multicast | dns | pl.col("remote_name").is_null()).then(remote).alias("address"),
        "initiator",
        "answered",
        pl.lit(1).alias("flows"),
        "packets_out",
        "packets_in",
    )
    return sum_uses(MUD_USE.conform(uses))


def uses_of_counts(counts: pl.DataFrame) -> pl.DataFrame:
    """Uses in counts (:data:`ethogram.schema.COUNTS`): other ends are domains, without addresses."""
    return sum_uses(MUD_USE.conform(counts.select(
        "device", "protocol", "port", "role", "scope", "name", "answered", "flows", "packets_out", "packets_in"
    )))  # fmt: skip


def add_uses(uses: pl.DataFrame, more: pl.DataFrame, most: int = MOST_USES) -> pl.DataFrame:
    """Sums of two tables of uses, without addresses if they would have more than ``most`` rows."""
    added = sum_uses(pl.concat([uses, more]))
    if added.height > most:
        added = sum_uses(added.with_columns(address=pl.lit(None, dtype=pl.String)))
    return added


def uses_of_inputs(
    inputs: Sequence[str | Path], reading: ReadOptions | None = None, *, on_progress: OnProgress | None = None
) -> UsesRead:  # fmt: skip
    """Read inputs of any kind, and sum up which services their devices use.

    Parameters
    ----------
    inputs
        Anything that :func:`ethogram.pipeline.flows.read_flows` opens.
    reading
        How inputs become flows of devices.
    on_progress
        Called with the number of records of each batch.

    Raises
    ------
    InputError
        If an input is missing, empty or of unknown format.
    """
    run = read_flows(inputs, reading or ReadOptions(), on_progress=on_progress)
    uses = MUD_USE.empty()
    for batch in run.batches():
        uses = add_uses(uses, uses_of_flows(batch))
    devices = plural(uses["device"].n_unique(), "device")
    log = run_log(run.reports, run.stages, run.skipped, f"services of {devices}", run.errors)
    log.notices += run.notices
    return UsesRead(uses, log)
