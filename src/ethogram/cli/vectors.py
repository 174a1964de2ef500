"""``ethogram vectors``: captures to one-minute custom flows, the input of the encoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram._files import target_of
from ethogram.cli.options import (
    DeviceFileOption,
    DevicesOnly,
    Force,
    From,
    Json,
    Local,
    Pseudonymise,
    Strict,
    To,
    duration_option,
)
from ethogram.cli.outputs import TABLE, check_output
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.run import read_progress
from ethogram.cli.terminal import report, write_json
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.pipeline.vectors import VectorRun

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN",
            help="Files, directories or quoted globs: pcap and pcapng, plain, .gz, .zip; Parquet of custom flows, "
            "of Ethogram or of the published layout.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Custom flows to write (Parquet).")],
    direction: Annotated[
        str, typer.Option(metavar="WHICH", help="outgoing: packets the device sent; bidirectional: both directions.")
    ] = "outgoing",
    packets_output: Annotated[
        Path | None,
        typer.Option(
            "--packets-output",
            metavar="FILE",
            help="Also write the packets of both directions of outgoing flows, with whole headers (Parquet): the input "
            "of third-party encoders.",
        ),
    ] = None,
    devices: DeviceFileOption = None,
    devices_only: DevicesOnly = False,
    local: Local = None,
    private: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            help="Remote addresses that become 0.0.0.0. Repeatable. Default: the private IPv4 prefixes.",
        ),
    ] = None,
    interval: Annotated[
        float, duration_option("--interval", help="A record ends this long after its first packet.")
    ] = 60.0,
    packets: Annotated[int, typer.Option(metavar="N", help="Packets described one by one, at most 10.")] = 10,
    packet_octets: Annotated[
        int, typer.Option(metavar="N", help="Payload octets kept of one packet, at most 1,000.")
    ] = 1000,
    time_from: From = None,
    time_to: To = None,
    pseudonymise: Pseudonymise = None,
    tunnels: Annotated[bool, typer.Option(help="Describe the packet inside IP in IP, GRE, GTP-U and CAPWAP.")] = False,
    strict: Strict = False,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Convert captures to one-minute custom flows, the input of the encoders: 3,040 numbers each once expanded."""
    from ethogram.config import CaptureSettings, CustomFlowSettings, PacketFlowSettings
    from ethogram.pipeline.read_options import read_options
    from ethogram.pipeline.vectors import read_vectors, write_vectors

    check_output(output, TABLE, (*inputs, devices, pseudonymise), force=force)
    if packets_output is not None:
        check_output(packets_output, TABLE, (*inputs, devices, pseudonymise), force=force)
        if target_of(packets_output) == target_of(output):
            raise UsageError(f"{packets_output}: is named for both -o and --packets-output")
    values: dict[str, object] = {
        "direction": direction, "interval_s": interval, "packets": packets, "packet_octets": packet_octets
    }  # fmt: skip
    if private:
        values["private"] = tuple(private)
    with read_progress("packets") as advance:
        run = read_vectors(
            inputs,
            read_options(
                devices, local, time_from, time_to, devices_only=devices_only, pseudonymise=pseudonymise
            ),
            settings=CustomFlowSettings.of(**values),
            capture=CaptureSettings(strict=strict, tunnels=tunnels),
            packets=None if packets_output is None else PacketFlowSettings(),
            on_progress=advance,
        )
        rows = write_vectors(run, output, packets_output)
    if as_json:
        write_json(_report(run, rows, output, packets_output))
    else:
        _show(run, rows, output, packets_output)
    return end_with(run.errors)


def _report(run: VectorRun, rows: int, output: Path, packets_output: Path | None) -> dict[str, object]:
    return {
        "format": "ethogram.vectors-report/1",
        "inputs": [input_report.as_dict() for input_report in run.reports],
        "skipped": [{"input": name, "reason": reason} for name, reason in run.skipped],
        "stages": {name: accounting.as_dict() for name, accounting in run.stages.items()},
        "settings": run.settings.model_dump(mode="json"),
        "rows": rows,
        "output": str(output),
        "beside": None if packets_output is None else str(packets_output),
    }


def _show(run: VectorRun, rows: int, output: Path, packets_output: Path | None) -> None:
    from ethogram.pipeline.run_log import run_log
    from ethogram.pipeline.text import plural

    show_log(run_log(run.reports, run.stages, run.skipped, plural(rows, "custom flow")))
    report(f"{rows:,} {run.settings.direction} custom flows written to {output}")
    if packets_output is not None:
        report(f"packets of both directions written to {packets_output}")
