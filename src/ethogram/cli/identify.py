"""``ethogram identify``: the identity of each device, or unknown, and why."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram._text import visible
from ethogram.cli.options import (
    DAY_S,
    DeviceFileOption,
    DevicesOnly,
    DnsLogs,
    Encoder,
    Epoch,
    From,
    Inputs,
    Level,
    LevelOption,
    LibraryOption,
    Local,
    Method,
    Names,
    NamesMapping,
    PinFile,
    ReportFormat,
    ReportFormatOption,
    TimeZone,
    To,
    UseFlows,
    UseIdentity,
)
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.run import progress, read_progress
from ethogram.cli.terminal import results, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ethogram.schema import Inventory

__all__ = ["command", "show_inventory", "show_rows", "time_needed"]


class Per(StrEnum):
    """The subject of a verdict."""

    DEVICE = "device"
    FINGERPRINT = "fingerprint"
    EPOCH = "epoch"


def command(
    inputs: Inputs,
    library: LibraryOption = None,
    labels: Annotated[Path | None, PinFile] = None,
    per: Annotated[
        Per, typer.Option(help="One verdict per device, per exported fingerprint, or per epoch.")
    ] = Per.DEVICE,
    level: LevelOption = Level.LABEL,
    closed: Annotated[bool, typer.Option("--closed", help="Always give a label, never 'unknown'.")] = False,
    form: ReportFormatOption = ReportFormat.TABLE,
    method: Method = "",
    encoder: Encoder = None,
    flows: UseFlows = True,
    epoch: Epoch = DAY_S,
    devices: DeviceFileOption = None,
    devices_only: DevicesOnly = False,
    names: Names = None,
    names_mapping: NamesMapping = None,
    dns_log: DnsLogs = None,
    time_zone: TimeZone = "UTC",
    identity: UseIdentity = True,
    local: Local = None,
    time_from: From = None,
    time_to: To = None,
) -> int:  # fmt: skip
    """Identify the device behind each address, with a score and the reason.

    The score says how sure the verdict is: of labels with a score of 0.9, nine in ten are right; beside 'unknown' it is
    the probability that the device is none of the known ones. Devices that cannot be told apart are named together in
    the reason. A verdict over an unfinished window is provisional. A device with a label of yours keeps it, and is
    reported if its traffic no longer fits.
    """
    from ethogram.identify.labels import read_labels
    from ethogram.identify.render import to_csv, to_json, to_jsonl
    from ethogram.pipeline.identify import IdentifyOptions, identify
    from ethogram.pipeline.library import open_library
    from ethogram.pipeline.read_options import read_options

    options = IdentifyOptions(
        per=per.value, level=level.value, closed=closed, method=method, encoder=encoder, flows=flows, epoch_s=epoch
    )
    reading = read_options(
        devices, local, time_from, time_to, devices_only=devices_only, names=tuple(names or ()),
        names_mapping=names_mapping, dns_logs=tuple(dns_log or ()),
        time_zone=time_zone, identity=identity,
    )  # fmt: skip
    given = read_labels(labels) if labels is not None else []
    known, learning = open_library(library), progress("learning the library")
    with read_progress("biflows") as advance:
        run = identify(inputs, known, options, reading, labels=given, on_progress=advance, learning=learning)
    show_log(run.log, summary=form is ReportFormat.TABLE)
    if form is ReportFormat.TABLE:
        show_inventory(results(), run.inventory)
    else:
        render = {ReportFormat.JSON: to_json, ReportFormat.JSONL: to_jsonl, ReportFormat.CSV: to_csv}[form]
        write_text(render(run.inventory))
    return end_with(run.log.errors)


def time_needed(seconds: float | None) -> str:
    """A number of seconds in words.

    >>> [time_needed(s) for s in (None, 0.0, 5400.0, 200000.0)]
    ['', 'any time', '1.5 h', '2.3 d']
    """
    if seconds is None:
        return ""
    if seconds == 0:
        return "any time"
    return f"{seconds / 86_400:.1f} d" if seconds >= 86_400 else f"{seconds / 3600:.1f} h"


def show_inventory(console: Console, inventory: Inventory) -> None:
    """Print the inventory, unknown devices last, with the reason under each device."""
    from ethogram.pipeline.text import plural

    rows = [
        (
            [one.device, one.verdict + (f" ({one.fallback.label} {one.fallback.score:.2f})" if one.fallback else "")
             + (" (unusual)" if one.unusual and one.verdict != "unknown" else "")
             + (" (simulated)" if one.simulated else ""), "" if one.pinned or not one.flows else f"{one.score:.2f}",
             "final" if one.converged else time_needed(one.expected_s)],
            "yellow" if one.verdict == "unknown" or one.unusual else "green" if one.score >= 0.8 else "",
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
