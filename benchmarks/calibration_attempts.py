"""Calibrate the probabilities of the levels once more, each laboratory left out: part of the page of the first minute.

Each method maps a probability of one level and condition to another one, and is fitted on all other laboratories. None
ships: levels that are mapped one by one no longer add up (a kind may become less probable than a model of that kind).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from ethogram.bench.ladder.measure import LEVELS
from ethogram.identify import metrics
from ethogram.report.tables import table_lines

__all__ = ["calibration_lines"]

Floats = NDArray[np.float64]
Fit = Callable[[Floats, Floats], Callable[[Floats], Floats]]
GOAL = 0.08
RIDGE = 0.01
"""Pulls scale and offset towards no change."""


def calibration_lines(predictions: pl.DataFrame) -> list[str]:
    """The table of methods, and a sentence that says why none is used."""
    methods: dict[str, Fit | None] = {
        "as it is": None, "scale of the log odds": _scale, "scale and offset of the log odds": _scale_and_offset,
        "isotonic regression": _isotonic,
    }  # fmt: skip
    errors: dict[str, list[float]] = {name: [] for name in methods}
    for _, table in predictions.group_by("condition", maintain_order=True):
        condition = str(table["condition"][0])
        scored = table
        if "names" in condition:
            scored = table.filter(pl.col("named").any().over("network"))
        for level in LEVELS:
            rows = scored.filter(pl.col("vendor") != "") if level in ("vendor", "family") else scored
            given, right = rows[f"{level}_p"].to_numpy(), rows[f"{level}_right"].to_numpy().astype(float)
            for name, fit in methods.items():
                mapped = given if fit is None else _left_out(fit, given, right, rows["site"].to_numpy())
                errors[name].append(metrics.calibration_error(mapped, right > 0))
    count = len(errors["as it is"])
    body = [
        [name, f"{np.mean(values):.3f}", f"{sum(value <= GOAL for value in values)} of {count}"]
        for name, values in errors.items()
    ]
    return [
        "Calibration errors over the four conditions and six levels, if the probabilities of each level are mapped",
        "once more, fitted on the other laboratories:", "",
        *table_lines(["mapping", "mean calibration error", f"within {GOAL:.2f}"], body), "",
        "None ships: each level is mapped alone, so a kind may become less probable than a model of that kind. A",
        "mapping of all levels together that keeps their sums is still to be found.",
    ]  # fmt: skip


def _left_out(fit: Fit, given: Floats, right: Floats, site: NDArray[np.object_]) -> Floats:
    mapped = np.zeros_like(given)
    for name in np.unique(site.astype(str)):
        mine = site.astype(str) == name
        mapped[mine] = fit(given[~mine], right[~mine])(given[mine])
    return mapped


def _log_odds(p: Floats) -> Floats:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _scale(given: Floats, right: Floats) -> Callable[[Floats], Floats]:
    odds = _log_odds(given)

    def loss(at: Floats) -> float:
        moved = odds * np.exp(at[0])
        return float(np.mean(np.logaddexp(0, moved) - right * moved) + RIDGE * at[0] ** 2)

    scale = float(np.exp(minimize(loss, np.zeros(1)).x[0]))
    return lambda p: 1 / (1 + np.exp(-_log_odds(p) * scale))


def _scale_and_offset(given: Floats, right: Floats) -> Callable[[Floats], Floats]:
    odds = _log_odds(given)

    def loss(at: Floats) -> float:
        moved = odds * at[0] + at[1]
        return float(np.mean(np.logaddexp(0, moved) - right * moved) + RIDGE * ((at[0] - 1) ** 2 + at[1] ** 2))

    scale, offset = minimize(loss, np.array([1.0, 0.0])).x
    return lambda p: 1 / (1 + np.exp(-(_log_odds(p) * scale + offset)))


def _isotonic(given: Floats, right: Floats) -> Callable[[Floats], Floats]:
    model = IsotonicRegression(out_of_bounds="clip", y_min=0.01, y_max=0.99).fit(given, right)
    return lambda p: np.asarray(model.predict(p))
