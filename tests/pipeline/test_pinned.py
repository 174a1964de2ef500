"""Labels that the user gives: the device is called that, and what no longer fits is reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from ethogram.identify.labels import Label
from ethogram.identify.library import Identity
from ethogram.pipeline.pinned import pin_labels
from ethogram.schema import ITEM, ITEM_COUNTS, Inventory, Verdict, Window, Windows

START = datetime(2026, 1, 5, tzinfo=UTC)
SPAN = Window(start=START, end=START + timedelta(days=1))


def verdict(name: str, nearest: str, **values: object) -> Verdict:
    known = {"camera": 0.02, "plug": 0.01, nearest: 0.95}
    return Verdict.model_validate({
        "device": "dev", "verdict": name, "score": 0.95, "margin": 0.9, "nearest": nearest, "known_types": known,
        "strangeness": 0.1, "evidence": [], "window": SPAN, "flows": 9, "converged": True, "reason": "uses TCP/443",
        **values,
    })  # fmt: skip


def pinned(one: Verdict, label: str = "camera", **of_label: object) -> tuple[Verdict, list[str]]:
    items = pl.DataFrame([(0, one.device, START, SPAN.end)], schema=ITEM.schema, orient="row")
    windows = Windows(items, pl.DataFrame(schema=ITEM_COUNTS.schema))
    labels = [Label("DEV", Identity(label, type="camera"), **of_label)]  # type: ignore[arg-type]
    inventory, lines = pin_labels(Inventory(library="home", devices=[one]), windows, labels)
    return inventory.devices[0], lines


def test_a_device_that_behaves_like_its_label_is_called_that() -> None:
    stated, lines = pinned(verdict("camera", "camera"))
    assert (stated.verdict, stated.pinned, stated.score, stated.unusual) == ("camera", True, 1.0, False)
    assert stated.reason == "you said so; uses TCP/443"
    assert lines == []


@pytest.mark.parametrize(
    ("one", "instead"),
    [
        (verdict("plug", "plug"), "it is like plug (0.95)"),
        (verdict("unknown", "plug", strangeness=3.0, unusual=True), "it is unlike every known device"),
        (verdict("unknown", "camera", strangeness=3.0, unusual=True), "it is unlike every known device"),
        (verdict("unknown", "plug", strangeness=0.5), "it is more like plug"),
        (verdict("camera", "camera", unusual=True, new_share=0.97),
         "97% of its flows use services that camera never used"),
    ],
)  # fmt: skip
def test_a_device_that_no_longer_behaves_like_its_label_keeps_it_and_is_reported(one: Verdict, instead: str) -> None:
    stated, lines = pinned(one)
    assert (stated.verdict, stated.unusual) == ("camera", True)
    assert stated.reason.startswith(f"you said so, but it no longer behaves like camera: {instead}; ")
    assert lines == [f"dev no longer behaves like camera: {instead}"]


def test_twins_and_near_labels_are_no_change() -> None:
    tied = verdict("plug", "plug", tied_with=["camera"])
    near = verdict("plug", "plug", known_types={"plug": 0.6, "camera": 0.3})
    assert [pinned(item)[0].unusual for item in (tied, near)] == [False, False]


def test_a_label_that_is_not_enrolled_is_compared_with_nothing_and_says_so() -> None:
    stated, lines = pinned(verdict("unknown", "camera", strangeness=4.0, unusual=True), "kettle")
    assert (stated.verdict, stated.unusual, lines) == ("kettle", False, [])
    assert stated.reason == "you said so; kettle is not in the library, so its traffic is not compared"


def test_a_label_of_another_time_or_level_does_not_count_and_an_unseen_device_is_named() -> None:
    before = verdict("plug", "plug")
    assert pinned(before, end=START)[0] == before
    family = verdict("plug", "plug", level="family")
    assert pinned(family)[0] == family
    assert pinned(verdict("camera", "camera", level="type"))[0].pinned
    elsewhere = before.model_copy(update={"device": "other"})
    assert pinned(elsewhere) == (elsewhere, ["labelled, but not seen: 1 device: DEV"])


def test_a_silent_device_keeps_its_label() -> None:
    stated, _ = pinned(verdict("unknown", "camera", flows=0, reason="silent: nothing was seen"))
    assert (stated.verdict, stated.reason) == ("camera", "you said so; silent: nothing was seen")
