"""Folds of tasks on flows: unlabelled, training, held-out and test flows, with proofs that they are disjoint.

The days of each unit are divided in order into early, middle and late ones. Days within the gap before a later part
are not used. A unit with a single day has only a late one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.bench.flows.task import FlowTask, Part
from ethogram.corpora.custom_flows import CorpusFlows
from ethogram.errors import UsageError
from ethogram.identify.split import FlowDays, Split

__all__ = ["FlowFold", "Rows", "drawn", "flow_folds", "parts_of"]

Rows = Mapping[str, NDArray[np.int64]]
"""Rows by corpus, ascending."""


def parts_of(loaded: CorpusFlows, *, early: float, late: float, gap_days: int) -> NDArray[np.str_]:
    """Part of each flow's day among its unit's days, [N]: ``early``, ``middle``, ``late``, or ``''`` (in a gap).

    Parameters
    ----------
    loaded
        Flows of a corpus.
    early, late
        Share of a unit's days; at least one day is late, and of two or more at least one is early.
    gap_days
        Unused days before a part.
    """
    days = loaded.truth.select("unit", "day").unique().sort("unit", "day")
    days = days.with_columns(place=pl.col("day").rank("ordinal").over("unit"), count=pl.len().over("unit"))
    last = pl.max_horizontal((pl.col("count") * late).round(), pl.lit(1.0))
    first = pl.max_horizontal((pl.col("count") * early).round(), pl.lit(1.0))
    days = days.with_columns(
        part=pl.when(pl.col("place") > pl.col("count") - last)
        .then(pl.lit("late"))
        .when(pl.col("place") <= first)
        .then(pl.lit("early"))
        .otherwise(pl.lit("middle"))
    )
    # First day of the later part; days within the gap before it are not used.
    following = pl.col("day").filter(pl.col("part") == "late").min().over("unit")
    middle = pl.col("day").filter(pl.col("part") == "middle").min().over("unit")
    near_late = (pl.col("part") != "late") & (pl.col("day") >= following - gap_days)
    near_middle = (pl.col("part") == "early") & (pl.col("day") >= middle - gap_days).fill_null(value=False)
    days = days.with_columns(part=pl.when(near_late | near_middle).then(pl.lit("")).otherwise("part"))
    of_flows = loaded.truth.select("unit", "day").join(days, on=["unit", "day"], how="left", maintain_order="left")
    return np.asarray(of_flows["part"].to_list(), np.str_)


def drawn(loaded: CorpusFlows) -> NDArray[np.int64]:
    """Rank of each flow in a random order of its device-day, [N] from 0; a cap takes the first ranks.

    The order depends only on the corpus, so every task and method uses the same flows.
    """
    random = np.random.default_rng(0xF10D).permutation(len(loaded))
    frame = loaded.truth.select("device_day", random=pl.Series(random))
    place = frame.select(pl.col("random").rank("ordinal").over("device_day")).to_series()
    return place.to_numpy().astype(np.int64) - 1


@dataclass(frozen=True)
class FlowFold:
    """One training and test of a task on flows.

    Parameters
    ----------
    name
        The test corpus.
    unlabelled, train, fit, held_out, test
        Rows of each side by corpus; ``fit`` and ``held_out`` divide ``train``.
    split, inner
        Proofs that the sides are disjoint, and that ``fit`` and ``held_out`` are.
    """

    name: str
    unlabelled: Rows
    train: Rows
    fit: Rows
    held_out: Rows
    test: Rows
    split: Split
    inner: Split | None

    @property
    def digest(self) -> str:
        """Digest of both proofs."""
        return self.split.digest + (self.inner.digest if self.inner is not None else "")


def flow_folds(task: FlowTask, corpora: Mapping[str, CorpusFlows]) -> list[FlowFold]:
    """The folds of a task, each with its proofs.

    Raises
    ------
    LeakError
        When two sides share a unit's time, or a network that must be separate.
    UsageError
        When a side is empty.
    """
    if not task.each:
        return [_fold(task, corpora, task.encoder, task.probe or task.test, task.test)]
    folds = []
    for name in task.each:
        others = tuple(other for other in task.each if other != name)
        folds.append(_fold(task, corpora, others, others, (name,)))
    return folds


def _fold(
    task: FlowTask, corpora: Mapping[str, CorpusFlows], encoder: tuple[str, ...], probe: tuple[str, ...],
    test: tuple[str, ...],
) -> FlowFold:  # fmt: skip
    parts = {
        name: parts_of(corpora[name], early=task.early, late=task.late, gap_days=task.settings.gap_days)
        for name in dict.fromkeys((*encoder, *probe, *test))
    }
    places = {name: drawn(corpora[name]) for name in parts}

    def rows(names: tuple[str, ...], wanted: tuple[Part, ...], cap: int) -> dict[str, NDArray[np.int64]]:
        by_corpus = {n: np.flatnonzero(np.isin(parts[n], wanted) & (places[n] < cap)) for n in names}
        return {name: places_of for name, places_of in by_corpus.items() if places_of.size}

    if task.protocol == "P4":
        encoder = tuple(dict.fromkeys((*encoder, *test)))
    train_parts, test_parts = task.parts
    unlabelled = rows(encoder, ("early",), task.caps.unlabelled)
    train = rows(probe, train_parts, task.caps.labelled)
    tested = rows(test, test_parts, task.caps.labelled)
    for name, side in (("unlabelled", unlabelled), ("train", train), ("test", tested)):
        if not side:
            raise UsageError(f"task {task.name}: no flow in {name}")
    across = task.protocol in ("P3", "P4")
    split = Split(
        f"{task.protocol} {'+'.join(probe)} -> {'+'.join(test)}", "network" if across else "device-day",
        {**_sides("unlabelled", unlabelled, corpora), **_sides("train", train, corpora),
         **_sides("test", tested, corpora)},
        task.settings.gap_days, "device-day" if across else "day",
    )  # fmt: skip
    fit, held_out, inner = _held_out(task, train, corpora)
    return FlowFold("+".join(test), unlabelled, train, fit, held_out, tested, split, inner)


def days_of(loaded: CorpusFlows, rows: NDArray[np.int64]) -> FlowDays:
    """Units and days of some flows of a corpus; one MAC is one unit in all corpora."""
    return FlowDays(loaded.card.name, loaded.truth["unit"].gather(pl.Series(rows)), loaded.day[rows], rows)


def _sides(role: str, rows: Rows, corpora: Mapping[str, CorpusFlows]) -> dict[str, FlowDays]:
    return {f"{role} of {name}": days_of(corpora[name], places) for name, places in rows.items()}


def _held_out(
    task: FlowTask, train: Rows, corpora: Mapping[str, CorpusFlows]
) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]], Split | None]:
    """Hold out the last training days of each unit that has several, with the gap before them."""
    fit: dict[str, NDArray[np.int64]] = {}
    held: dict[str, NDArray[np.int64]] = {}
    settings = task.settings
    for name, rows in train.items():
        try:
            if not settings.held_out:
                raise UsageError("nothing is held out")
            cut = Split.by_day(
                days_of(corpora[name], rows), test_share=settings.held_out, gap_days=settings.gap_days,
                by="device-day", names=("fit", "held out"),
            )  # fmt: skip
        except UsageError:
            fit[name] = rows
            continue
        fit[name], held[name] = cut.sides["fit"].rows, cut.sides["held out"].rows
    if not held:
        return fit, held, None
    sides = {**_sides("fit", fit, corpora), **_sides("held out", held, corpora)}
    return fit, held, Split("held out", "device-day", sides, settings.gap_days)
