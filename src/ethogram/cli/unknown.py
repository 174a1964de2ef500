"""``ethogram unknown``: devices that a library does not know, in groups to be named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ethogram.cli.options import (
    DAY_S,
    Encoder,
    Epoch,
    Force,
    Inputs,
    Level,
    LevelOption,
    Method,
    ReportFormat,
    ReportFormatOption,
    UseFlows,
)
from ethogram.cli.outputs import check_library, is_standard_output
from ethogram.cli.reading import end_with, show_log
from ethogram.cli.reading_options import with_reading_options
from ethogram.cli.run import progress, read_progress
from ethogram.cli.tables import write_records
from ethogram.cli.terminal import report, results
from ethogram.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ethogram.identify.library import Identity
    from ethogram.pipeline.read_options import ReadOptions
    from ethogram.pipeline.unknown_groups import UnknownGroups

__all__ = ["command", "named_groups"]


@with_reading_options()
def command(
    inputs: Inputs,
    library: Annotated[
        list[str] | None,
        typer.Option(
            "--library", metavar="FILE",
            help="Known devices; repeatable, and 'packaged' is the bundled library. Default: none, and all devices "
            "are grouped.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP=LABEL",
            help="Name a group and enrol it: 1=porch-cam, or 1=porch-cam,MODEL,VENDOR,TYPE,COARSE. Repeatable.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Library to write. Default: your own one of --library."),
    ] = None,
    form: ReportFormatOption = ReportFormat.TABLE,
    level: LevelOption = Level.LABEL,
    method: Method = "",
    encoder: Encoder = None,
    flows: UseFlows = True,
    epoch: Epoch = DAY_S,
    force: Force = False,
    *,
    reading: ReadOptions,
) -> int:
    """Group the devices that are unknown, and enrol the groups that are given a name.

    Devices of one group behave alike: one name serves all of them, and the next 'ethogram identify' knows them. What
    counts as alike is learnt from the library. Without one, all devices are grouped, and the bundled library teaches
    what counts as alike.
    """
    from ethogram.pipeline.identify import IdentifyOptions, check_encoder
    from ethogram.pipeline.libraries import PACKAGED_NAME, open_libraries
    from ethogram.pipeline.library_embeddings import write_library
    from ethogram.pipeline.unknown import unknown

    check_encoder(encoder, flows=flows)
    groups, target = named_groups(name or []), output
    own = [path for path in dict.fromkeys(library or ()) if path != PACKAGED_NAME]
    if target is None and len(own) == 1:
        target = Path(own[0])
    if groups:
        if output is not None and is_standard_output(output):
            raise UsageError("-o -: the groups go to standard output: name a file for the library")
        if target is None:
            several = "several libraries" if own else "the bundled library"
            which = f"with {several}" if library else "without --library"
            raise UsageError(f"--name {which}: name a library to write with -o")
        check_library(target, (*inputs, encoder, *reading.files), force=force)
    options = IdentifyOptions(level=level.value, method=method, encoder=encoder, flows=flows, epoch_s=epoch)
    known, learning = open_libraries(library) if library else None, progress("learning the library")
    with read_progress("biflows") as advance:
        run = unknown(inputs, known, options, reading, on_progress=advance, learning=learning)
    show_log(run.log, summary=form is ReportFormat.TABLE)
    # The library is written first: a reader of the groups may close the pipe.
    lines: list[str] = []
    if groups and target is not None:
        enrolled = run.enrol(groups, target.name)
        lines = [*enrolled.lines, *write_library(enrolled.library, enrolled.store, target)]
    if form is ReportFormat.TABLE:
        _show(results(), run.groups)
    else:
        lines_of_groups = (group.to_dict() for group in run.groups.groups)
        write_records(form, run.groups.to_dict(), lines_of_groups, *csv_rows(run.groups))
    report(*lines)
    return end_with(run.log.errors)


GROUP_COLUMNS = ("group", "devices", "likeness", "shared", "nearest", "nearest_score", "fallback", "flows")


def csv_rows(groups: UnknownGroups) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Header and rows of the groups as CSV; lists are joined with ``;``."""
    rows: list[tuple[object, ...]] = [
        (group.group, ";".join(group.devices), f"{group.likeness:.4f}", ";".join(group.shared), group.nearest,
         f"{group.nearest_score:.4f}", "" if group.fallback is None else group.fallback.label, group.flows)
        for group in groups.groups
    ]  # fmt: skip
    return GROUP_COLUMNS, rows


def named_groups(names: list[str]) -> dict[str, Identity]:
    """What the user calls each group.

    >>> named_groups(["1=porch cam,cam-2,acme,camera"])["1"].at("family")
    'acme/camera'
    """
    from ethogram.identify.library import Identity

    identities: dict[str, Identity] = {}
    for text in names:
        group, _, label = text.partition("=")
        parts = [part.strip() for part in label.split(",")]
        if not group.strip() or not parts[0] or len(parts) > 5:
            raise UsageError(f"--name {text!r}: write it as 1=LABEL, or 1=LABEL,MODEL,VENDOR,TYPE,COARSE")
        if group.strip() in identities:
            raise UsageError(f"--name: group {group.strip()} has two names")
        identities[group.strip()] = Identity(*parts)
    return identities


def _show(console: Console, groups: UnknownGroups) -> None:
    """Print each group with its devices, and what they share."""
    from ethogram.cli.inventory import show_rows
    from ethogram.pipeline.text import plural

    rows = []
    for group in groups.groups:
        kind = f"{group.fallback.label}, {group.fallback.score:.2f}" if group.fallback else ""
        shared = f"share {', '.join(group.shared)}; " if group.shared else ""
        rows.append((
            [group.group, str(len(group.devices)), f"{group.likeness:.2f}", kind,
             f"{group.nearest} {group.nearest_score:.2f}" if group.nearest else ""],
            "yellow",
            f"{shared}{', '.join(group.devices)}",
        ))  # fmt: skip
    if rows:
        show_rows(console, ["group", "devices", "likeness", "kind", "nearest"], rows)
    total = plural(sum(len(group.devices) for group in groups.groups), "unknown device")
    console.print(
        f"{total} in {plural(len(groups.groups), 'group')}, {groups.known:,} known; "
        f"{f'library {groups.library}' if groups.library else 'no library'}; --name GROUP=LABEL enrols a group",
    )  # fmt: skip
