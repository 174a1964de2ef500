"""``ethogram reconstruct``: how well encoders give back flows, here and on another network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import Force, Plots, ReportFormat, ReportFormatOption
from ethogram.cli.outputs import check_folder
from ethogram.cli.tables import show_table, write_tables
from ethogram.cli.terminal import errors, report, say
from ethogram.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from ethogram.pipeline.reconstruct import Reconstructions

__all__ = ["check_level", "command", "show_progress"]

TABLES = ("errors", "octets", "units", "agreement", "by", "cdf")
# What a terminal shows of each table; JSON and CSV have all columns and the tables left out here.
SHOWN = {
    "errors": ["encoder", "d", "seed", "part", "mean_here", "median_here", "p95_here", "mean_there", "median_there",
               "p95_there", "shift_ratio"],
    "octets": ["encoder", "seed", "network", "octets", "accuracy", "constant"],
    "by": ["encoder", "network", "by", "name", "flows", "overall", "meta", "packets", "payload", "non-padding"],
    "agreement": ["encoder", "seed", "other", "linear_cka"],
}  # fmt: skip
TITLES = {
    "errors": "Mean squared error of a flow", "octets": "Reconstructed octets among the first payload symbols",
    "by": "Mean error by service and label", "agreement": "Agreement of seeds (linear CKA)",
}  # fmt: skip


def command(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IN", help="Custom flows of the network that the encoders learnt from.")
    ],
    model: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="A model's path, or raw, pca, random-projection, untrained. Repeatable."),
    ],
    there: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Custom flows of another network. Repeatable.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV device,label[,type ...]: errors by label too.")
    ] = None,
    there_labels: Annotated[Path | None, typer.Option(metavar="FILE", help="The same for --there.")] = None,
    level: Annotated[str, typer.Option(metavar="LEVEL", help="label, model, family, type or coarse.")] = "label",
    pretrained_on: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Training data of the encoder, if it is not IN. Repeatable."),
    ] = None,
    flows: Annotated[int | None, typer.Option(metavar="N", help="Flows of a network at most. Default: 20,000.")] = None,
    form: ReportFormatOption = ReportFormat.TABLE,
    plots: Plots = None,
    force: Force = False,
) -> int:
    """Measure the reconstruction error of encoders on unseen flows by block, service and label, on both networks."""
    from ethogram.config import ReconstructionSettings
    from ethogram.pipeline.reconstruct import draw, reconstructions
    from ethogram.representation.needs import need

    check_level(level)
    if plots is not None:
        need("drawing plots", "matplotlib")
        check_folder(plots, inputs=(*inputs, *(there or ()), labels, there_labels), force=force)
    settings = ReconstructionSettings.of(**({} if flows is None else {"flows": flows}))
    measured = reconstructions(
        inputs, model, there=there or (), labels=labels, there_labels=there_labels, level=level,
        pretrained_on=pretrained_on or (), settings=settings, on_progress=show_progress,
    )  # fmt: skip
    _print(measured, form)
    for path in draw(measured, plots) if plots is not None else ():
        report(f"plot: {path}")
    return 0


def check_level(level: str) -> None:
    """Refuse an unknown level."""
    if level not in ("label", "model", "family", "type", "coarse"):
        raise UsageError(f"--level: invalid level {level!r}; expected label, model, family, type or coarse")


def show_progress(what: str, share: float) -> None:
    """Progress on a terminal."""
    if errors.is_terminal:
        say(f"{share:4.0%}  {what}")


def _print(measured: Reconstructions, form: ReportFormat) -> None:
    tables = {name: getattr(measured, name) for name in TABLES}
    for note in measured.notes:
        say(note)
    if form is not ReportFormat.TABLE:
        write_tables(form, {"format": "ethogram.reconstruction/1", "notes": measured.notes}, tables)
    else:
        for name, title in TITLES.items():
            if tables[name].height:
                show_table(tables[name], title, SHOWN[name])
        _units(measured.units)


def _units(units: pl.DataFrame) -> None:
    import polars as pl

    if not units.height:
        return
    keys = ["encoder", "seed", "network"]
    counted = units.group_by(keys, maintain_order=True).agg(
        pl.col("active").sum(), pl.len().alias("units"), pl.col("kl").sum().alias("kl_nats"),
        (pl.col("kl") > 0.01).sum().alias("above_0.01_nats"), pl.col("kl").null_count().alias("bare"),
    )  # fmt: skip
    none = pl.col("bare") == pl.col("units")
    counted = counted.with_columns(
        pl.when(none).then(None).otherwise(c).alias(c) for c in ("kl_nats", "above_0.01_nats")
    )
    show_table(counted, "Latent units", [*keys, "units", "active", "above_0.01_nats", "kl_nats"])
