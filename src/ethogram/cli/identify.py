"""``ethogram identify``: what each device is, or unknown, and why."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.flows import time_of
from ethogram.cli.run import errors, progress

if TYPE_CHECKING:
    from rich.console import Console

    from ethogram.schema import Inventory

__all__ = ["command", "show_inventory", "time_needed"]


class Per(StrEnum):
    """What a verdict is about."""

    DEVICE = "device"
    FINGERPRINT = "fingerprint"
    EPOCH = "epoch"


class Level(StrEnum):
    """What is told apart."""

    LABEL = "label"
    MODEL = "model"
    FAMILY = "family"
    TYPE = "type"
    COARSE = "coarse"


class Format(StrEnum):
    """How the verdicts are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Fingerprints (Parquet), or anything that 'ethogram flows' reads."),
    ],
    library: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Known devices. Default: the library that comes along.")
    ] = None,
    per: Annotated[
        Per, typer.Option(help="One verdict per device, per exported fingerprint, or per epoch.")
    ] = Per.DEVICE,
    level: Annotated[Level, typer.Option(help="What is told apart; twin units are one model.")] = Level.LABEL,
    closed: Annotated[bool, typer.Option("--closed", help="Never say unknown.")] = False,
    form: Annotated[Format, typer.Option("--format", help="How the verdicts are written.")] = Format.TABLE,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The identifier. Default: likelihood; cross-network with the library that comes along."
        ),
    ] = "",
    epoch: Annotated[int, typer.Option(metavar="SECONDS", help="Length of an epoch.")] = 86_400,
    devices: Annotated[Path | None, typer.Option(metavar="FILE", help="Device file, as for 'ethogram flows'.")] = None,
    local: Annotated[list[str] | None, typer.Option(metavar="CIDR", help="What is inside; again for more.")] = None,
    time_from: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Only from this time on.")] = None,
    time_to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only before this time.")] = None,
) -> int:
    """Say what each device is, how sure that is, and why.

    The score is calibrated: 0.9 means that nine of ten such labels are right. A device that is too unlike all known
    ones is unknown. A verdict over an unfinished window is provisional.
    """
    from ethogram.config import ExporterSettings, FlowSettings
    from ethogram.identify.render import to_csv, to_json
    from ethogram.pipeline.identify import default_method, identify, open_library, regroup, settings_for
    from ethogram.pipeline.inputs import read_seen

    known = open_library(library)
    flow = FlowSettings.of(**({"local": tuple(local)} if local else {}))
    with progress("biflows read") as advance:
        reading = read_seen(
            inputs, window_s=epoch, devices=devices, flow_settings=flow, time_from=time_of(time_from, "--from"),
            time_to=time_of(time_to, "--to"), on_progress=advance,
            export=ExporterSettings() if per is Per.FINGERPRINT else None,
        )  # fmt: skip
    inventory = identify(
        regroup(reading.seen, per.value, epoch),
        known,
        settings_for(method or default_method(library is None, level.value), level=level.value, closed=closed),
    )
    if form is Format.JSON:
        sys.stdout.buffer.write(to_json(inventory))
    elif form is Format.CSV:
        sys.stdout.write(to_csv(inventory))
    else:
        from rich.console import Console

        for line in reading.notes:
            errors.print(line, markup=False, soft_wrap=True)
        show_inventory(Console(highlight=False, width=None if sys.stdout.isatty() else 140), inventory)
    for line in reading.errors:
        errors.print(f"ethogram: {line}", markup=False, soft_wrap=True)
    return 3 if reading.errors else 0


def time_needed(seconds: float | None) -> str:
    """A span in words.

    >>> [time_needed(s) for s in (None, 0.0, 5400.0, 200000.0)]
    ['', 'any time', '1.5 h', '2.3 d']
    """
    if seconds is None:
        return ""
    if seconds == 0:
        return "any time"
    return f"{seconds / 86_400:.1f} d" if seconds >= 86_400 else f"{seconds / 3600:.1f} h"


def show_inventory(console: Console, inventory: Inventory) -> None:
    """Print the inventory as a table, unknown devices last."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("device", "verdict", "score", "final in", "why"):
        table.add_column(name, justify="right" if name == "score" else "left", overflow="fold")
    for one in sorted(inventory.devices, key=lambda v: (v.verdict == "unknown", v.verdict, v.device)):
        name = one.verdict + (" (simulated)" if one.simulated else "")
        style = "yellow" if one.verdict == "unknown" else "green" if one.score >= 0.8 else ""
        needed = "final" if one.converged else time_needed(one.expected_s)
        # Names come from the network: they are text, never markup.
        table.add_row(Text(one.device), Text(name, style=style), f"{one.score:.2f}", needed, Text(one.reason))
    console.print(table)
    known = sum(one.verdict != "unknown" for one in inventory.devices)
    console.print(f"{len(inventory.devices):,} verdicts, {len(inventory.devices) - known:,} unknown; "
                  f"library {inventory.library}", markup=False)  # fmt: skip
