"""Custom flows of made-up devices that can be told apart, with their label files: homes for tests of probes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from custom_flows_made import DAY_US, made
from ethogram.config import CustomFlowSettings
from ethogram.pipeline.vector_files import write_custom_flows
from ethogram.schema import CustomFlows

TYPES = {443: "camera", 80: "plug", 53: "hub"}


def home(n: int, seed: int = 0, days: int = 10, first_day: int = 0, units: int = 1) -> CustomFlows:
    """Flows of ``units`` devices of each of three types; what a device says tells its type."""
    flows = made(n, seed, days)
    names = [f"{TYPES[port]} {i % units}" for i, port in enumerate(flows.remote_port.tolist())]
    return replace(flows, device=pl.Series(names, dtype=pl.String), start_us=flows.start_us + first_day * DAY_US)


def write_home(folder: Path, name: str, flows: CustomFlows, blocks: int = 3) -> tuple[Path, Path]:
    """A file of flows in some row groups, and its label file."""
    path, labels = folder / f"{name}.parquet", folder / f"{name}.csv"
    cuts = np.linspace(0, len(flows), blocks + 1).astype(int)
    write_custom_flows(path, [flows.take(slice(a, b)) for a, b in pairwise(cuts)], CustomFlowSettings())
    rows = [f"{device},{name} {device},{device.split()[0]}" for device in sorted(set(flows.device))]
    labels.write_text("device,label,type\n" + "\n".join(rows) + "\n")
    return path, labels
