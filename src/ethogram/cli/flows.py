"""``ethogram flows``: convert captures and flow records of any kind to one flow table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import (
    DeviceFileOption,
    DevicesOnly,
    DnsLogs,
    Force,
    From,
    Inputs,
    Json,
    Local,
    Names,
    NamesMapping,
    Pair,
    Pseudonymise,
    Strict,
    TimeZone,
    To,
    UseIdentity,
    duration_option,
)
from ethogram.cli.outputs import TABLE, check_output
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.run import read_progress
from ethogram.cli.terminal import report, write_json

if TYPE_CHECKING:
    from ethogram.pipeline.flows import FlowRun

__all__ = ["command"]


def command(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Flow table to write (Parquet).")],
    devices: DeviceFileOption = None,
    devices_only: DevicesOnly = False,
    names: Names = None,
    names_mapping: NamesMapping = None,
    dns_log: DnsLogs = None,
    identity: UseIdentity = True,
    local: Local = None,
    input_format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Format of all inputs: yaf, zeek, nfdump, joy, exports, ipfix, csv, parquet or capture. "
            "Default: detected.",
        ),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Mapping file (TOML) that names the columns of a CSV.")
    ] = None,
    idle_timeout: Annotated[
        float, duration_option("--idle-timeout", help="Captures: a flow that is silent for longer has ended.")
    ] = 120.0,
    active_timeout: Annotated[
        float,
        duration_option(
            "--active-timeout", help="A longer flow is cut, and joined again. For exports: the router's setting."
        ),
    ] = 1800.0,
    join: Annotated[bool, typer.Option("--join/--no-join", help="Join records cut at the active timeout.")] = True,
    pair: Pair = "auto",
    remote_names: Annotated[
        bool,
        typer.Option(
            "--remote-names/--no-remote-names",
            " /--no-names",
            help="Name remote ends by DNS answers and the records' name fields.",
        ),
    ] = True,
    time_zone: TimeZone = "UTC",
    time_from: From = None,
    time_to: To = None,
    pseudonymise: Pseudonymise = None,
    strict: Strict = False,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Convert captures and flow records of any kind to one flow table.

    Shows what was read, ignored and dropped, by reason; with -v for every input and stage.
    """
    from ethogram.config import MeterSettings
    from ethogram.pipeline.flows import read_flows, write_flows
    from ethogram.pipeline.pseudonymise import Pseudonymiser
    from ethogram.pipeline.read_options import ReadOptions, flow_settings
    from ethogram.schema import TimeSpan

    read = (*inputs, devices, mapping, pseudonymise, *(names or ()), *(dns_log or ()), names_mapping)
    check_output(output, TABLE, read, force=force)
    options = ReadOptions(
        devices, flow_settings(local, join_cut=join, pair=pair, time_zone=time_zone, names={"enabled": remote_names}),
        TimeSpan(time_from, time_to), identity=identity, devices_only=devices_only, names=tuple(names or ()),
        names_mapping=names_mapping, dns_logs=tuple(dns_log or ()), strict=strict,
        meter=MeterSettings.of(idle_timeout_s=idle_timeout, active_timeout_s=active_timeout),
        pseudonymiser=None if pseudonymise is None else Pseudonymiser.load(pseudonymise),
    )  # fmt: skip
    with read_progress("biflows") as advance:
        run = read_flows(inputs, options, format=input_format, mapping=mapping, on_progress=advance)
        rows = write_flows(run, output)
    if as_json:
        write_json(_report(run, rows, output))
    else:
        _show(run, rows, output)
    return end_with(run.errors)


def _report(run: FlowRun, rows: int, output: Path) -> dict[str, object]:
    return {
        "format": "ethogram.flows-report/1",
        "inputs": [input_report.as_dict() for input_report in run.reports],
        "names": [input_report.as_dict() for input_report in run.names.reports],
        "dns_logs": [input_report.as_dict() for input_report in run.logs.reports],
        "identity_facts": run.identity().height,
        "skipped": [{"input": name, "reason": reason} for name, reason in run.skipped],
        "stages": {name: accounting.as_dict() for name, accounting in run.stages.items()},
        "rows": rows,
        "output": str(output),
    }


def _show(run: FlowRun, rows: int, output: Path) -> None:
    from ethogram.pipeline.run_log import run_log
    from ethogram.pipeline.text import plural

    log = run_log(run.reports, run.stages, run.skipped, plural(rows, "flow"))
    log.notices += run.notices
    log.details += [*run.identity_lines, *run.notices]
    show_log(log)
    if not rows and any(input_report.accounting.used for input_report in run.reports):
        report("no flow has a device: set the local prefixes with --local, or name devices with --devices")
    report(f"{plural(rows, 'row')} written to {output}")
