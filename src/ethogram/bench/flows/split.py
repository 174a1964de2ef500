"""Who learns unlabelled, who trains the probe, who is held out and who tests: sides that prove they are apart.

Each unit's days are cut in order into early, middle and late ones. A day that stands within the gap before a later
part is used by nobody. A unit with one day has a late one only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ethogram.bench.flows.corpus import CorpusFlows
from ethogram.bench.flows.task import FlowTask, Part
from ethogram.errors import UsageError
from ethogram.identify.flow_split import FlowDays, FlowSplit

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
        Share of a unit's days; the late ones are one at least, and the early ones where there are two.
    gap_days
        Days before a part that nobody uses.
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
    # The day after which a later part begins; nobody stands within the gap before it.
    following = pl.col("day").filter(pl.col("part") == "late").min().over("unit")
    middle = pl.col("day").filter(pl.col("part") == "middle").min().over("unit")
    near_late = (pl.col("part") != "late") & (pl.col("day") >= following - gap_days)
    near_middle = (pl.col("part") == "early") & (pl.col("day") >= middle - gap_days).fill_null(value=False)
    days = days.with_columns(part=pl.when(near_late | near_middle).then(pl.lit("")).otherwise("part"))
    own = loaded.truth.select("unit", "day").join(days, on=["unit", "day"], how="left", maintain_order="left")
    return np.asarray(own["part"].to_list(), np.str_)


def drawn(loaded: CorpusFlows) -> NDArray[np.int64]:
    """Place of each flow in a fixed draw of its device-day, [N] from 0: a cap takes the first ones.

    It depends on the flows alone: whatever asks gets the same ones.
    """
    random = np.random.default_rng(0xF10D).permutation(len(loaded))
    frame = loaded.truth.select("device_day", random=pl.Series(random))
    place = frame.select(pl.col("random").rank("ordinal").over("device_day")).to_series()
    return place.to_numpy().astype(np.int64) - 1


@dataclass(frozen=True)
class FlowFold:
    """One training and one test.

    Parameters
    ----------
    name
        The corpus that tests.
    unlabelled, train, fit, held_out, test
        Rows of each side by corpus; ``fit`` and ``held_out`` are of ``train``.
    split, inner
        The proofs: that the sides are apart, and inside ``train``.
    gone
        Flows by what they were not used for.
    """

    name: str
    unlabelled: Rows
    train: Rows
    fit: Rows
    held_out: Rows
    test: Rows
    split: FlowSplit
    inner: FlowSplit | None

    @property
    def digest(self) -> str:
        """Of both proofs."""
        return self.split.digest + (self.inner.digest if self.inner is not None else "")


def flow_folds(task: FlowTask, corpora: Mapping[str, CorpusFlows]) -> list[FlowFold]:
    """The folds of a task, each proved.

    Raises
    ------
    LeakError
        When two sides share what they must not share.
    UsageError
        When a side is empty.
    """
    if not task.each:
        return [_fold(task, corpora, task.encoder, task.probe or task.test, task.test)]
    found = []
    for name in task.each:
        others = tuple(other for other in task.each if other != name)
        found.append(_fold(task, corpora, others, others, (name,)))
    return found


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
        chosen = {n: np.flatnonzero(np.isin(parts[n], wanted) & (places[n] < cap)) for n in names}
        return {name: found for name, found in chosen.items() if found.size}

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
    split = FlowSplit(
        f"{task.protocol} {'+'.join(probe)} -> {'+'.join(test)}", "network" if across else "device-day",
        {**_sides("unlabelled", unlabelled, corpora), **_sides("train", train, corpora),
         **_sides("test", tested, corpora)},
        task.settings.gap_days, "device-day" if across else "day",
    )  # fmt: skip
    fit, held_out, inner = _held_out(task, train, corpora)
    return FlowFold("+".join(test), unlabelled, train, fit, held_out, tested, split, inner)


def days_of(loaded: CorpusFlows, rows: NDArray[np.int64]) -> FlowDays:
    """One side's flows of a corpus by unit: the same MAC is the same unit everywhere."""
    return FlowDays(loaded.card.name, loaded.truth["unit"].gather(pl.Series(rows)), loaded.day[rows], rows)


def _sides(role: str, rows: Rows, corpora: Mapping[str, CorpusFlows]) -> dict[str, FlowDays]:
    return {f"{role} of {name}": days_of(corpora[name], own) for name, own in rows.items()}


def _held_out(
    task: FlowTask, train: Rows, corpora: Mapping[str, CorpusFlows]
) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]], FlowSplit | None]:
    """The last training days of each unit that has several, apart from its others by the gap."""
    fit: dict[str, NDArray[np.int64]] = {}
    held: dict[str, NDArray[np.int64]] = {}
    own = task.settings
    for name, rows in train.items():
        try:
            if not own.held_out:
                raise UsageError("nothing is held out")
            cut = FlowSplit.by_day(days_of(corpora[name], rows), test_share=own.held_out, gap_days=own.gap_days,
                                   by="device-day", names=("fit", "held out"))  # fmt: skip
        except UsageError:
            fit[name] = rows
            continue
        fit[name], held[name] = cut.sides["fit"].rows, cut.sides["held out"].rows
    if not held:
        return fit, held, None
    sides = {**_sides("fit", fit, corpora), **_sides("held out", held, corpora)}
    return fit, held, FlowSplit("held out", "device-day", sides, own.gap_days)
