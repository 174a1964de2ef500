"""What changed on the network of the live service, from its counts and history."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import orjson
import polars as pl
import pytest

from ethogram.cli import app
from ethogram.errors import InputError
from ethogram.schema import Judgement, RoundResult
from ethogram.serve.changes import device_changes, stored_changes, with_statements
from ethogram.serve.store import Store
from ethogram.serve.stored_counts import StoredCounts
from serve.segments_made import START, flows, segment
from serve.test_rejudge import OneAnswer, judge_of

HOUR = timedelta(hours=1)
DAYS = 2
SOURCE = "collector"


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """Two days: 10.0.0.3 is silent on the second, 10.0.0.4 comes, and 10.0.0.2 begins to use Telnet."""
    tables: list[pl.DataFrame] = []
    for hour in range(24 * DAYS):
        late, at = hour >= 24, START + hour * HOUR
        tables.append(flows("10.0.0.2", at))
        tables += [flows("10.0.0.4" if late else "10.0.0.3", at)] if late or hour < 20 else []
        tables += [flows("10.0.0.2", at, port=23, name=None)] if late else []
    segment(tmp_path / "collector", 1, *tables, at=START + DAYS * 24 * HOUR)
    with Store.open(tmp_path / "store.db") as store:
        judge_of(tmp_path, store, OneAnswer("library", "camera")).round()
    return tmp_path


def test_devices_services_and_statements_are_compared(watched: Path) -> None:
    with Store.open(watched / "store.db") as store:
        judge = judge_of(watched, store, OneAnswer("library", "camera"))
        clock = store.clock()
        assert clock is not None
        id_ = next(row.id for row in store.devices().rows if row.name == "10.0.0.2")
        verdict = OneAnswer("library", "plug").verdicts(pl.DataFrame({"device": [id_]}), pl.DataFrame())[0]
        judgement = Judgement(id_, verdict.model_dump(mode="json"), False, None, ())
        position = store.position(SOURCE)
        store.record_round(RoundResult(SOURCE, position, position, clock, "another", judgements=(judgement,)))
        result = with_statements(stored_changes(store, judge.counts, timedelta(days=1)), store).joined()
        detail = store.device(id_)
        assert detail is not None
        alone = device_changes(store, judge.counts, detail, timedelta(days=1))
    assert [(change.change, change.device, change.subject) for change in result.changes] == [
        ("new device", "10.0.0.4", "camera"), ("silent device", "10.0.0.3", "camera"),
        ("verdict", "10.0.0.2", "plug"), ("service appeared", "10.0.0.2", "Telnet"),
    ]  # fmt: skip
    assert [(row.id, row.change.change) for row in alone.rows] == [(id_, "verdict"), (id_, "service appeared")]
    assert result.changes[2].reason == "was camera; judged with another library: another"
    assert (result.before.devices, result.after.devices, result.unchanged) == (2, 2, 0)
    assert result.after.end - result.after.start == timedelta(days=1)


def test_the_command_reads_the_store_of_the_service(watched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["changes", "--data", str(watched), "--format", "json"]) == 0
    shown = orjson.loads(capsys.readouterr().out)
    assert [change["change"] for change in shown["changes"]] == ["new device", "silent device", "service appeared"]
    assert app.main(["changes", "--data", str(watched / "nowhere")]) == InputError.exit_code
    assert "has not run with this folder" in capsys.readouterr().err
    assert app.main(["changes", "a.pcap", "b.pcap", "--data", str(watched)]) == 2
    assert "--data: belongs to the live service" in capsys.readouterr().err
    for option in (["--names", "leases"], ["--no-verdicts"], ["--from", "2026-03-01"], ["--local", "10.0.0.0/8"]):
        assert app.main(["changes", "--data", str(watched), *option]) == 2
        assert f"{option[0]}: belongs to inputs" in capsys.readouterr().err


def test_an_empty_store_has_nothing_to_compare(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store, pytest.raises(InputError, match="no flows are stored yet"):
        stored_changes(store, StoredCounts(tmp_path, [SOURCE]), timedelta(days=1))


def test_the_earlier_span_is_whole_however_long_the_later_one_is(tmp_path: Path) -> None:
    hours = [flows("10.0.0.2", START + hour * HOUR) for hour in range(-24, 48)]
    segment(tmp_path / "collector", 1, *hours, at=START + 47 * HOUR)
    with Store.open(tmp_path / "store.db") as store:
        judge_of(tmp_path, store, OneAnswer("library", "camera")).round()
        result = stored_changes(store, StoredCounts(tmp_path / "facts", [SOURCE], window_days=1), timedelta(days=2))
    assert result.rows == ()
    assert (result.before.devices, result.before.hours, result.after.hours) == (1, 24, 48)
    assert result.before.flows * 2 == result.after.flows
