"""What scoring hands to calibration."""

from __future__ import annotations

import warnings
from pathlib import Path

import made_up_home as home
import numpy as np
import polars as pl

from ethogram.bench.counts.benchmark import CountBenchmark
from ethogram.bench.counts.items import Items
from ethogram.bench.counts.score import closed
from ethogram.bench.counts.task import count_methods, count_tasks
from ethogram.corpora.card import cards


def test_runs_that_are_devices_of_their_own_are_held_out_by_unit(tmp_path: Path) -> None:
    root = home.corpus(tmp_path)
    bench = CountBenchmark(root, cards(root / "cards"), None)
    task, method = count_tasks(root / "tasks")["home-days"], count_methods(root / "methods")["log-octets"]
    whole = bench.items(task, statistics=False)
    # As where every run is a device: no two items share a name, only their unit.
    alone = whole.windows.items.with_columns(device=pl.format("{}#{}", "device", "item"))
    runs = Items(type(whole.windows)(alone, whole.windows.counts), whole.truth)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result, known = closed(task, method, runs).values, closed(task, method, whole).values
    assert np.isfinite(result["calibration_error"])
    assert result["calibration_error"] == known["calibration_error"] < 0.3
