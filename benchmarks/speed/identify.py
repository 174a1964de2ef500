"""Identification: 100,000 fingerprints against a library of 1,000, exact, beside a plain NumPy peer in the same run.

The peer holds the library as a dense matrix and computes the weighted Jaccard similarity row by row. It is timed on
a part of the fingerprints and scaled up, since it is slow; both give the same numbers, which is checked first.

    python benchmarks/speed/identify.py [fingerprints] [library] [JSON file]
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from ethogram.fingerprint.similarity import blocks
from ethogram.identify.nearest import NearestFingerprint, best_of_labels
from ethogram.schema import ServiceMatrix

SERVICES, LABELS = 3_000, 60


def fingerprints(count: int, seed: int) -> ServiceMatrix:
    """Levels of 16 over 5 to 40 services each; low-numbered services are common, as DNS and HTTPS are."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 41, count)
    rows = np.repeat(np.arange(count), sizes)
    columns = np.minimum((rng.pareto(0.8, rows.size) * 8).astype(np.int64), SERVICES - 1)
    cells = np.unique(rows * SERVICES + columns)
    weights = rng.integers(1, 17, cells.size) / 16
    names = [f"TCP/{port}" for port in range(SERVICES)]
    return ServiceMatrix.from_coordinates(cells // SERVICES, cells % SERVICES, weights, names, count)


def peer(items: ServiceMatrix, library: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Plain NumPy: sum of minima over sum of maxima, one fingerprint after the other."""
    totals = library.sum(axis=1)
    result = np.empty((len(items), starts.size))
    for i in range(len(items)):
        part = slice(items.indptr[i], items.indptr[i + 1])
        weights = items.weights[part]
        shared = np.minimum(library[:, items.indices[part]], weights).sum(axis=1)
        result[i] = best_of_labels((shared / (totals + weights.sum() - shared))[None], starts)[0]
    return result


def main() -> None:
    """Print times, the ratio, and the largest difference."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    items, library = fingerprints(count, 1), fingerprints(size, 2)
    method = NearestFingerprint(represent=lambda _: items, compare=blocks)
    method.labels_ = [f"label {i}" for i in range(LABELS)]
    method.matrix_ = library
    method.starts_ = np.linspace(0, size, LABELS, endpoint=False).astype(np.int64)
    method.matrix_scores(items.take(range(10)))  # compile before the clock runs

    began = time.perf_counter()
    scores = method.matrix_scores(items)
    best = scores.argmax(axis=1)
    ours = time.perf_counter() - began

    dense = np.zeros((size, SERVICES))
    dense[np.repeat(np.arange(size), np.diff(library.indptr)), library.indices] = library.weights
    part = min(count, 2_000)
    began = time.perf_counter()
    expected = peer(items.take(range(part)), dense, method.starts_)
    theirs = (time.perf_counter() - began) * count / part

    print(f"{count:,} fingerprints x {size:,} known, {items.indices.size / count:.0f} services each")
    print(f"ethogram      {ours:8.2f} s   {count * size / ours / 1e6:8.1f} M pairs/s   {np.unique(best).size} labels")
    print(f"NumPy, dense  {theirs:8.2f} s   (from {part:,} fingerprints)")
    print(f"ratio         {theirs / ours:8.1f}")
    print(f"difference    {np.abs(scores[:part] - expected).max():.1e}")
    if len(sys.argv) > 3:
        report = {"items": count, "known": size, "ours_s": ours, "numpy_s": theirs}
        Path(sys.argv[3]).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
