"""A made-up home as a labelled corpus: four devices that differ in their services, and two in volume alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from ethogram.schema import FLOW

SERVICES = {
    "camera": [(6, 443, 40, 900), (17, 123, 2, 76)],
    "plug": [(6, 8883, 6, 300), (17, 53, 4, 70)],
    "bulb": [(6, 8883, 6, 30_000), (17, 53, 4, 70)],
    "hub": [(17, 5353, 10, 120), (6, 443, 5, 500), (6, 80, 3, 200)],
}
"""Device to (protocol, port, flows a day, octets of a flow)."""

CARD = """
name = "home"
title = "A made-up home"
years = "2020"
network = "home"
kind = "flow_table"
runs = "none"
source = "made by a test"
citation = "none"
licence = "none"
traps = ["made up"]
devices = [
  { id = "camera", model = "m-camera", vendor = "v", type = "camera", files = ["flows.parquet"] },
  { id = "plug", model = "m-plug", vendor = "v", type = "plug", files = ["flows.parquet"] },
  { id = "bulb", model = "m-bulb", vendor = "v", type = "light", files = ["flows.parquet"] },
  { id = "hub", model = "m-hub", vendor = "w", type = "hub", files = ["flows.parquet"] },
]
"""

TASK = """
name = "home-days"
title = "Made-up home: device-days"
experiment = "test"
corpora = ["home"]
twins = { plug = "dimmer", bulb = "dimmer" }
"""

OPEN = TASK.replace("home-days", "home-open") + 'kind = "open"\n'
LOSS = TASK.replace("home-days", "home-loss") + 'kind = "robust"\nvalues = [0.0, 0.9, 4.0]\n'

METHODS = """
[[method]]
name = "list"
title = "List"
group = "plain"
representation = { kind = "list" }

[[method]]
name = "log-octets"
title = "log octets"
group = "option"
calibrated = true
representation = { kind = "log_volume", weight = "octet_share" }

[[method]]
name = "random-forest"
title = "forest"
group = "baseline"
identify = { method = "random-forest" }
"""


def flows(days: int = 9, seed: int = 1) -> pl.DataFrame:
    """The flow table of the home."""
    random = np.random.default_rng(seed)
    begin = datetime(2020, 3, 1, tzinfo=UTC)
    rows = []
    for device, services in SERVICES.items():
        for protocol, port, count, octets in services:
            for day in range(days):
                for second in np.sort(random.integers(0, 86_000, random.poisson(count) + 1)).tolist():
                    start = begin + timedelta(days=day, seconds=int(second))
                    size = int(octets * random.uniform(0.8, 1.2))
                    rows.append((device, protocol, port, start, start + timedelta(seconds=1), size, 2 * size))
    columns = ["device", "protocol", "service_port", "start", "end", "octets_out", "octets_in"]
    frame = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        device_address=pl.lit("10.0.0.2"), remote=pl.lit("192.0.2.1"), local_port=pl.lit(50_000),
        remote_port=pl.col("service_port"), packets_out=pl.lit(4), packets_in=pl.lit(4), initiator=pl.lit("device"),
        role=pl.lit("client"), scope=pl.lit("wan"), answered=pl.lit(value=True), joined=pl.lit(1),
    )  # fmt: skip
    return FLOW.conform(frame).sort("start")


def corpus(root: Path) -> Path:
    """Write the corpus, its card, tasks and methods below ``root``."""
    (root / "home").mkdir(parents=True)
    flows().write_parquet(root / "home" / "flows.parquet")
    for folder, name, text in (
        ("cards", "home", CARD), ("tasks", "days", TASK), ("tasks", "open", OPEN), ("tasks", "loss", LOSS),
        ("methods", "all", METHODS),
    ):  # fmt: skip
        (root / folder).mkdir(exist_ok=True)
        (root / folder / f"{name}.toml").write_text(text)
    return root
