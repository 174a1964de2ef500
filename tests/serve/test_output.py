"""Segments, fingerprints and state are committed together, whenever a crash occurs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ethogram.config import CollectSettings, CountSettings, ExporterSettings
from ethogram.errors import LibraryError
from ethogram.pipeline.fingerprints import fingerprint, read_fingerprints
from ethogram.pipeline.stage_state import StageState
from ethogram.schema import FLOW, Exporter
from ethogram.serve import output as output_module
from ethogram.serve.output import Output
from ethogram.serve.segments import SegmentName, SegmentWriter, segments_in
from ethogram.serve.state import CollectorState, load_state, save_state

EXPORTER = ExporterSettings.of(epoch_s=3600, lateness_s=0, min_flows=1, min_epochs=1)
COUNTING = CountSettings.of(sub_epoch_s=3600)
BEGIN = datetime(2024, 5, 1, tzinfo=UTC)


class Killed(BaseException):
    """State that a killed process loses."""


def output_of(folder: Path) -> Output:
    return Output(folder, EXPORTER, COUNTING, CollectSettings(), 60.0)


def flows_of(hour: int, rows: int = 50) -> pl.DataFrame:
    start = [BEGIN + timedelta(hours=hour, seconds=i) for i in range(rows)]
    columns: dict[str, Any] = {
        "device": [f"device {i % 3}" for i in range(rows)], "device_address": ["10.0.0.1"] * rows,
        "remote": ["203.0.113.1"] * rows, "local_port": [40_000] * rows, "remote_port": [443] * rows,
        "protocol": [6] * rows, "start": start, "end": start, "octets_out": [100] * rows, "octets_in": [100] * rows,
        "packets_out": [1] * rows, "packets_in": [1] * rows, "initiator": ["device"] * rows,
        "service_port": [443 + i % 2 for i in range(rows)], "role": ["client"] * rows, "scope": ["wan"] * rows,
        "answered": [True] * rows, "joined": [1] * rows,
    }  # fmt: skip
    return FLOW.conform(pl.DataFrame(columns))


def arrived_of(hour: int) -> int:
    return int((BEGIN + timedelta(hours=hour + 1)).timestamp() * 1e6)


def write_hours(output: Output, hours: range, *, last: bool = False) -> None:
    for hour in hours:
        output.begin(hour * 60_000_000_000)
        output.add(flows_of(hour), arrived_of(hour))
        assert output.commit(CollectorState(), last=last and hour == hours[-1])


def test_a_segment_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, SegmentName(7, 1_700_000_000_000_000_000))
    for hour in range(3):
        writer.write(flows_of(hour), arrived_of(hour))
        assert segments_in(tmp_path) == {}
    writer.close()
    assert segments_in(tmp_path) == {}
    writer.commit()
    [path] = segments_in(tmp_path).values()
    assert path.name == "20231114T221320Z-00000007.parquet"
    assert pl.read_parquet(path).height == 150
    assert pl.scan_parquet(path).collect_schema().names() == FLOW.names
    assert len(list(tmp_path.iterdir())) == 1
    abandoned = SegmentWriter(tmp_path, SegmentName(8, 0))
    abandoned.write(flows_of(0), arrived_of(0))
    abandoned.abandon()
    assert len(list(tmp_path.iterdir())) == 1


STEPS: dict[str, tuple[object, str, int]] = {
    "before the flows are on disk": (SegmentWriter, "close", 1),
    "before the exporter's state": (output_module, "save", 1),
    "before the state": (output_module, "save_state", 1),
    "before the flows have their name": (SegmentWriter, "commit", 1),
    "before it is noted": (output_module, "note", 2),
    "before old states are removed": (Output, "_remove_old", 2),
}


@pytest.mark.parametrize(
    ("step", "save_every"),
    # With 100, the exporter's own state is older, and the flows since are fed again.
    [(step, every) for step, (_, name, _) in STEPS.items() for every in (1, 100) if name != "save" or every == 1],
)
def test_a_run_killed_at_any_step_resumes_as_if_uninterrupted(
    step: str, save_every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, committed = STEPS[step]
    output = output_of(tmp_path)
    output.open()
    write_hours(output, range(1))
    output._save_every = save_every

    def killed(*_: object, **__: object) -> Callable[[], None]:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            write_hours(output, range(1, 2))
    # The lock goes with the process, and nothing else is put in order.
    output._writer = None
    output.close()

    again = output_of(tmp_path)
    state, problems = again.open()
    assert problems == []
    assert state is not None
    assert state.number == committed
    assert again.exporter.accounting.used == 50 * committed
    assert again.accounting.used == 50 * committed
    assert len(segments_in(tmp_path / "flows")) == committed
    assert max(segments_in(tmp_path / "fingerprints"), default=0) <= committed
    write_hours(again, range(committed, 6), last=True)
    again.close()
    assert list(segments_in(tmp_path / "flows")) == list(range(1, 7))

    whole = fingerprint(sorted((tmp_path / "flows").glob("*.parquet")), EXPORTER, COUNTING).table
    parts = [*segments_in(tmp_path / "fingerprints").values(), tmp_path / "open.parquet"]
    live = pl.concat([read_fingerprints(part).table for part in parts])
    order = ["device", "start"]
    assert live.sort(order).equals(whole.sort(order))
    assert again.fingerprints == live.height - read_fingerprints(tmp_path / "open.parquet").table.height


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), pl.exceptions.ComputeError("parquet: No space left on device")]
)
def test_a_disk_that_is_full_at_any_step_loses_the_segment_and_keeps_its_fingerprints(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise error

    for step, (owner, name, _) in STEPS.items():
        if name in ("note", "_remove_old"):
            continue
        output = output_of(tmp_path / step)
        output.open()
        write_hours(output, range(2))
        output.begin(2)
        output.add(flows_of(2), arrived_of(2))
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            assert not output.commit(CollectorState())
        assert "No space left on device" in str(output.problem)
        assert output.accounting.dropped == {"cannot be written": 50}
        write_hours(output, range(3, 6), last=True)
        assert output.problem is None
        assert output.accounting.balanced
        output.close()
        assert len(segments_in(tmp_path / step / "flows")) == 5
        assert list((tmp_path / step / "flows").glob(".*")) == []
        # The exporter has seen all six hours, and what left with the lost segment came with the next.
        assert output.exporter.accounting.used == 300
        parts = [*segments_in(tmp_path / step / "fingerprints").values(), tmp_path / step / "open.parquet"]
        assert sum(read_fingerprints(part).table["flows"].sum() for part in parts) == 300


def test_segments_that_were_moved_away_are_not_taken_for_lost(tmp_path: Path) -> None:
    output = output_of(tmp_path)
    output.open()
    write_hours(output, range(3))
    output.close()
    for path in segments_in(tmp_path / "flows").values():
        path.unlink()
    again = output_of(tmp_path)
    state, _ = again.open()
    assert state is not None
    assert state.number == 3
    assert again.exporter.accounting.used == 150
    write_hours(again, range(3, 4))
    again.close()
    assert list(segments_in(tmp_path / "flows")) == [4]


def test_a_segment_without_flows_has_a_state_and_no_file(tmp_path: Path) -> None:
    output = output_of(tmp_path)
    output.open()
    output.begin(0)
    assert output.commit(CollectorState(waiting_sets=5))
    output.close()
    assert segments_in(tmp_path / "flows") == {}
    again = output_of(tmp_path)
    state, _ = again.open()
    again.close()
    assert state is not None
    assert (state.number, state.waiting_sets) == (1, 5)


def test_a_state_is_read_as_it_was_written_or_refused(tmp_path: Path) -> None:
    held = StageState({"_joining._held": flows_of(0)}, {"_memory._lines": np.arange(5)}, {"_clock": {"value": 3}})
    state = CollectorState(
        3, 10, 2, {"a": 1}, {4: Exporter("192.0.2.1", 9)}, held, {"streams": np.arange(7)}, [["x"]], 7, {"segments": 1}
    )
    path = save_state(tmp_path, SegmentName(3, 0), state)
    back = load_state(path)
    assert (back.number, back.rows, back.exporter_number, back.counters) == (3, 10, 2, {"a": 1})
    assert back.exporters == {4: Exporter("192.0.2.1", 9)}
    assert back.stages.tables["_joining._held"].equals(flows_of(0))
    assert back.stages.arrays["_memory._lines"].tolist() == [0, 1, 2, 3, 4]
    assert back.stages.plain == {"_clock": {"value": 3}}
    assert back.sequences["streams"].tolist() == list(range(7))
    assert (back.metadata, back.waiting_sets, back.output) == ([["x"]], 7, {"segments": 1})
    content = path.read_bytes()
    for broken in (b"", b"x", content[:-1], content.replace(b"state/1", b"state/2"), b"{}\n", b"[1]\n"):
        path.write_bytes(broken)
        with pytest.raises(LibraryError, match="state"):
            load_state(path)
