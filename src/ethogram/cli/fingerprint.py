"""``ethogram fingerprint``: the fingerprint exporter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.flows import time_of
from ethogram.cli.outputs import TABLE, Force, check_output
from ethogram.cli.run import progress
from ethogram.cli.terminal import say, write_json
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from ethogram.pipeline.fingerprints import FingerprintRun

__all__ = ["command", "granularity_of", "span_of"]

WEIGHTS = {"flow": "flow_share", "presence": "presence", "octets": "octet_share", "packets": "packet_share"}
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def span_of(text: str, option: str) -> int:
    """Seconds of a span such as 1d, 6h, 30m or 900."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
    if not number.isdigit() or int(number) == 0:
        raise UsageError(f"{option}: {text!r} is no span such as 1d, 6h, 30m or 900")
    return int(number) * _UNITS[unit]


def granularity_of(text: str) -> int:
    """G as a number; 0 for infinity."""
    if text in ("inf", "infinity"):
        return 0
    if not text.isdigit() or int(text) == 0:
        raise UsageError(f"--granularity: {text!r} is neither a number from 1 nor inf")
    return int(text)


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="A flow table (Parquet), or anything that 'ethogram flows' reads."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Fingerprints to write (Parquet).")],
    epoch: Annotated[str, typer.Option(metavar="SPAN", help="Length of an epoch: 1d, 6h, 1h.")] = "1d",
    granularity: Annotated[str, typer.Option(metavar="G", help="Levels of a share: 1, 2, 4 ... or inf.")] = "16",
    threshold: Annotated[float, typer.Option(help="Similarity from which a window is stable.")] = 0.9,
    compare: Annotated[
        str, typer.Option(metavar="HOW", help="halves: one half of the window with the other; previous: with the "
                          "window an epoch ago (nearly always alike).")
    ] = "halves",
    mode: Annotated[
        str, typer.Option(metavar="MODE", help="tumbling: one fingerprint after another; change: only those unlike "
                          "the last.")
    ] = "tumbling",
    prevalence: Annotated[
        str, typer.Option(metavar="WEIGHT", help="What is shared out: flow, presence, octets, packets.")
    ] = "flow",
    runs: Annotated[int, typer.Option(help="Stable comparisons in a row that are needed.")] = 1,
    min_flows: Annotated[int, typer.Option(help="Flows a window needs to converge.")] = 50,
    min_epochs: Annotated[int, typer.Option(help="Active epochs a window needs to converge.")] = 2,
    max_epochs: Annotated[int, typer.Option(help="Active epochs after which a window leaves unconverged.")] = 30,
    gap: Annotated[str, typer.Option(metavar="SPAN", help="A silence longer than this ends the window.")] = "7d",
    key: Annotated[
        str, typer.Option(metavar="PARTS", help="What is part of a service beside its port, with commas: role, scope, "
                          "answered, name.")
    ] = "",
    learn_ports: Annotated[
        int, typer.Option(metavar="DAYS", help="Learn from this input which ports are services: those that a device "
                          "uses on so many days; the others are one, dyn.")
    ] = 0,
    other_protocols: Annotated[bool, typer.Option(help="Count protocols other than TCP and UDP too.")] = False,
    keep_probes: Annotated[bool, typer.Option(help="Count inbound flows that nobody answered.")] = False,
    devices: Annotated[Path | None, typer.Option(metavar="FILE", help="Device file, as for 'ethogram flows'.")] = None,
    local: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="What is inside; again for more.")] = None,
    time_from: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Only from this time on.")] = None,
    time_to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only before this time.")] = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")] = False,
) -> int:  # fmt: skip
    """Export fingerprints: windows in which a device did the same thing long enough, with what it did."""
    if prevalence not in WEIGHTS:
        raise UsageError(f"--prevalence: {prevalence!r} is none of {', '.join(WEIGHTS)}")
    parts = [part.strip() for part in key.split(",") if part.strip()]
    for part in parts:
        if part not in ("role", "scope", "answered", "name"):
            raise UsageError(f"--key: {part!r} is none of role, scope, answered, name")
    from ethogram.config import CountSettings, ExporterSettings, FlowSettings
    from ethogram.pipeline.fingerprints import fingerprint, write_fingerprints

    check_output(output, TABLE, (*inputs, devices), force=force)
    epoch_s = span_of(epoch, "--epoch")
    settings = ExporterSettings.of(
        epoch_s=epoch_s, threshold=threshold, runs=runs, compare=compare, mode=mode, min_flows=min_flows,
        min_epochs=min_epochs, max_epochs=max_epochs, gap_s=span_of(gap, "--gap"), key=dict.fromkeys(parts, True),
        representation={"granularity": granularity_of(granularity), "weight": WEIGHTS[prevalence]},
    )  # fmt: skip
    counting = CountSettings.of(
        sub_epoch_s=min(3_600, epoch_s), other_protocols=other_protocols, drop_probes=not keep_probes
    )
    with progress("biflows read") as advance:
        run = fingerprint(
            inputs, settings, counting, begin=time_of(time_from, "--from"), end=time_of(time_to, "--to"),
            devices=devices, flow_settings=FlowSettings.of(**({"local": tuple(local)} if local else {})),
            learn_days=learn_ports, on_progress=advance,
        )  # fmt: skip
    write_fingerprints(run, output)
    if as_json:
        write_json(_report(run, output))
    else:
        _show(run, output)
    for line in run.errors:
        say(f"ethogram: {line}")
    return 3 if run.errors else 0


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
        "errors": run.errors,
        "output": str(output),
    }


def _show(run: FingerprintRun, output: Path) -> None:
    statuses = ", ".join(f"{n:,} {status}" for status, n in _statuses(run).items()) or "none"
    lines = [
        f"flows: {run.accounting.line()}",
        f"{run.table.height:,} fingerprints of {run.table['device'].n_unique():,} devices ({statuses}) "
        f"written to {output}",
    ]
    if run.unchanged:
        lines.append(f"{run.unchanged:,} windows were like the last exported one and not exported")
    for line in lines:
        say(line)
