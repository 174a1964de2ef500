"""Compare two files of what was learnt: everything exactly, but floating-point numbers by their relative error."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson

RELATIVE, ABSOLUTE = 1e-6, 1e-9
"""Processors with other vector instructions sum in another order."""


def learnt_differences(first: Path, second: Path, ignored: tuple[str, ...] = ()) -> list[str]:
    """Names of header entries and arrays that differ; the checksum of the arrays is not compared."""
    (a, arrays_a), (b, arrays_b) = _read(first), _read(second)
    names = sorted((a.keys() | b.keys()) - {*ignored, "sum"})
    differences = [name for name in names if not _close(a.get(name), b.get(name))]
    differences += sorted(arrays_a.keys() ^ arrays_b.keys())
    return differences + [name for name in sorted(arrays_a.keys() & arrays_b.keys())
                          if not _close_arrays(arrays_a[name], arrays_b[name])]  # fmt: skip


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return orjson.loads(arrays.pop("header").tobytes()), arrays


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(value, b[name]) for name, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_close, a, b))
    return type(a) is type(b) and bool(a == b)


def _close_arrays(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind == "f":
        return np.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    return np.array_equal(a, b)
