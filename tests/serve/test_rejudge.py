"""Judging again from stored counts: no flow is needed, a dry run stores nothing, every change has its reason."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from ethogram.cli import app
from ethogram.config import JudgeSettings
from ethogram.schema import LadderVerdict, Verdict, Window
from ethogram.serve.judge import Judge
from ethogram.serve.rejudge import rejudge
from ethogram.serve.sources import CollectorSegments
from ethogram.serve.store import Store
from serve.segments_made import START, flows, segment

DAY = timedelta(days=1)


@dataclasses.dataclass
class OneAnswer:
    """States the same about every device."""

    name: str
    statement: str

    def verdicts(self, counts: pl.DataFrame, identity: pl.DataFrame) -> list[Verdict]:
        ladder = LadderVerdict(
            statement=self.statement, level="kind", labels=[self.statement], score=0.8, kind="camera", levels=[]
        )
        window = Window(start=START, end=START + DAY)
        return [
            Verdict(device=device, verdict="unknown", score=0.5, margin=0.0, known_types={}, strangeness=1.0,
                    evidence=[], window=window, flows=1, converged=False, ladder=ladder)
            for device in counts["device"].unique().sort()
        ]  # fmt: skip

    def groups(self, counts: pl.DataFrame) -> None:
        return None


def judge_of(folder: Path, store: Store, identifier: Any) -> Judge:
    source = CollectorSegments(folder / "collector", now=lambda: START + 2 * DAY)
    return Judge(store, folder / "facts", [source], identifier, JudgeSettings())


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A data folder with four judged devices, and without flows."""
    path = segment(tmp_path / "collector", 1, *(flows(f"10.0.0.{i}", START) for i in range(2, 6)))
    with Store.open(tmp_path / "store.db") as store:
        judge_of(tmp_path, store, OneAnswer("library 1", "camera")).round()
        assert [row.statement for row in store.devices().rows] == ["camera"] * 4
    path.unlink()
    return tmp_path


@pytest.mark.parametrize(
    ("library", "reason"),
    [("library 2", "judged with another library: library 2"), ("library 1", "judged again on request")],
)
def test_all_devices_are_judged_again_without_flows(judged: Path, library: str, reason: str) -> None:
    with Store.open(judged / "store.db") as store:
        judge = judge_of(judged, store, OneAnswer(library, "doorbell"))
        pinned = store.devices().rows[0].id
        store.label(pinned, "porch", "ana")
        due = {device.id: device.due for device in store.judged_devices()}
        before = (store.last_event(), store.changes()[0].id)
        would = rejudge(judge, dry_run=True)
        assert (store.last_event(), store.changes()[0].id) == before
        assert [row.statement for row in store.devices().rows if not row.pinned] == ["camera"] * 3
        done = rejudge(judge)
        assert [dataclasses.replace(each, id=0) for each in would] == [dataclasses.replace(each, id=0) for each in done]
        assert {(each.before, each.after, each.reason) for each in done} == {("camera", "doorbell", reason)}
        assert len(done) == 4
        assert sorted(row.statement for row in store.devices().rows) == ["doorbell"] * 3 + ["porch"]
        assert {device.id: device.due for device in store.judged_devices()} == due
        assert rejudge(judge) == ()


def test_the_command_judges_beside_the_service(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["rejudge", "--data", str(judged), "--dry-run", "--json"]) == 0
    changes = orjson.loads(capsys.readouterr().out)
    assert len(changes) == 4
    assert changes[0]["before"] == "camera"
    assert app.main(["rejudge", "--data", str(judged)]) == 0
    text = capsys.readouterr()
    assert "4 devices judged, 4 statements changed" in text.err
    assert text.out.count("judged with another library") == 4
