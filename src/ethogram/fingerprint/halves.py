"""Which devices have a stable fingerprint, for all devices at once: the two halves of their first epochs are alike.

The state machine of :mod:`ethogram.fingerprint.device` compares, after 2, 4, 6 ... active epochs, the first half of the
window with the second one. Under the default settings this needs sums of integers alone, so that columns of all devices
are compared together. Devices whose window may end before (after a gap, or because it is long) are left to the state
machine.
"""

from __future__ import annotations

import polars as pl

from ethogram.config import ExporterSettings
from ethogram.fingerprint.key import with_service

__all__ = ["applies", "stable_by_halves"]


def applies(settings: ExporterSettings) -> bool:
    """Whether columns give the same answer as the state machine."""
    shown = settings.representation
    return (
        settings.compare == "halves" and settings.mode == "tumbling" and settings.runs == 1
        and shown.kind == "generalized" and shown.granularity > 0 and shown.weight == "flow_share"
        and shown.similarity == "ruzicka" and shown.min_share == 0 and shown.min_flows == 0
    )  # fmt: skip


def stable_by_halves(rows: pl.DataFrame, settings: ExporterSettings) -> tuple[set[str], set[str]]:
    """Devices that are stable, and devices about which the state machine must decide.

    Parameters
    ----------
    rows
        Counts with a column ``epoch``.
    settings
        For which :func:`applies` holds.
    """
    flows = (
        with_service(rows, settings.key).group_by("device", "epoch", "service")
        .agg(pl.col("flows").sum().cast(pl.Int64))
    )  # fmt: skip
    epochs = (
        flows.group_by("device", "epoch").agg(total=pl.col("flows").sum()).sort("device", "epoch")
        .with_columns(
            rank=pl.int_range(pl.len()).over("device"), gap=pl.col("epoch").diff().over("device").fill_null(0)
        )
    )  # fmt: skip
    devices = epochs.group_by("device").agg(
        n=pl.len(), gap=pl.col("gap").max() * settings.epoch_s, least=pl.col("total").min()
    )
    left = devices.filter(
        (pl.col("gap") > settings.gap_s) | (pl.col("n") >= settings.max_epochs) | (pl.col("least") <= 0)
    )["device"]
    undecided = epochs.filter(~pl.col("device").is_in(left.implode()))
    ranked = flows.join(undecided.select("device", "epoch", "rank"), on=["device", "epoch"])
    stable: set[str] = set()
    for n in range(2, int(devices["n"].max() or 0) + 1, 2):
        ranked = ranked.filter(~pl.col("device").is_in(pl.Series(list(stable), dtype=pl.String).implode()))
        whole = ranked.group_by("device").agg(n=pl.col("rank").max() + 1).filter(pl.col("n") >= n)
        if n >= settings.min_epochs and whole.height:
            stable |= set(_alike(ranked.filter(pl.col("rank") < n).join(whole, on="device", how="semi"), n, settings))
    return stable, set(left)


def _alike(rows: pl.DataFrame, n: int, settings: ExporterSettings) -> pl.Series:
    """Devices whose two halves of ``n`` epochs are alike."""
    g = settings.representation.granularity
    after = pl.col("rank") >= n // 2
    sums = rows.group_by("device", "service").agg(
        a=pl.col("flows").filter(~after).sum(), b=pl.col("flows").filter(after).sum()
    )
    levels = sums.with_columns(
        ((pl.col(name) * g + pl.col(name).sum().over("device") - 1) // pl.col(name).sum().over("device")).alias(name)
        for name in ("a", "b")
    )
    same = levels.group_by("device").agg(
        shared=pl.min_horizontal("a", "b").sum(), whole=pl.max_horizontal("a", "b").sum()
    )
    enough = sums.group_by("device").agg(flows=(pl.col("a") + pl.col("b")).sum())
    alike = same.join(enough, on="device").filter(
        (pl.col("shared") / pl.col("whole") >= settings.threshold) & (pl.col("flows") >= settings.min_flows)
    )
    return alike["device"]
