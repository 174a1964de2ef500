"""Clocks of the flow stages: the date of a record does not delay or hasten the records of others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ethogram.config import FlowSettings
from ethogram.flow.devices import LocalDevices
from ethogram.pipeline.stage_state import StageMemory
from ethogram.pipeline.stages import FlowStages
from ethogram.schema import BIFLOW

T0 = datetime(2024, 5, 1, 12, tzinfo=UTC)
Block = tuple[datetime | None, list[dict[str, object]]]
"""Time of arrival, and records."""
FORGED = 9
"""Port of the exporter with the wrong clock."""


def record(
    start: datetime, seconds: float = 1, port: int = 50_000, back: bool = False, reason: int = 1,
    direction: int | None = None,
) -> dict[str, object]:  # fmt: skip
    row: dict[str, object] = dict.fromkeys(BIFLOW.names)
    ends = ("10.0.0.5", "198.51.100.7", port, 443)
    source, destination, own, other = (ends[1], ends[0], ends[3], ends[2]) if back else ends
    return row | {
        "source_address": source, "destination_address": destination, "source_port": own, "destination_port": other,
        "octets": 100, "packets": 2, "reverse_octets": 0, "reverse_packets": 0, "protocol": 6, "end_reason": reason,
        "one_way": True, "start": start, "end": start + timedelta(seconds=seconds), "direction": direction,
    }  # fmt: skip


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def table(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=BIFLOW.schema, orient="row")


def us(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def new_stages() -> FlowStages:
    return FlowStages(FlowSettings(), LocalDevices(), 1800.0)


def ports_by_block(blocks: list[Block], stages: FlowStages) -> list[list[int]]:
    """Local ports of the flows of each block."""
    collected = []
    for arrived, rows in blocks:
        flows = stages.flows(table(rows), None if arrived is None else us(arrived))
        collected.append(sorted(flows["local_port"].to_list()))
    return collected


records = st.builds(
    lambda seconds, lasted, port, back, cut, direction: record(
        at(seconds), lasted, port, back, 2 if cut else 1, direction
    ),
    st.integers(0, 4000), st.integers(0, 1800), st.integers(50_000, 50_003), st.booleans(), st.booleans(),
    st.sampled_from([None, 0, 1]),
)  # fmt: skip
forged = st.builds(
    lambda hours, lasted, back, cut, direction: record(
        at(4000 + 1800) + timedelta(hours=hours), lasted, FORGED, back, 2 if cut else 1, direction
    ),
    st.integers(1, 24 * 365 * 80), st.integers(0, 1800), st.booleans(), st.booleans(), st.sampled_from([None, 0, 1]),
)  # fmt: skip


blocks_of_both = st.tuples(st.integers(0, 900), st.lists(records, max_size=4), st.lists(forged, max_size=2))


@given(st.lists(blocks_of_both, max_size=6))
def test_records_dated_after_their_arrival_do_not_affect_others(
    blocks: list[tuple[int, list[dict[str, object]], list[dict[str, object]]]],
) -> None:
    arrived = 5800
    honest: list[Block] = []
    disturbed: list[Block] = []
    for passed, rows, wrong in blocks:
        arrived += passed
        # A direction anywhere switches the search for twins on; here both have it from the start.
        marks = [record(at(0), 0, 1, direction=0), record(at(0), 0, 1, direction=1)]
        honest.append((at(arrived), [*marks, *rows]))
        disturbed.append((at(arrived), [*marks, *wrong, *rows]))
    undisturbed = ports_by_block(honest, new_stages())
    result = ports_by_block(disturbed, new_stages())
    assert [[port for port in ports if port != FORGED] for ports in result] == undisturbed


def test_halves_of_an_exporter_whose_clock_is_ahead_are_emitted_in_time() -> None:
    ahead = timedelta(hours=3)
    blocks: list[Block] = [(at(60 * n), [record(at(60 * n) + ahead, port=50_000 + n)]) for n in range(4)]
    assert ports_by_block(blocks, new_stages()) == [[], [], [50_000], [50_001]]


def test_the_arrival_of_a_file_without_arrival_times_is_now() -> None:
    future = datetime(2100, 1, 1, tzinfo=UTC)
    blocks: list[Block] = [
        (None, [record(future, port=FORGED)]),
        (None, [record(at(0))]),
        (None, [record(at(100), port=50_001)]),
    ]
    assert ports_by_block(blocks, new_stages()) == [[], [FORGED], [50_000]]


@pytest.mark.parametrize("back", [False, True])
def test_stages_saved_with_a_clock_in_the_future_continue(back: bool) -> None:
    now, future = datetime.now(tz=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    poisoned = new_stages()
    memory = StageMemory(poisoned)
    # Without a time of arrival the earlier version believed every record.
    clocks = ("_deduplicator", "_joining", "_pairing")
    poisoned.flows(
        table([
            record(now, port=50_001, back=back), record(now, 1800, 50_002, back, reason=2),
            record(now, port=50_003, direction=0), record(now, port=50_004, direction=1),
        ])
    )  # fmt: skip
    for stage in clocks:
        getattr(poisoned, stage)._clock = us(future)
    poisoned._pairing._halves.until[:] = us(future)
    poisoned._joining._held = poisoned._joining._held.with_columns(_seen=pl.lit(us(future)))
    stages = new_stages()
    assert StageMemory(stages).restore(memory.state())
    collected: list[int] = []
    for port, hours in ((50_005, 0), (50_006, 1), (50_007, 3)):
        moment = now + timedelta(hours=hours)
        collected += stages.flows(table([record(moment, port=port, direction=0)]), us(moment))["local_port"].to_list()
    assert sorted(collected) == [50_001, 50_002, 50_003, 50_004, 50_005, 50_006]
