"""The table of an inventory: what is shown of each device, and what leaves on a narrow terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from ethogram.cli.inventory import show_inventory
from ethogram.schema import Inventory, LadderVerdict, LevelEvidence, LevelVerdict, Verdict, Window

WINDOW = Window(start=datetime(2026, 3, 1, tzinfo=UTC), end=datetime(2026, 3, 2, tzinfo=UTC))


def verdict(device: str, ladder: LadderVerdict, **more: object) -> Verdict:
    return Verdict.model_validate({
        "device": device, "verdict": "unknown", "score": 0.9, "margin": 0.1, "known_types": {}, "strangeness": 0.0,
        "evidence": [], "window": WINDOW, "flows": 5, "converged": False, "expected_s": 3600.0, "ladder": ladder,
        "name": device, "first_seen": WINDOW.start, "last_seen": datetime(2026, 3, 1, 6, tzinfo=UTC),
        "octets_a_day": 1.5e6, **more,
    })  # fmt: skip


def plug() -> LadderVerdict:
    fact = LevelEvidence(text="contacts maker.example", source="hand", nats=4.0)
    level = LevelVerdict(level="vendor", label="maker", name="Maker", score=0.95, stated=True, top={}, evidence=[fact])
    return LadderVerdict(statement="Maker plug", level="family", labels=["maker/plug"], score=0.9, kind="plug",
                         vendor="Maker", levels=[level])  # fmt: skip


def nothing() -> LadderVerdict:
    return LadderVerdict(statement="unknown", level="unknown", labels=[], score=0.0, levels=[],
                         missing=["names of remote ends"])  # fmt: skip


def shown(width: int, *verdicts: Verdict) -> list[str]:
    text = io.StringIO()
    show_inventory(Console(file=text, width=width), Inventory(library="l", devices=list(verdicts)))
    return text.getvalue().splitlines()


def test_each_device_has_its_statement_score_and_facts() -> None:
    lines = shown(200, verdict("b", nothing()), verdict("a", plug()))
    assert lines[0].split()[:3] == ["device", "is", "sure"]
    assert lines[1].startswith("a       Maker plug  0.90")
    assert "1.5 MB" in lines[1]
    assert lines[2].strip() == "contacts maker.example"
    # Unknown devices are last, without a score, and with what would help.
    assert lines[3].split()[:2] == ["b", "unknown"]
    assert "0.9" not in lines[3]
    assert "no names of remote ends, only 6 h of traffic" in lines[4]
    assert lines[5].startswith("2 verdicts, 1 unknown")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_columns_leave_and_statements_are_cut_on_narrow_terminals(width: int) -> None:
    long = plug().model_copy(update={"statement": "Maker plug: " + "model-" * 20})
    header, row, *_ = shown(width, verdict("a", long))
    assert "sure" in header
    assert len(row.rstrip()) <= max(width, 44)
    assert "a day" not in header
    assert ("a day" in shown(width, verdict("a", plug()))[0]) == (width >= 60)


def test_a_verdict_at_a_level_that_was_asked_for_is_shown() -> None:
    text = io.StringIO()
    inventory = Inventory(library="l", devices=[verdict("a", plug(), verdict="plug", reason="uses MQTT", level="type")])
    show_inventory(Console(file=text, width=100), inventory, by_verdict=True)
    lines = text.getvalue().splitlines()
    assert lines[1].split()[:3] == ["a", "plug", "0.90"]
    assert lines[2].strip() == "uses MQTT"


def test_only_devices_with_a_label_are_unusual() -> None:
    labelled = plug().model_copy(update={"level": "device", "statement": "my plug"})
    assert "my plug (unusual)" in shown(200, verdict("a", labelled, unusual=True, verdict="my plug"))[1]
    assert "(unusual)" not in shown(200, verdict("a", plug(), unusual=True))[1]
