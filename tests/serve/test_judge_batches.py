"""Devices that are judged together have the verdicts that they have alone."""

from __future__ import annotations

import polars as pl
import pytest

from ethogram.demo.inventory import LATER, packaged
from ethogram.fingerprint.count import sort_counts
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.pipeline.device_identifier import DeviceIdentifier
from ethogram.pipeline.windows import settled_devices, stable_windows
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
