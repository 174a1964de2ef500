"""Plots of fingerprints and their stability: a PNG each, and its data beside it as CSV."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ethogram._files import atomic_write_all, require_ours
from ethogram._matplotlib import Figure, FigureCanvasAgg, mpl
from ethogram._text import csv_text

__all__ = ["convergence_plot", "heat_map", "recurrence_plot", "similarity_plot"]

# Colours of Okabe and Ito, for all kinds of colour vision; dashes distinguish lines in greyscale.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
DASHES = ["-", "--", "-.", ":"]
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#e5e5e5", "axes.axisbelow": True,
    "legend.frameon": False, "savefig.dpi": 150, "figure.dpi": 150,
    "text.parse_math": False,  # a label may hold dollar signs
}  # fmt: skip
MOST_SERVICES = 20


def _saved(path: Path, size: tuple[float, float], data: pl.DataFrame, draw: Callable[[Figure], None]) -> Path:
    """Draw a figure without a display, and write it and its data."""
    table = path.with_suffix(".csv")
    require_ours(path if path.exists() else table)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        with atomic_write_all(path, table) as (image, text):
            figure.savefig(image, format="png", metadata={"Software": "Ethogram"})
            text.write_text(csv_text(data.columns, data.iter_rows()), encoding="utf-8")
    return path


def heat_map(days: pl.DataFrame, path: Path) -> Path:
    """Draw each device's use of services by day.

    Parameters
    ----------
    days
        ``device, day, service, share`` (share of the day's flows); one panel for each device.
    path
        PNG to write; the data go to the same name with ``.csv``.
    """
    devices = days["device"].unique().sort().to_list()
    seen = days["day"].unique().sort()
    span = [seen[0] + timedelta(days=i) for i in range((seen[-1] - seen[0]).days + 1)]
    rows = {device: _services_of(days.filter(device=device)) for device in devices}
    heights = [max(3, len(names)) for names in rows.values()]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(devices), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        image: Any = None
        for panel, device in zip(panels, devices, strict=True):
            grid = np.full((len(rows[device]), len(span)), np.nan)
            for day, service, share in days.filter(device=device).select("day", "service", "share").iter_rows():
                if service in rows[device]:
                    grid[rows[device].index(service), span.index(day)] = share
            colours = mpl.colormaps["viridis"].with_extremes(bad="#f2f2f2")
            image = panel.imshow(np.sqrt(grid), aspect="auto", cmap=colours, vmin=0, vmax=1, interpolation="nearest")
            panel.set_yticks(range(len(rows[device])), rows[device], fontsize=7)
            kinds = days.filter(device=device)["service"].n_unique()
            panel.set_title(
                device if kinds <= MOST_SERVICES else f"{device} (first {MOST_SERVICES} of {kinds:,} services)"
            )
            panel.grid(visible=False)
        ticks = range(0, len(span), max(1, len(span) // 10))
        panels[-1].set_xticks(list(ticks), [f"{span[i]:%d %b}" for i in ticks])
        panels[-1].set_xlabel("day (UTC)")
        bar = figure.colorbar(
            image, ax=list(panels), shrink=min(1.0, 3 / len(devices)), aspect=30, pad=0.02, anchor=(0.0, 1.0)
        )
        bar.set_ticks([float(np.sqrt(v)) for v in (0, 0.01, 0.1, 0.25, 0.5, 1)], labels=["0", "1 %", "10 %", "25 %",
                      "50 %", "100 %"])  # fmt: skip
        bar.set_label("share of the day's flows (square-root scale); grey: none")

    return _saved(path, (8, 0.9 + 0.16 * sum(heights) + 0.35 * len(devices)), days, draw)


def _services_of(days: pl.DataFrame) -> list[str]:
    """Services of a device, by decreasing share."""
    totals = days.group_by("service").agg(pl.col("share").sum()).sort(["share", "service"], descending=[True, False])
    return totals["service"].head(MOST_SERVICES).to_list()


def convergence_plot(curves: pl.DataFrame, path: Path) -> Path:
    """Draw the Kaplan-Meier curve of windows that have not converged yet.

    Parameters
    ----------
    curves
        ``device, duration, survival`` with duration in epochs; one line for each device.
    path
        PNG to write.
    """

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for i, (device, part) in enumerate(_parts(curves, "device")):
            ordered = part.sort("duration")
            x, y = [0.0, *ordered["duration"]], [1.0, *ordered["survival"]]
            panel.step(x, y, where="post", label=device, **_line(device, i))
            # A curve that stays above 0 ends where the last window was censored.
            if y[-1] > 0:
                panel.plot(x[-1], y[-1], marker="|", color=_line(device, i)["color"], markersize=9)
        panel.set(xlabel="active epochs (|: last window censored)", ylabel="share of windows not yet converged",
                  ylim=(-0.02, 1.03), xlim=(0, None))  # fmt: skip
        panel.set_title("Convergence (Kaplan-Meier; windows that ended otherwise are censored)")
        _legend(panel, curves["device"].n_unique())

    return _saved(path, (7, 3.6), curves, draw)


def recurrence_plot(curves: pl.DataFrame, path: Path) -> Path:
    """Draw the share of fingerprints that resemble an earlier one of their device, and the share by chance.

    Parameters
    ----------
    curves
        ``curve, r, share``; the curve named ``chance`` is drawn in grey.
    path
        PNG to write.
    """

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        named = [(name, part) for name, part in _parts(curves, "curve") if name != "chance"]
        for i, (name, part) in enumerate(named):
            panel.plot(part["r"], part["share"], label=name, **_line(name, i))
        chance = curves.filter(curve="chance")
        panel.plot(chance["r"], chance["share"], label="chance", color="#888888", linewidth=2.5, alpha=0.6)
        panel.set(xlabel="similarity r to an earlier fingerprint, at least", ylabel="share of fingerprints",
                  xlim=(0, 1), ylim=(-0.02, 1.02))  # fmt: skip
        panel.set_title("Recurrence")
        _legend(panel, len(named) + 1)

    return _saved(path, (7, 3.6), curves, draw)


def similarity_plot(values: pl.DataFrame, path: Path) -> Path:
    """Draw the similarity within and between types at each granularity, as medians with quartiles.

    Parameters
    ----------
    values
        ``granularity`` (text, in order), ``pairs`` (``within`` or ``between``), ``q1``, ``median``, ``q3``.
    path
        PNG to write.
    """

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        order = values["granularity"].unique(maintain_order=True).to_list()
        for i, (pairs, part) in enumerate(_parts(values, "pairs")):
            x = np.array([order.index(g) for g in part["granularity"]]) + (i - 0.5) * 0.16
            median, low, high = part["median"].to_numpy(), part["q1"].to_numpy(), part["q3"].to_numpy()
            panel.errorbar(x, median, yerr=np.vstack([median - low, high - median]), label=f"{pairs} types", capsize=3,
                           marker="os"[i % 2], color=COLOURS[1 - i % 2], linestyle="none")  # fmt: skip
        panel.set_xticks(range(len(order)), ["\N{INFINITY}" if g == "inf" else g for g in order])
        panel.set(xlabel="granularity G", ylabel="similarity of two fingerprints", ylim=(-0.02, 1.02))
        panel.set_title("Within and between types (median and quartiles over pairs)")
        _legend(panel, 2)

    return _saved(path, (6, 3.6), values, draw)


def _parts(frame: pl.DataFrame, name: str) -> list[tuple[str, pl.DataFrame]]:
    return [(str(key), part) for (key,), part in frame.group_by(name, maintain_order=True)]


def _line(name: str, i: int) -> dict[str, Any]:
    """Colour and dashes of the i-th line; coinciding lines stay visible through the gaps."""
    if name == "all":
        return {"color": "#000000", "linewidth": 2.5, "alpha": 0.8}
    return {"color": COLOURS[(i - 1) % len(COLOURS)], "linestyle": DASHES[(i - 1) % len(DASHES)], "linewidth": 1.6}


def _legend(panel: Any, lines: int) -> None:
    """Place the legend beside the plot."""
    panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), ncols=1 + lines // 24, fontsize=8)
