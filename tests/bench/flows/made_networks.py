"""Made-up networks as loaded corpora: devices whose talk tells their type, so that splits and probes have work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from custom_flows_made import DAY_US, made
from ethogram.corpora.card import Card, read_card
from ethogram.corpora.custom_flows import TRUTH, CorpusFlows

TYPES = {443: "camera", 80: "plug", 53: "hub"}


def network(name: str, seed: int, flows: int = 240, days: int = 10, units: int = 1, first_day: int = 0) -> CorpusFlows:
    """A network with ``units`` devices of each of three types; the remote port tells the type."""
    drawn = made(flows, seed, days, packets=3)
    kinds = [TYPES[port] for port in drawn.remote_port.tolist()]
    ids = [f"{kind}{i % units}" for i, kind in enumerate(kinds)]
    device = pl.Series("device", [f"{name}/{item}" for item in ids], dtype=pl.String)
    held = replace(drawn, device=device, start_us=drawn.start_us + first_day * DAY_US)
    day = pl.Series("day", held.start_us // DAY_US, dtype=pl.Int32)
    truth = pl.DataFrame({
        "device": device, "id": ids, "unit": device, "model": kinds, "vendor": ["acme"] * flows, "family": kinds,
        "type": kinds, "coarse": kinds, "network": [name] * flows, "run": [""] * flows, "corpus": [name] * flows,
        "day": day, "device_day": [f"{d} {n}" for d, n in zip(device, day, strict=True)],
    })  # fmt: skip
    assert dict(truth.schema) == TRUTH
    return CorpusFlows(card_of(name), held, None, truth, f"{name}-{seed}-{flows}")


def with_unit(loaded: CorpusFlows, kind: str, unit: str) -> CorpusFlows:
    """The same, with another unit for the devices of a type."""
    changed = pl.when(pl.col("type") == kind).then(pl.lit(unit)).otherwise("unit").alias("unit")
    return replace(loaded, truth=loaded.truth.with_columns(changed).select(list(TRUTH)))


def card_of(name: str) -> Card:
    text = f"""
name = "{name}"
title = "made up"
years = "2020"
network = "{name}"
kind = "capture"
runs = "none"
source = "made by a test"
citation = "none"
licence = "none"
traps = ["made up"]
devices = [{{ id = "camera0", model = "m", vendor = "acme", type = "camera", files = ["*.pcap"] }}]
"""
    return read_card(text, file=f"{name}.toml")


def rows_sum(rows: dict[str, np.ndarray]) -> int:
    return sum(part.size for part in rows.values())
