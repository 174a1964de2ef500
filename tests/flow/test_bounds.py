"""Memory of devices in the stages is bounded, and forgotten entries are counted."""

from __future__ import annotations

import numpy as np
import polars as pl

from ethogram.config import FlowSettings
from ethogram.flow.devices import LocalDevices
from ethogram.flow.factorize import factorize, stable_argsort
from ethogram.flow.ports import PortMemory
from ethogram.flow.service_side import TIE
from ethogram.pipeline.stages import FlowStages
from ethogram.schema import BIFLOW


def ties(ports: list[int], device: int) -> tuple[object, ...]:
    """Tied biflows of one device: from each port to port 2000."""
    n = len(ports)
    ends = np.stack([np.full(n, device, np.int32), np.full(n, -1, np.int32)])
    both = np.stack([np.array(ports, np.uint16), np.full(n, 2000, np.uint16)])
    return ends, np.full(n, 17, np.uint8), both, np.zeros(n, np.bool_), np.full(n, TIE, np.uint8)


def test_the_least_used_ports_are_forgotten_and_counted() -> None:
    memory = PortMemory(most=100)
    devices = np.arange(10, dtype=np.uint64)
    memory.learn(devices, *ties([3000] * 5, 0))  # type: ignore[arg-type]
    for device in range(10):
        memory.learn(devices, *ties(list(range(5000, 5050)), device))  # type: ignore[arg-type]
    assert memory.forgotten > 300
    ends, protocol, ports, _, _ = ties([3000, 5001], 0)
    # 2000 was used 55 times, 3000 five times: both are remembered, and 2000 recurs more.
    assert not memory.turned(np.arange(2), devices, ends, protocol, ports).any()  # type: ignore[arg-type]
    both = np.stack([np.full(1, 3000, np.uint16), np.full(1, 5001, np.uint16)])
    result = memory.turned(np.arange(1), devices, ends[:, :1], protocol[:1], both)  # type: ignore[index]
    assert result.tolist() == [True]


def test_addresses_of_macs_are_bounded_and_forgotten_ones_counted() -> None:
    stages = FlowStages(FlowSettings(), LocalDevices(most=50), 1800.0)
    rows = pl.DataFrame({"i": range(120)}).select(
        start=pl.from_epoch(pl.col("i") + 1_700_000_000).dt.replace_time_zone("UTC").cast(BIFLOW.schema["start"]),
        end=pl.from_epoch(pl.col("i") + 1_700_000_000).dt.replace_time_zone("UTC").cast(BIFLOW.schema["end"]),
        protocol=6, source_address=pl.format("10.0.0.{}", "i"), destination_address=pl.lit("198.51.100.7"),
        source_port=50000, destination_port=443, octets=1, packets=1, reverse_octets=1, reverse_packets=1,
        source_mac=pl.format("aa:bb:cc:00:00:{}", pl.col("i").cast(pl.String).str.zfill(3)),
    )  # fmt: skip
    flows = stages.flows(BIFLOW.conform(rows), last=True)
    assert flows["device"].n_unique() == 120
    assert stages.accountings["orient"].corrected == {"addresses of devices forgotten": 70}


def test_texts_are_numbered_in_order_of_appearance() -> None:
    texts = pl.Series([f"10.{i >> 8}.{i & 255}.1" for i in [*range(20_000), *range(20_000)]])
    numbers, distinct = factorize(texts)
    assert numbers.tolist() == [*range(20_000)] * 2
    assert distinct.to_list() == texts[:20_000].to_list()


def test_rows_are_sorted_stably_for_any_range_of_values() -> None:
    chance = np.random.default_rng(1)
    for span in (1, 5, 1 << 20, 1 << 50):
        values = chance.integers(-span, span, 3000)
        assert stable_argsort(values).tolist() == np.argsort(values, kind="stable").tolist()
    assert stable_argsort(np.empty(0, np.int64)).tolist() == []
