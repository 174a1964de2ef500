"""``ethogram vectors``: captures to one-minute custom flows, the input of the encoders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram._files import target_of
from ethogram.cli.flows import time_of
from ethogram.cli.outputs import TABLE, Force, check_output
from ethogram.cli.run import read_progress
from ethogram.cli.terminal import say, write_json
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.pipeline.vectors import VectorRun

__all__ = ["command"]


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...",
            help="Files, directories or quoted globs: pcap and pcapng, plain, .gz, .zip; Parquet of custom flows, "
            "ours or of the published layout.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Custom flows to write (Parquet).")],
    direction: Annotated[
        str, typer.Option(metavar="WHICH", help="outgoing: packets the device sent; bidirectional: both directions.")
    ] = "outgoing",
    beside: Annotated[
        Path | None,
        typer.Option(
            "--beside",
            metavar="FILE",
            help="Also write the packets of both directions beside outgoing flows, headers whole (Parquet): the input "
            "of pretrained encoders.",
        ),
    ] = None,
    devices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Device file: CSV with the columns device, mac, ip, from, to. Without it "
            "every local address is a device.",
        ),
    ] = None,
    local: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR", help="What is inside; again for more. Default: the private and link-local prefixes."
        ),
    ] = None,
    private: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            help="Remote addresses that become 0.0.0.0; again for more. Default: the private IPv4 prefixes.",
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", help="A record ends so long after its first packet.")
    ] = 60.0,
    packets: Annotated[int, typer.Option(metavar="N", help="Packets described one by one, at most 10.")] = 10,
    packet_octets: Annotated[
        int, typer.Option(metavar="N", help="Payload octets kept of one packet, at most 1,000.")
    ] = 1000,
    time_from: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only flows that begin at this time or later.")
    ] = None,
    time_to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Only flows that begin before this time.")
    ] = None,
    tunnels: Annotated[bool, typer.Option(help="Describe the packet inside IP in IP, GRE, GTP-U and CAPWAP.")] = False,
    strict: Annotated[bool, typer.Option(help="Stop at the first damage of a capture.")] = False,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the accounting as JSON on standard output.")] = False,
) -> int:
    """Make one-minute custom flows of captures: what the encoders are trained on, 3,040 numbers each once expanded.

    Prints for every input and stage how many packets were read, used, ignored and dropped, by reason.
    """
    from ethogram.config import CaptureSettings, CustomFlowSettings, FlowSettings, PacketFlowSettings
    from ethogram.pipeline.vectors import read_vectors, write_vectors

    check_output(output, TABLE, (*inputs, devices), force=force)
    if beside is not None:
        check_output(beside, TABLE, (*inputs, devices), force=force)
        if target_of(beside) == target_of(output):
            raise UsageError(f"{beside}: is named for -o and for --beside")
    chosen: dict[str, object] = {
        "direction": direction, "interval_s": interval, "packets": packets, "packet_octets": packet_octets
    }  # fmt: skip
    if private:
        chosen["private"] = tuple(private)
    with read_progress("packets") as advance:
        run = read_vectors(
            inputs,
            devices=devices,
            settings=CustomFlowSettings.of(**chosen),
            flow=FlowSettings.of(local=tuple(local)) if local else FlowSettings(),
            capture=CaptureSettings(strict=strict, tunnels=tunnels),
            time_from=time_of(time_from, "--from"),
            time_to=time_of(time_to, "--to"),
            packets=None if beside is None else PacketFlowSettings(),
            on_progress=advance,
        )
        rows = write_vectors(run, output, beside)
    if as_json:
        write_json(_report(run, rows, output, beside))
    else:
        _show(run, rows, output, beside)
    for line in run.errors:
        say(f"ethogram: {line}")
    return 3 if run.errors else 0


def _report(run: VectorRun, rows: int, output: Path, beside: Path | None) -> dict[str, object]:
    return {
        "format": "ethogram.vectors-report/1",
        "inputs": [report.as_dict() for report in run.reports],
        "skipped": [{"input": name, "reason": reason} for name, reason in run.skipped],
        "stages": {name: accounting.as_dict() for name, accounting in run.stages.items()},
        "settings": run.settings.model_dump(mode="json"),
        "rows": rows,
        "output": str(output),
        "beside": None if beside is None else str(beside),
    }


def _show(run: VectorRun, rows: int, output: Path, beside: Path | None) -> None:
    def line(text: str) -> None:
        say(text)

    for report in run.reports:
        line(f"{report.name} ({report.format}): {report.accounting.line()}")
    for name, reason in run.skipped:
        line(f"{name}: passed over: {reason}")
    for name, accounting in run.stages.items():
        line(f"{name}: {accounting.line()}")
    line(f"{rows:,} {run.settings.direction} custom flows written to {output}")
    if beside is not None:
        line(f"the packets of both directions written to {beside}")
