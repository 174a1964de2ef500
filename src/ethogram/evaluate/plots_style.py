"""How plots of result rows look: colours told apart by every eye, figures without a display, names beside points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ethogram.representation.plots import COLOURS, DASHES
from ethogram.representation.plots import STYLE as BASE

__all__ = ["COLOURS", "DASHES", "GREY", "MARKERS", "colour_of", "direct_names", "saved"]

GREY = "#7a7a7a"
MARKERS = "os^Dv<>P"
# Pages of results have many small plots.
STYLE: dict[Any, Any] = {
    **BASE, "axes.titlesize": 9, "grid.linewidth": 0.6, "legend.fontsize": 8, "savefig.dpi": 130, "figure.dpi": 130,
}  # fmt: skip

GROUP_COLOURS = {
    "default": "#D55E00", "both": "#D55E00", "option": "#E69F00", "encoder": "#009E73", "grid": "#009E73",
    "probes": "#6b6b00", "raw": "#0072B2", "plain": "#0072B2", "alone": "#0072B2", "wide": "#004c7a",
    "baseline": "#56B4E9", "packets": "#CC79A7", "others": "#CC79A7", "detector": GREY,
}  # fmt: skip


def colour_of(group: str) -> str:
    """The colour of a group of methods."""
    return GROUP_COLOURS.get(group, "#000000")


def saved(path: Path, size: tuple[float, float], draw: Callable[[Figure], None]) -> Path:
    """Draw one figure without a display and write it; the same rows give the same file."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(path, metadata={"Software": None})
    return path


def direct_names(panel: Any, points: Sequence[tuple[float, float, str, str]], lines: int = 1) -> None:
    """Write names right of the panel, in the order of height and never over one another, with a line to each point.

    Parameters
    ----------
    panel
        Axes whose limits are set.
    points
        x, y, name and colour of each.
    lines
        Panels one above the other in the figure.
    """
    low, high = panel.get_ylim()
    step = 0.043 * 3.6 / max(panel.figure.get_size_inches()[1] / lines, 1.0) * 1.05
    places: list[float] = []
    ordered = sorted(points, key=lambda point: point[1])
    for _, y, _, _ in ordered:
        at = (y - low) / (high - low)
        places.append(max(at, places[-1] + step) if places else at)
    over = max(0.0, places[-1] - 1.0) if places else 0.0
    for i in range(len(places) - 1, -1, -1):
        most = 1.0 if i == len(places) - 1 else places[i + 1] - step
        places[i] = min(places[i], most) if over else places[i]
    for (x, y, name, colour), at in zip(ordered, places, strict=True):
        panel.annotate(
            name, (x, y), xytext=(1.03, at), textcoords="axes fraction", fontsize=7, va="center", color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.4, "alpha": 0.6, "shrinkA": 0, "shrinkB": 2},
            annotation_clip=False,
        )  # fmt: skip
