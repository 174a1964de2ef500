"""``ethogram probe``: classifiers on frozen embeddings, under splits that cannot leak."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ethogram.cli.options import Force, Plots, ReportFormat, ReportFormatOption
from ethogram.cli.outputs import check_folder
from ethogram.cli.reconstruct import show_progress
from ethogram.cli.tables import show_table, write_tables
from ethogram.cli.terminal import report
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.config import ProbeSettings
    from ethogram.pipeline.probe import ProbeRun

__all__ = ["command"]

SHOWN = {
    "figures": ["encoder", "probe", "budget", "d", "trained_on", "tested_on", "device_days", "types", "macro_f1", "low",
                "high", "spread", "balanced_accuracy", "accuracy"],
    "types": ["encoder", "type", "f1", "precision", "recall", "items"],
    "devices": ["encoder", "seed", "probe", "flows", "verdicts", "macro_f1", "low", "high", "calibration_error",
                "unknown", "right_of_said", "strangers", "strangers_unknown"],
}  # fmt: skip
BUDGETS = (10, 50, 200, 1000, None)


def command(
    inputs: Annotated[list[str], typer.Argument(metavar="IN", help="Custom flows of one network.")],
    labels: Annotated[Path, typer.Option(metavar="FILE", help="CSV device,label[,model,vendor,type,coarse,from,to].")],
    model: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="A model's directory or .onnx file, packaged (the bundled encoder), raw, "
                                          "raw:full, pca, random-projection, untrained, baselines (these five), or "
                                          "linear-fields. Repeatable."),
    ],
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Custom flows of another network that tests; else later days of IN do."),
    ] = None,
    test_labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Labels of --test, if others.")] = None,
    pretrained_on: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Training data of the encoder, if it is neither IN nor --test."),
    ] = None,
    level: Annotated[str | None, typer.Option(metavar="LEVEL", help="label, model, family, type, coarse.")] = None,
    probe: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="logistic (default), knn, mlp, forest, or all.")
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(metavar="N", help="Labelled flows per type, or all (default); curve: 10, 50, 200, 1,000, all."),
    ] = None,
    whiten: Annotated[bool, typer.Option(help="Whiten embeddings, not only standardise.")] = False,
    tune: Annotated[
        bool, typer.Option(help="Also fine-tune the encoder, and train the same network from scratch (needs torch).")
    ] = False,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Default: 3.")] = None,
    test_share: Annotated[float | None, typer.Option(metavar="SHARE", help="Days that test. Default: 0.3.")] = None,
    gap_days: Annotated[int | None, typer.Option(metavar="N", help="Days between sides. Default: 1.")] = None,
    split: Annotated[
        str | None, typer.Option(metavar="BY", help="day (default), or device-day: each device's own days.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any setting: train_flows=50000.")
    ] = None,
    form: ReportFormatOption = ReportFormat.TABLE,
    plots: Plots = None,
    force: Force = False,
) -> int:  # fmt: skip
    """Train simple classifiers on embeddings of labelled flows, and test them on other days or another network.

    Days that an encoder was trained on are left out; classifiers are fitted on training flows only.
    """
    from ethogram.pipeline.probe import draw
    from ethogram.pipeline.probe import probe as run_probe
    from ethogram.representation.needs import need

    if plots is not None:
        need("drawing plots", "matplotlib")
        check_folder(plots, inputs=(*inputs, *(test or ()), labels, test_labels), force=force)
    settings = _settings(
        setting or [], level=level, probes=_probes(probe), budgets=_budgets(budget), whiten=whiten or None,
        seeds=seeds, test_share=test_share, gap_days=gap_days, split=split,
    )  # fmt: skip
    run = run_probe(
        inputs, labels, model, test=test or (), test_labels=test_labels, pretrained_on=pretrained_on or (), tune=tune,
        settings=settings, on_progress=show_progress,
    )  # fmt: skip
    _print(run, form)
    for path in draw(run, plots) if plots is not None else ():
        report(f"plot: {path}")
    return 0


def _probes(given: list[str] | None) -> list[str] | None:
    return ["logistic", "knn", "mlp", "forest"] if given and "all" in given else given


def _budgets(given: list[str] | None) -> list[int | None] | None:
    """Budgets as numbers; ``all`` is none, ``curve`` stands for five of them."""
    budgets: list[int | None] = []
    for text in given or ():
        if text == "curve":
            budgets += BUDGETS
        elif text == "all":
            budgets.append(None)
        elif text.replace(",", "").isdigit() and int(text.replace(",", "")) > 0:
            budgets.append(int(text.replace(",", "")))
        else:
            raise UsageError(f"--budget: invalid budget {text!r}; expected a number of flows, all or curve")
    return list(dict.fromkeys(budgets)) or None


def _settings(given: list[str], **options: Any) -> ProbeSettings:
    import orjson

    from ethogram.config import ProbeSettings

    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: expected NAME=VALUE")
        try:
            values[name.strip()] = orjson.loads(value)
        except orjson.JSONDecodeError:
            values[name.strip()] = value
    return ProbeSettings.of(**{**values, **{name: value for name, value in options.items() if value is not None}})


def _print(run: ProbeRun, form: ReportFormat) -> None:
    import polars as pl

    from ethogram.pipeline.probe import TABLES

    for name, accounting in run.accounting.items():
        report(f"{name}: {accounting.line()}")
    sides = ", ".join(f"{len(side):,} flows {name}" for name, side in run.split.sides.items())
    report(f"split {run.split.digest}: {run.split.name}; {sides}")
    for note in run.notes:
        report(note)
    if form is not ReportFormat.TABLE:
        write_tables(form, run.head(), {name: getattr(run, name) for name in TABLES})
    else:
        together = run.figures.filter(pl.col("seed").is_null())
        show_table(together.with_columns(pl.col("budget").cast(pl.String).fill_null("all")),
             "Flows: macro-F1 over the types that are tested, 95 % by device-day", SHOWN["figures"])  # fmt: skip
        first = pl.col("seed") == pl.col("seed").min().over("encoder", "probe")
        whole = pl.col("budget").is_null() & (pl.col("probe") == pl.col("probe").first())
        show_table(
            run.types.filter(whole & first), f"By {run.settings.level} (first probe, first seed)", SHOWN["types"]
        )
        if run.devices.height:
            show_table(run.devices.filter(first), "Devices: verdicts of several flows", SHOWN["devices"])
