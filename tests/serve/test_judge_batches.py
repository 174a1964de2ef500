"""Devices that are judged together have the verdicts that they have alone."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ethogram.config import KeySettings
from ethogram.demo.inventory import LATER, packaged
from ethogram.fingerprint.count import merge_counts, sort_counts, summed_counts
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.fingerprint.key import with_service
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.pipeline.windows import ObservedWindows, regroup, settled_devices, stable_windows, windows_of_devices
from ethogram.schema import COUNTS
from ethogram.serve.facts import hours_of_devices, octets_by_hour

DEVICES = 6


@pytest.fixture(scope="module")
def counts() -> pl.DataFrame:
    """Counts of some real devices on some days."""
    windows = packaged(LATER).windows()
    names = windows.items["device"].unique().sort().to_list()[:DEVICES]
    items = windows.items.filter(pl.col("device").is_in(names)).select("item", "device")
    return COUNTS.conform(sort_counts(windows.counts.join(items, on="item").select(COUNTS.names)))


def test_a_batch_has_the_verdicts_of_each_device_alone(counts: pl.DataFrame) -> None:
    identifier = DeviceIdentifier()
    together = identifier.verdicts(counts)
    assert len(together) == DEVICES
    for verdict in together:
        [alone] = identifier.verdicts(counts.filter(pl.col("device") == verdict.device))
        before, after = alone.model_dump(mode="json"), verdict.model_dump(mode="json")
        # Names that most devices of a network contact are the network's own: this one fact needs the others.
        assert before["verdict"] == after["verdict"]
        assert before["score"] == pytest.approx(after["score"], abs=1e-12)
        assert before["evidence"] == after["evidence"]
        assert before["converged"] == after["converged"]


def test_stable_devices_are_those_with_a_stable_window(counts: pl.DataFrame) -> None:
    assert settled_devices(counts) == {window.device for window in stable_windows(counts)}
    assert FingerprintExporter(max_devices=None).stable_devices(COUNTS.empty()) == set()


def test_octets_of_hours_are_read_when_they_are_wanted(counts: pl.DataFrame) -> None:
    lazily = hours_of_devices(counts)
    assert {device: tuple(hours) for device, hours in lazily.items()} == octets_by_hour(counts)
    assert sum(len(hours) for hours in lazily.values()) == sum(len(hours) for hours in octets_by_hour(counts).values())


def test_windows_of_devices_are_days_brought_together(counts: pl.DataFrame) -> None:
    direct, days = windows_of_devices(counts, 86_400), regroup(ObservedWindows.of_counts(counts, 86_400), "device")
    assert_frame_equal(direct.items, days.windows.items)
    assert_frame_equal(direct.counts, days.windows.counts, check_row_order=False)


def test_totals_are_the_sums_over_time(counts: pl.DataFrame) -> None:
    windows = windows_of_devices(counts, 86_400)
    assert windows.totals.height < counts.height
    for name in ("flows", "octets_out", "packets_in"):
        assert windows.totals[name].sum() == counts[name].sum()
    assert windows.totals["most_packets_out"].max() == counts["packets_out"].max()


def test_summed_counts_are_merged_and_sorted(counts: pl.DataFrame) -> None:
    twice = pl.concat([counts, counts.head(50)]).sample(fraction=1.0, shuffle=True, seed=1)
    expected = COUNTS.conform(sort_counts(pl.DataFrame(merge_counts(twice))))
    assert_frame_equal(summed_counts(twice), expected)
    assert_frame_equal(summed_counts(counts.sample(fraction=1.0, shuffle=True, seed=2)), counts)
    assert summed_counts(COUNTS.empty()).height == 0


def test_many_rows_are_named_as_few_are(counts: pl.DataFrame) -> None:
    settings = KeySettings(role=True, name=True, rhythm_h=6)
    assert counts.height > 5000
    many = with_service(counts, settings)
    few = pl.concat([with_service(part, settings) for part in counts.iter_slices(1000)])
    assert_frame_equal(many, few)
