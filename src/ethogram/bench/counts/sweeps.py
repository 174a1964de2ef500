"""Figures over a swept parameter: observation time, loss, sampling, enrolled days, timeouts, and age."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.bench.counts.build import build
from ethogram.bench.counts.items import Items, TaskData, item_windows
from ethogram.bench.counts.perturb import sampled, with_stray, without_flows
from ethogram.bench.counts.score import Figures, closed, splits_of
from ethogram.bench.counts.task import CountMethod, CountTask
from ethogram.errors import UsageError
from ethogram.identify import metrics
from ethogram.identify.identifier import Identifier
from ethogram.identify.split import Split

__all__ = ["Remeter", "drift", "early", "robust"]

Remeter = Callable[[str], TaskData]
"""The data of a task under other timeouts, as ``300/30``."""

ACROSS = {
    "flows": "share of flows lost, or stray services an hour",
    "sampling": "one packet seen in",
    "days": "days enrolled",
    "timeouts": "active/idle timeout of the test side in seconds (apart: cut records are not joined)",
}
"""Axis label of each kind of perturbation."""

Strings = NDArray[np.str_]


def early(task: CountTask, method: CountMethod, data: TaskData) -> Figures:
    """Closed-set figures for items of ``value`` seconds, in enrolment and test; one figure per value."""
    by_step: dict[str, Figures] = {}
    for value in task.values:
        items = item_windows(data, int(value), offset_s=task.offset_s, statistics=method.needs_statistics)
        by_step[f"{value:g}s"] = closed(task, method, items)
    return _along(task, by_step, "seconds observed")


def robust(task: CountTask, method: CountMethod, data: TaskData, remeter: Remeter) -> Figures:
    """Closed-set figures for perturbed test items; an item that loses all its flows counts as an error.

    ``harm``: *flows*, a value below 1 is the share of flows lost at random, from 1 on the number of stray services
    added to every hour; *sampling*, one packet in ``value`` is seen; *timeouts*, the captures are metered otherwise.
    Enrolment is not touched. With *days* it is enrolment that suffers: only ``value`` of its days are there, drawn
    ``draws`` times.
    """
    if not isinstance(task.window, int):
        raise UsageError(f"task {task.name}: harm needs windows of the clock")
    whole = item_windows(
        data, task.window, offset_s=task.offset_s, min_hours=task.min_hours, statistics=method.needs_statistics
    )
    split = splits_of(task, whole)[0]
    learn, ask = whole.take(split.enrol), whole.take(split.test)
    known = ask.truth[task.level].is_in(learn.truth[task.level].unique().implode()).to_numpy()
    ask = ask.take(np.flatnonzero(known))
    if task.harm == "days":
        few = {f"{v:g}": _few_days(task, method, learn, ask, int(v), split) for v in task.values}
        return _along(task, few, ACROSS[task.harm])
    identifier = _fit(task, method, learn)
    steps = {text: text for text in task.timeouts} if task.harm == "timeouts" else {f"{v:g}": v for v in task.values}
    by_step: dict[str, Figures] = {}
    for name, value in steps.items():
        hurt = remeter(value) if isinstance(value, str) else _hurt(task, data, value)
        again = item_windows(hurt, task.window, offset_s=task.offset_s, statistics=method.needs_statistics)
        place = ask.truth.select("device", "start", row=pl.int_range(pl.len()))
        rows = again.truth.select("item", "device", "start").join(place, on=["device", "start"]).sort("row")
        part = again.take(rows["item"].to_numpy().astype(np.int64))
        predicted = np.full(len(ask.truth), "", dtype=object)
        scores = identifier.decision_function(part.windows)
        predicted[rows["row"].to_numpy()] = metrics.top_label(scores, identifier.labels_)
        by_step[name] = _figures(task, identifier, ask.truth, predicted.astype(np.str_), len(split.enrol), split.digest)
    return _along(task, by_step, ACROSS[task.harm])


def drift(task: CountTask, method: CountMethod, items: Items) -> Figures:
    """E4: figures by block of days, with the first third enrolled, and with all days before the block enrolled.

    ``values`` are the days of a device, counted from 1, on which blocks begin; a block ends where the next begins.
    """
    day = pl.col("start").dt.truncate("1d")
    days = items.truth.select(
        rank=day.rank("dense").over("unit"), first=(day.n_unique().over("unit") * task.split.share - 1e-9).ceil()
    )
    rank, first = days["rank"].to_numpy(), days["first"].to_numpy()
    by_step: dict[str, Figures] = {}
    frozen: Identifier | None = None
    starts = [int(value) for value in task.values]
    for begin, end in zip(starts, [*starts[1:], int(rank.max()) + 1], strict=True):
        block = np.flatnonzero((rank >= begin) & (rank < end) & (rank > first))
        for name, enrolled in (("first third", rank <= first), ("refreshed", rank < begin)):
            split = Split.of_items(
                f"days {begin} to {end - 1}, {name}", items.truth, np.flatnonzero(enrolled), block, in_time=True
            )
            learn, ask = items.take(split.enrol), items.take(split.test)
            if name == "refreshed":
                identifier = _fit(task, method, learn)
            else:
                identifier = frozen = frozen or _fit(task, method, learn)
            predicted = metrics.top_label(identifier.decision_function(ask.windows), identifier.labels_)
            label = f"{begin}-{end - 1} {name}"
            by_step[label] = _figures(task, identifier, ask.truth, predicted, len(split.enrol), split.digest)
    return _along(task, by_step, "days tested")


def _hurt(task: CountTask, data: TaskData, value: float) -> TaskData:
    if task.harm == "sampling":
        return sampled(data, int(value), task.counts, task.seed)
    if value < 1:
        return without_flows(data, value, task.counts, task.seed)
    return with_stray(data, int(value), task.seed)


def _fit(task: CountTask, method: CountMethod, learn: Items) -> Identifier:
    return build(method).fit(learn.windows, learn.labels(task.level).tolist())


def _few_days(task: CountTask, method: CountMethod, learn: Items, ask: Items, days: int, split: Split) -> Figures:
    """Figures over draws of a number of enrolment days per device; draws of one item are one cluster."""
    rank = learn.truth.select(pl.col("start").rank("dense").over("device").cast(pl.Int64))["start"].to_numpy()
    everything = np.arange(1, int(rank.max()) + 1)
    draws = 1 if days >= len(everything) else max(task.draws, 1)
    random = np.random.default_rng(task.seed)
    predicted = []
    for _ in range(draws):
        few = learn.take(np.flatnonzero(np.isin(rank, random.permutation(everything)[:days])))
        identifier = _fit(task, method, few)
        predicted.append(metrics.top_label(identifier.decision_function(ask.windows), identifier.labels_))
    repeated = pl.concat([ask.truth] * draws)
    return _figures(task, identifier, repeated, np.concatenate(predicted), len(few.truth), split.digest)


def _figures(
    task: CountTask, identifier: Identifier, items: pl.DataFrame, predicted: Strings, n_enrol: int, digest: str
) -> Figures:
    """Macro-F1 and accuracy of items, with the interval of macro-F1."""
    truth, clusters = np.asarray(items[task.level].to_list(), dtype=np.str_), items["cluster"].to_list()
    low, high = metrics.bootstrap_interval(
        lambda rows: metrics.macro_f1(truth[rows], predicted[rows]), clusters, seed=task.seed, draws=300
    )
    values = {"macro_f1": metrics.macro_f1(truth, predicted), "accuracy": metrics.accuracy(truth, predicted)}
    return Figures(len(truth), n_enrol, len(identifier.labels_), values, {"macro_f1": (low, high)}, digest, {})


def _along(task: CountTask, by_step: dict[str, Figures], across: str) -> Figures:
    """Figures of one row; the name of each contains its value of the swept parameter."""
    if not by_step:
        raise UsageError(f"task {task.name}: no values to vary")
    values: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for at, figures in by_step.items():
        for name in ("macro_f1", "accuracy"):
            values[f"{name}@{at}"] = figures.values[name]
        values[f"n@{at}"] = float(figures.n)
        intervals[f"macro_f1@{at}"] = figures.intervals["macro_f1"]
    last = list(by_step.values())[-1]
    splits = "+".join(dict.fromkeys(figures.splits for figures in by_step.values()))
    return Figures(last.n, last.n_enrol, last.labels, values, intervals, splits,
                   {"axis": list(by_step), "across": across})  # fmt: skip
