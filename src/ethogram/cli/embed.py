"""``ethogram embed``: embed custom flows or captures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ethogram.cli.options import DeviceFileOption, DevicesOnly, Force, From, Json, Local, Pseudonymise, To
from ethogram.cli.outputs import TABLE, check_output
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.run import read_progress
from ethogram.cli.terminal import report, write_json

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN", help="Custom flows (Parquet, of Ethogram or of the published layout), or captures."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Embeddings to write (Parquet).")],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Encoder: a folder written by 'ethogram pretrain', or an .onnx file. Default: the bundled one.",
        ),
    ] = None,
    devices: DeviceFileOption = None,
    devices_only: DevicesOnly = False,
    local: Local = None,
    time_from: From = None,
    time_to: To = None,
    pseudonymise: Pseudonymise = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Number of threads; 0: one per core.")] = 0,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Embed flows with a trained encoder: one row per flow, with its key and its embedding.

    Needs ONNX Runtime, not torch.
    """
    from ethogram.pipeline.read_options import read_options
    from ethogram.pipeline.representations import embed
    from ethogram.pipeline.run_log import run_log

    check_output(output, TABLE, (*inputs, model, devices, pseudonymise), force=force)
    with read_progress("packets") as advance:
        run = embed(
            inputs, output, model=model, threads=threads, on_progress=advance,
            options=read_options(
                devices, local, time_from, time_to, devices_only=devices_only, pseudonymise=pseudonymise
            ),
        )  # fmt: skip
    reports = run.vectors.reports
    header = run.header
    if as_json:
        document = {
            "format": "ethogram.embed-report/1", "inputs": [input_report.as_dict() for input_report in reports],
            "stages": {name: accounting.as_dict() for name, accounting in run.vectors.stages.items()},
            "kind": header.encoder.kind, "d": header.d, "weights": header.weights, "rows": run.rows,
            "output": str(output),
        }  # fmt: skip
        write_json(document)
    else:
        show_log(run_log(reports, run.vectors.stages, run.vectors.skipped, f"{run.rows:,} embeddings"))
        what = f"{header.encoder.kind} encoder {header.weights}, {header.d} numbers each"
        report(f"{run.rows:,} embeddings ({what}) written to {output}")
    return end_with(run.vectors.errors)
