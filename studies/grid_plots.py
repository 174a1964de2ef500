"""Plots of the ablation grid: quality, shift ratio by KL weight, quality by size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from ethogram.bench import COLOURS, DASHES, MAP_COLOURS, MARKERS, FlowRow, save_figure

__all__ = ["grid_plot", "grid_rows", "shift_plot", "size_plot"]

SIZES = ("small", "base", "large")
BLOCKS = ("overall", "meta", "packets", "payload", "non_padding")
KINDS = ("ae", "vae")


def grid_rows(rows: Sequence[FlowRow]) -> list[FlowRow]:
    """The rows of autoencoders with settings."""
    return [row for row in rows if row.encoder.kind in KINDS and row.encoder.size]


def _weight(row: FlowRow) -> float:
    """KL weight; 0 for an autoencoder."""
    return (row.encoder.kl_weight or 0.0) if row.encoder.kind == "vae" else 0.0


def _weight_name(weight: float) -> str:
    return "AE" if not weight else f"VAE\n{weight:g}"


def _seeds(row: FlowRow, name: str) -> list[float]:
    values = row.seeds(name) or [row.value(name)]
    return [value for value in values if not math.isnan(value)]


def grid_plot(path: Path, rows: Sequence[FlowRow]) -> Path | None:
    """Plot mean macro-F1 by view and size (rows) and KL weight (columns), with its range over seeds."""
    compared = grid_rows(rows)
    weights = sorted({_weight(row) for row in compared})
    keys = {(row.encoder.view, row.encoder.size) for row in compared}
    lines = sorted(keys, key=lambda line_key: (line_key[0], _rank(line_key[1])))
    if len(compared) < 2:
        return None
    cells = {(row.encoder.view, row.encoder.size, _weight(row)): row for row in compared}
    table = np.array(
        [
            [cells[(*line, weight)].value() if (*line, weight) in cells else math.nan for weight in weights]
            for line in lines
        ]
    )

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        low, high = float(np.nanmin(table)), float(np.nanmax(table))
        image = panel.imshow(table, cmap="viridis", vmin=low, vmax=high, aspect="auto")
        for (i, j), value in np.ndenumerate(table):
            if math.isnan(value):
                continue
            seeds = _seeds(cells[(*lines[i], weights[j])], "macro_f1")
            spread = f"\n{min(seeds):.3f} … {max(seeds):.3f}" if len(seeds) > 1 else ""
            panel.text(j, i, f"{value:.3f}{spread}", ha="center", va="center", fontsize=7, linespacing=1.3,
                       color="black" if high == low or (value - low) / (high - low) > 0.55 else "white")  # fmt: skip
        panel.set_xticks(range(len(weights)), [_weight_name(weight) for weight in weights])
        panel.set_yticks(range(len(lines)), [f"{view}, {size}" for view, size in lines])
        panel.grid(False)
        panel.set(xlabel="autoencoder, or variational one by KL weight", ylabel="what it sees, size")
        panel.set_title(rows[0].title)
        figure.colorbar(image, ax=panel, label="macro-F1: mean, least … greatest of the seeds")

    return save_figure(path, (1.25 * len(weights) + 3.6, max(2.6, 0.5 * len(lines) + 1.5)), draw, MAP_COLOURS)


def _rank(size: str) -> int:
    return SIZES.index(size) if size in SIZES else len(SIZES)


def shift_plot(path: Path, rows: Sequence[FlowRow]) -> Path | None:
    """Plot the shift ratio of each block by KL weight: one line per view and size, one marker per seed."""
    compared = [row for row in grid_rows(rows) if any(_has(row, block) for block in BLOCKS)]
    blocks = [block for block in BLOCKS if any(_has(row, block) for row in compared)]
    weights = sorted({_weight(row) for row in compared})
    if not blocks or len(weights) < 2:
        return None
    keys = {(row.encoder.view, row.encoder.size) for row in compared}
    lines = sorted(keys, key=lambda line_key: (line_key[0], _rank(line_key[1])))

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(blocks), squeeze=False)[0]
        for panel, block in zip(panels, blocks, strict=True):
            name = f"shift_ratio_{block}"
            for k, (view, size) in enumerate(lines):
                by_weight = {_weight(r): r for r in compared if (r.encoder.view, r.encoder.size) == (view, size)}
                here = [i for i, weight in enumerate(weights) if weight in by_weight and _has(by_weight[weight], block)]
                colour = COLOURS[k % len(COLOURS)]
                panel.plot(here, [by_weight[weights[i]].value(name) for i in here], color=colour, lw=1.2,
                           linestyle=DASHES[k // len(COLOURS) % len(DASHES)], label=f"{view}, {size}")  # fmt: skip
                for i in here:
                    seeds = _seeds(by_weight[weights[i]], name)
                    panel.plot([i] * len(seeds), seeds, MARKERS[k % len(MARKERS)], color=colour, ms=3, alpha=0.7)
            panel.axhline(1, color="#888888", lw=0.8)
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            panel.yaxis.set_minor_formatter(ticker.NullFormatter())
            panel.set_xticks(range(len(weights)), [_weight_name(weight) for weight in weights], fontsize=7)
            panel.set_xlim(-0.4, len(weights) - 0.6)
            panel.set_title(block.replace("_", "-"))
        panels[0].set_ylabel("error there / error at home")
        figure.supxlabel("autoencoder, or variational one by KL weight", fontsize=8)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")

    return save_figure(path, (2.0 * len(blocks) + 2.4, 3.4), draw)


def _has(row: FlowRow, block: str) -> bool:
    return not math.isnan(row.value(f"shift_ratio_{block}"))


def size_plot(path: Path, rows: Sequence[FlowRow]) -> Path | None:
    """Plot macro-F1 by size of the network: one line per KL weight, one panel per view, one marker per seed."""
    compared = grid_rows(rows)
    sizes = [size for size in SIZES if any(row.encoder.size == size for row in compared)]
    if len(sizes) < 2:
        return None
    views = [
        view for view in dict.fromkeys(row.encoder.view for row in compared)
        if len({row.encoder.size for row in compared if row.encoder.view == view}) > 1
    ]  # fmt: skip
    weights = sorted({_weight(row) for row in compared})

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(views), squeeze=False, sharey=True)[0]
        for panel, view in zip(panels, views, strict=True):
            for k, weight in enumerate(weights):
                by_size = {r.encoder.size: r for r in compared if r.encoder.view == view and _weight(r) == weight}
                here = [i for i, size in enumerate(sizes) if size in by_size]
                label = _weight_name(weight).replace("\n", " ")
                panel.plot(here, [by_size[sizes[i]].value() for i in here], color=COLOURS[k], lw=1.3, label=label,
                           linestyle=DASHES[k % len(DASHES)])  # fmt: skip
                for i in here:
                    seeds = _seeds(by_size[sizes[i]], "macro_f1")
                    shift = 0.04 * (k - (len(weights) - 1) / 2)
                    panel.plot([i + shift] * len(seeds), seeds, MARKERS[k], color=COLOURS[k], ms=3.5, alpha=0.8)
            names = [_size_name(size, [r for r in compared if r.encoder.view == view]) for size in sizes]
            panel.set_xticks(range(len(sizes)), names)
            panel.set_xlim(-0.4, len(sizes) - 0.6)
            panel.set_title(view)
        panels[0].set_ylabel("macro-F1")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")

    return save_figure(path, (2.5 * len(views) + 2.0, 3.3), draw)


def _size_name(size: str, rows: Sequence[FlowRow]) -> str:
    known = [row.cost.parameters for row in rows if row.encoder.size == size and row.cost.parameters]
    return size if not known else f"{size}\n{known[0] / 1e6:.2g} M"
