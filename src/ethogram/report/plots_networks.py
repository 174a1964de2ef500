"""Plots over all flow tasks: quality inside against across networks, and quality across against cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ethogram._matplotlib import Figure
from ethogram.report.flow_rows import ORIGINS, FlowRow
from ethogram.report.plots_style import GREY, colour_of, direct_names, group_handles, save_figure
from ethogram.representation.plots import power_text

__all__ = ["comparable", "cost_plot", "inside_across_plot", "mean_figures"]

TITLES = {"P2": "P2: labels from there, encoder from elsewhere", "P3": "P3: nothing from there",
          "P4": "P4: unlabelled flows from there", "others": "others: the same small sample for all"}  # fmt: skip

MARKS = {"no weights": "s", "random weights": "o", "trained here": "o", "pretrained here": "^", "checkpoint": "*"}
"""Marker by source of the weights; markers of random weights are empty."""

Tasks = Mapping[str, Sequence[FlowRow]]


def _inside(by_task: Tasks, experiment: str) -> Tasks:
    """Tasks inside a network to compare with an experiment across networks: its own, if any, else P0."""
    of = "others" if experiment == "others" else "P0"
    return {name: r for name, r in by_task.items() if r[0].experiment == of and r[0].where == "inside"}


def comparable(by_task: Tasks, experiment: str) -> Tasks:
    """Tasks of an experiment with the same test corpora and level as a task inside a network; else all its tasks."""
    across = {n: rows for n, rows in by_task.items() if rows[0].experiment == experiment and rows[0].where == "across"}
    inside = {(rows[0].test, rows[0].level) for rows in _inside(by_task, experiment).values()}
    same = {name: rows for name, rows in across.items() if (rows[0].test, rows[0].level) in inside}
    return same or across


def mean_figures(tasks: Tasks) -> dict[str, tuple[float, FlowRow]]:
    """Mean macro-F1 over tasks, of each method that ran on all of them.

    Returns
    -------
    dict
        Method to its mean, and the last of its rows (for group and cost).
    """
    by_method: dict[str, list[FlowRow]] = {}
    for rows in tasks.values():
        for row in rows:
            if not math.isnan(row.value()):
                by_method.setdefault(row.method, []).append(row)
    return {
        method: (float(np.mean([row.value() for row in rows])), rows[-1])
        for method, rows in by_method.items() if len(rows) == len(tasks)
    }  # fmt: skip


def inside_across_plot(path: Path, by_task: Tasks) -> Path | None:
    """Plot macro-F1 inside a network against macro-F1 across: one point per method, one panel per experiment."""
    panels_of: dict[str, list[tuple[float, float, str, FlowRow]]] = {}
    for name in TITLES:
        inside = mean_figures(_inside(by_task, name))
        across = mean_figures(comparable(by_task, name))
        points = [(inside[m][0], y, m, row) for m, (y, row) in across.items() if m in inside]
        if points:
            panels_of[name] = points
    if not panels_of:
        return None
    most = max(len(panel_rows) for panel_rows in panels_of.values())
    columns = min(2, len(panels_of))
    lines = math.ceil(len(panels_of) / columns)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, (name, points) in zip(panels, panels_of.items(), strict=False):
            panel.plot((0, 1), (0, 1), color="#bbbbbb", lw=0.8)
            for x, y, _, row in points:
                _mark(panel, x, y, row)
            panel.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="macro-F1 inside", ylabel="macro-F1 across")
            tasks = list(comparable(by_task, name))
            panel.set_title(f"{TITLES[name]}\n{tasks[0] if len(tasks) == 1 else f'mean over {len(tasks)} tasks'}")
            direct_names(panel, [(x, y, m, _colour(row)) for x, y, m, row in points], lines)
        for panel in panels[len(panels_of) :]:
            panel.set_axis_off()
        _legend(figure, panels[0], [row for points in panels_of.values() for _, _, _, row in points])

    return save_figure(path, (4.6 * columns, lines * max(3.4, 0.15 * most + 1.1) + 0.4), draw)


def _colour(row: FlowRow) -> str:
    return GREY if row.detector else colour_of(row.group)


def _mark(panel: Any, x: float, y: float, row: FlowRow) -> None:
    colour = _colour(row)
    panel.plot(x, y, MARKS[row.origin], color=colour, ms=8 if row.origin == "checkpoint" else 5, mew=1.1,
               mfc="white" if row.random_weights else colour, ls="none")  # fmt: skip


def _legend(figure: Figure, panel: Any, rows: Sequence[FlowRow]) -> None:
    """Legend of colours and markers, below the panels."""
    groups = dict.fromkeys("detector" if row.detector else row.group for row in rows)
    marks = [
        panel.plot([], [], MARKS[origin], color="#444444", ms=5, mew=1.1, ls="none", label=origin,
                   mfc="white" if origin == "random weights" else "#444444")[0]
        for origin in ORIGINS if any(row.origin == origin for row in rows)
    ]  # fmt: skip
    handles = [*group_handles(panel, list(groups)), *marks]
    figure.legend(handles=handles, loc="outside lower center", ncol=min(len(handles), 5))


def cost_plot(path: Path, by_task: Tasks, experiment: str, methods: Sequence[str] = ()) -> Path | None:
    """Plot macro-F1 across networks against parameters and against flows/s, on logarithmic axes.

    Parameters
    ----------
    path
        Of the picture.
    by_task
        Rows of flow tasks.
    experiment
        Whose tasks across networks are meant; methods that ran on all of them are drawn.
    methods
        Only these; none: all but leak detectors.
    """
    tasks = {n: rows for n, rows in by_task.items() if rows[0].experiment == experiment and rows[0].where == "across"}
    figures = {
        m: mean for m, mean in mean_figures(tasks).items() if (m in methods if methods else not mean[1].detector)
    }  # fmt: skip
    kinds: dict[str, Callable[[FlowRow], float | None]] = {
        "parameters": lambda row: row.cost.parameters, "flows/s": lambda row: row.cost.flows_per_s,
    }  # fmt: skip
    drawn = {name: get for name, get in kinds.items() if any(get(row) for _, row in figures.values())}
    if not drawn:
        return None
    top = max(value for value, _ in figures.values())

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(drawn), squeeze=False)[0]
        for panel, (name, get) in zip(panels, drawn.items(), strict=True):
            known = [(get(row), value, method, row) for method, (value, row) in figures.items() if get(row) is not None]
            positive = [float(x) for x, _, _, _ in known if x]
            if not positive:
                continue
            # Methods without parameters stand left of all others.
            none = min(positive) / 10
            panel.set_xscale("log")
            for x, y, _, row in known:
                _mark(panel, x or none, y, row)
            panel.set(xlabel=name, ylim=(0, min(1.02, top * 1.25)))
            panel.minorticks_off()
            _none_tick(panel, none, any(not x for x, _, _, _ in known))
            direct_names(panel, [(float(x or none), y, m, _colour(row)) for x, y, m, row in known])
        panels[0].set_ylabel(f"macro-F1, mean over {len(tasks)} tasks across" if len(tasks) > 1 else "macro-F1 across")
        _legend(figure, panels[0], [row for _, row in figures.values()])

    return save_figure(path, (4.6 * len(drawn), max(3.4, 0.15 * len(figures) + 1.1) + 0.4), draw)


def _none_tick(panel: Any, place: float, wanted: bool) -> None:
    """Add a tick to a logarithmic axis for methods with a value of zero."""
    if not wanted:
        return
    low, high = panel.get_xlim()
    panel.axvline(place * 3, color="#cccccc", lw=0.8, linestyle=":")
    ticks = [10.0**k for k in range(math.ceil(math.log10(place * 3)), math.floor(math.log10(high)) + 1)]
    ticks = ticks[:: max(1, math.ceil(len(ticks) / 5))]
    panel.set_xticks([place, *ticks], ["none", *(power_text(f"10^{{{round(math.log10(tick))}}}") for tick in ticks)])
    panel.minorticks_off()
    panel.set_xlim(min(low, place / 2), high)
