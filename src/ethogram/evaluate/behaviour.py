"""What fingerprints do by themselves, nothing identified: likeness, convergence, recurrence."""

from __future__ import annotations

import numpy as np
import polars as pl

from ethogram.config import ExporterSettings
from ethogram.errors import UsageError
from ethogram.evaluate import metrics
from ethogram.evaluate.items import Items, Material
from ethogram.evaluate.score import Figures
from ethogram.evaluate.task import Method, Task
from ethogram.fingerprint.similarity import pairwise
from ethogram.pipeline.fingerprints import fingerprint, service_matrix, windows_from_fingerprints

__all__ = ["convergence", "likeness", "recurrence"]

COMPARES = ("previous", "halves")
LIKE = (0.8, 0.9, 0.95)


def likeness(task: Task, method: Method, items: Items) -> Figures:
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


def convergence(task: Task, method: Method, material: Material) -> Figures:
    """E2: epochs and flows until export for each threshold, by both ways to compare.

    An unconverged window is censored: it counts in ``share`` and not in the medians.
    """
    _only_nearest(task, method)
    values: dict[str, float] = {}
    n = 0
    for threshold in task.values:
        for compare in COMPARES:
            table = _exported(material, method, threshold, compare)
            done = table.filter(pl.col("status") == "converged")
            ended = table.filter(pl.col("status").is_in(["converged", "unconverged"]))
            at = f"@{threshold:g} {compare}"
            values[f"share{at}"] = done.height / max(ended.height, 1)
            values[f"windows{at}"] = float(ended.height)
            for name, quantile in (("median", 0.5), ("q75", 0.75), ("p95", 0.95)):
                found = done["epochs"].quantile(quantile, "nearest")
                values[f"epochs_{name}{at}"] = float("nan") if found is None else float(found)
            n = max(n, ended.height)
    return Figures(n, 0, material.labels["id"].n_unique(), values, {}, "none", {"axis": list(task.values)})


def recurrence(task: Task, method: Method, material: Material) -> Figures:
    """E3: share of exported fingerprints that are identical, or nearly, to an earlier one of the same device.

    ``chance`` is the same share against the earlier ones of another device, the most alike of them.
    """
    _only_nearest(task, method)
    values: dict[str, float] = {}
    n = 0
    for threshold in task.values:
        for compare in COMPARES:
            table = (
                _exported(material, method, threshold, compare)
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
            own, other = _best_earlier(alike, table["device"].to_numpy())
            earlier = own >= 0
            if not earlier.any():
                continue
            values[f"identical{at}"] = float(np.mean(own[earlier] >= 1 - 1e-12))
            for like in LIKE:
                values[f"recurs_{like:g}{at}"] = float(np.mean(own[earlier] >= like))
                values[f"chance_{like:g}{at}"] = float(np.mean(other[earlier] >= like))
    return Figures(n, 0, material.labels["id"].n_unique(), values, {}, "none", {"axis": list(task.values)})


def _best_earlier(alike: np.ndarray, devices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best similarity of each export to an earlier one, of its own device and of any other; -1 where there is none."""
    earlier = np.tril(np.ones(alike.shape, dtype=bool), -1)
    same = devices[:, None] == devices[None, :]
    own = np.where(earlier & same, alike, -1.0).max(axis=1)
    other = np.where(earlier & ~same, alike, -1.0).max(axis=1)
    return own, other


def _exported(material: Material, method: Method, threshold: float, compare: str) -> pl.DataFrame:
    settings = ExporterSettings.of(
        threshold=threshold, compare=compare, key=method.key, representation=method.representation
    )
    return fingerprint(material.flows, settings).table


def _only_nearest(task: Task, method: Method) -> None:
    if method.identify.method != "nearest":
        raise UsageError(f"task {task.name} is about fingerprints: {method.name} has none")
