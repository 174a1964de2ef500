"""Benchmark of tasks on flows: encoders, embeddings, probes, verdicts, figures.

Test flows are embedded and classified once per task, method and seed, by a model that is then final.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

import ethogram.bench.flows.verdicts
from ethogram._code_digest import CodePart
from ethogram.bench.flows import figures, shift, split
from ethogram.bench.flows.encoders import Encoders, encoder_code
from ethogram.bench.flows.figures import FlowPredictions, SeedFigures, pooled, seed_figures, unknown_figures
from ethogram.bench.flows.ready_encoder import ReadyEncoder
from ethogram.bench.flows.shift import block_errors, shift_of
from ethogram.bench.flows.split import FlowFold, Rows, drawn, flow_folds, parts_of
from ethogram.bench.flows.task import FlowMethod, FlowTask
from ethogram.bench.flows.verdicts import FLOWS, CodedItems, FlowItems, verdicts
from ethogram.bench.options import BenchmarkOptions
from ethogram.bench.row import Row, identity_of
from ethogram.corpora.custom_flows import CorpusFlows, load_flows
from ethogram.errors import UsageError
from ethogram.identify import aggregate, calibrate, metrics, openset, probe, probe_devices
from ethogram.identify.probe import DETERMINISTIC, FrozenProbe, budget_rows
from ethogram.representation.kinds import kind_of

__all__ = ["FlowBenchmark"]

GROUPED = ("5", "20", "hour")
LABELS = "labels of each type: "
CLUSTERS = 1 << 32
"""Offset between the device-day codes of two folds."""


@dataclass
class FlowBenchmark(BenchmarkOptions):
    """Benchmark of tasks on flows over a folder of corpora.

    Parameters
    ----------
    checkpoints
        Files of weights by name of the adapter.
    quick
        Run only the methods of the quick set.
    """

    CODE_DEPENDENCIES: ClassVar[tuple[CodePart, ...]] = (
        split, figures, shift, ethogram.bench.flows.verdicts, probe, probe_devices, metrics, calibrate, openset,
        aggregate,
    )  # fmt: skip
    """Other code that the figures depend on. Rows also have the digest of their encoder's own code."""

    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    quick: bool = False
    _loaded: dict[tuple[str, bool], CorpusFlows] = field(default_factory=dict)
    _folds: dict[str, list[FlowFold]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.encoders = Encoders(
            self.flow_cache, threads=self.threads, checkpoints=self.checkpoints, on_stage=self.on_stage
        )

    def corpora(self, task: FlowTask) -> dict[str, CorpusFlows]:
        """The flows of a task; each corpus is loaded once."""
        for name in task.corpora:
            if name not in self.cards:
                raise UsageError(f"task {task.name}: no corpus card {name!r}")
            if (name, task.packets) not in self._loaded:
                self.tell(f"loading {name}")
                self._loaded[name, task.packets] = load_flows(
                    self.cards[name], self.root, packets=task.packets, cache_folder=self.cache_folder
                )
        return {name: self._loaded[name, task.packets] for name in task.corpora}

    def folds(self, task: FlowTask) -> list[FlowFold]:
        """The folds of a task."""
        if task.digest not in self._folds:
            self._folds[task.digest] = flow_folds(task, self.corpora(task))
        return self._folds[task.digest]

    def asks(self, task: FlowTask, method: FlowMethod) -> bool:
        """Whether the task runs the method."""
        return task.runs(method, quick=self.quick)

    def identity(self, task: FlowTask, method: FlowMethod) -> dict[str, str]:
        """Names and digests that identify a row; see :func:`ethogram.bench.row.identity_of`."""
        return identity_of(
            task, method, data="".join(c.digest for c in self.corpora(task).values()), code=type(self),
            method_text=f"{method.digest} {self.checkpoints.get(method.adapter, '')}", encoder=encoder_code(method),
        )  # fmt: skip

    def measure(self, task: FlowTask, method: FlowMethod) -> Row:
        """Figures of one method on one task."""
        corpora, folds = self.corpora(task), self.folds(task)
        names = np.unique(np.concatenate([_labels(corpora, fold.train, task.level) for fold in folds]))
        asked = _budgets(task, method, max(_most(corpora, fold.train, task.level) for fold in folds))
        result = MethodResult()
        met = ""
        for seed in range(method.seeds):
            encoders = [self._encoder(task, method, fold, seed) for fold in folds]
            digest = " ".join(encoder.digest for encoder in encoders)
            again, met = digest == met and method.probe in DETERMINISTIC and not method.shuffled, digest
            budgets = [budget for budget in asked if budget is not None or not again]
            by_name: dict[str, list[FlowPredictions]] = {}
            for number, (fold, encoder) in enumerate(zip(folds, encoders, strict=True)):
                by_grouping = self._predict_fold(task, method, fold, encoder, seed, names, budgets, result)
                for name, part in by_grouping.items():
                    by_name.setdefault(name, []).append(replace(part, cluster=part.cluster + number * CLUSTERS))
            for name, parts in by_name.items():
                result.add(name, FlowPredictions.concat(parts), names.size, task.settings.draws)
            if not again:
                result.shifted([self._shift(task, *pair) for pair in zip(folds, encoders, strict=True)])
        if not result.main:
            raise UsageError("no tested label has training flows")
        return self._parts(task, method, names.tolist(), result)

    def _encoder(self, task: FlowTask, method: FlowMethod, fold: FlowFold, seed: int) -> ReadyEncoder:
        self.tell(f"{method.name}, seed {seed}")
        return self.encoders.get(method, fold.unlabelled, self.corpora(task), seed, task.settings.gap_days)


    def _predict_fold(
        self, task: FlowTask, method: FlowMethod, fold: FlowFold, encoder: ReadyEncoder, seed: int,
        names: NDArray[np.str_], budgets: Sequence[int | None], result: MethodResult,
    ) -> dict[str, FlowPredictions]:  # fmt: skip
        """Verdicts of the probes of one fold and seed, by label budget and by grouping of the flows."""
        settings = task.settings.model_copy(update={"whiten": method.whiten})
        train, test = (self._items(task, encoder, rows, result) for rows in (fold.train, fold.test))
        labels, code = np.unique(train.label, return_inverse=True)
        if labels.size < 2:
            raise UsageError(f"training flows of one {task.level} only: {', '.join(labels)}")
        truth = np.where(np.isin(test.label, labels), np.searchsorted(names, test.label), -1)
        result.tested(fold.name, code, truth, test.label)
        if not (truth >= 0).any():
            return {}
        if method.shuffled:
            code = np.random.default_rng([seed, 0x5F1E]).permutation(code)
        fit, late = (_places(fold.train, part) for part in (fold.fit, fold.held_out))
        by_grouping: dict[str, FlowPredictions] = {}
        for budget in budgets:
            self.tell(f"{method.name}, seed {seed}: probe on {'all' if budget is None else budget} labels")
            used = budget_rows(code, budget, seed)
            calibration = np.intersect1d(used, late)
            probe = FrozenProbe.select(train.z, code, used, np.intersect1d(used, fit), calibration, labels.size,
                                    name=method.probe, settings=settings, seed=seed)  # fmt: skip
            late_items = CodedItems(train.take(calibration), code[calibration]) if calibration.size else None
            predictions = verdicts(probe, CodedItems(test, truth), late_items, labels, np.searchsorted(names, labels),
                                   settings, grouped=budget is None)  # fmt: skip
            for name, grouped in predictions.items():
                by_grouping[name if budget is None else f"{LABELS}{budget}"] = grouped
        return by_grouping

    def _items(self, task: FlowTask, encoder: ReadyEncoder, rows: Rows, result: MethodResult) -> FlowItems:
        corpora, parts = self.corpora(task), []
        for name, places in rows.items():
            z, cost = self.encoders.embedding(encoder, corpora[name], places, task.caps.labelled)
            parts.append(z)
            result.cost(encoder, cost)
        truth = pl.concat([corpora[name].truth[pl.Series(places)] for name, places in rows.items()])
        label, day = (np.asarray(truth[name].to_list(), np.str_) for name in (task.level, "device_day"))
        start = np.concatenate([corpora[name].flows.start_us[places] for name, places in rows.items()])
        return FlowItems(np.concatenate(parts), label, truth["unit"], day, start)

    def _shift(
        self, task: FlowTask, fold: FlowFold, encoder: ReadyEncoder
    ) -> tuple[dict[str, float], dict[str, float]] | None:
        """Reconstruction errors on later flows of the training networks, and on those of the test network."""
        if not task.shift or encoder.encoder is None or not kind_of(encoder.encoder.header.encoder).decodes:
            return None
        if set(fold.unlabelled) & set(fold.test):
            return None
        corpora, settings = self.corpora(task), task.settings
        here: list[dict[str, float]] = []
        for name in fold.unlabelled:
            part = parts_of(corpora[name], early=task.early, late=task.late, gap_days=settings.gap_days)
            inside = (drawn(corpora[name]) < task.caps.labelled) & np.isin(part, ("middle", "late"))
            here.append(block_errors(encoder.encoder, corpora[name], np.flatnonzero(inside)))
        there = [block_errors(encoder.encoder, corpora[name], rows) for name, rows in fold.test.items()]
        return _mean(here), _mean(there)

    def _parts(self, task: FlowTask, method: FlowMethod, names: list[str], result: MethodResult) -> dict[str, Any]:
        folds, encoder = self.folds(task), method.encoder
        truth = result.main[0].truth
        kl = method.training.kl_weight if encoder is not None and encoder.kind in ("vae", "fields") else None
        settings = {} if encoder is None else {"kind": encoder.kind, "size": encoder.size, "view": encoder.view,
                                               "kl_weight": kl, "loss": method.training.loss}  # fmt: skip
        name = folds[0].split.name if len(folds) == 1 else f"{task.protocol}, each of {len(folds)} networks in turn"
        digest = hashlib.sha256(" ".join(fold.digest for fold in folds).encode()).hexdigest()[:12]
        return {
            "n": int((truth >= 0).sum()), "n_enrol": sum(rows.size for fold in folds for rows in fold.train.values()),
            "labels": int(np.unique(truth[truth >= 0]).size),
            "train": list(dict.fromkeys(n for fold in folds for n in fold.train)),
            "test": list(dict.fromkeys(n for fold in folds for n in fold.test)),
            "where": "inside" if task.protocol == "P0" else "across", "split": {"digest": digest, "name": name},
            "values": result.figures.means(), "intervals": result.figures.intervals(), "encoder": settings,
            "cost": result.costs(),
            "details": {
                "seeds": result.figures.values, **pooled(result.main, names), "errors": result.errors,
                "strangers": int((truth < 0).sum()), "strange_labels": sorted(result.strange),
                "unlabelled": sum(rows.size for fold in folds for rows in fold.unlabelled.values()),
                "turns": result.folds, "training": result.training,
            },
        }  # fmt: skip


class MethodResult:
    """Figures, verdicts and costs collected while one method is measured on one task."""

    def __init__(self) -> None:
        self.figures = SeedFigures()
        self.main: list[FlowPredictions] = []
        self.folds: dict[str, dict[str, int]] = {}
        self.strange: set[str] = set()
        self.errors: list[dict[str, Any]] = []
        self.training: dict[str, Mapping[str, Any]] = {}
        self._made: dict[str, ReadyEncoder] = {}
        self._took = {"flows": 0.0, "seconds": 0.0}
        self._memory: list[float] = []

    def add(self, name: str, predictions: FlowPredictions, types: int, draws: int) -> None:
        """Add verdicts of one seed: on flows, on groups, or with a label budget."""
        if name == FLOWS:
            self.main.append(predictions)
            seed_figures(self.figures, "macro_f1", predictions, types, draws, whole=True)
            seed_figures(self.figures, "device_macro_f1@1", predictions, types, draws)
        elif name in GROUPED:
            seed_figures(self.figures, f"device_macro_f1@{name}", predictions, types, draws)
            unknown_figures(self.figures, f"device@{name}_", predictions)
        else:
            seed_figures(self.figures, f"macro_f1@{name.removeprefix(LABELS)}", predictions, types, draws)

    def tested(self, fold: str, code: NDArray[np.int64], truth: NDArray[np.int64], label: NDArray[np.str_]) -> None:
        """Record the number of training and test flows of a fold."""
        known = truth[truth >= 0]
        self.folds[fold] = {"trained": int(code.size), "tested": int(known.size), "labels": int(np.unique(known).size)}
        self.strange |= set(label[truth < 0].tolist())

    def shifted(self, errors: Sequence[tuple[dict[str, float], dict[str, float]] | None]) -> None:
        """Add the reconstruction errors of one seed; the ratio is that of the means over the folds."""
        known = [pair for pair in errors if pair is not None]
        if known:
            here, there = _mean([pair[0] for pair in known]), _mean([pair[1] for pair in known])
            self.errors.append({"here": here, "there": there})
            for name, value in shift_of(here, there).items():
                self.figures.add(name, value)

    def cost(self, encoder: ReadyEncoder, cost: Mapping[str, float]) -> None:
        """Add the cost of computing embeddings."""
        self._made[encoder.digest] = encoder
        if encoder.training is not None:
            self.training[encoder.digest] = encoder.training
        for what in self._took:
            self._took[what] += cost[what]
        if "memory_mib" in cost:
            self._memory.append(cost["memory_mib"])

    def costs(self) -> dict[str, Any]:
        """The costs of the method, as in a row."""
        encoder = next(iter(self._made.values()))
        costs: dict[str, Any] = {
            "parameters": encoder.parameters, "embedding": encoder.d, "origin": encoder.origin,
            "licence": encoder.licence, "checkpoint": encoder.checkpoint or None,
        }  # fmt: skip
        if self._took["seconds"] > 0:
            costs["flows_per_s"] = round(self._took["flows"] / self._took["seconds"], 1)
        if self._memory:
            costs["memory_mib"] = max(self._memory)
        return costs


def _budgets(task: FlowTask, method: FlowMethod, most: int) -> list[int | None]:
    """Label budgets to measure; those that exceed the flows of every label are the same as no budget."""
    given = task.settings.budgets if method.budgets else (None,)
    return [budget for budget in given if budget is None or budget < most]


def _most(corpora: Mapping[str, CorpusFlows], rows: Rows, level: str) -> int:
    """Number of flows of the most frequent label."""
    labels = pl.concat([corpora[name].truth[level].gather(pl.Series(places)) for name, places in rows.items()])
    return int(labels.value_counts()["count"].max() or 0)  # type: ignore[arg-type]


def _labels(corpora: Mapping[str, CorpusFlows], rows: Rows, level: str) -> NDArray[np.str_]:
    by_corpus = [corpora[name].truth[level].gather(pl.Series(places)).unique() for name, places in rows.items()]
    return np.unique(np.asarray(pl.concat(by_corpus).to_list(), np.str_))


def _places(whole: Rows, part: Rows) -> NDArray[np.int64]:
    """Positions of the rows of ``part`` among those of ``whole``, corpus by corpus."""
    positions, at = [np.zeros(0, np.int64)], 0
    for name, rows in whole.items():
        if name in part:
            positions.append(at + np.searchsorted(rows, part[name]))
        at += rows.size
    return np.concatenate(positions)


def _mean(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([part[name] for part in parts if name in part])) for name in parts[0]}
