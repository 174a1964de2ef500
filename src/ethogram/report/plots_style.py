"""Style of the plots of result rows: colour-blind safe colours, rendering without a display, labels of points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import isotonic_regression

from ethogram._matplotlib import Figure, FigureCanvasAgg, mpl
from ethogram.representation.plots import COLOURS, DASHES, plain_powers
from ethogram.representation.plots import STYLE as BASE

__all__ = ["COLOURS", "DASHES", "GREY", "MAP_COLOURS", "MARKERS", "colour_of", "direct_names", "few_colours",
           "group_handles", "save_figure", "spread"]  # fmt: skip

GREY = "#7a7a7a"
MARKERS = "os^Dv<>P"
# Pages of results have many small plots.
STYLE: dict[Any, Any] = {
    **BASE, "axes.titlesize": 9, "grid.linewidth": 0.6, "legend.fontsize": 8, "savefig.dpi": 105, "figure.dpi": 105,
}  # fmt: skip

OFTEN, APART = 28, 28
"""Colours of a written plot: those that most of it has, as they are, and those that are farthest from them. Lines and
their soft edges need no more, and the file is a quarter."""

MAP_COLOURS = 80
"""Number of exact colours in the file of a map."""

GROUP_COLOURS = {
    "default": "#D55E00", "both": "#D55E00", "option": "#E69F00", "encoder": "#009E73", "grid": "#009E73",
    "probes": "#6b6b00", "raw": "#0072B2", "plain": "#0072B2", "alone": "#0072B2", "wide": "#004c7a",
    "baseline": "#56B4E9", "packets": "#CC79A7", "others": "#CC79A7", "detector": GREY,
}  # fmt: skip

GROUP_NAMES = {
    "default": "default", "both": "both methods", "option": "option", "encoder": "encoder trained here",
    "grid": "encoder of the grid", "probes": "another probe", "raw": "raw numbers", "plain": "plain",
    "alone": "one method alone", "wide": "all 3,040 numbers", "baseline": "baseline", "packets": "third-party encoder",
    "others": "third-party encoder", "detector": "leak detector",
}  # fmt: skip
"""Names of groups of methods in legends."""


def colour_of(group: str) -> str:
    """Colour of a group of methods."""
    return GROUP_COLOURS.get(group, "#000000")


def group_handles(panel: Any, groups: Sequence[str]) -> list[Any]:
    """Legend handles for the colours of groups, one per colour."""
    names: dict[str, str] = {}
    for group in groups:
        names.setdefault(colour_of(group), GROUP_NAMES.get(group, group or "method"))
    return [panel.plot([], [], "o", color=colour, ms=5, label=name)[0] for colour, name in names.items()]


def save_figure(path: Path, size: tuple[float, float], draw: Callable[[Figure], None], often: int = OFTEN) -> Path:
    """Draw a figure without a display and write it as a PNG with few colours; the same rows give the same file.

    Parameters
    ----------
    path
        Of the picture.
    size
        Width and height, inches.
    draw
        Draws into an empty figure.
    often
        Colours to keep as they are: more of them for maps, whose colours are figures.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        plain_powers(figure)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        few_colours(np.asarray(canvas.buffer_rgba())[..., :3], often).save(path, "PNG", optimize=True)
    return path


def few_colours(pixels: NDArray[np.uint8], often: int = OFTEN) -> Image.Image:
    """A picture in ``often + APART`` colours, each pixel in the nearest; pixels are [height, width, 3].

    >>> few_colours(np.zeros((2, 3, 3), np.uint8)).convert("RGB").getpixel((0, 0))
    (0, 0, 0)
    """
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, place, counts = np.unique(packed, return_inverse=True, return_counts=True)
    table = np.stack([colours >> 16 & 255, colours >> 8 & 255, colours & 255], axis=1).astype(np.int64)
    palette = np.argsort(-counts, kind="stable")[:often].tolist()
    distance = ((table[:, None] - table[None, palette]) ** 2).sum(axis=2)
    nearest, far = distance.argmin(axis=1), distance.min(axis=1)
    for _ in range(APART):
        if not far.any():
            break
        new = int(far.argmax())
        distance = ((table - table[new]) ** 2).sum(axis=1)
        nearest, far = np.where(distance < far, len(palette), nearest), np.minimum(far, distance)
        palette.append(new)
    image = Image.fromarray(nearest[place].reshape(pixels.shape[:2]).astype(np.uint8), "P")
    image.putpalette(table[palette].astype(np.uint8).tobytes())
    return image


def spread(places: Sequence[float], step: float) -> list[float]:
    """Places at least a step apart, in the same order and within 0 and 1, as near as can be to those that are given.

    >>> [round(place, 3) for place in spread([0.5, 0.5, 0.9], 0.1)]
    [0.45, 0.55, 0.9]
    """
    if not places:
        return []
    steps = np.arange(len(places)) * step
    apart = isotonic_regression(np.asarray(places, np.float64) - steps).x + steps
    spaced: list[float] = np.maximum(np.minimum(apart, 1 - steps[::-1]), steps).tolist()
    return spaced


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
    ordered = sorted(points, key=lambda point: point[1])
    places = spread([(y - low) / (high - low) for _, y, _, _ in ordered], step)
    for (x, y, name, colour), at in zip(ordered, places, strict=True):
        panel.annotate(
            name, (x, y), xytext=(1.03, at), textcoords="axes fraction", fontsize=7, va="center", color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.4, "alpha": 0.6, "shrinkA": 1, "shrinkB": 2,
                        "relpos": (0, 0.5)},
            annotation_clip=False,
        )  # fmt: skip
