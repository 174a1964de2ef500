"""Stability of fingerprints: convergence, recurrence, completeness, and how well they distinguish device types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.schema import ServiceMatrix

__all__ = [
    "best_earlier",
    "completeness",
    "convergence",
    "distinguishability",
    "equivalence_classes",
    "kaplan_meier",
    "recurrence",
    "recurrence_curve",
    "shuffled",
]


def kaplan_meier(durations: Sequence[float], ended: Sequence[bool]) -> pl.DataFrame:
    """Estimate the share of windows not yet converged after each duration; other windows are censored.

    Parameters
    ----------
    durations
        Length of each window, in any unit.
    ended
        Whether the window converged; False for windows that ended for another reason.

    Returns
    -------
    curve
        ``duration, at_risk, events, survival``: one row for each duration at which a window converged, and one for the
        longest duration.

    References
    ----------
    Kaplan, Meier, "Nonparametric Estimation from Incomplete Observations", JASA 53, 1958.

    Examples
    --------
    >>> kaplan_meier([2, 2, 4, 5], [True, False, True, False])["survival"].to_list()
    [0.75, 0.375, 0.375]
    """
    time, event = np.asarray(durations, dtype=np.float64), np.asarray(ended, dtype=bool)
    rows, left = [], 1.0
    for at in np.unique(np.append(time[event], time.max(initial=0.0))) if len(time) else []:
        risk, events = int(np.sum(time >= at)), int(np.sum((time == at) & event))
        left *= 1 - events / risk
        rows.append((float(at), risk, events, left))
    schema = {"duration": pl.Float64, "at_risk": pl.Int64, "events": pl.Int64, "survival": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def convergence(fingerprints: pl.DataFrame) -> pl.DataFrame:
    """Summarise how long fingerprints take to converge, per device.

    Parameters
    ----------
    fingerprints
        Form :data:`ethogram.schema.FINGERPRINT`.

    Returns
    -------
    table
        Per device: exported windows, converged ones and their share among the closed (``open`` apart), and for
        epochs, hours and flows to export median, quartiles and 95th percentile over the converged ones;
        ``median_km`` is the Kaplan-Meier median in epochs (null when half never converged).
    """
    done = pl.col("status").is_in(["converged", "change"])
    rows = fingerprints.with_columns(
        ((pl.col("end") - pl.col("start")).dt.total_seconds() / 3_600).alias("hours"), done.alias("done")
    )
    measures = [
        pl.col(name).filter(pl.col("done")).quantile(q, "linear").alias(f"{name}_{label}")
        for name in ("epochs", "hours", "flows")
        for q, label in ((0.5, "median"), (0.25, "q1"), (0.75, "q3"), (0.95, "p95"))
    ]
    table = (
        rows.group_by("device")
        .agg(
            pl.len().alias("windows"),
            pl.col("done").sum().alias("converged"),
            (pl.col("done").sum() / (pl.col("status") != "open").sum()).alias("share_converged"),
            *measures,
        )
        .sort("device")
    )
    medians = {}
    for (device,), part in rows.group_by("device"):
        curve = kaplan_meier(part["epochs"].to_list(), part["done"].to_list()).filter(pl.col("survival") <= 0.5)
        medians[str(device)] = curve["duration"][0] if curve.height else None
    by_device = [medians[device] for device in table["device"]]
    return table.with_columns(
        pl.Series("median_km", by_device, dtype=pl.Float64), pl.col("share_converged").fill_nan(None)
    )


def completeness(matrix: ServiceMatrix, devices: Sequence[str]) -> pl.DataFrame:
    """How much of a device's whole activity a single fingerprint of it holds.

    Parameters
    ----------
    matrix
        Shares of the fingerprints (prevalence), one row each.
    devices
        The device of each row.

    Returns
    -------
    table
        Per device: services in all its fingerprints, the mean share of those that one fingerprint has, and the mean
        share of all fingerprints' weight that falls on services one fingerprint has.
    """
    rows = []
    for device in sorted(set(devices)):
        fingerprints = [matrix.row(i) for i, name in enumerate(devices) if name == device]
        whole: dict[str, float] = {}
        for row in fingerprints:
            for service, weight in row.items():
                whole[service] = whole.get(service, 0.0) + weight
        total = sum(whole.values())
        by_service = [len(row) / len(whole) for row in fingerprints] if whole else [0.0]
        by_weight = [sum(whole[name] for name in row) / total for row in fingerprints] if total else [0.0]
        rows.append((device, len(whole), float(np.mean(by_service)), float(np.mean(by_weight))))
    schema = {"device": pl.String, "services": pl.Int64, "complete_services": pl.Float64, "complete_weight": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


@dataclass(frozen=True)
class Past:
    """Best similarity of each fingerprint of a device to an earlier one, in order of time."""

    device: str
    best: NDArray[np.float64]  # (n - 1), for the second fingerprint on


def best_earlier(devices: Sequence[str], similarities: NDArray[np.float64]) -> list[Past]:
    """Best similarity of each fingerprint to an earlier one of the same device; rows must be in order of time."""
    pasts = []
    for device in sorted(set(devices)):
        rows = np.array([i for i, name in enumerate(devices) if name == device])
        block = similarities[np.ix_(rows, rows)]
        pasts.append(Past(device, np.array([block[i, :i].max() for i in range(1, len(rows))])))
    return pasts


def recurrence_curve(pasts: Sequence[Past], thresholds: Sequence[float]) -> pl.DataFrame:
    """Share of fingerprints with similarity of at least r to an earlier one of their device.

    Returns
    -------
    curve
        ``r, share``; share is null if no fingerprint has an earlier one.
    """
    every = np.concatenate([past.best for past in pasts]) if pasts else np.zeros(0)
    share = [float(np.mean(every >= r)) if len(every) else None for r in thresholds]
    return pl.DataFrame({"r": list(thresholds), "share": share}, schema={"r": pl.Float64, "share": pl.Float64})


def recurrence(
    matrix: ServiceMatrix, devices: Sequence[str], starts: pl.Series, similarities: NDArray[np.float64], alike: float
) -> pl.DataFrame:
    """Summarise how often fingerprints recur, per device.

    Parameters
    ----------
    matrix
        The fingerprints, in order of device and time.
    devices, starts
        Of each row: its device, and when its window began.
    similarities
        (N, N) of the rows.
    alike
        Similarity from which two fingerprints count as alike.

    Returns
    -------
    table
        Per device: ``fingerprints``; ``identical`` and ``alike``, the shares of those with a past that equal, or are
        alike, an earlier one; the repertoire: ``distinct`` fingerprints, share of the ``commonest``, ``entropy_bits``,
        ``growth`` (distinct ones in the second half of the time that were not in the first, per fingerprint of it);
        ``hours_since`` the median time since the last identical one.
    """
    seconds = starts.dt.epoch("s").to_numpy()
    pasts = {past.device: past for past in best_earlier(devices, similarities)}
    rows = []
    for device, past in pasts.items():
        rows_of_device = [i for i, name in enumerate(devices) if name == device]
        forms = [tuple(sorted(matrix.row(i).items())) for i in rows_of_device]
        counts = {form: forms.count(form) for form in forms}
        share = [n / len(forms) for n in counts.values()]
        half = len(forms) // 2
        new = len(set(forms[half:]) - set(forms[:half]))
        last: dict[object, float] = {}
        since = []
        for i, form in zip(rows_of_device, forms, strict=True):
            if form in last:
                since.append((seconds[i] - last[form]) / 3_600)
            last[form] = float(seconds[i])
        later = len(forms) - 1
        rows.append((
            device, len(forms), len(since) / later if later else None,
            float(np.mean(past.best >= alike)) if later else None, len(counts), max(share),
            -sum(p * log2(p) for p in share) + 0.0, new / (len(forms) - half) if half else None,
            float(np.median(since)) if since else None,
        ))  # fmt: skip
    names = ["device", "fingerprints", "identical", "alike", "distinct", "commonest", "entropy_bits", "growth",
             "hours_since"]  # fmt: skip
    types = [pl.String, pl.Int64, pl.Float64, pl.Float64, pl.Int64, *[pl.Float64] * 4]
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row").sort("device")


def shuffled(matrix: ServiceMatrix, seed: int) -> ServiceMatrix:
    """Permute the services of all fingerprints, as a baseline for recurrence by chance.

    Each weight stays in its fingerprint and gets the service of another weight, of any device, so that the sizes of
    fingerprints and the frequencies of services are preserved. Weights that get the same service are added.
    """
    drawn = np.random.default_rng(seed).permutation(matrix.indices)
    rows: list[dict[str, float]] = []
    for i in range(len(matrix)):
        row: dict[str, float] = {}
        for z in range(int(matrix.indptr[i]), int(matrix.indptr[i + 1])):
            name = matrix.services[int(drawn[z])]
            row[name] = row.get(name, 0.0) + float(matrix.weights[z])
        rows.append(row)
    return ServiceMatrix.from_rows(rows, matrix.services)


def distinguishability(similarities: NDArray[np.float64], types: Sequence[str]) -> pl.DataFrame:
    """How well fingerprints distinguish types, per type.

    Parameters
    ----------
    similarities
        (N, N) of the fingerprints.
    types
        The type of each.

    Returns
    -------
    table
        Per type: ``fingerprints``; mean similarity ``within`` and to the nearest other type, ``between``;
        ``collisions``, the share that equals a fingerprint of another type; ``margin``, the median of best own less
        best other similarity; ``silhouette``, the mean over distances 1 - similarity (Rousseeuw 1987).
    """
    names = np.array(types)
    rows = []
    for name in sorted(set(types)):
        members, others = np.flatnonzero(names == name), np.flatnonzero(names != name)
        kin = similarities[np.ix_(members, members)]
        apart = ~np.eye(len(members), dtype=bool)
        alone = len(members) < 2
        foreign = similarities[np.ix_(members, others)]
        nearest = max(
            (similarities[np.ix_(members, np.flatnonzero(names == other))].mean() for other in set(types) - {name}),
            default=None,
        )
        margin = silhouette = collisions = None
        if len(others):
            collisions = float(np.mean(foreign.max(axis=1) >= 1.0))
        if len(others) and not alone:
            margin = float(np.median(np.where(apart, kin, -1.0).max(axis=1) - foreign.max(axis=1)))
            silhouette = float(np.mean(_silhouettes(similarities, names, members)))
        within = None if alone else float(kin[apart].mean())
        rows.append((name, len(members), within, nearest, collisions, margin, silhouette))
    names_out = ["type", "fingerprints", "within", "between", "collisions", "margin", "silhouette"]
    schema = dict(zip(names_out, [pl.String, pl.Int64, *[pl.Float64] * 5], strict=True))
    return pl.DataFrame(rows, schema=schema, orient="row")


def _silhouettes(similarities: NDArray[np.float64], names: NDArray[np.str_], members: NDArray[np.intp]) -> list[float]:
    """Silhouette of each fingerprint of one type: (b - a) / max(a, b)."""
    values = []
    for i in members:
        a = float(np.mean(1 - similarities[i, members[members != i]]))
        others = (np.mean(1 - similarities[i, names == other]) for other in set(names.tolist()) - {names[i]})
        b = float(min(others))
        values.append((b - a) / max(a, b) if max(a, b) > 0 else 0.0)
    return values


def equivalence_classes(per_granularity: Mapping[str, NDArray[np.float64]], types: Sequence[str]) -> list[list[str]]:
    """Find types that no granularity can distinguish.

    Parameters
    ----------
    per_granularity
        Similarities (N, N) of the same fingerprints at each granularity.
    types
        The type of each.

    Returns
    -------
    classes
        Sorted lists of two or more types. Two types are equivalent when at every granularity at least half of the
        fingerprints of each have a nearest neighbour in the other type that is at least as similar as in their own.
    """
    names = np.array(types)
    kinds = sorted(set(types))
    parent = {name: name for name in kinds}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for i, a in enumerate(kinds):
        for b in kinds[i + 1 :]:
            if all(_confused(s, names, a, b) and _confused(s, names, b, a) for s in per_granularity.values()):
                parent[root(b)] = root(a)
    groups: dict[str, list[str]] = {}
    for name in kinds:
        groups.setdefault(root(name), []).append(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _confused(similarities: NDArray[np.float64], names: NDArray[np.str_], a: str, b: str) -> bool:
    members, other = np.flatnonzero(names == a), np.flatnonzero(names == b)
    kin = similarities[np.ix_(members, members)].copy()
    # A type with one fingerprint has no neighbour of its own, so only an equal fingerprint confuses it.
    np.fill_diagonal(kin, 1.0 if len(members) == 1 else -1.0)
    return float(np.mean(similarities[np.ix_(members, other)].max(axis=1) >= kin.max(axis=1))) >= 0.5
