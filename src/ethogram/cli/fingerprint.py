"""``ethogram fingerprint``: the fingerprint exporter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram._parse import parse_key, parse_weight
from ethogram.cli.options import (
    DAY_S,
    Epoch,
    Force,
    Granularity,
    Inputs,
    Json,
    duration_option,
)
from ethogram.cli.outputs import TABLE, check_output
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.run import read_progress
from ethogram.cli.terminal import report, write_json

if TYPE_CHECKING:
    from ethogram.pipeline.fingerprints import FingerprintRun
    from ethogram.pipeline.read_options import ReadOptions

__all__ = ["command"]


@with_reading_options(identity=False)
def command(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Fingerprints to write (Parquet).")],
    epoch: Epoch = DAY_S,
    granularity: Granularity = 16,
    threshold: Annotated[float, typer.Option(help="Similarity at which a window is stable.")] = 0.9,
    compare: Annotated[
        str, typer.Option(metavar="HOW", help="halves: compare the halves of a window; previous: compare with the "
                          "window one epoch earlier (nearly always similar).")
    ] = "halves",
    mode: Annotated[
        str, typer.Option(metavar="MODE", help="tumbling: export every fingerprint; change: only those that differ "
                          "from the last one.")
    ] = "tumbling",
    prevalence: Annotated[
        str, typer.Option(metavar="WEIGHT", help="Weight of a service: flow, presence, octets or packets.")
    ] = "flow",
    runs: Annotated[int, typer.Option(help="Number of stable comparisons in a row for a window to converge.")] = 1,
    min_flows: Annotated[int, typer.Option(help="Minimum flows for a window to converge.")] = 50,
    min_epochs: Annotated[int, typer.Option(help="Minimum active epochs for a window to converge.")] = 2,
    max_epochs: Annotated[int, typer.Option(help="Active epochs after which a window is exported unconverged.")] = 30,
    gap: Annotated[
        int, duration_option("--gap", help="A longer silence ends the window.", whole=True)
    ] = 7 * DAY_S,
    key: Annotated[
        str, typer.Option(metavar="PARTS", help="Parts of a service besides its port, separated by commas: role, "
                          "scope, answered, name.")
    ] = "",
    learn_ports: Annotated[
        int, typer.Option(metavar="DAYS", help="Learn service ports from this input: ports that a device uses on this "
                          "many days; all others become one port, dyn.")
    ] = 0,
    other_protocols: Annotated[bool, typer.Option(help="Also count protocols other than TCP and UDP.")] = False,
    keep_probes: Annotated[bool, typer.Option(help="Count inbound flows without an answer.")] = False,
    force: Force = False,
    as_json: Json = False,
    *,
    reading: ReadOptions,
) -> int:  # fmt: skip
    """Export fingerprints: windows in which a device behaves the same for long enough, with its services."""
    weight, parts = parse_weight(prevalence, "--prevalence"), parse_key(key, "--key")
    from ethogram.config import CountSettings, ExporterSettings
    from ethogram.pipeline.fingerprints import fingerprint, write_fingerprints

    check_output(output, TABLE, (*inputs, *reading.files), force=force)
    settings = ExporterSettings.of(
        epoch_s=epoch, threshold=threshold, runs=runs, compare=compare, mode=mode, min_flows=min_flows,
        min_epochs=min_epochs, max_epochs=max_epochs, gap_s=gap, key=dict.fromkeys(parts, True),
        representation={"granularity": granularity, "weight": weight},
    )  # fmt: skip
    counting = CountSettings.of(
        sub_epoch_s=min(3_600, epoch), other_protocols=other_protocols, drop_probes=not keep_probes
    )
    with read_progress("biflows") as advance:
        run = fingerprint(
            inputs, settings, counting, reading, learn_days=learn_ports, on_progress=advance,
        )  # fmt: skip
    write_fingerprints(run, output)
    if as_json:
        write_json(_report(run, output))
    else:
        _show(run, output)
    return end_with(run.log.errors)


def _statuses(run: FingerprintRun) -> dict[str, int]:
    return {str(status): n for status, n in run.table["status"].value_counts(sort=True).iter_rows()}


def _report(run: FingerprintRun, output: Path) -> dict[str, object]:
    return {
        "format": "ethogram.fingerprint-report/1",
        "flows": run.accounting.as_dict(),
        "fingerprints": run.table.height,
        "devices": run.table["device"].n_unique(),
        "status": _statuses(run),
        "unchanged": run.unchanged,
        "errors": run.log.errors,
        "output": str(output),
    }


def _show(run: FingerprintRun, output: Path) -> None:
    statuses = ", ".join(f"{n:,} {status}" for status, n in _statuses(run).items()) or "none"
    show_log(run.log)
    lines = [
        f"{run.table.height:,} fingerprints of {run.table['device'].n_unique():,} devices ({statuses}) "
        f"written to {output}",
    ]
    if run.unchanged:
        lines.append(f"{run.unchanged:,} windows were not exported, since they are like the last exported one")
    report(*lines)
