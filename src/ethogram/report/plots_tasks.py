"""Plots of one flow task: quality of all methods, label budgets, confusions, reliability, coverage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ethogram._matplotlib import Figure
from ethogram.report.flow_rows import RAW_METHODS, FlowRow, chance_of
from ethogram.report.flow_tables import best_of, default_of, ranked, reached
from ethogram.report.plots_style import (
    COLOURS,
    DASHES,
    GREY,
    MAP_COLOURS,
    MARKERS,
    colour_of,
    group_handles,
    save_figure,
)

__all__ = ["budget_plot", "confusion_plot", "coverage_plot", "quality_plot", "reliability_plot"]

CURVES = 7
"""Maximum number of curves: the default, the raw numbers, and the best of the others."""

CELLS = 12
"""Maximum number of types for which a confusion matrix shows all shares; otherwise only those above .05."""

MANY = 24
"""Number of predicted types from which only one matrix is drawn."""

RARE = 0.05
"""A predicted type without test flows has its own column from this share of some type."""


def quality_plot(path: Path, rows: Sequence[FlowRow]) -> Path:
    """Plot macro-F1 of every method with its interval and values by seed; leak detectors are below the others."""
    detectors = [row for row in rows if row.detector]
    shown = [*ranked(rows), *detectors]
    apart = len(shown) - len(detectors)

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        places = [i + (0.7 if i >= apart else 0.0) for i in range(len(shown))]
        for place, row in zip(places, shown, strict=True):
            colour = GREY if row.detector else colour_of(row.group)
            pair = row.interval()
            if pair:
                panel.plot(pair, (place, place), color=colour, lw=1.6, alpha=0.6, solid_capstyle="butt")
            panel.plot(row.value(), place, "D" if row.detector else "o", color=colour, ms=5)
            seeds = row.seeds()
            if len(seeds) > 1:
                panel.plot(seeds, [place] * len(seeds), "|", color="black", ms=7, mew=0.8)
            if not row.shuffled and not math.isnan(chance_of(row)):  # of its seeds together it is not theirs
                panel.plot(chance_of(row), place, "x", color="#b00000", ms=4, label="chance")
        if detectors and apart:
            panel.axhline(apart - 0.15, color="#bbbbbb", lw=0.8)
        panel.set_yticks(places, [row.method + (" °" if row.random_weights else "") for row in shown])
        default = default_of(rows)
        for label, row in zip(panel.get_yticklabels(), shown, strict=True):
            label.set_fontweight("bold" if row is default else "normal")
        panel.set_ylim(places[-1] + 0.8, -0.8)
        panel.set_xlim(0, 1.02)
        panel.set_xlabel("macro-F1; line: 95 % interval by device-day, ticks: seeds; bold: the default")
        panel.set_title(_wrapped(shown[0].title))
        groups = dict.fromkeys(row.group for row in shown if not row.detector)
        chance = [h for h, n in zip(*panel.get_legend_handles_labels(), strict=True) if n == "chance"][:1]
        apart_mark = [panel.plot([], [], "D", color=GREY, ms=5, label="leak detector")[0]] if detectors else []
        handles = [*group_handles(panel, list(groups)), *apart_mark, *chance]
        panel.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return save_figure(path, (8.4, 0.235 * len(shown) + 1.3), draw)


def _wrapped(title: str, width: int = 92) -> str:
    words, lines = title.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _curved(rows: Sequence[FlowRow]) -> list[FlowRow]:
    """Rows with a curve: the default, raw numbers and each modality alone, then the best; shuffled labels last."""
    raw = next((row for row in rows if row.method in RAW_METHODS), None)
    first = [row for row in (default_of(rows), raw, *(r for r in rows if r.group == "alone")) if row is not None]
    others = [row for row in ranked(rows) if row not in first]
    shuffled = [row for row in rows if row.method == "shuffled"]
    return [*first, *others][: CURVES - len(shuffled)] + shuffled


def _look(i: int, row: FlowRow) -> dict[str, Any]:
    if row.detector:
        return {"color": GREY, "linestyle": ":", "marker": "x", "ms": 4, "lw": 1.0, "label": row.method}
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)],
            "marker": MARKERS[i % len(MARKERS)], "ms": 4, "lw": 1.3, "label": row.method}  # fmt: skip


def budget_plot(path: Path, rows: Sequence[FlowRow]) -> Path | None:
    """Plot macro-F1 against the label budget; ``all`` is right of the last budget that some type reaches."""
    shown = _curved([row for row in rows if row.budgets()])
    sizes = reached(shown)
    if not shown or not sizes:
        return None
    last = sizes[-1] * (sizes[-1] / sizes[0]) ** (1 / max(len(sizes) - 1, 1)) if len(sizes) > 1 else sizes[-1] * 4

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for i, row in enumerate(shown):
            points = [
                (last if math.isinf(size) else size, value, pair)
                for size, value, pair in row.budgets() if math.isinf(size) or size in sizes
            ]  # fmt: skip
            look = _look(i, row)
            panel.plot([x for x, _, _ in points], [value for _, value, _ in points], **look)
            bands = [(x, *pair) for x, _, pair in points if pair]
            if bands and i < 2:
                panel.fill_between(*zip(*bands, strict=True), color=look["color"], alpha=0.12, lw=0)
        panel.set_xscale("log")
        panel.set_xticks([*sizes, last], [*(f"{size:g}" for size in sizes), "all"])
        panel.minorticks_off()
        panel.set_ylim(0, 1.02)
        panel.set(xlabel="labelled flows for each type; bands: 95 % by device-day", ylabel="macro-F1")
        panel.set_title(_wrapped(shown[0].title, 70))
        figure.legend(*panel.get_legend_handles_labels(), loc="outside right upper")

    return save_figure(path, (7.2, 3.8), draw)


def confusion_plot(path: Path, rows: Sequence[FlowRow]) -> Path | None:
    """Plot row-normalised confusion matrices of the default and, if different, of the best method.

    Types that nothing is of and next to nothing is called are one column. With many types only the default is drawn.
    """
    shown = {row.method: row for row in (default_of(rows), best_of(rows)) if row and row.details.confusion.matrix}
    if not shown:
        return None
    tables = [(row, *_shares(row)) for row in shown.values()]
    if max(len(predicted) for _, _, predicted, _ in tables) > MANY:
        tables = tables[:1]
    widths = [max(2.2, 0.19 * len(predicted)) for _, _, predicted, _ in tables]
    lines = max(len(true) for _, true, _, _ in tables)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(tables), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
        for panel, (row, true, predicted, shares) in zip(panels, tables, strict=True):
            image = panel.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
            panel.set_xticks(range(len(predicted)), predicted, rotation=90, fontsize=7)
            panel.set_yticks(range(len(true)), true, fontsize=7)
            panel.grid(False)
            panel.set(xlabel="said", title=f"{row.method}: macro-F1 {row.value():.3f}")
            for (i, j), share in np.ndenumerate(shares):
                if share >= (0.01 if len(predicted) <= CELLS else 0.05):
                    panel.text(j, i, _share(share), ha="center", va="center", fontsize=6,
                               color="white" if share > 0.6 else "black")  # fmt: skip
        panels[0].set_ylabel("true")
        figure.colorbar(image, ax=panels, label="share of the type", fraction=0.04)

    return save_figure(path, (sum(widths) + 1.2 * len(widths) + 0.9, max(2.4, 0.19 * lines) + 1.7), draw, MAP_COLOURS)


def _shares(row: FlowRow) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """True types, predicted types, and shares of each true type's flows [true, predicted]."""
    labels = list(row.details.confusion.labels)
    matrix = np.asarray(row.details.confusion.matrix, np.float64)
    present = matrix.sum(axis=1) > 0
    shares = matrix[present] / matrix[present].sum(axis=1, keepdims=True)
    frequent = present | (shares.max(axis=0) >= RARE)
    true = [label for label, here in zip(labels, present, strict=True) if here]
    predicted = [label for label, here in zip(labels, frequent, strict=True) if here]
    if (~frequent).sum() < 2:
        return true, labels, shares
    rest = shares[:, ~frequent].sum(axis=1, keepdims=True)
    return true, [*predicted, f"{(~frequent).sum()} others"], np.hstack([shares[:, frequent], rest])


def _share(share: float) -> str:
    return f"{share:.2f}".removeprefix("0") if share < 0.995 else "1"


def reliability_plot(path: Path, rows: Sequence[FlowRow]) -> Path | None:
    """Plot accuracy against confidence; the area of a marker is its share of the verdicts."""
    shown = [row for row in _curved([row for row in rows if row.details.reliability]) if not row.detector][:4]
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
        for i, (panel, row) in enumerate(zip(panels, shown, strict=True)):
            bins = row.details.reliability
            total = sum(n for _, _, n in bins) or 1
            panel.plot((0, 1), (0, 1), color="#999999", lw=0.8)
            panel.plot([c for c, _, _ in bins], [a for _, a, _ in bins], color=COLOURS[i], lw=1)
            panel.scatter([c for c, _, _ in bins], [a for _, a, _ in bins], color=COLOURS[i], alpha=0.75,
                          s=[12 + 220 * n / total for _, _, n in bins])  # fmt: skip
            error = row.value("calibration_error")
            panel.set_title(row.method + ("" if math.isnan(error) else f"\ncalibration error {error:.3f}"))
            panel.set(xlim=(0, 1.02), ylim=(-0.02, 1.04), xlabel="confidence")
        panels[0].set_ylabel("share that is right")

    return save_figure(path, (2.2 * len(shown) + 0.6, 2.7), draw)


def coverage_plot(path: Path, rows: Sequence[FlowRow]) -> Path | None:
    """Plot accuracy and macro-F1 of the most confident verdicts against their share."""
    shown = [row for row in _curved([row for row in rows if row.details.coverage]) if not row.detector]
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for place, name in enumerate(("macro-F1", "accuracy")):
            panel = panels[place]
            for i, row in enumerate(shown):
                coverage = row.details.coverage
                points = [(point[0], point[place + 1]) for point in coverage if point[place + 1] is not None]
                look = _look(i, row) | {"marker": "", "lw": 1.6 if i == 0 else 1.1}
                panel.plot([x for x, _ in points], [y for _, y in points], **look)
            panel.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="share of the verdicts that are said", title=name)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")

    return save_figure(path, (8.2, 3.2), draw)
