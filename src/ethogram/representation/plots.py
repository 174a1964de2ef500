"""Plots of reconstruction errors and probes: PNG files, each with its data as CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ethogram._files import atomic_write_all, require_ours
from ethogram._matplotlib import Figure, FigureCanvasAgg, mpl, ticker
from ethogram._text import csv_text

__all__ = ["COLOURS", "DASHES", "STYLE", "confusion_plot", "error_by_name", "error_by_width", "error_curves",
           "label_curves", "plain_powers", "power_text", "shift_bars", "unit_bars", "verdict_curves"]  # fmt: skip

# Colours of Okabe and Ito, which are safe for colour-blind readers; line styles differ for grey prints.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES = ["-", "--", "-.", ":"]
STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#e5e5e5", "axes.axisbelow": True,
    "legend.frameon": False, "savefig.dpi": 150, "figure.dpi": 150,
    "text.parse_math": False,  # a label may hold dollar signs
}  # fmt: skip
MARKERS = "os^Dv<>"
_RAISED = str.maketrans("0123456789-\N{MINUS SIGN}", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻")
LEAST = 1e-8  # smallest error that a logarithmic axis shows
NAMES = 24


def power_text(text: str) -> str:
    """A power as plain text; math mode is off, since untrusted labels may contain dollar signs.

    >>> power_text(r"$\\mathdefault{10^{-5}}$"), power_text(r"$\\mathdefault{2\\times10^{3}}$"), power_text("0.5")
    ('10⁻⁵', '2×10³', '0.5')
    """
    inner = text.removeprefix(r"$\mathdefault{").removesuffix("}$").replace(r"\times", "×")
    base, _, exponent = inner.partition("^{")
    return base + exponent.removesuffix("}").translate(_RAISED)


class _PowerTicks(ticker.LogFormatterSciNotation):
    """Formatter of logarithmic axes as plain text."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return power_text(super().__call__(x, pos))


def plain_powers(figure: Figure) -> None:
    """Format the ticks of logarithmic axes as plain text, unless a plot set its own formatter."""
    for panel in figure.axes:
        for axis in (panel.xaxis, panel.yaxis):
            base = getattr(axis.get_transform(), "base", 10.0)
            if isinstance(axis.get_major_formatter(), ticker.LogFormatterSciNotation):
                axis.set_major_formatter(_PowerTicks(base))
            if isinstance(axis.get_minor_formatter(), ticker.LogFormatterSciNotation):
                axis.set_minor_formatter(_PowerTicks(base))


def _saved(path: Path, size: tuple[float, float], data: pl.DataFrame, draw: Callable[[Figure], None]) -> Path:
    """Draw a figure without a display; write it and its data."""
    table = path.with_suffix(".csv")
    require_ours(path if path.exists() else table)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        plain_powers(figure)
        with atomic_write_all(path, table) as (image, text):
            figure.savefig(image, format="png", metadata={"Software": "Ethogram"})
            text.write_text(csv_text(data.columns, data.iter_rows()), encoding="utf-8")
    return path


def _parts(frame: pl.DataFrame, name: str) -> list[tuple[str, pl.DataFrame]]:
    return [(str(key), part) for (key,), part in frame.group_by(name, maintain_order=True)]


def _legend(figure: Figure, panel: Any) -> None:
    """Draw a legend outside the panels."""
    handles, names = panel.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", fontsize=8)


def error_curves(cdf: pl.DataFrame, path: Path) -> Path:
    """Draw the cumulative distribution of the error per flow, one panel per part.

    Parameters
    ----------
    cdf
        ``encoder, seed, part, network, share, error``; of each encoder the first seed is drawn.
    path
        PNG to write.
    """
    names = [name for name, _ in _parts(cdf, "part")]
    first = cdf.filter(pl.col("seed") == pl.col("seed").min().over("encoder"))

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for panel, name in zip(panels, names, strict=True):
            for i, (encoder, part) in enumerate(_parts(first.filter(part=name), "encoder")):
                for network, rows in _parts(part, "network"):
                    panel.plot(np.maximum(rows["error"], LEAST), rows["share"], color=COLOURS[i % len(COLOURS)],
                               linestyle="-" if network == "here" else "--", linewidth=1.5,
                               label=f"{encoder}, {network}")  # fmt: skip
            panel.set_xscale("log")
            panel.set(xlabel="mean squared error", title=name, ylim=(-0.02, 1.02))
        panels[0].set_ylabel("share of flows")
        _legend(figure, panels[0])

    return _saved(path, (2.3 * len(names) + 2.2, 3.2), cdf, draw)


def shift_bars(errors: pl.DataFrame, path: Path) -> Path:
    """Draw the ratio of the errors there and here for each part, annotated with both errors; one mark per seed.

    Parameters
    ----------
    errors
        ``encoder, seed, part, mean_here, mean_there, shift_ratio``.
    path
        PNG to write.
    """
    names = [name for name, _ in _parts(errors, "part")]
    encoders = [name for name, _ in _parts(errors, "encoder")]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(names), sharey=True, sharex=True, squeeze=False)[0]
        for panel, name in zip(panels, names, strict=True):
            for i, (encoder, part) in enumerate(_parts(errors.filter(part=name), "encoder")):
                known = part.drop_nulls("shift_ratio")
                if not known.height:
                    continue
                place = encoders.index(encoder)
                panel.plot(known["shift_ratio"], [place] * known.height, "o", color=COLOURS[i % len(COLOURS)])
                here, there = (float(known[name].to_numpy().mean()) for name in ("mean_here", "mean_there"))
                panel.annotate(f"{here:.2g} \N{RIGHTWARDS ARROW} {there:.2g}", (0.98, place), fontsize=7, ha="right",
                               xycoords=panel.get_yaxis_transform(), va="bottom", textcoords="offset points",
                               xytext=(0, 4))  # fmt: skip
            panel.axvline(1, color="#888888", linewidth=1)
            panel.set_xscale("log")
            panel.set(title=name, xlabel="error there / here")
            panel.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
            panel.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        panels[0].set_yticks(range(len(encoders)), encoders)
        panels[0].set_ylim(len(encoders) - 0.4, -0.8)

    return _saved(path, (2.1 * len(names) + 1.2, 1.2 + 0.45 * len(encoders)), errors, draw)


def error_by_width(errors: pl.DataFrame, path: Path) -> Path:
    """Draw the mean error against the number of latent units, one line per kind and network."""
    names = [name for name, _ in _parts(errors, "part")]
    means = [column for column in ("mean_here", "mean_there") if column in errors.columns]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for panel, name in zip(panels, names, strict=True):
            for i, (kind, part) in enumerate(_parts(errors.filter(part=name), "kind")):
                for column in means:
                    by_width = part.group_by("d").agg(pl.col(column).mean()).sort("d")
                    panel.plot(by_width["d"], by_width[column].clip(LEAST), marker="o", color=COLOURS[i % len(COLOURS)],
                               linestyle="-" if column == "mean_here" else "--",
                               label=f"{kind}, {column.removeprefix('mean_')}")  # fmt: skip
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
            panel.set(title=name, xlabel="numbers of the embedding")
        panels[0].set_ylabel("mean squared error")
        _legend(figure, panels[0])

    return _saved(path, (2.3 * len(names) + 2.2, 3.0), errors, draw)


def unit_bars(units: pl.DataFrame, path: Path) -> Path:
    """Draw the KL divergence of each latent unit, largest first, one line per encoder and network."""
    known = units.drop_nulls("kl")

    def draw(figure: Figure) -> None:
        panel = figure.subplots()
        for i, ((encoder, seed, network), part) in enumerate(
            known.group_by("encoder", "seed", "network", maintain_order=True)
        ):
            ordered = np.sort(part["kl"].to_numpy())[::-1]
            active = int(part["active"].sum())
            panel.plot(np.arange(1, ordered.size + 1), np.maximum(ordered, LEAST), marker=".",
                       color=COLOURS[i // 2 % len(COLOURS)], linestyle="-" if network == "here" else "--",
                       label=f"{encoder}, seed {seed}, {network}: {active} active")  # fmt: skip
        panel.set_yscale("log")
        panel.set(xlabel="latent unit, by divergence", ylabel="divergence from N(0, 1), nats")
        panel.set_title("What latent units carry")
        _legend(figure, panel)

    return _saved(path, (8, 3.4), units, draw)


def error_by_name(by: pl.DataFrame, path: Path) -> Path:
    """Draw the overall error of each service and label, by encoder, here and there (first seed)."""
    first = by.filter(pl.col("seed") == pl.col("seed").min().over("encoder"))
    whats = [name for name, _ in _parts(first, "by")]
    names = {what: first.filter(by=what)["name"].unique(maintain_order=True).to_list()[:NAMES] for what in whats}
    reach = np.log10(np.clip(first["overall"].drop_nulls().to_numpy(), LEAST, None))
    limits = (10 ** np.floor(reach.min()), 10 ** np.ceil(reach.max() + 1e-9))

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(whats), squeeze=False)[0]
        for panel, what in zip(panels, whats, strict=True):
            encoders = _parts(first.filter(by=what), "encoder")
            for i, (encoder, part) in enumerate(encoders):
                for network, of_network in _parts(part.filter(pl.col("name").is_in(names[what])), "network"):
                    place = [names[what].index(name) + (i - len(encoders) / 2) * 0.12 for name in of_network["name"]]
                    panel.plot(of_network["overall"].clip(LEAST), place, "o" if network == "here" else "x",
                               markersize=4, color=COLOURS[i % len(COLOURS)],
                               label=f"{encoder}, {network}")  # fmt: skip
            panel.set_yticks(range(len(names[what])), names[what], fontsize=7)
            panel.set_xscale("log")
            panel.invert_yaxis()
            panel.set(xlabel="mean squared error, all numbers", title=f"by {what}", xlim=limits)
        _legend(figure, panels[0])

    rows = max(map(len, names.values()))
    return _saved(path, (3.4 * len(whats) + 2.2, 1.2 + 0.24 * rows), by, draw)


def label_curves(figures: pl.DataFrame, path: Path) -> Path:
    """Draw macro-F1 with its interval by encoder, against the label budget if there are several.

    Parameters
    ----------
    figures
        Rows of all seeds: ``encoder, probe, budget, macro_f1, low, high``.
    path
        PNG to write.
    """
    budgets = sorted({b for b in figures["budget"] if b is not None})
    ticks = [*map(str, budgets), *(["all"] if figures["budget"].null_count() else [])]
    probes = [name for name, _ in _parts(figures, "probe")]
    encoders = [name for name, _ in _parts(figures, "encoder")]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(probes), sharey=True, squeeze=False)[0]
        for panel, probe in zip(panels, probes, strict=True):
            for i, encoder in enumerate(encoders):
                part = figures.filter(encoder=encoder, probe=probe)
                where = np.array([ticks.index("all" if b is None else str(b)) for b in part["budget"]])
                order = np.argsort(where)
                value, low, high = (part[name].to_numpy()[order] for name in ("macro_f1", "low", "high"))
                reach = np.maximum(np.vstack([value - low, high - value]), 0)
                panel.errorbar(where[order] + (i - len(encoders) / 2) * 0.07, value, yerr=reach, marker=MARKERS[i % 7],
                               color=COLOURS[i % len(COLOURS)], linestyle=DASHES[i % 4] if len(ticks) > 1 else "none",
                               capsize=2, linewidth=1.2, markersize=4, label=encoder)  # fmt: skip
            panel.set_xticks(range(len(ticks)), ticks)
            panel.set(title=probe, xlabel="labelled flows per type", ylim=(0, 1.02), xlim=(-0.6, len(ticks) - 0.4))
        panels[0].set_ylabel("macro-F1 (95 % by device-day)")
        _legend(figure, panels[0])

    return _saved(path, (2.4 * len(probes) + 2.4, 3.2), figures, draw)


def confusion_plot(confusion: pl.DataFrame, path: Path) -> Path:
    """Draw confusion matrices normalised by true type, one panel per encoder.

    Parameters
    ----------
    confusion
        ``encoder, true, said, flows``.
    path
        PNG to write.
    """
    names = sorted(set(confusion["true"]) | set(confusion["said"]))
    encoders = [name for name, _ in _parts(confusion, "encoder")]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(encoders), sharey=True, squeeze=False)[0]
        image: Any = None
        for panel, encoder in zip(panels, encoders, strict=True):
            grid = np.zeros((len(names), len(names)))
            for true, predicted, flows in confusion.filter(encoder=encoder).select("true", "said", "flows").iter_rows():
                grid[names.index(true), names.index(predicted)] += flows
            shares = grid / np.maximum(grid.sum(1, keepdims=True), 1)
            shares[grid.sum(1) == 0] = np.nan
            colours = mpl.colormaps["viridis"].with_extremes(bad="#f2f2f2")
            image = panel.imshow(shares, vmin=0, vmax=1, cmap=colours, interpolation="nearest")
            panel.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
            panel.set_yticks(range(len(names)), names, fontsize=6)
            panel.set(title=encoder, xlabel="said")
            panel.grid(visible=False)
        panels[0].set_ylabel("true")
        figure.colorbar(image, ax=list(panels), label="share of the true type's flows", shrink=0.8)

    side = max(2.6, 1.4 + 0.16 * len(names))
    return _saved(path, (side * len(encoders) + 1.6, side + 1.0), confusion, draw)


def verdict_curves(devices: pl.DataFrame, path: Path) -> Path:
    """Draw macro-F1 and the share of unknown verdicts against the number of aggregated flows.

    Parameters
    ----------
    devices
        ``encoder, probe, flows, macro_f1, unknown``; the first seed and probe of each encoder are drawn.
    path
        PNG to write.
    """
    first = devices.filter(
        pl.col("seed") == pl.col("seed").min().over("encoder"), pl.col("probe") == pl.col("probe").first()
    )
    ticks = first["flows"].unique(maintain_order=True).to_list()

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2)
        for i, (encoder, part) in enumerate(_parts(first, "encoder")):
            place = [ticks.index(name) for name in part["flows"]]
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % 4], "marker": MARKERS[i % 7]}
            panels[0].plot(place, part["macro_f1"], label=encoder, markersize=4, **style)
            if part["unknown"].null_count() < part.height:
                panels[1].plot(place, part["unknown"], markersize=4, **style)
        for panel in panels:
            panel.set_xticks(range(len(ticks)), ticks)
            panel.set(xlabel="flows of a device that give a verdict", ylim=(-0.02, 1.02))
        panels[0].set_title("macro-F1 of verdicts")
        panels[1].set_title("share of known devices called unknown")
        _legend(figure, panels[0])

    return _saved(path, (8.4, 3.2), devices, draw)
