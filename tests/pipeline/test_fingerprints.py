"""Counts and fingerprints to windows, and windows to the matrix of services."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import log

import polars as pl
import pytest

from ethogram.config import KeySettings, RepresentationSettings
from ethogram.pipeline.fingerprints import service_matrix, windows_from_counts
from ethogram.schema import COUNTS, ITEM, ITEM_COUNTS

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def counts() -> pl.DataFrame:
    rows = [
        ("camera", 0, 443, 3), ("camera", 23, 443, 1), ("camera", 23, 53, 2),
        ("camera", 48, 443, 1), ("bulb", 5, 8883, 7),
    ]  # fmt: skip
    return pl.DataFrame(
        [(d, T0 + timedelta(hours=h), 6, p, "client", "wan", True, None, n, 10, 20, 1, 1, 0) for d, h, p, n in rows],
        schema=COUNTS.schema, orient="row",
    )  # fmt: skip


def test_device_days_are_items_and_silent_days_are_not() -> None:
    windows = windows_from_counts(counts(), 86_400)
    assert ITEM.matches(windows.items.schema)
    assert ITEM_COUNTS.matches(windows.counts.schema)
    assert windows.items.rows() == [
        (0, "bulb", T0, T0 + timedelta(days=1)),
        (1, "camera", T0, T0 + timedelta(days=1)),
        (2, "camera", T0 + timedelta(days=2), T0 + timedelta(days=3)),
    ]
    assert windows.counts["item"].to_list() == [0, 1, 1, 1, 2]
    assert len(windows_from_counts(counts(), 3600)) == 4
    assert windows_from_counts(counts(), 86_400, ["bulb"]).items["device"].to_list() == ["bulb"]


def test_the_matrix_has_a_row_per_item_and_sorted_services() -> None:
    windows = windows_from_counts(counts(), 86_400)
    matrix = service_matrix(windows, KeySettings(), RepresentationSettings(granularity=4))
    assert matrix.services == ["TCP/443", "TCP/53", "TCP/8883"]
    assert [matrix.row(i) for i in range(3)] == [{"TCP/8883": 1}, {"TCP/443": 0.75, "TCP/53": 0.5}, {"TCP/443": 1}]
    backwards = service_matrix(windows.take([2, 1]), KeySettings(), RepresentationSettings(granularity=4))
    assert backwards.row(0) == {"TCP/443": 1}


def test_a_log_volume_is_brought_to_a_day_by_the_window() -> None:
    matrix = service_matrix(
        windows_from_counts(counts(), 3600), representation=RepresentationSettings(kind="log_volume")
    )
    assert matrix.row(0) == pytest.approx({"TCP/8883": log(1 + 7 * 24)})


def test_no_counts_give_no_windows() -> None:
    windows = windows_from_counts(COUNTS.empty(), 86_400)
    assert len(windows) == len(service_matrix(windows)) == 0
