"""Labels of flows by device and time; every flow is accounted once."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl

from ethogram.identify.flow_labels import FlowLabels
from ethogram.identify.labels import Label
from ethogram.identify.library import Identity


def at(day: int) -> datetime:
    return datetime(2024, 5, day, tzinfo=UTC)


def test_labels_are_found_by_device_and_time() -> None:
    labels = FlowLabels(
        [
            Label("AA", Identity("den", type="camera"), end=at(3)),
            Label("aa", Identity("den", type="plug"), start=at(3), end=at(5)),
            Label("bb", Identity("bare")),
            Label("gone", Identity("gone", type="light")),
        ],
        "type",
    )
    devices = pl.Series(["aa", "aa", "aa", "bb", "cc", "aa", "cc"])
    times = np.array([round(at(day).timestamp() * 1e6) for day in (2, 3, 5, 1, 1, 1, 2)])
    code = labels.of(devices, times)
    assert [labels.names[c] if c >= 0 else "" for c in code] == ["camera", "plug", "", "", "", "camera", ""]
    assert labels.accounting.line() == (
        "7 custom flows read = 3 used + 4 ignored (device without a label 2, label without this level 1, "
        "no label at that time 1) + 0 dropped"
    )
    labels.accounting.check()
    assert labels.bare == {"cc": 2}
    assert labels.unseen == ["gone"]


def test_the_end_of_a_label_is_exclusive() -> None:
    labels = FlowLabels([Label("a", Identity("x"), end=at(3)), Label("a", Identity("y"), start=at(3))], "label")
    edge = round(at(3).timestamp() * 1e6)
    assert labels.of(pl.Series(["a", "a"]), np.array([edge - 1, edge])).tolist() == [0, 1]


def test_no_flows() -> None:
    labels = FlowLabels([Label("a", Identity("x"))], "label")
    assert labels.of(pl.Series([], dtype=pl.String), np.zeros(0, np.int64)).tolist() == []
    assert labels.accounting.read == 0
