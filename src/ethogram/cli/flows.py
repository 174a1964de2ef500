"""``ethogram flows``: captures and flow records of any kind to one flow table."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.outputs import TABLE, Force, check_output
from ethogram.cli.run import read_progress
from ethogram.cli.terminal import say, write_json
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.pipeline.flows import FlowRun

__all__ = ["command", "time_of"]


def time_of(text: str | None, option: str) -> datetime | None:
    """A time given on the command line; without a zone it is UTC."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no time such as 2024-05-01 or 2024-05-01T12:00:00Z") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...",
            help="Files, directories or quoted globs: pcap, pcapng, NetFlow and IPFIX exports, YAF/super_mediator "
            "JSON, Zeek conn, nfdump CSV or JSON, Joy JSON, CSV with --mapping, Parquet; "
            "plain, compressed (gz, bz2, xz, zst, lz4) or in a zip or tar.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Flow table to write (Parquet).")],
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
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Format of the inputs, instead of telling it by content: yaf, "
            "zeek, nfdump, joy, exports, ipfix, csv, parquet, capture.",
        ),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Mapping file (TOML) that says what a CSV's columns are.")
    ] = None,
    idle_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Captures: a flow silent for longer has ended.")
    ] = 120.0,
    active_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="A flow lasting longer is cut, and joined again. For exports: the router's setting."
        ),
    ] = 1800.0,
    join: Annotated[bool, typer.Option("--join/--no-join", help="Join records cut at the active timeout.")] = True,
    pair: Annotated[
        str, typer.Option(metavar="WHEN", help="Pair one-way records into biflows: auto, always, never.")
    ] = "auto",
    names: Annotated[
        bool, typer.Option("--names/--no-names", help="Name remote ends by DNS answers and the records' name fields.")
    ] = True,
    time_zone: Annotated[
        str, typer.Option(metavar="ZONE", help="Zone of times that records write without one.")
    ] = "UTC",
    time_from: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only flows that begin at this time or later.")
    ] = None,
    time_to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Only flows that begin before this time.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Stop at the first record or field that cannot be read.")] = False,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the accounting as JSON on standard output.")] = False,
) -> int:
    """Make one flow table of captures and flow records of any kind.

    Prints for every input and stage how much was read, used, ignored and dropped, by reason.
    """
    from ethogram.config import FlowSettings, MeterSettings
    from ethogram.pipeline.flows import read_flows, write_flows

    check_output(output, TABLE, (*inputs, devices, mapping), force=force)
    chosen: dict[str, object] = {
        "join_cut": join, "pair": pair, "time_zone": time_zone, "names": {"enabled": names}
    }  # fmt: skip
    if local:
        chosen["local"] = tuple(local)
    with read_progress("biflows") as advance:
        run = read_flows(
            inputs,
            devices=devices,
            settings=FlowSettings.of(**chosen),
            meter=MeterSettings.of(idle_timeout_s=idle_timeout, active_timeout_s=active_timeout),
            format=form,
            mapping=mapping,
            time_from=time_of(time_from, "--from"),
            time_to=time_of(time_to, "--to"),
            strict=strict,
            on_progress=advance,
        )
        rows = write_flows(run, output)
    if as_json:
        write_json(_report(run, rows, output))
    else:
        _show(run, rows, output)
    for line in run.errors:
        say(f"ethogram: {line}")
    return 3 if run.errors else 0


def _report(run: FlowRun, rows: int, output: Path) -> dict[str, object]:
    return {
        "format": "ethogram.flows-report/1",
        "inputs": [report.as_dict() for report in run.reports],
        "skipped": [{"input": name, "reason": reason} for name, reason in run.skipped],
        "stages": {name: accounting.as_dict() for name, accounting in run.stages.items()},
        "rows": rows,
        "output": str(output),
    }


def _show(run: FlowRun, rows: int, output: Path) -> None:
    def line(text: str) -> None:
        say(text)

    for report in run.reports:
        line(f"{report.name} ({report.format}): {report.accounting.line()}")
        for note in report.notes:
            line(f"  note: {note}")
        if report.first_problem is not None:
            line(f"  first: {report.first_problem}")
    for name, reason in run.skipped:
        line(f"{name}: passed over: {reason}")
    for name, accounting in run.stages.items():
        line(f"{name}: {accounting.line()}")
    if not rows and any(report.accounting.used for report in run.reports):
        line("no flow has a device: --local says what is inside, --devices names devices")
    line(f"{rows:,} rows written to {output}")
