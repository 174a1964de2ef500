"""Properties of fingerprints without identification: similarity, convergence, recurrence."""

from __future__ import annotations

from itertools import product

import numpy as np
import polars as pl

from ethogram.bench.counts.items import Items, TaskData
from ethogram.bench.counts.score import Figures
from ethogram.bench.counts.task import CountMethod, CountTask
from ethogram.config import ExporterSettings, KeySettings
from ethogram.errors import UsageError
from ethogram.fingerprint.key import learn_ports
from ethogram.fingerprint.similarity import pairwise
from ethogram.fingerprint.stability import kaplan_meier
from ethogram.identify import metrics
from ethogram.pipeline.fingerprints import fingerprint, service_matrix, windows_from_fingerprints

__all__ = ["convergence", "likeness", "recurrence"]

COMPARES = ("previous", "halves")
LIKE = (0.8, 0.9, 0.95)


def likeness(task: CountTask, method: CountMethod, items: Items) -> Figures:
    """E1: mean similarity of two items of one label and of two labels, over all items.

    ``separable`` is the chance that a pair of one label is more alike than a pair of two (AUROC).
    """
    _only_nearest(task, method)
    matrix = service_matrix(items.windows, method.key, method.representation)
    alike = pairwise(matrix, None, method.representation.similarity)
    labels = items.labels(task.level)
    upper = np.triu_indices(len(labels), 1)
    same = labels[upper[0]] == labels[upper[1]]
    pairs = alike[upper]
    names = np.unique(labels)
    between = np.array([[float(np.mean(alike[np.ix_(labels == a, labels == b)])) for b in names] for a in names])
    values = {
        "within": float(pairs[same].mean()), "between": float(pairs[~same].mean()),
        "separable": metrics.area_under_roc(pairs[~same], pairs[same]),
        "services": float(len(matrix.services)),
        "services_per_item": float(np.diff(matrix.indptr).mean()),
    }  # fmt: skip
    details: dict[str, object] = {"labels": names.tolist(), "similarity": np.round(between, 4).tolist()}
    return Figures(len(labels), 0, len(names), values, {}, "none", details)


def convergence(task: CountTask, method: CountMethod, data: TaskData) -> Figures:
    """E2: epochs until export, by threshold, comparison, length of epoch, and list of ports.

    Windows that end otherwise, at their greatest length or with the capture, are censored: they count in ``share``,
    and the median is that of Kaplan and Meier (NaN where half of the windows were never seen to converge). ``devices``
    is the part of the devices that converged at all. Ports are learnt from the first third of the days.
    """
    _only_nearest(task, method)
    values: dict[str, float] = {}
    devices = data.labels["device"].n_unique()
    n = 0
    for keys, key in (("all", method.key), ("learnt", _learnt(task, method, data))):
        for epoch, compare, threshold in product(task.epochs, COMPARES, task.values):
            table = _exported(data, method.model_copy(update={"key": key}), threshold, compare, epoch)
            done = table["status"] == "converged"
            curve = kaplan_meier(table["epochs"].to_list(), done.to_list()).filter(pl.col("survival") <= 0.5)
            at = f"@{threshold:g} {compare} {epoch // 3600}h {keys}"
            values[f"windows{at}"] = float(table.height)
            values[f"share{at}"] = float(done.mean() or 0.0)  # type: ignore[arg-type]
            values[f"median{at}"] = float(curve["duration"][0]) if curve.height else float("nan")
            values[f"devices{at}"] = table.filter(done)["device"].n_unique() / devices
            n = max(n, table.height)
    return Figures(n, 0, data.labels["id"].n_unique(), values, {}, "none", {"axis": list(task.values)})


def _learnt(task: CountTask, method: CountMethod, data: TaskData) -> KeySettings:
    """The key with the ports learnt from the first third of each device's days."""
    day = pl.col("time").dt.date()
    first = day.rank("dense").over("device") <= (day.n_unique().over("device") * task.split.share - 1e-9).ceil()
    return method.key.model_copy(update={"ports": learn_ports(data.counts.filter(first))})


def recurrence(task: CountTask, method: CountMethod, data: TaskData) -> Figures:
    """E3: share of exported fingerprints that are identical or similar to an earlier one of the same device.

    ``chance`` is the same share for the most similar earlier export of any other device.
    """
    _only_nearest(task, method)
    values: dict[str, float] = {}
    n = 0
    for threshold in task.values:
        for compare in COMPARES:
            table = (
                _exported(data, method, threshold, compare)
                .filter(pl.col("status") == "converged")
                .sort("start", "device")
            )
            at = f"@{threshold:g} {compare}"
            values[f"exports{at}"] = float(table.height)
            n = max(n, table.height)
            if table.height < 2:
                continue
            windows = windows_from_fingerprints(table)
            alike = pairwise(
                service_matrix(windows, method.key, method.representation), None, method.representation.similarity
            )
            of_device, of_others = _best_earlier(alike, table["device"].to_numpy())
            earlier = of_device >= 0
            if not earlier.any():
                continue
            values[f"identical{at}"] = float(np.mean(of_device[earlier] >= 1 - 1e-12))
            for like in LIKE:
                values[f"recurs_{like:g}{at}"] = float(np.mean(of_device[earlier] >= like))
                values[f"chance_{like:g}{at}"] = float(np.mean(of_others[earlier] >= like))
    return Figures(n, 0, data.labels["id"].n_unique(), values, {}, "none", {"axis": list(task.values)})


def _best_earlier(alike: np.ndarray, devices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximum similarity of each export to earlier ones of its device and of others; -1 without an earlier one."""
    earlier = np.tril(np.ones(alike.shape, dtype=bool), -1)
    same = devices[:, None] == devices[None, :]
    of_device = np.where(earlier & same, alike, -1.0).max(axis=1)
    of_others = np.where(earlier & ~same, alike, -1.0).max(axis=1)
    return of_device, of_others


def _exported(
    data: TaskData, method: CountMethod, threshold: float, compare: str, epoch_s: int = 86_400
) -> pl.DataFrame:
    settings = ExporterSettings.of(
        threshold=threshold, compare=compare, epoch_s=epoch_s, key=method.key, representation=method.representation
    )
    return fingerprint(data.flows, settings).table


def _only_nearest(task: CountTask, method: CountMethod) -> None:
    if method.identify.method != "nearest":
        raise UsageError(f"task {task.name} is about fingerprints: {method.name} has none")
