"""``ethogram embed``: custom flows, or captures, to embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ethogram.cli.flows import time_of
from ethogram.cli.outputs import TABLE, Force, check_output
from ethogram.cli.run import read_progress
from ethogram.cli.terminal import say, write_json

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Custom flows (Parquet, ours or of the published layout), or captures."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Embeddings to write (Parquet).")],
    model: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The encoder: a directory that 'ethogram pretrain' made, or an .onnx file."),
    ] = None,
    devices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Captures: device file, as for 'ethogram vectors'.")
    ] = None,
    local: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="Captures: what is inside; again for more.")
    ] = None,
    time_from: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only flows that begin at this time or later.")
    ] = None,
    time_to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Only flows that begin before this time.")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="0: one for each core.")] = 0,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the accounting as JSON on standard output.")] = False,
) -> int:
    """Embed flows with a trained encoder: one row for each flow, with its key and the numbers of the embedding.

    Needs ONNX Runtime, not torch.
    """
    from ethogram.config import FlowSettings
    from ethogram.pipeline.representations import embed

    check_output(output, TABLE, (*inputs, model, devices), force=force)
    with read_progress("packets") as advance:
        run = embed(
            inputs, output, model=model, devices=devices, threads=threads, on_progress=advance,
            flow=FlowSettings.of(local=tuple(local)) if local else None,
            time_from=time_of(time_from, "--from"), time_to=time_of(time_to, "--to"),
        )  # fmt: skip
    reports = run.vectors.reports
    header = run.header
    if as_json:
        told = {
            "format": "ethogram.embed-report/1", "inputs": [report.as_dict() for report in reports],
            "stages": {name: accounting.as_dict() for name, accounting in run.vectors.stages.items()},
            "kind": header.encoder.kind, "d": header.d, "weights": header.weights, "rows": run.rows,
            "output": str(output),
        }  # fmt: skip
        write_json(told)
    else:
        lines = [f"{report.name} ({report.format}): {report.accounting.line()}" for report in reports]
        lines += [f"{name}: passed over: {reason}" for name, reason in run.vectors.skipped]
        lines += [f"{name}: {accounting.line()}" for name, accounting in run.vectors.stages.items()]
        what = f"{header.encoder.kind} of weights {header.weights}, {header.d} numbers each"
        lines.append(f"{run.rows:,} embeddings ({what}) written to {output}")
        for line in lines:
            say(line)
    for problem in run.vectors.errors:
        say(f"ethogram: {problem}")
    return 3 if run.vectors.errors else 0
