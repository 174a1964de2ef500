"""Third-party encoders in tasks on flows: what they are stands in the row; what they cannot read is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.flows.made_networks import network
from ethogram.bench.flows.benchmark import FlowBenchmark
from ethogram.bench.flows.task import FlowMethod, FlowTask
from ethogram.bench.row import rows
from ethogram.schema import CustomFlows, PacketFlows

NPRINT = FlowMethod.of(name="nprint", title="t", group="packets", adapter="nprint", budgets=False, seeds=1)
SMALL = FlowMethod.of(name="yatc-small", title="t", group="packets", adapter="yatc-small", budgets=False, seeds=1,
                      pretraining={"steps": 1, "batch": 4})  # fmt: skip
TASK = FlowTask.of(name="t", title="t", experiment="others", protocol="P0", level="type", encoder=("home",),
                   probe=("home",), test=("home",), packets=True, shift=False, methods=("packets",),
                   caps={"unlabelled": 4, "labelled": 4}, settings={"draws": 20, "logistic_steps": 20})  # fmt: skip


def packets_of(flows: CustomFlows) -> PacketFlows:
    """One packet for each flow: addresses of zeros, a time to live that tells the type, and eight octets."""
    n = len(flows)
    size = 20 + 8 + 8
    data = b"".join(
        bytes([0x45, 0, 0, size, *[0] * 4, port % 251, 17, *[0] * 10, 0x30, 0x39])
        + port.to_bytes(2, "big")
        + bytes(4 + 8)
        for port in flows.remote_port.tolist()
    )
    each = np.arange(n + 1, dtype=np.int64)
    return PacketFlows(
        first_packet=each, packet_offset_us=np.zeros(n, np.uint32), packet_out=np.ones(n, np.uint8),
        packet_octets=np.full(n, size, np.uint32), ip_octets=np.full(n, 20, np.uint8),
        transport_octets=np.full(n, 8, np.uint8), payload_octets=np.full(n, 8, np.uint16), first_octet=each * size,
        data=np.frombuffer(data, np.uint8),
    )  # fmt: skip


def rows_of(folder: Path | None, methods: list[FlowMethod], *, packets: bool = True) -> dict[str, dict[str, Any]]:
    loaded = network("home", 1, flows=400, days=12)
    made = FlowBenchmark(Path(), {"home": loaded.card}, folder, threads=1)
    held = replace(loaded, packets=packets_of(loaded.flows)) if packets else loaded
    made._loaded = {("home", True): held}
    return {str(row["method"]): row for row, _ in rows(made, [TASK], methods)}


def test_an_adapter_tells_its_licence_and_that_its_weights_are_random() -> None:
    row = rows_of(None, [NPRINT])["nprint"]
    assert row["values"]["macro_f1"] > 0.95  # the time to live tells the type
    assert row["cost"]["licence"] == "Apache-2.0" and row["cost"]["parameters"] == 0
    assert row["cost"]["checkpoint"] is None and row["cost"]["flows_per_s"] > 0


def test_one_that_learns_here_is_kept(tmp_path: Path) -> None:
    first = rows_of(tmp_path, [SMALL])["yatc-small"]
    assert "pretrained here, 1 steps of 4" in first["cost"]["origin"], first.get("absent")
    stored = list((tmp_path / "flows" / "encoders").rglob("encoder.safetensors"))
    assert len(stored) == 1
    stamp = stored[0].stat().st_mtime_ns
    again = rows_of(tmp_path, [SMALL])["yatc-small"]
    assert again["values"] == first["values"] and stored[0].stat().st_mtime_ns == stamp


def test_flows_without_packets_are_a_row_that_says_so() -> None:
    row = rows_of(None, [NPRINT], packets=False)["nprint"]
    assert row["absent"] == "nprint: needs packets of both directions, and home has none"
    assert not row["failed"]


def test_a_task_without_packets_asks_no_adapter() -> None:
    assert TASK.runs(NPRINT)
    assert not TASK.model_copy(update={"packets": False}).runs(NPRINT)
