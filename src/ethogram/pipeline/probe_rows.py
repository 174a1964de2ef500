"""Turn log probabilities of test flows into tables: by encoder and probe, type, pair of types, and device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.config import ProbeSettings
from ethogram.identify import metrics
from ethogram.identify.probe_devices import DeviceVerdicts, Groups, groups_of
from ethogram.pipeline.labelled_flows import LabelledFlows
from ethogram.schema import CustomFlows

__all__ = ["Fitted", "Rows", "Tested", "aggregations"]


@dataclass(frozen=True)
class Fitted:
    """A fitted probe: encoder, seed, budget and hyperparameters."""

    encoder: str
    kind: str
    seed: int
    probe: str
    budget: int | None
    trained_on: int
    d: int
    choice: str

    @property
    def row(self) -> dict[str, Any]:
        """The key columns of every table."""
        return {"encoder": self.encoder, "seed": self.seed, "probe": self.probe, "budget": self.budget}


@dataclass
class Tested:
    """Test flows with their types.

    Parameters
    ----------
    flows
        N flows, in memory.
    truth
        [N] types, coded as in training; -1 for types that are not in training.
    device, start_us
        [N] device and start of each flow.
    cluster
        [N] device-day, coded 0, 1, ...
    """

    flows: CustomFlows
    truth: NDArray[np.int64]
    device: pl.Series
    start_us: NDArray[np.int64]
    cluster: NDArray[np.int64]
    groups: dict[str, Groups] = field(default_factory=dict)

    @classmethod
    def of(cls, part: LabelledFlows, truth: NDArray[np.int64]) -> Tested:
        """The test flows of a network."""
        days = pl.DataFrame({"device": part.days.device, "day": part.days.day})
        cluster = days.select(pl.struct("device", "day").rank("dense")).to_series().to_numpy().astype(np.int64) - 1
        return cls(part.flows(), truth, part.days.device, part.start_us, cluster)

    def group(self, settings: ProbeSettings) -> None:
        """Group the flows of each device by every aggregation of the settings."""
        for name, flows, seconds in aggregations(settings):
            self.groups[name] = groups_of(self.device, self.start_us, flows, seconds, self.truth)


def aggregations(settings: ProbeSettings) -> list[tuple[str, int, int]]:
    """Name, number of flows and seconds of each aggregation.

    >>> [name for name, _, _ in aggregations(ProbeSettings())]
    ['1', '5', '20', '3600 s']
    """
    by_count = [(str(flows), flows, 0) for flows in settings.aggregate]
    return [*by_count, (f"{settings.aggregate_s} s", 0, settings.aggregate_s)] if settings.aggregate_s else by_count


class Rows:
    """Collects the tables of one run.

    Parameters
    ----------
    names
        Training types in the order of their codes.
    tested
        Test flows.
    settings
        Settings of the run.
    """

    def __init__(self, names: Sequence[str], tested: Tested, settings: ProbeSettings) -> None:
        self.names, self.tested, self.settings = list(names), tested, settings
        self._figures: list[dict[str, Any]] = []
        self._types: list[dict[str, Any]] = []
        self._devices: list[dict[str, Any]] = []
        self._confusion: list[dict[str, Any]] = []
        self._drawn: dict[tuple[Any, ...], list[NDArray[np.float64]]] = {}

    def add(
        self, fitted: Fitted, logs: NDArray[np.float64], held_out: NDArray[np.float64] | None,
        held_out_truth: NDArray[np.int64], groups: Mapping[str, Groups],
    ) -> None:  # fmt: skip
        """Add the rows of one fitted probe.

        Parameters
        ----------
        fitted
            The probe.
        logs
            Log probabilities of the test flows, [N, T].
        held_out, held_out_truth, groups
            Log probabilities, types and groups of held-out training flows to calibrate on; None: no calibration.
        """
        known = np.flatnonzero(self.tested.truth >= 0)
        truth, best, types = self.tested.truth[known], logs[known].argmax(1), len(self.names)
        _, cluster = np.unique(self.tested.cluster[known], return_inverse=True)
        parts = metrics.confusions(truth, best, cluster, types)
        whole = parts.sum(0)
        drawn = metrics.bootstrap_macro_f1(parts, draws=self.settings.draws)
        self._drawn.setdefault((fitted.encoder, fitted.probe, fitted.budget), []).append(drawn)
        low, high = metrics.percentile_interval(drawn)
        self._figures.append({
            **fitted.row, "kind": fitted.kind, "d": fitted.d, "whitened": self.settings.whiten,
            "trained_on": fitted.trained_on, "tested_on": known.size, "device_days": len(parts),
            "types": int((whole.sum(1) > 0).sum()), "macro_f1": metrics.macro_f1_of(whole), "low": low, "high": high,
            "balanced_accuracy": metrics.balanced_accuracy_of(whole), "accuracy": metrics.accuracy_of(whole),
            "choice": fitted.choice,
        })  # fmt: skip
        self._types += [{**fitted.row, **row} for row in metrics.per_type(whole, self.names)]
        self._confusion += [
            {**fitted.row, "true": self.names[i], "said": self.names[j], "flows": int(whole[i, j])}
            for i, j in np.argwhere(whole > 0).tolist()
        ]
        if fitted.budget is None:
            for name, part in self.tested.groups.items():
                if len(part):
                    calibrated = held_out is not None and len(groups[name])
                    calibration = None if not calibrated else (held_out, held_out_truth, groups[name])
                    self._devices.append({**fitted.row, "flows": name, **self._verdicts(logs, part, calibration)})

    def _verdicts(
        self, logs: NDArray[np.float64], part: Groups,
        held_out: tuple[NDArray[np.float64] | None, NDArray[np.int64], Groups] | None,
    ) -> dict[str, Any]:  # fmt: skip
        """Figures of verdicts on groups of flows of one device."""
        verdicts = DeviceVerdicts(self.settings.quantile)
        scores = verdicts.decision_function(logs, part)
        truth = self.tested.truth[part.first]
        known = truth >= 0
        best = scores.argmax(1)
        clusters = np.unique(self.tested.cluster[part.first[known]], return_inverse=True)[1]
        parts = metrics.confusions(truth[known], best[known], clusters, len(self.names))
        low, high = metrics.percentile_interval(metrics.bootstrap_macro_f1(parts, draws=self.settings.draws))
        whole = parts.sum(0) if len(parts) else metrics.confusion_of(truth[known], best[known], len(self.names))
        row: dict[str, Any] = {
            "verdicts": int(known.sum()), "strangers": int((~known).sum()), "macro_f1": metrics.macro_f1_of(whole),
            "low": low, "high": high, "accuracy": metrics.accuracy_of(whole),
        }  # fmt: skip
        row |= dict.fromkeys(("calibrated_on", "calibration_error", "unknown", "right_of_said", "strangers_unknown"))
        if held_out is None or held_out[0] is None:
            return row
        verdicts.fit(held_out[0], held_out[1], held_out[2], self.names)
        _, verdict, probability = verdicts.verdicts(scores)
        right = best == truth
        decided = known & (verdict >= 0)
        row["calibrated_on"] = verdicts.held_out_
        row["calibration_error"] = metrics.calibration_error(probability[known], right[known])
        row["unknown"] = _share(verdict[known] < 0)
        row["right_of_said"] = _share(right[decided])
        row["strangers_unknown"] = _share(verdict[~known] < 0)
        return row

    def figures(self) -> pl.DataFrame:
        """One row per encoder, probe, budget and seed, followed by one row over all seeds (without a seed)."""
        each_seed = _frame(self._figures)
        together = []
        keys = ["encoder", "probe", "budget"]
        for (encoder, probe, budget), part in each_seed.group_by(keys, maintain_order=True):
            low, high = metrics.percentile_interval(np.mean(self._drawn[encoder, probe, budget], axis=0))
            means = {name: part[name].mean() for name in ("macro_f1", "balanced_accuracy", "accuracy")}
            first = part.row(0, named=True)
            spread = float(part["macro_f1"].max() - part["macro_f1"].min())  # type: ignore[operator, arg-type]
            summary = {"seed": None, "seeds": part.height, "low": low, "high": high, "spread": spread, "choice": ""}
            together.append({**first, **means, **summary})
        schema: dict[str, Any] = {**each_seed.schema, "seeds": pl.Int64, "spread": pl.Float64}
        each = each_seed.with_columns(seeds=pl.lit(1, pl.Int64), spread=pl.lit(None, pl.Float64))
        return pl.concat([each, pl.DataFrame(together, schema=schema)])

    def types(self) -> pl.DataFrame:
        """F1, precision and recall of each type."""
        return _frame(self._types)

    def confusion(self) -> pl.DataFrame:
        """Number of flows by true and predicted type."""
        return _frame(self._confusion)

    def devices(self) -> pl.DataFrame:
        """Figures of device verdicts by aggregation."""
        return _frame(self._devices)


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """A table whose column types do not depend on missing values."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    empty = {"budget": pl.Int64, "calibrated_on": pl.Int64}
    nulls = [name for name, kind in frame.schema.items() if kind == pl.Null]
    return frame.with_columns(pl.col(name).cast(empty.get(name, pl.Float64)) for name in nulls)


def _share(which: NDArray[np.bool_]) -> float | None:
    return float(which.mean()) if which.size else None
