"""Biflows to flows, block by block: who says that a record is one half, and which blocks make the same flows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from ethogram.config import FlowSettings
from ethogram.flow.devices import LocalDevices
from ethogram.io.open import Input
from ethogram.pipeline.device_names import DeviceNames
from ethogram.pipeline.flows import FlowRun
from ethogram.pipeline.read_options import ReadOptions
from ethogram.pipeline.stages import FlowStages
from ethogram.schema import BIFLOW, FLOW, Accounting, FlowSource

T0 = datetime(2024, 5, 1, tzinfo=UTC)
DEVICE, SERVER = "10.0.0.5", "198.51.100.7"


def half(at: float, back: bool = False, port: int = 50000, one_way: bool | None = None) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(BIFLOW.names)
    ends = {"source_address": DEVICE, "destination_address": SERVER, "source_port": port, "destination_port": 443}
    if back:
        ends = {"source_address": SERVER, "destination_address": DEVICE, "source_port": 443, "destination_port": port}
    start = T0 + timedelta(seconds=at)
    counts = {"octets": 300 if back else 100, "packets": 3 if back else 2, "reverse_octets": 0, "reverse_packets": 0}
    return row | ends | counts | {"start": start, "end": start + timedelta(seconds=1), "protocol": 6, "end_reason": 1,
                                  "one_way": one_way}  # fmt: skip


def table(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=BIFLOW.schema, orient="row")


class Blocks(FlowSource):
    """A source of given blocks."""

    def __init__(self, blocks: list[pl.DataFrame], *, whole: bool = False, unidirectional: bool = False) -> None:
        self.name, self.accounting = "blocks", Accounting("records")
        self.whole_blocks, self.unidirectional = whole, unidirectional
        self._blocks = blocks

    def itself(self) -> Blocks:
        return self

    def batches(self) -> Iterator[pl.DataFrame]:
        for block in self._blocks:
            self.accounting.read += block.height
            self.accounting.used += block.height
            yield block


def run(*sources: Blocks, **chosen: object) -> FlowRun:
    opened = [Input("blocks", Path("blocks"), "yaf", partial(Blocks.itself, source)) for source in sources]
    return FlowRun(opened, DeviceNames(), ReadOptions(flow=FlowSettings.of(**chosen)))


@pytest.mark.parametrize(
    ("said", "usual", "pair", "answered"),
    [
        (None, False, "auto", [False, False]),
        (None, True, "auto", [True]),
        (True, False, "auto", [True]),
        (False, True, "auto", [False, False]),
        (False, True, "always", [True]),
        (True, True, "never", [False, False]),
    ],
)
def test_a_record_says_whether_it_is_a_half_else_its_source(
    said: bool | None, usual: bool, pair: str, answered: list[bool]
) -> None:
    halves = table(half(0, one_way=said), half(0.5, back=True, one_way=said))
    flows = pl.concat(run(Blocks([halves], unidirectional=usual), pair=pair).batches())
    assert FLOW.matches(flows.schema)
    assert flows["answered"].to_list() == answered
    assert flows["octets_in"].sum() == 300


def test_whole_blocks_give_the_flows_of_a_live_run_and_others_are_put_together() -> None:
    # Of a tie between ports, what was read until then decides: so the blocks show in the flows.
    blocks = [table(half(i, port=20000 + i) | {"source_port": 6000, "destination_port": 20000 + i, "protocol": 17})
              for i in range(4)]  # fmt: skip
    stages = FlowStages(FlowSettings(), LocalDevices(), 1800.0)
    live = [stages.flows(block) for block in blocks] + [stages.flows(BIFLOW.empty(), last=True)]
    again = run(Blocks([table(half(100))]), Blocks(blocks, whole=True), Blocks([table(half(200))]))
    given = list(again.batches())
    assert [block.height for block in given] == [1, *[1] * 4, 1]
    assert all(one.equals(other) for one, other in zip(live[:4], given[1:5], strict=True))
    together = list(run(Blocks(blocks)).batches())
    assert [block.height for block in together] == [4]
    assert together[0]["role"].to_list() != pl.concat(live)["role"].to_list()


def test_what_waits_leaves_with_the_last_block() -> None:
    stages = FlowStages(FlowSettings(), LocalDevices(), 1800.0)
    assert stages.flows(table(half(0, one_way=True))).height == 0
    assert stages.flows(table(half(0.5, back=True, one_way=True))).height == 1
    assert stages.flows(table(half(5, one_way=True))).height == 0
    assert stages.flows(BIFLOW.empty(), last=True)["answered"].to_list() == [False]
    assert stages.accountings["pair"].corrected == {"paired with the opposite direction": 1}
    for accounting in stages.accountings.values():
        accounting.check()
