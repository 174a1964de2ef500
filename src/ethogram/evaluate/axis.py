"""Figures over an axis: how long one must watch, how much may be lost, how many stray services are borne."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from ethogram.errors import UsageError
from ethogram.evaluate import metrics
from ethogram.evaluate.build import build
from ethogram.evaluate.items import Material, item_windows
from ethogram.evaluate.score import Figures, closed, splits_of
from ethogram.evaluate.task import Method, Task
from ethogram.fingerprint.count import count
from ethogram.schema import COUNTS

__all__ = ["early", "robust", "with_stray", "without_flows"]


def early(task: Task, method: Method, material: Material) -> Figures:
    """Closed-set figures when one item is only ``value`` seconds long, on both sides; one figure for each value."""
    found: dict[float, Figures] = {}
    for value in task.values:
        items = item_windows(material, int(value), offset_s=task.offset_s, statistics=method.needs_statistics)
        found[value] = closed(task, method, items)
    return _along(task, found, "s")


def robust(task: Task, method: Method, material: Material) -> Figures:
    """Closed-set accuracy when test items lose a share of their flows, and with stray services beside.

    A value below 1 is the share of flows lost at random; a value from 1 on is the number of stray services that are
    added to every hour. Enrolment is not touched. An item that lost all its flows is an error.
    """
    if not isinstance(task.window, int):
        raise UsageError(f"task {task.name}: losing flows needs windows of the clock")
    whole = item_windows(
        material, task.window, offset_s=task.offset_s, min_hours=task.min_hours, statistics=method.needs_statistics
    )
    split = splits_of(task, whole)[0]
    learn, ask = whole.take(split.enrol), whole.take(split.test)
    known = ask.truth[task.level].is_in(learn.truth[task.level].unique().implode()).to_numpy()
    ask = ask.take(np.flatnonzero(known))
    identifier = build(method).fit(learn.windows, learn.labels(task.level).tolist())
    truth = ask.labels(task.level)
    found: dict[float, Figures] = {}
    for value in task.values:
        hurt = without_flows(material, value, task) if value < 1 else with_stray(material, int(value), task.seed)
        again = item_windows(hurt, task.window, offset_s=task.offset_s, statistics=method.needs_statistics)
        place = ask.truth.select("device", "start", row=pl.int_range(pl.len()))
        rows = again.truth.select("item", "device", "start").join(place, on=["device", "start"]).sort("row")
        part = again.take(rows["item"].to_numpy().astype(np.int64))
        predicted = np.full(len(truth), "", dtype=object)
        predicted[rows["row"].to_numpy()] = metrics.top_label(identifier.scores(part.windows), identifier.labels_)
        predicted = predicted.astype(np.str_)
        clusters = ask.truth["cluster"].to_list()
        low, high = metrics.bootstrap_interval(
            lambda r, p=predicted: metrics.macro_f1(truth[r], p[r]), clusters, seed=task.seed, draws=300  # type: ignore[misc]
        )  # fmt: skip
        values = {"macro_f1": metrics.macro_f1(truth, predicted), "accuracy": metrics.accuracy(truth, predicted)}
        found[value] = Figures(
            len(truth), len(split.enrol), len(identifier.labels_), values, {"macro_f1": (low, high)}, split.digest, {}
        )
    return _along(task, found, "")


def without_flows(material: Material, share: float, task: Task) -> Material:
    """The same traffic with a share of its flows lost at random."""
    if share <= 0:
        return material
    random = np.random.default_rng(task.seed)
    flows = material.flows.filter(pl.Series(random.random(material.flows.height) >= share))
    return replace(material, flows=flows, counts=count(flows, task.counts)[0])


def with_stray(material: Material, services: int, seed: int) -> Material:
    """Services that no device of its kind uses, so many in each device and hour, one small flow each."""
    hours = material.counts.select("device", "time").unique().sort("device", "time")
    random = np.random.default_rng(seed)
    repeated = hours.select(pl.all().repeat_by(services).explode())
    n = repeated.height
    stray = repeated.with_columns(
        protocol=pl.Series(random.choice([6, 17], n)), port=pl.Series(random.integers(1, 49152, n)),
        role=pl.lit("client"), scope=pl.lit("wan"), answered=pl.lit(value=True), flows=pl.lit(1),
        octets_out=pl.lit(200), octets_in=pl.lit(400), packets_out=pl.lit(3), packets_in=pl.lit(3),
        duration_ms=pl.lit(500),
    )  # fmt: skip
    return replace(material, counts=pl.concat([material.counts, COUNTS.conform(stray)]))


def _along(task: Task, found: dict[float, Figures], unit: str) -> Figures:
    """One row for the whole axis: figures carry their value in their name."""
    if not found:
        raise UsageError(f"task {task.name}: no values to go along")
    values: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for value, one in found.items():
        for name in ("macro_f1", "accuracy"):
            values[f"{name}@{value:g}{unit}"] = one.values[name]
        values[f"n@{value:g}{unit}"] = float(one.n)
        intervals[f"macro_f1@{value:g}{unit}"] = one.intervals["macro_f1"]
    last = list(found.values())[-1]
    details: dict[str, object] = {"axis": [float(value) for value in found], "unit": unit}
    return Figures(last.n, last.n_enrol, last.labels, values, intervals, last.splits, details)
