"""``ethogram stability``: how fingerprints converge, come back, and tell types apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import Force, Plots, ReportFormat, ReportFormatOption
from ethogram.cli.outputs import check_folder
from ethogram.cli.terminal import report, results, write_csv, write_json

if TYPE_CHECKING:
    from ethogram.pipeline.stability import Stability

__all__ = ["command"]

# The columns that a table on a terminal has, in order; JSON and CSV have all.
SHOWN = {
    "convergence": ["device", "windows", "converged", "share_converged", "epochs_median", "epochs_p95", "hours_median",
                    "flows_median", "median_km"],
    "recurrence": ["device", "fingerprints", "identical", "alike", "distinct", "commonest", "entropy_bits", "growth",
                   "hours_since"],
    "completeness": ["device", "services", "complete_services", "complete_weight"],
    "distinguishability": ["type", "fingerprints", "within", "between", "collisions", "margin", "silhouette"],
}  # fmt: skip


def command(
    source: Annotated[Path, typer.Argument(metavar="FINGERPRINTS", help="What 'ethogram fingerprint' wrote.")],
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV with the columns device,label[,type ...]; without it each "
                                  "device is its own type.")
    ] = None,
    level: Annotated[str, typer.Option(metavar="LEVEL", help="What is a type: label, model, family, type.")] = "type",
    alike: Annotated[float, typer.Option(help="Similarity from which a fingerprint has come back.")] = 0.9,
    seed: Annotated[int, typer.Option(help="For the level of chance.")] = 0,
    form: ReportFormatOption = ReportFormat.TABLE,
    plots: Plots = None,
    force: Force = False,
) -> int:  # fmt: skip
    """Measure how soon fingerprints converge, how often they recur, and whether they distinguish types."""
    from ethogram.identify.labels import read_labels
    from ethogram.pipeline.fingerprints import read_fingerprints
    from ethogram.pipeline.stability import draw, stability, types_at
    from ethogram.representation.needs import need

    if plots is not None:
        need("drawing plots", "matplotlib")
        check_folder(plots, inputs=(source, labels), force=force)
    run = read_fingerprints(source)
    types = None if labels is None else types_at(read_labels(labels), level)
    measured = stability(run, types, alike=alike, seed=seed)
    if form is ReportFormat.JSON:
        write_json(measured.to_dict())
    elif form is ReportFormat.JSONL:
        for table, subject, measure, value in measured.rows():
            write_json({"table": table, "of": subject, "measure": measure, "value": value}, indent=False)
    elif form is ReportFormat.CSV:
        write_csv(["table", "of", "measure", "value"], measured.rows())
    else:
        _show(measured, run.settings.compare)
    if plots is not None:
        for path in draw(measured, plots):
            report(f"plot: {path}")
    return 0


def _show(measured: Stability, compare: str) -> None:
    from rich.table import Table

    console = results()
    for name, columns in SHOWN.items():
        frame = getattr(measured, name)
        table = Table(title=name.capitalize(), title_justify="left", title_style="bold", box=None, pad_edge=False)
        for column in columns:
            table.add_column(column.replace("_", " "), justify="left" if column in ("device", "type") else "right")
        for row in frame.select(columns).iter_rows():
            table.add_row(*(_cell(value) for value in row))
        console.print(table)
        console.print()
    if measured.classes:
        for group in measured.classes:
            console.print(f"Not distinguishable at any granularity: {', '.join(group)}")
    if compare == "previous":
        console.print("The windows were compared with themselves an epoch ago, which is nearly always alike: "
                      "convergence here says little. Use --compare halves.")  # fmt: skip


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 or (value.is_integer() and abs(value) > 1) else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
