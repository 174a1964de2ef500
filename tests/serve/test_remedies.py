"""Every loss that the collector counts has a remedy on the page."""

from __future__ import annotations

import re
from pathlib import Path

from ethogram.serve.page.remedies import REMEDIES, remedy_of

COUNTERS = Path(__file__).parents[2] / "docs" / "reference" / "counters.md"
PLACES = ("datagrams", "messages", "sets", "records", "biflows", "identity", "facts", "fingerprints")
OF_FILES = {"no message", "cut short", "fragments of incomplete datagrams", "empty required column"}


def dropped() -> list[tuple[str, str]]:
    """Places and reasons of losses in the reference of counters."""
    rows, place = [], ""
    for line in COUNTERS.read_text("utf-8").splitlines():
        if line.startswith("## "):
            place = line[3:]
        elif (match := re.match(r"\| dropped \| `([^`]+)`", line)) and place in PLACES:
            rows.append((place, match[1]))
    return rows


def test_every_loss_has_a_remedy() -> None:
    losses = dropped()
    assert len(losses) >= 25
    assert [loss for loss in losses if loss[1] not in OF_FILES and remedy_of(*loss) is None] == []


def test_remedies_fit_their_losses() -> None:
    expected = {
        ("sets", "expired while waiting"): "no-template", ("datagrams", "socket"): "receive-buffer",
        ("sequence", "gap"): "lost-on-the-way", ("sequence", "records not counted"): "no-template",
        ("messages", "unknown version"): "other-protocol", ("messages", "longer than what arrived"): "messages-cut",
        ("datagrams", "too many exporters of its prefix"): "sender-refused", ("fingerprints", "late"): "clock",
        ("fingerprints", "devices over the bound"): "bounds", ("output", "cannot be written"): "disk",
    }  # fmt: skip
    remedies = {loss: remedy_of(*loss) for loss in expected}
    assert {loss: remedy and remedy.id for loss, remedy in remedies.items()} == expected
    assert len({each.id for each in REMEDIES}) == len(REMEDIES)
