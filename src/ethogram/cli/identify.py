"""``ethogram identify``: what each device is, or unknown, and why."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram._text import visible
from ethogram.cli.flows import time_of
from ethogram.cli.run import progress, read_progress
from ethogram.cli.terminal import results, say, write_text
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ethogram.schema import Inventory

__all__ = ["command", "show_inventory", "show_rows", "time_needed"]


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
            metavar="NAME",
            help="The identifier. Default: all the evidence; across networks with the library that comes along.",
        ),
    ] = "",
    encoder: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Encoder the library was enrolled with. Default: the one that comes along."),
    ] = None,
    flows: Annotated[
        bool,
        typer.Option(
            "--flows/--no-flows", help="Use embeddings of single flows, too, where library and input have any."
        ),
    ] = True,
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
    from ethogram.pipeline.inputs import read_windows

    if encoder is not None and not flows:
        raise UsageError("--encoder and --no-flows contradict each other")
    if encoder is not None and library is None:
        raise UsageError("--encoder needs --library: the one that comes along has fingerprints alone")
    known = open_library(library)
    flow = FlowSettings.of(**({"local": tuple(local)} if local else {}))
    span = time_of(time_from, "--from"), time_of(time_to, "--to")
    export = ExporterSettings() if per is Per.FINGERPRINT else None
    side = None
    if flows and library is not None:
        from ethogram.pipeline.embedding_inputs import IdentifyFlows

        stretch = None if per is Per.DEVICE else epoch if export is None else export.epoch_s
        side = IdentifyFlows(
            library, known, encoder, devices=devices, flow=flow, span=span, stretch_s=stretch
        )  # fmt: skip
    with read_progress("biflows") as advance:
        reading = read_windows(
            inputs, window_s=epoch, devices=devices, flow_settings=flow, time_from=span[0], time_to=span[1],
            on_progress=advance, export=export, listener=None if side is None else side.listener,
        )  # fmt: skip
    seen = regroup(reading.seen, per.value, epoch)
    settings = settings_for(method or default_method(library is None, level.value), level=level.value, closed=closed)
    embedded = None if side is None else side.items(seen.windows)
    with progress("learning the library"):
        if side is not None and side.library_side is not None and embedded is not None:
            from ethogram.pipeline.fused import identify_with_flows

            inventory = identify_with_flows(seen, known, side.library_side, embedded, settings)
        else:
            inventory = identify(seen, known, settings)
    if form is Format.TABLE:
        for line in reading.notes:
            say(line)
    # Which methods stand behind the verdicts is said in every form: a flow side that is missing changes them.
    for line in side.messages if side is not None else ():
        say(line)
    if form is Format.JSON:
        write_text(to_json(inventory).decode())
    elif form is Format.CSV:
        write_text(to_csv(inventory))
    else:
        show_inventory(results(), inventory)
    for line in reading.errors:
        say(f"ethogram: {line}")
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
    """Print the inventory, unknown devices last; under each device why."""
    from ethogram.pipeline.text import plural

    rows = [
        (
            [one.device, one.verdict + (f" ({one.fallback.label} {one.fallback.score:.2f})" if one.fallback else "")
             + (" (simulated)" if one.simulated else ""), f"{one.score:.2f}",
             "final" if one.converged else time_needed(one.expected_s)],
            "yellow" if one.verdict == "unknown" else "green" if one.score >= 0.8 else "",
            one.reason,
        )
        for one in sorted(inventory.devices, key=lambda v: (v.verdict == "unknown", v.verdict, v.device))
    ]  # fmt: skip
    show_rows(console, ["device", "verdict", "score", "final in"], rows)
    known = sum(one.verdict != "unknown" for one in inventory.devices)
    console.print(f"{plural(len(inventory.devices), 'verdict')}, {len(inventory.devices) - known:,} unknown; "
                  f"library {inventory.library}")  # fmt: skip


def show_rows(console: Console, names: Sequence[str], rows: Sequence[tuple[list[str], str, str]]) -> None:
    """Print rows of cells, the second in a style, and under each row a sentence as wide as the console."""
    from rich.padding import Padding
    from rich.text import Text

    rows = [([visible(cell) for cell in cells], style, visible(sentence)) for cells, style, sentence in rows]
    widths = [max([len(name), *(len(cells[i]) for cells, _, _ in rows)]) for i, name in enumerate(names)]

    def line(cells: Sequence[str], style: str = "") -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            # Names come from the network: they are text, never markup.
            text.append(cell.ljust(width) + "  ", style=style if i == 1 else "")
        return text

    header = line(names)
    header.stylize("bold")
    console.print(header)
    for cells, style, sentence in rows:
        console.print(line(cells, style))
        console.print(Padding(Text(sentence, style="dim"), (0, 0, 0, 4)))
