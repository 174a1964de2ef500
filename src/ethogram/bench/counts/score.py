"""Closed-set and open-set scoring of one method on one set of items; test items are used once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.bench.counts.build import build
from ethogram.bench.counts.items import Items
from ethogram.bench.counts.task import CountMethod, CountTask
from ethogram.bench.splits import by_network, chronological
from ethogram.errors import UsageError
from ethogram.identify import metrics
from ethogram.identify.identifier import folds_by_time
from ethogram.identify.split import Split
from ethogram.identify.verdict import VerdictModel
from ethogram.schema import UNKNOWN

__all__ = ["Figures", "closed", "open_set", "splits_of"]

Strings = NDArray[np.str_]


@dataclass
class Figures:
    """Result of scoring: figures, intervals of the main ones, and the numbers of items behind them."""

    n: int
    n_enrol: int
    labels: int
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    splits: str
    details: dict[str, object]


def splits_of(task: CountTask, items: Items) -> list[Split]:
    """The splits of a task: one, or one per network left out.

    Raises
    ------
    UsageError
        When nothing is left to enrol or to test.
    """
    how, truth = task.split, items.truth
    if how.kind == "chronological":
        return [chronological(truth, by=how.by, share=how.share, clock=how.clock_s)]
    if how.kind == "network":
        return [by_network(truth, how.enrol, how.test, sites=how.sites)]
    networks = sorted(truth["network"].unique().to_list())
    sites = {name: how.sites.get(name, name) for name in networks}
    asked = [name for name in networks if not how.test or name in how.test]
    return [
        by_network(
            truth, [n for n in networks if sites[n] != left], [n for n in asked if sites[n] == left], sites=sites
        )
        for left in sorted({sites[name] for name in asked})
    ]


@dataclass
class _Scored:
    """Test items of one split, or of all splits."""

    truth: Strings
    strict: Strings
    lenient: Strings
    clusters: list[str]
    networks: list[str]
    confidence: NDArray[np.float64]
    n_enrol: int
    labels: set[str]
    left_out: int


def closed(task: CountTask, method: CountMethod, items: Items) -> Figures:
    """Assign an enrolled label to every test item.

    Notes
    -----
    Test items whose label is not enrolled cannot be classified correctly; ``known_only`` leaves them out and counts
    them.
    """
    parts = splits_of(task, items)
    scored = [_one(task, method, items, split) for split in parts]
    pooled = _pool([part for part in scored if part is not None])
    if pooled is None:
        raise UsageError(f"task {task.name}: no test item has an enrolled label")

    def figure(which: Callable[[Strings, Strings], float]) -> Callable[[NDArray[np.int64]], float]:
        return lambda rows: which(pooled.truth[rows], pooled.strict[rows])

    values = {
        "macro_f1": metrics.macro_f1(pooled.truth, pooled.strict),
        "accuracy": metrics.accuracy(pooled.truth, pooled.strict),
        "accuracy_lenient": metrics.accuracy(pooled.truth, pooled.lenient),
        "left_out": float(pooled.left_out),
    }
    if task.twins:
        truth, merged = metrics.merge(pooled.truth, task.twins), metrics.merge(pooled.strict, task.twins)
        values["macro_f1_merged"] = metrics.macro_f1(truth, merged)
        values["accuracy_merged"] = metrics.accuracy(truth, merged)
    if not np.isnan(pooled.confidence).all():
        values["calibration_error"] = metrics.calibration_error(pooled.confidence, pooled.strict == pooled.truth)
    intervals = {
        name: metrics.bootstrap_interval(figure(of), pooled.clusters, seed=task.seed)
        for name, of in (("macro_f1", metrics.macro_f1), ("accuracy", metrics.accuracy))
    }
    wrong = pooled.strict != pooled.truth
    pairs = pl.DataFrame(
        {"truth": pooled.truth[wrong], "found": pooled.strict[wrong]}, schema={"truth": pl.String, "found": pl.String}
    )
    confusions = pairs.group_by("truth", "found").len().sort(["len", "truth", "found"], descending=[True, False, False])
    by_net = {
        net: [int(sum(n == net for n in pooled.networks)), metrics.accuracy(
            pooled.truth[mask], pooled.strict[mask])]
        for net in sorted(set(pooled.networks))
        for mask in [np.array([n == net for n in pooled.networks])]
    }  # fmt: skip
    details: dict[str, object] = {"confusions": [list(row) for row in confusions.head(8).rows()]}
    if len(by_net) > 1:
        details["accuracy_by_network"] = by_net
    return Figures(len(pooled.truth), pooled.n_enrol, len(pooled.labels), values, intervals,
                   "+".join(split.digest for split in parts), details)  # fmt: skip


def _one(task: CountTask, method: CountMethod, items: Items, split: Split) -> _Scored | None:
    labels = items.labels(task.level)
    enrolled = set(labels[split.enrol].tolist())
    known = np.array([label in enrolled for label in labels[split.test]])
    test = split.test[known] if task.known_only else split.test
    if not test.size:
        return None
    learn, ask = items.take(split.enrol), items.take(test)
    truth = ask.labels(task.level)
    names = learn.labels(task.level).tolist()
    # Calibration needs a fit per fold, so it is measured only on tasks with one split.
    if method.calibrated and task.split.kind == "chronological":
        judge = VerdictModel(build(method), method.identify.model_copy(update={"closed": True}))
        decision = judge.fit(learn.windows, names, _folds(learn, method.identify.folds)).decide(ask.windows)
        scores, columns = decision.raw, decision.labels
        confidence = decision.calibrated[np.arange(len(truth)), decision.best]
    else:
        identifier = build(method).fit(learn.windows, names)
        scores, columns = identifier.decision_function(ask.windows), identifier.labels_
        confidence = np.full(len(truth), np.nan)
    return _Scored(
        truth=truth,
        strict=metrics.top_label(scores, columns),
        lenient=metrics.top_label(scores, columns, truth),
        clusters=ask.truth["cluster"].to_list(),
        networks=ask.truth["network"].to_list(),
        confidence=confidence,
        n_enrol=len(names),
        labels=set(names),
        left_out=int((~known).sum()) if task.known_only else 0,
    )


def _folds(learn: Items, folds: int) -> NDArray[np.int64]:
    """Blocks of time within each unit; runs of one unit are separate devices, and must be in one block."""
    items = learn.windows.items.with_columns(device=learn.truth["unit"])
    return folds_by_time(replace(learn.windows, items=items), folds)


def _pool(parts: Sequence[_Scored]) -> _Scored | None:
    if not parts:
        return None
    return _Scored(
        truth=np.concatenate([p.truth for p in parts]), strict=np.concatenate([p.strict for p in parts]),
        lenient=np.concatenate([p.lenient for p in parts]), clusters=[c for p in parts for c in p.clusters],
        networks=[n for p in parts for n in p.networks], confidence=np.concatenate([p.confidence for p in parts]),
        n_enrol=sum(p.n_enrol for p in parts), labels=set().union(*(p.labels for p in parts)),
        left_out=sum(p.left_out for p in parts),
    )  # fmt: skip


def open_set(task: CountTask, method: CountMethod, items: Items) -> Figures:
    """Leave labels out of enrolment, and measure whether their test items are called unknown.

    Each label is left out in turn, then ``task.draws`` draws of three. Figures are means over these rounds.
    """
    split = splits_of(task, items)[0]
    labels = items.labels(task.level)
    names = sorted(set(labels[split.enrol].tolist()) & set(labels[split.test].tolist()))
    if len(names) < 3:
        raise UsageError(f"task {task.name}: an open set needs three labels")
    random = np.random.default_rng(task.seed)
    rounds = [(name,) for name in names]
    threes = (
        [tuple(sorted(random.choice(names, 3, replace=False).tolist())) for _ in range(task.draws)]
        if len(names) > 4
        else []
    )
    alone = [_left_out(task, method, items, split, out) for out in rounds]
    drawn = [_left_out(task, method, items, split, out) for out in threes]
    twinned = {name for name in names if task.twins}
    # A unit cannot be told from an enrolled twin, so rounds with an enrolled twin are also excluded (``_apart``).
    platform = {name: task.twins.get(name, name) for name in twinned}
    shared = {n for n in twinned if sum(platform[m] == platform[n] for m in twinned) > 1}
    apart = [scored for out, scored in zip(rounds, alone, strict=True) if out[0] not in shared]
    values = _means(alone, "")
    if shared and apart:
        values |= _means(apart, "_apart")
    if drawn:
        values |= _means(drawn, "_three")
    pooled_known = np.concatenate([scored["known"] for scored in alone])
    pooled_unknown = np.concatenate([scored["unknown"] for scored in alone])
    values["auroc_pooled"] = metrics.area_under_roc(pooled_known, pooled_unknown)
    values["fpr95_pooled"] = metrics.false_positive_rate(pooled_known, pooled_unknown)
    details: dict[str, object] = {
        "by_label": {out[0]: [scored["auroc"], scored["fpr95"]] for out, scored in zip(rounds, alone, strict=True)}
    }
    intervals = {name: _over_rounds(alone, name, task.seed) for name in ("auroc", "fpr95")}
    return Figures(int(split.test.size), int(split.enrol.size), len(names), values, intervals, split.digest, details)


Round = dict[str, NDArray[np.float64]]


def _left_out(
    task: CountTask, method: CountMethod, items: Items, split: Split, out: tuple[str, ...]
) -> dict[str, object]:
    labels = items.labels(task.level)
    keep = split.enrol[~np.isin(labels[split.enrol], out)]
    learn, ask = items.take(keep), items.take(split.test)
    truth = ask.labels(task.level)
    decision = (
        VerdictModel(build(method), method.identify)
        .fit(learn.windows, learn.labels(task.level).tolist(), _folds(learn, method.identify.folds))
        .decide(ask.windows)
    )
    stranger = np.isin(truth, out)
    verdicts = np.asarray(decision.verdicts, dtype=np.str_)
    best = np.asarray(decision.labels, dtype=np.str_)[decision.best]
    known, unknown = decision.strangeness[~stranger], decision.strangeness[stranger]
    expected = np.where(stranger, UNKNOWN, truth).astype(np.str_)
    return {
        "known": known, "unknown": unknown,
        "auroc": metrics.area_under_roc(known, unknown), "fpr95": metrics.false_positive_rate(known, unknown),
        "oscr": metrics.open_set_curve_area(known, (best == truth)[~stranger], unknown),
        "rejected_unknown": float(np.mean(verdicts[stranger] == UNKNOWN)) if stranger.any() else float("nan"),
        "accepted_known": float(np.mean(verdicts[~stranger] != UNKNOWN)),
        "macro_f1": metrics.macro_f1(expected, verdicts),
    }  # fmt: skip


def _means(rounds: Sequence[dict[str, object]], suffix: str) -> dict[str, float]:
    names = ("auroc", "fpr95", "oscr", "rejected_unknown", "accepted_known", "macro_f1")
    return {name + suffix: float(np.nanmean([scored[name] for scored in rounds])) for name in names}


def _over_rounds(rounds: Sequence[dict[str, object]], name: str, seed: int) -> tuple[float, float]:
    """Bootstrap interval of a mean over the labels left out; the labels are resampled."""
    by_round = np.array([scored[name] for scored in rounds], dtype=np.float64)
    return metrics.bootstrap_interval(
        lambda rows: float(np.nanmean(by_round[rows])), [str(i) for i in range(len(by_round))], seed=seed
    )
