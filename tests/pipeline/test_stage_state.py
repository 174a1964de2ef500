"""The flow stages go on from their state as if nothing had happened."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ethogram.config import FlowSettings, WireSettings
from ethogram.flow.devices import LocalDevices
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.build import batch
from ethogram.io.wire.decoder import Decoder
from ethogram.pipeline.stage_state import StageMemory
from ethogram.pipeline.stages import FlowStages
from ethogram.schema import BIFLOW
from ethogram.serve.state import load_state
from ethogram.simulate import SimulatedHome
from ethogram.simulate.exporter import ExportSettings, FlowExporter

AT_ONCE = 40


def stages_of() -> FlowStages:
    return FlowStages(FlowSettings(), LocalDevices(), 1800.0)


def blocks_of(protocol: str) -> list[pl.DataFrame]:
    """Biflow tables as a collector would have them: halves, directions, records cut at the active timeout."""
    exporter = FlowExporter(ExportSettings.of(protocol=protocol, flush_s=3600))
    messages = [message.octets for message in exporter.messages(SimulatedHome(days=1).batches())]
    decoder, biflows = Decoder(WireSettings()), Biflows(WireSettings())
    runs = [messages[at : at + AT_ONCE] for at in range(0, len(messages), AT_ONCE)]
    items = [biflows.batch(decoder.decode(batch(run))) for run in runs]
    # Some records were cut, and their ends lie in later blocks; some were seen on the way out too.
    cut = pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.lit(2, pl.UInt8)).otherwise("end_reason")
    direction = (pl.int_range(pl.len()) % 2).cast(pl.UInt8)
    return [block.with_columns(end_reason=cut, direction=direction) for block in items]


@pytest.mark.parametrize("protocol", ["ipfix", "v9"])
def test_stages_that_were_restored_give_what_others_give(protocol: str) -> None:
    blocks = blocks_of(protocol)
    assert len(blocks) > 4
    whole = stages_of()
    uninterrupted = [*(whole.flows(block) for block in blocks), whole.flows(BIFLOW.empty(), last=True)]
    stages = stages_of()
    memory = StageMemory(stages)
    parts = []
    held = 0
    for block in blocks:
        parts.append(stages.flows(block))
        state = memory.state()
        held += sum(table.height for path, table in state.tables.items() if path.endswith("_held"))
        stages = stages_of()
        memory = StageMemory(stages)
        assert memory.restore(state)
    parts.append(stages.flows(BIFLOW.empty(), last=True))
    assert held > 0, "nothing was held, so that nothing was tested"
    for part, expected in zip(parts, uninterrupted, strict=True):
        assert part.equals(expected)


def test_a_state_is_not_changed_by_what_comes_later_and_one_of_another_form_is_refused() -> None:
    blocks = blocks_of("v9")
    stages = stages_of()
    memory = StageMemory(stages)
    assert memory.state().tables == {}
    stages.flows(blocks[0])
    state = memory.state()
    expected = stages.flows(blocks[1])
    other = stages_of()
    again = StageMemory(other)
    broken = memory.state()
    broken.tables["_joining._held"] = pl.DataFrame({"x": [1]})
    assert not again.restore(broken)
    broken = memory.state()
    broken.plain["_nothing"] = {"value": 1}
    assert not again.restore(broken)
    broken = memory.state()
    broken.plain["_pairing._clock"] = {"group": ["one"]}
    assert not again.restore(broken)
    broken = memory.state()
    del broken.arrays["_pairing._halves.one"]
    assert not again.restore(broken)
    broken = memory.state()
    broken.arrays["_pairing._halves.one"] = np.zeros(1, np.float32)
    assert not again.restore(broken)
    assert again.restore(state)
    assert other.flows(blocks[1]).equals(expected)


def test_a_state_of_an_earlier_version_is_restored_whole(tmp_path: Path) -> None:
    """The file holds paths of attributes, and names of classes, that have changed since it was written."""
    path = tmp_path / "stages-1.state"
    path.write_bytes(gzip.decompress((Path(__file__).parent / "stages-1.state.gz").read_bytes()))
    saved = load_state(path).stages
    memory = StageMemory(stages_of())
    assert memory.restore(saved)
    restored = memory.state()
    assert restored.tables.keys() == saved.tables.keys()
    assert all(restored.tables[key].equals(saved.tables[key]) for key in saved.tables)
    assert restored.arrays.keys() == saved.arrays.keys()
    assert all(restored.arrays[key].tobytes() == saved.arrays[key].tobytes() for key in saved.arrays)
    values = {key: stored for key, stored in saved.plain.items() if "value" in stored}
    assert {key: restored.plain[key] for key in values} == values
    groups = {key for key, stored in saved.plain.items() if "class" in stored}
    assert groups == {"_pairing._halves", "_twins._seen"}
    assert all("group" in restored.plain[key] for key in groups)
